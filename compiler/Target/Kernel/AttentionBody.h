// What an "attention" or "attention_grad" dispatch computes. Shared by the targets' templates.
//
//   q [B*S, H*dh]   k, v [B*S, G*dh]   H query heads read G key heads, H/G each   S positions   B sequences
#ifndef MOEC_COMPILER_TARGET_KERNEL_ATTENTIONBODY_H
#define MOEC_COMPILER_TARGET_KERNEL_ATTENTIONBODY_H

#include "compiler/Target/Kernel/DispatchBody.h"

namespace moec::kernel {

struct AttentionSizes {
  AttentionSizes(mlir::RankedTensorType query, int64_t heads, int64_t kvHeads, int64_t positions)
      : element(query.getElementType()), sequences(query.getDimSize(0) / positions), positions(positions), heads(heads),
        kvHeads(kvHeads), headSize(query.getDimSize(1) / heads) {}

  mlir::Type element;
  int64_t sequences, positions, heads, kvHeads, headSize;

  int64_t group() const { return heads / kvHeads; } // query heads of one key head
  int64_t queryStride() const { return heads * headSize; }
  int64_t keyStride() const { return kvHeads * headSize; }
};

/// Parameters of an attention-like op in a dispatch that holds nothing else but views and state accesses.
struct AttentionParams {
  llvm::SmallVector<unsigned> inputs; // by operand
  llvm::SmallVector<llvm::SmallVector<unsigned>>
      results; // by result: where it goes, perhaps nowhere or to several places
};
mlir::FailureOr<AttentionParams> findAttentionParams(const DispatchBody &body, mlir::Operation *op);

} // namespace moec::kernel

#endif
