// Code shared by forced routes: random choices with given probabilities.
#ifndef MOEC_COMPILER_METHODS_FORCEDSUPPORT_H
#define MOEC_COMPILER_METHODS_FORCEDSUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// topK different experts for each token, drawn one after another among those that are left, with probabilities
/// proportional to exp(logChances). This is the top k of log p + Gumbel noise (Kool et al. 2019). logChances: [1, E].
inline mlir::Value drawExperts(TensorBuilder &b, const RoutingValues &r, mlir::Value logChances) {
  mlir::Value noise = r.noise->uniform(b, "router.forced", r.numTokens, r.numExperts, /*perToken=*/true);
  mlir::Value keys = b.map({logChances, noise}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    // Kept inside (0, 1), where the double logarithm is finite.
    mlir::Value u = s.max(s.constant(1e-30), s.min(x[1], s.constant(1 - 1e-7)));
    return s.sub(x[0], s.log(s.neg(s.log(u))));
  });
  auto type = mlir::RankedTensorType::get({r.numTokens, r.topK}, b.b.getI32Type());
  return moe::TopKOp::create(b.b, type, keys);
}

} // namespace moec

#endif
