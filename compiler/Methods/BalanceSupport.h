// What balancing methods share.
#ifndef MOEC_COMPILER_METHODS_BALANCESUPPORT_H
#define MOEC_COMPILER_METHODS_BALANCESUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// One number for each output of a router, [1, E], kept from step to step.
inline moe::StateOp declareBias(TensorBuilder &b, int64_t numExperts, StateDeclarer &states) {
  return states.perLayer("bias", moe::StateKind::balance, b.type(1, numExperts), /*resetEachStep=*/false);
}

/// A conflict with each loss that makes loads alike, `why` telling the reason and the cure. Losses of weight 0 do not
/// count, nor, where small ones are at home beside the method, those of a weight of 1e-3 or less.
/// `field`: where the router's section says so.
std::vector<exp::Conflict> findBalanceLosses(exp::ExperimentOp experiment, const std::string &why, bool isWarning,
                                             const std::string &field = "balance");

/// A conflict where every token goes to every expert, in each layer at each step: loads are equal whatever is done.
/// `cure`: what to do beside lowering top_k; `field`: of the method's own section.
std::vector<exp::Conflict> findNothingToBalance(exp::ExperimentOp experiment, const std::string &field,
                                                const std::string &cure, bool isWarning);

/// Tokens an expert gets when loads are equal, rounded down: C = floor(top_k * N / E).
inline int64_t equalLoad(const RoutingValues &r) { return r.topK * r.numTokens / r.numExperts; }

/// What the dual of the assignment problem asks of token prices: the (k+1)-th largest of a row.
inline mlir::Value buildTokenPrices(TensorBuilder &b, const RoutingValues &r, mlir::Value scores) {
  return b.kthOfRow(scores, r.topK + 1);
}
/// ... and of expert prices: the (C+1)-th largest of a column, [1, E].
inline mlir::Value buildExpertPrices(TensorBuilder &b, const RoutingValues &r, mlir::Value scores) {
  return moe::ColumnKthOp::create(b.b, b.type(1, r.numExperts), scores, equalLoad(r) + 1).getResult();
}

/// Conflicts of methods that price experts: a second balancing of loads, every token at every expert, and layers that
/// choose fewer experts than top_k, for which the prices would be wrong.
std::vector<exp::Conflict> findPriceConflicts(exp::ExperimentOp experiment, const std::string &kind);

} // namespace moec

#endif
