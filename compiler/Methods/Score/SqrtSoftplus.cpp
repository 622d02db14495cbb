// Square roots of softplus: positive scores that do not saturate.
#include "compiler/Methods/ScoreSupport.h"

using namespace mlir;

namespace moec {
namespace {

class SqrtSoftplus : public ScoreMethod {
public:
  std::string kind() const override { return "sqrt_softplus"; }
  std::string summary() const override {
    return "sqrt(softplus(l)) for each expert; the chosen ones may be normalised to sum 1";
  }
  std::string source() const override { return "Megatron-Core"; }

  // softplus(l) = max(l, 0) + log(1 + exp(-|l|)); the bound keeps the root's derivative finite.
  Value buildScores(TensorBuilder &b, exp::MethodAttr, Value logits) const override {
    return b.map({logits}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value positive = s.max(x[0], s.constant(0.0));
      Value size = s.max(x[0], s.neg(x[0]));
      Value softplus = s.add(positive, s.log(s.add(s.constant(1.0), s.exp(s.neg(size)))));
      return s.sqrt(s.max(softplus, s.constant(1e-30)));
    });
  }

  // As for sigmoid, one chosen expert keeps its raw score.
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
};

} // namespace

void registerSqrtSoftplus(exp::MethodRegistry &registry) { registry.add(std::make_unique<SqrtSoftplus>()); }

} // namespace moec
