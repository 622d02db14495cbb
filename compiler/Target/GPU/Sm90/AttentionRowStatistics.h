// The small kernel that runs before the gradients of attention.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONROWSTATISTICS_H
#define MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONROWSTATISTICS_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"
#include "dialects/Tile/IR/Tile.h"

namespace moec::sm90 {

/// Parameters: the result and its gradient, bf16 [B*S, H*dh]; lse f32 [B*S, H].
struct AttentionRows {
  unsigned numParams, result, grad, lse;
};

/// Fills the statistics of `shape` at the start of the workspace and sets the words after them to zero.
KernelInfo emitAttentionRowStatistics(const AttentionRows &rows, tile::AttentionAttr shape, mlir::Location loc,
                                      mlir::ModuleOp kernels, llvm::StringRef symbol, const gpu::GpuTarget &target);

} // namespace moec::sm90

#endif
