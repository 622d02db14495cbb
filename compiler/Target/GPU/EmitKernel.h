// From a moe.dispatch to its GPU kernels.
#ifndef MOEC_COMPILER_TARGET_GPU_EMITKERNEL_H
#define MOEC_COMPILER_TARGET_GPU_EMITKERNEL_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"

namespace moec::gpu {

/// Target::emitKernels.
mlir::FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, mlir::ModuleOp kernels,
                                                     llvm::StringRef symbol, const GpuTarget &target);

/// The templates for any shape and element type, one file each. They follow the rules of emitKernels; most make one
/// kernel. The templates of a family of GPUs are tried first (GpuFamily.h).
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

#endif
