#include "compiler/Methods/BalanceSupport.h"

#include "compiler/Methods/FindMethod.h"

using namespace mlir;

namespace moec {

std::vector<exp::Conflict> findBalanceLosses(exp::ExperimentOp experiment, const std::string &why, bool isWarning,
                                             const std::string &field) {
  std::vector<exp::Conflict> conflicts;
  for (auto loss : experiment.sections<exp::LossOp>()) {
    const auto *method = findMethod<LossMethod>(loss, loss.getMethod());
    double weight = loss.getWeight().convertToDouble();
    if (!method || !method->balancesLoad() || weight == 0 || (isWarning && weight <= 1e-3))
      continue;
    conflicts.push_back({.field = field,
                         .text = "loss \"" + loss.getName().str() + "\" balances loads too: " + why,
                         .other = loss,
                         .otherField = "weight",
                         .otherText = "the loss is here",
                         .isWarning = isWarning});
  }
  return conflicts;
}

std::vector<exp::Conflict> findNothingToBalance(exp::ExperimentOp experiment, const std::string &field,
                                                const std::string &cure, bool isWarning) {
  auto moe = experiment.section<exp::MoeOp>();
  if (!moe)
    return {};
  exp::TopKPlace least = exp::findSmallestTopK(experiment);
  if (least.topK < static_cast<int64_t>(moe.getNumExperts() + moe.getZeroExperts()))
    return {};
  return {{.field = field,
           .text = "every token goes to every expert, so there is nothing to balance; lower top_k or " + cure,
           .other = least.section,
           .otherField = least.field,
           .otherText = least.text(),
           .isWarning = isWarning}};
}

std::vector<exp::Conflict> findPriceConflicts(exp::ExperimentOp experiment, const std::string &kind) {
  std::vector<exp::Conflict> conflicts =
      findBalanceLosses(experiment,
                        kind + " makes loads equal by itself, and the loss would only bend the scores; "
                               "remove the loss or set its weight to 0",
                        /*isWarning=*/false);
  auto moe = experiment.section<exp::MoeOp>();
  if (!moe)
    return conflicts;
  llvm::append_range(conflicts,
                     findNothingToBalance(experiment, "balance", "set balance to null", /*isWarning=*/false));
  if (!moe.getTopKPerLayer().empty() || !experiment.sections<exp::ChangeOp>().empty())
    conflicts.push_back({.field = "balance",
                         .text = kind + " prices experts for one top_k in all layers; remove top_k_per_layer, or use "
                                        "\"bias\"",
                         .other = moe,
                         .otherField = "top_k_per_layer",
                         .otherText = "the mixture is here"});
  return conflicts;
}

} // namespace moec
