// Counts that follow from a declaration: parameters, layers, tokens.
#include "compiler/Spec/Spec.h"

using namespace moec;
using namespace moec::spec;

Summary moec::spec::summarize(exp::ExperimentOp experiment) {
  auto model = experiment.section<exp::ModelOp>();
  auto moe = experiment.section<exp::MoeOp>();
  auto integer = [](uint64_t value) { return static_cast<int64_t>(value); };
  int64_t layers = integer(model.getNumLayers());

  Summary summary{};
  for (int64_t i = 0; i < layers; ++i)
    summary.moeLayers += moe && exp::isMoeLayer(moe, i);
  summary.denseLayers = layers - summary.moeLayers;
  summary.steps = integer(experiment.section<exp::DurationOp>().getSteps());
  summary.tokensPerStep = integer(experiment.section<exp::BatchOp>().getSequences()) *
                          integer(experiment.section<exp::DataOp>().getSeqLen());
  summary.tokens = summary.steps * summary.tokensPerStep;
  return summary;
}
