// Hopper: the family of GPUs with wgmma and the tensor memory accelerator.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_FAMILY_H
#define MOEC_COMPILER_TARGET_GPU_SM90_FAMILY_H

#include "compiler/Target/GPU/GpuFamily.h"

namespace moec::sm90 {

const gpu::GpuFamily &family();

/// The templates, one file each. None where the dispatch's shapes or types do not fit.
using Emitted = std::optional<mlir::FailureOr<std::vector<KernelInfo>>>;
Emitted emitMatmul(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol,
                   const gpu::GpuTarget &target);
Emitted emitAttention(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol,
                      const gpu::GpuTarget &target);
Emitted emitAttentionGrad(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol,
                          const gpu::GpuTarget &target);

} // namespace moec::sm90

#endif
