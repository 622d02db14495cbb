// Independent sigmoids, as in DeepSeek-V3.
#include "compiler/Methods/ScoreSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Sigmoid : public ScoreMethod {
public:
  std::string kind() const override { return "sigmoid"; }
  std::string summary() const override {
    return "A sigmoid for each expert; the chosen ones may be normalised to sum 1";
  }
  std::string source() const override { return "DeepSeek-V3 (arXiv 2412.19437)"; }

  Value buildScores(TensorBuilder &b, exp::MethodAttr, Value logits) const override {
    return b.map({logits}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.sigmoid(x[0]); });
  }

  // One chosen expert keeps its raw score: a weight of always 1 would give the router no gradient.
  Value buildWeights(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r, bool normalize) const override {
    Value chosen = b.take(r.scores, r.ids);
    return normalize && TensorBuilder::cols(r.ids) > 1 ? divideByRowSum(b, chosen) : chosen;
  }

  std::string findConstantWeight(exp::MethodAttr, bool normalize) const override {
    return normalize ? "normalize" : "";
  }

  Value buildRowScores(TensorBuilder &b, exp::MethodAttr, Value scores) const override {
    return divideByRowSum(b, scores);
  }

  Value buildProbabilities(TensorBuilder &, exp::MethodAttr, Value scores) const override { return scores; }
};

} // namespace

void registerSigmoid(exp::MethodRegistry &registry) { registry.add(std::make_unique<Sigmoid>()); }

} // namespace moec
