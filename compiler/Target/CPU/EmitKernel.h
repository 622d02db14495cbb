// From a moe.dispatch to its kernel.
#ifndef MOEC_COMPILER_TARGET_CPU_EMITKERNEL_H
#define MOEC_COMPILER_TARGET_CPU_EMITKERNEL_H

#include "compiler/Target/CPU/CpuTarget.h"
#include "compiler/Target/Target.h"

namespace moec::cpu {

/// Emits the kernel of `dispatch` into `kernels` as a func.func over scf/arith/math/vector/llvm. Fails with a
/// diagnostic at the dispatch if its kind has no template.
mlir::FailureOr<KernelInfo> emitKernel(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol,
                                       const CpuTarget &target);

/// The templates, one file each. All take the arguments of emitKernel and return the same.
mlir::FailureOr<KernelInfo> emitRowKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const CpuTarget &);
mlir::FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const CpuTarget &);
mlir::FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const CpuTarget &);
mlir::FailureOr<KernelInfo> emitAttentionGradKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                    const CpuTarget &);
mlir::FailureOr<KernelInfo> emitReductionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                const CpuTarget &); // col_reduce, embed_grad
mlir::FailureOr<KernelInfo> emitQuantizationKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                   const CpuTarget &); // quantize_columns
mlir::FailureOr<KernelInfo> emitRoutingKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                              const CpuTarget &); // permute, limit_capacity, count_ids, column_kth
mlir::FailureOr<KernelInfo> emitSinkhornKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef, const CpuTarget &);
mlir::FailureOr<KernelInfo> emitDecompositionKernel(moe::DispatchOp, mlir::ModuleOp, llvm::StringRef,
                                                    const CpuTarget &); // eigh, qr

} // namespace moec::cpu

#endif
