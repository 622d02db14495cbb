// Kernel module (func/scf/arith/math/vector/llvm) -> LLVM IR -> object -> shared object, in process.
#ifndef MOEC_COMPILER_TARGET_CPU_OBJECTEMITTER_H
#define MOEC_COMPILER_TARGET_CPU_OBJECTEMITTER_H

#include "compiler/Target/CPU/CpuTarget.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include <string>
#include <vector>

namespace moec::cpu {

/// Adds the passes from kernel IR to the llvm dialect (also what `moec inspect --to=llvm` shows).
void buildKernelLoweringPipeline(mlir::OpPassManager &pm, const CpuTarget &target);

/// Lowers `kernels` (consumed) and returns the bytes of a shared object that exports every kernel and needs only libm.
/// `threads` modules are compiled side by side. Reports failures through diagnostics.
mlir::FailureOr<std::vector<char>> emitSharedObject(mlir::ModuleOp kernels, const CpuTarget &target, unsigned threads);

} // namespace moec::cpu

#endif
