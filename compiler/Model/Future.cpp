// Describes how a prediction may depend on later tokens, for `moec check`.
#include "compiler/Methods/FindMethod.h"
#include "compiler/Methods/Methods.h"
#include "compiler/Model/ModelBuilder.h"

using namespace mlir;

namespace moec {

// Weights or ranks decide which slots are kept, not positions alone. With `position` earlier tokens come first, so
// later tokens do not affect them.
static std::string describeCapacity(exp::MoeOp moe) {
  if (moe.getCapacityFactor().isZero() || moe.getDrop() == exp::DropRule::position)
    return "";
  bool isRandom = moe.getDrop() == exp::DropRule::random2;
  return "capacity with drop \"" + stringifyEnum(moe.getDrop()).str() +
         "\": in training and validation a later token " +
         (isRandom ? "that has the expert as an earlier choice" : "of a higher weight") +
         " takes the place of an earlier one";
}

std::vector<std::string> describeFuture(exp::ExperimentOp experiment) {
  auto router = experiment.section<exp::RouterOp>();
  if (!router)
    return {};
  std::vector<std::string> all{describeCapacity(experiment.section<exp::MoeOp>())};
  if (const auto *routing = findMethod<RoutingMethod>(router, router.getMethod()))
    all.push_back(routing->describeFuture(router.getMethod()));
  if (auto attr = router.getBalance())
    if (const auto *balance = findMethod<BalanceMethod>(router, *attr))
      all.push_back(balance->describeFuture(*attr));
  llvm::erase_if(all, [](const std::string &text) { return text.empty(); });
  return all;
}

} // namespace moec
