// The analysis of "attention" and "attention_grad" dispatches. Shared by the targets' templates.
//
//   q [B*S, H*dh]   k, v [B*S, G*dh]   H query heads read G key heads, H/G each   S positions   B sequences
//   a query at position i sees the keys max(0, i - window + 1) .. i of its sequence
#ifndef MOEC_COMPILER_TARGET_KERNEL_ATTENTIONBODY_H
#define MOEC_COMPILER_TARGET_KERNEL_ATTENTIONBODY_H

#include "compiler/Target/Kernel/DispatchBody.h"

namespace moec::kernel {

struct AttentionSizes {
  /// Of a moe.attention or a moe.attention_grad.
  template <typename Op> explicit AttentionSizes(Op op) {
    auto query = mlir::cast<mlir::RankedTensorType>(op.getQ().getType());
    element = query.getElementType();
    positions = op.getSeqLen();
    sequences = query.getDimSize(0) / positions;
    heads = op.getHeads();
    kvHeads = op.getKvHeads();
    headSize = query.getDimSize(1) / heads;
    window = std::min<int64_t>(op.getWindow().value_or(positions), positions);
  }

  mlir::Type element;
  int64_t sequences, positions, heads, kvHeads, headSize;
  int64_t window; // most keys that a query sees; `positions`: all keys up to it

  bool isWindowed() const { return window < positions; }
  /// The number of pairs of a query and a key that it sees, in one head of one sequence.
  double pairs() const {
    return static_cast<double>(window) * positions - static_cast<double>(window) * (window - 1) / 2;
  }
  int64_t group() const { return heads / kvHeads; } // query heads of one key head
  int64_t queryStride() const { return heads * headSize; }
  int64_t keyStride() const { return kvHeads * headSize; }
};

/// Parameters of an attention op in a dispatch that otherwise holds only views and state accesses.
struct AttentionParams {
  llvm::SmallVector<unsigned> inputs; // by operand
  llvm::SmallVector<llvm::SmallVector<unsigned>>
      results; // by result: where it goes, perhaps nowhere or to several places
};
mlir::FailureOr<AttentionParams> findAttentionParams(const DispatchBody &body, mlir::Operation *op);

} // namespace moec::kernel

#endif
