// Code shared by the score functions: weights that sum to 1 over the chosen experts.
#ifndef MOEC_COMPILER_METHODS_SCORESUPPORT_H
#define MOEC_COMPILER_METHODS_SCORESUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// x / (sum of its row + 1e-20). The addend keeps a row of zeros, or of empty slots, from dividing by zero.
inline mlir::Value divideByRowSum(TensorBuilder &b, mlir::Value x) {
  return b.map({x, b.sumCols(x)},
               [](ScalarBuilder &s, TensorBuilder::Scalars v) { return s.div(v[0], s.add(v[1], s.constant(1e-20))); });
}

/// Softmax over the logits of the chosen experts, [N, S]; empty slots have 0.
inline mlir::Value buildSoftmaxOfChosen(TensorBuilder &b, const RoutingValues &r) {
  mlir::Value chosen = b.take(r.logits, r.ids);
  if (!r.hasEmptySlots)
    return b.softmax(chosen);
  // A number far below any logit, but finite: a row that has only empty slots must not become NaN.
  mlir::Value masked = b.map({chosen, r.ids}, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
    return s.select(s.less(s.toInteger(v[1], 64), s.integer(0)), s.constant(-1e30), v[0]);
  });
  return b.map({b.softmax(masked), r.ids}, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
    return s.select(s.less(s.toInteger(v[1], 64), s.integer(0)), s.constant(0.0), v[0]);
  });
}

} // namespace moec

#endif
