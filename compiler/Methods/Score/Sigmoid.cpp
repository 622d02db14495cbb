// Independent sigmoids, as in DeepSeek-V3.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

// Keeps a row of vanishing scores from dividing by zero; far below any other score.
constexpr double kTiny = 1e-20;

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
  Value buildWeights(TensorBuilder &b, exp::MethodAttr, Value, Value scores, Value ids, bool normalize) const override {
    Value chosen = b.take(scores, ids);
    return normalize && TensorBuilder::cols(ids) > 1 ? divideByRowSum(b, chosen) : chosen;
  }

  Value buildRowScores(TensorBuilder &b, exp::MethodAttr, Value scores) const override {
    return divideByRowSum(b, scores);
  }

private:
  static Value divideByRowSum(TensorBuilder &b, Value x) {
    return b.map({x, b.sumCols(x)}, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
      return s.div(v[0], s.add(v[1], s.constant(kTiny)));
    });
  }
};

} // namespace

void registerSigmoid(exp::MethodRegistry &registry) { registry.add(std::make_unique<Sigmoid>()); }

} // namespace moec
