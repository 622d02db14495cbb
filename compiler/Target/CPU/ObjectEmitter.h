// Kernel module (func/scf/arith/math/vector/llvm) -> LLVM IR -> object -> shared object, in process.
#ifndef MOEC_COMPILER_TARGET_CPU_OBJECTEMITTER_H
#define MOEC_COMPILER_TARGET_CPU_OBJECTEMITTER_H

#include "compiler/Target/CPU/CpuTarget.h"
#include "compiler/Target/Target.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"

namespace moec::cpu {

/// Adds the passes from kernel IR to the llvm dialect (also what `moec inspect --to=llvm` shows).
void buildKernelLoweringPipeline(mlir::OpPassManager &pm, const CpuTarget &target);

/// Lowers `kernels` (consumed) to a shared object that exports the entry of every kernel and needs nothing but libm.
/// The bytes depend on the input alone, never on the number of threads or the cache. Reports failures through
/// diagnostics.
mlir::FailureOr<CodeBlob> assembleKernels(mlir::ModuleOp kernels, const CpuTarget &target,
                                          const AssembleOptions &options);

} // namespace moec::cpu

#endif
