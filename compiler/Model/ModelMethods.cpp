#include "compiler/Model/ModelMethods.h"

#include "compiler/Methods/FindMethod.h"

using namespace mlir;

namespace moec {

FailureOr<ModelMethods> findMethods(exp::ExperimentOp experiment) {
  ModelMethods found;
  if (auto router = experiment.section<exp::RouterOp>()) {
    found.routing = findMethod<RoutingMethod>(router, router.getMethod());
    found.score = findMethod<ScoreMethod>(router, router.getScore());
    if (auto attr = router.getBalance(); attr && !(found.balance = findMethod<BalanceMethod>(router, *attr)))
      return failure();
    if (auto attr = router.getForced(); attr && !(found.forced = findMethod<ForcedMethod>(router, *attr)))
      return failure();
    if (!found.routing || !found.score)
      return failure();
  }
  for (auto watch : experiment.sections<exp::WatchOp>()) {
    const auto *method = findMethod<WatchMethod>(watch, watch.getMethod());
    if (!method)
      return failure();
    found.watches.push_back({watch, method});
  }
  for (auto loss : experiment.sections<exp::LossOp>()) {
    if (loss.getWeight().isZero())
      continue;
    const auto *method = findMethod<LossMethod>(loss, loss.getMethod());
    if (!method)
      return failure();
    found.losses.push_back({loss, method});
  }
  auto optimizer = experiment.section<exp::OptimizerOp>();
  if (auto attr = optimizer.getScaling(); attr && !(found.scaling = findMethod<ScalingMethod>(optimizer, *attr)))
    return failure();
  auto model = experiment.section<exp::ModelOp>();
  double tokensPerStep = static_cast<double>(experiment.section<exp::BatchOp>().getSequences()) *
                         experiment.section<exp::DataOp>().getSeqLen();
  double steps = experiment.section<exp::DurationOp>().getSteps();
  found.run = {static_cast<double>(model.getHiddenSize()), static_cast<double>(model.getNumLayers()), tokensPerStep,
               tokensPerStep * steps};
  return found;
}

} // namespace moec
