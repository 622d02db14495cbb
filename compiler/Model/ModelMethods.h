// The methods that the sections of an experiment name.
#ifndef MOEC_COMPILER_MODEL_MODELMETHODS_H
#define MOEC_COMPILER_MODEL_MODELMETHODS_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// A loss whose weight is not 0.
struct LossTerm {
  exp::LossOp op;
  const LossMethod *method;
};

struct WatchTerm {
  exp::WatchOp op;
  const WatchMethod *method;
};

struct ModelMethods {
  const RoutingMethod *routing = nullptr; // these two with a mixture
  const ScoreMethod *score = nullptr;
  const BalanceMethod *balance = nullptr; // may be null, as may the next two
  const ForcedMethod *forced = nullptr;
  const ScalingMethod *scaling = nullptr; // null: nothing is scaled
  ScalingMethod::Run run;                 // facts of the run for scaling
  std::vector<LossTerm> losses;
  std::vector<WatchTerm> watches;
};

/// Fails with a diagnostic at the section whose method does not exist.
mlir::FailureOr<ModelMethods> findMethods(exp::ExperimentOp experiment);

} // namespace moec

#endif
