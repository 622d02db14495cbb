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
std::vector<exp::Conflict> findBalanceLosses(exp::ExperimentOp experiment, const std::string &why, bool isWarning);

} // namespace moec

#endif
