#include "compiler/Methods/BalanceSupport.h"

using namespace mlir;

namespace moec {

std::vector<exp::Conflict> findBalanceLosses(exp::ExperimentOp experiment, const std::string &why, bool isWarning) {
  std::vector<exp::Conflict> conflicts;
  exp::MethodRegistry &methods = exp::getMethods(experiment.getContext());
  for (auto loss : experiment.sections<exp::LossOp>()) {
    const auto *method = static_cast<const LossMethod *>(methods.find("loss", loss.getMethod().getKind().str()));
    double weight = loss.getWeight().convertToDouble();
    if (!method || !method->balancesLoad() || weight == 0 || (isWarning && weight <= 1e-3))
      continue;
    conflicts.push_back({.field = "balance",
                         .text = "loss \"" + loss.getName().str() + "\" balances loads too: " + why,
                         .other = loss,
                         .otherField = "weight",
                         .otherText = "the loss is here",
                         .isWarning = isWarning});
  }
  return conflicts;
}

} // namespace moec
