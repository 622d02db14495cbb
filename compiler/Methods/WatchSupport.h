// Code shared by measures.
#ifndef MOEC_COMPILER_METHODS_WATCHSUPPORT_H
#define MOEC_COMPILER_METHODS_WATCHSUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// Entropy of the shares of each row, in nats: [L, C] numbers from 0 up -> [L, 1]; 0 for a row of zeros.
inline mlir::Value buildRowEntropy(TensorBuilder &b, mlir::Value counts) {
  mlir::Value terms = b.map({counts}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.mul(x[0], s.log(s.max(x[0], s.constant(1e-30))));
  });
  return b.map({b.sumCols(counts), b.sumCols(terms)}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    mlir::Value total = s.max(x[0], s.constant(1e-30));
    mlir::Value entropy = s.sub(s.log(total), s.div(x[1], total));
    return s.select(s.less(s.constant(0.0), x[0]), entropy, s.constant(0.0));
  });
}

/// [N, E] of zeros and ones: 1 for the experts that a token has chosen.
inline mlir::Value buildChosenMask(TensorBuilder &b, mlir::Value ids, int64_t numExperts) {
  int64_t tokens = TensorBuilder::rows(ids);
  return moe::PutOp::create(b.b, b.type(tokens, numExperts), b.fill(1.0, tokens, TensorBuilder::cols(ids)), ids);
}

} // namespace moec

#endif
