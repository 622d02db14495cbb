// From a moe.dispatch to its GPU kernels.
#ifndef MOEC_COMPILER_TARGET_GPU_EMITKERNEL_H
#define MOEC_COMPILER_TARGET_GPU_EMITKERNEL_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"

namespace moec::gpu {

/// Target::emitKernels.
mlir::FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, mlir::ModuleOp kernels,
                                                     llvm::StringRef symbol, const GpuTarget &target);

/// The templates for any element type, one file each. All have emitKernels' contract; most make one kernel.
mlir::FailureOr<KernelInfo> emitRowKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
/// Dispatches of the template "row" that only spread rows to experts.
bool coversSpread(moe::DispatchOp dispatch);
mlir::FailureOr<KernelInfo> emitSpreadKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitAttentionGradKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                    const GpuTarget &);
mlir::FailureOr<KernelInfo> emitReductionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                const GpuTarget &); // col_reduce
mlir::FailureOr<KernelInfo> emitEmbedGradKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitQuantizationKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                   const GpuTarget &); // quantize_columns
mlir::FailureOr<KernelInfo> emitRoutingKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                              const GpuTarget &); // permute, limit_capacity, count_ids
mlir::FailureOr<KernelInfo> emitColumnKthKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitSinkhornKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const GpuTarget &);
mlir::FailureOr<KernelInfo> emitDecompositionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                    const GpuTarget &); // eigh, qr

} // namespace moec::gpu

namespace moec::sm90 {

/// The pass "moec-tile-to-nvvm" of Sm90/Passes.td.
std::unique_ptr<mlir::Pass> createTileToNvvm();

/// The templates that use tensor cores. `covers...` says whether a dispatch's shapes and types fit; those that do not
/// go to the templates above.
bool coversMatmul(moe::DispatchOp dispatch);
mlir::FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const gpu::GpuTarget &);
bool coversAttention(moe::DispatchOp dispatch); // attention and attention_grad
mlir::FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                const gpu::GpuTarget &);
mlir::FailureOr<std::vector<KernelInfo>> emitAttentionGradKernels(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                                  const gpu::GpuTarget &);

} // namespace moec::sm90

#endif
