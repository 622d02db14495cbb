// The random numbers of moe.random_normal (dialects/Moe/IR/MoeComputeOps.td), for all targets.
#ifndef MOEC_COMPILER_TARGET_KERNEL_RANDOMNORMAL_H
#define MOEC_COMPILER_TARGET_KERNEL_RANDOMNORMAL_H

#include "compiler/Target/Kernel/DispatchBody.h"

namespace moec::kernel {

/// The number of the copy that `op` fills (i64).
mlir::Value randomCopy(KernelBuilder &k, const DispatchBody &body, moe::RandomNormalOp op);
/// Elements 2 * pair and 2 * pair + 1 of copy `copy`.
std::pair<mlir::Value, mlir::Value> randomPair(KernelBuilder &k, moe::RandomNormalOp op, mlir::Value copy,
                                               mlir::Value pair);

} // namespace moec::kernel

#endif
