// Softmax over the experts, before or after the choice of the top k.
#include "compiler/Methods/ScoreSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Order { Pre, Post };
constexpr exp::Choice<Order> kOrder = {"order", {{Order::Pre, "pre"}, {Order::Post, "post"}}};

class Softmax : public ScoreMethod {
public:
  std::string kind() const override { return "softmax"; }
  std::string summary() const override { return "Softmax over the experts, before or after the top k are chosen"; }
  std::string source() const override { return "Shazeer et al. 2017 (post); Fedus et al. 2021 (pre)"; }
  std::vector<exp::Field> fields() const override {
    return {kOrder.field(Order::Pre,
                         "pre: softmax over all experts, weights are the chosen probabilities; post: softmax "
                         "over the k chosen logits")};
  }

  // Softmax keeps the order within a row, so "post" selects on the logits and does without it.
  Value buildScores(TensorBuilder &b, exp::MethodAttr attr, Value logits) const override {
    return isPost(attr) ? logits : b.softmax(logits);
  }

  Value buildWeights(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, bool normalize) const override {
    if (isPost(attr))
      return buildSoftmaxOfChosen(b, r); // sums to 1 already: normalize changes nothing
    Value chosen = b.take(r.scores, r.ids);
    return normalize ? divideByRowSum(b, chosen) : chosen;
  }

  Value buildRowScores(TensorBuilder &b, exp::MethodAttr attr, Value scores) const override {
    return isPost(attr) ? b.softmax(scores) : scores;
  }

  std::string findConstantWeight(exp::MethodAttr attr, bool normalize) const override {
    return isPost(attr) ? "score.order" : normalize ? "normalize" : "";
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    auto moe = experiment.section<exp::MoeOp>();
    if (!moe || moe.getNumExperts() + moe.getZeroExperts() != 1)
      return {};
    return {{.field = "score",
             .text = "the softmax over one expert is 1 whatever the router says, so the router learns nothing; use "
                     "\"sigmoid\", or more experts",
             .other = moe,
             .otherField = "num_experts",
             .otherText = "num_experts is 1",
             .isWarning = true}};
  }

private:
  static bool isPost(exp::MethodAttr attr) { return kOrder.in(attr) == Order::Post; }
};

} // namespace

void registerSoftmax(exp::MethodRegistry &registry) { registry.add(std::make_unique<Softmax>()); }

} // namespace moec
