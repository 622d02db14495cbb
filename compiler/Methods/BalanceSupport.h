// Code shared by balancing methods.
#ifndef MOEC_COMPILER_METHODS_BALANCESUPPORT_H
#define MOEC_COMPILER_METHODS_BALANCESUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// One number for each output of a router, [1, E], kept from step to step.
inline moe::StateOp declareBias(TensorBuilder &b, int64_t numExperts, StateDeclarer &states) {
  return states.perLayer("bias", moe::StateKind::balance, b.type(1, numExperts), /*resetEachStep=*/false);
}

/// A conflict with each loss that balances loads; `why` says the reason and the remedy. Losses of weight 0 do not
/// count. If the method is meant to have a small loss beside it (isWarning), losses of weight 1e-3 or less do not count
/// either. `field`: the key of the router's section that is reported.
std::vector<exp::Conflict> findBalanceLosses(exp::ExperimentOp experiment, const std::string &why, bool isWarning,
                                             const std::string &field = "balance");

/// A conflict if every token goes to every expert in each layer at each step: then loads are always equal. `cure`: a
/// remedy other than a lower top_k; `field`: of the method's own section.
std::vector<exp::Conflict> findNothingToBalance(exp::ExperimentOp experiment, const std::string &field,
                                                const std::string &cure, bool isWarning);

/// Tokens an expert gets when loads are equal, rounded down: C = floor(top_k * N / E).
inline int64_t equalLoad(const RoutingValues &r) { return r.topK * r.numTokens / r.numExperts; }

/// Token prices of the dual of the assignment problem: the (k+1)-th largest of each row.
inline mlir::Value buildTokenPrices(TensorBuilder &b, const RoutingValues &r, mlir::Value scores) {
  return b.kthOfRow(scores, r.topK + 1);
}
/// Its expert prices: the (C+1)-th largest of each column, [1, E].
inline mlir::Value buildExpertPrices(TensorBuilder &b, const RoutingValues &r, mlir::Value scores) {
  return moe::ColumnKthOp::create(b.b, b.type(1, r.numExperts), scores, equalLoad(r) + 1).getResult();
}

/// Conflicts of methods with prices of experts: losses that balance loads too, models in which every token goes to
/// every expert, and layers with fewer experts per token than top_k, for which the prices would be wrong.
std::vector<exp::Conflict> findPriceConflicts(exp::ExperimentOp experiment, const std::string &kind);

} // namespace moec

#endif
