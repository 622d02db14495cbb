// What follows from a declaration by counting.
#include "compiler/Spec/Spec.h"

using namespace moec;
using namespace moec::spec;

Summary moec::spec::summarize(exp::ExperimentOp experiment) {
  auto model = experiment.section<exp::ModelOp>();
  auto attention = experiment.section<exp::AttentionOp>();
  auto ffn = experiment.section<exp::FfnOp>();
  auto moe = experiment.section<exp::MoeOp>();
  auto integer = [](uint64_t value) { return static_cast<int64_t>(value); };
  int64_t hidden = integer(model.getHiddenSize()), layers = integer(model.getNumLayers());
  int64_t headDim = integer(attention.getHeadDim());
  int64_t queries = integer(attention.getNumHeads()) * headDim, keys = integer(attention.getNumKvHeads()) * headDim;

  // Two norms a layer, four when there is one after each block too, and the last one.
  int64_t norms = (layers * (model.getNormPlacement() == "peri" ? 4 : 2) + 1) * hidden;
  int64_t qkNorm = attention.getQkNorm() == "head" ? 2 * headDim : attention.getQkNorm() == "full" ? queries + keys : 0;
  int64_t common = integer(model.getVocabSize()) * hidden * (model.getTieEmbeddings() ? 1 : 2) + norms +
                   layers * (hidden * (queries + 2 * keys) + queries * hidden + qkNorm);

  Summary summary{};
  for (int64_t i = 0; i < layers; ++i)
    summary.moeLayers += moe && exp::isMoeLayer(moe, i);
  summary.denseLayers = layers - summary.moeLayers;
  if (ffn)
    common += summary.denseLayers * 3 * hidden * integer(ffn.getInnerSize());
  summary.parameters = summary.activeParameters = common;
  if (moe) {
    int64_t expert = 3 * hidden * integer(moe.getExpertInnerSize());
    int64_t fixed = hidden * integer(moe.getNumExperts()) + integer(moe.getSharedExperts()) * expert;
    summary.parameters += summary.moeLayers * (fixed + integer(moe.getNumExperts()) * expert);
    summary.activeParameters += summary.moeLayers * (fixed + integer(moe.getTopK()) * expert);
  }
  summary.steps = integer(experiment.section<exp::DurationOp>().getSteps());
  summary.tokensPerStep = integer(experiment.section<exp::BatchOp>().getSequences()) *
                          integer(experiment.section<exp::DataOp>().getSeqLen());
  summary.tokens = summary.steps * summary.tokensPerStep;
  return summary;
}
