// Kernel module (llvm.func over scf/arith/math/vector/llvm/nvvm, or tile.kernel) -> llvm dialect -> PTX -> cubin.
#ifndef MOEC_COMPILER_TARGET_GPU_KERNELLOWERING_H
#define MOEC_COMPILER_TARGET_GPU_KERNELLOWERING_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"

namespace moec::gpu {

/// Adds the passes from kernel IR to the llvm and nvvm dialects.
void buildKernelLoweringPipeline(mlir::OpPassManager &pm, const GpuTarget &target);

/// Lowers `kernels` (consumed), translates them to PTX and assembles the PTX if an assembler is found. The bytes depend
/// on the input alone, never on the number of threads.
mlir::FailureOr<std::vector<CodeBlob>> assembleKernels(mlir::ModuleOp kernels, const GpuTarget &target,
                                                       const AssembleOptions &options);

} // namespace moec::gpu

#endif
