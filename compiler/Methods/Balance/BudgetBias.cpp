// For models with zero experts: biases that bring the mean number of experts with weights per token to `expected`.
#include "compiler/Methods/BalanceSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

class BudgetBias : public BalanceMethod {
public:
  std::string kind() const override { return "budget_bias"; }
  std::string summary() const override {
    return "Biases that give each expert with weights its share of a budget of experts per token";
  }
  std::string source() const override {
    return "LongCat-Flash (arXiv 2509.01322); the default rate and its decay are ours";
  }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {
        {.key = "expected",
         .type = FieldType::Number,
         .fallback = "",
         .minimum = 0,
         .maximum = 1024,
         .unit = "experts",
         .doc = "experts with weights that a token should use on average",
         .openMinimum = true},
        {.key = "rate",
         .type = FieldType::Number,
         .fallback = "0.05",
         .minimum = 0,
         .maximum = 1e3,
         .doc =
             "if the load of an expert is twice its share, a step moves its bias by this fraction of the mean score"},
        exp::stepsField("decay_from", exp::StepsKind::Moment, "null",
                        "from this step on the rate is a fifth; null: never")};
  }

  Value buildSelection(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r,
                       StateDeclarer &states) const override {
    return b.add(r.scores, b.read(declareBias(b, r.numExperts, states), r.layer));
  }

  double meanExperts(exp::MethodAttr attr) const override { return attr.getFloat("expected"); }

  // b_i += mu * ((Ke / K) / E - T_i / (K T)) for the E experts with weights, with mu = rate * K E / (Ke * outputs): an
  // integral controller. Biases of zero experts stay 0.
  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const override {
    moe::StateOp bias = declareBias(b, load.numExperts, states);
    double expected = attr.getFloat("expected"), chosen = static_cast<double>(load.topK);
    double share = expected / chosen / load.ffnExperts;
    double rate = attr.getFloat("rate") / (share * load.numExperts);
    double choices = chosen * load.tokens;
    int64_t from = attr.getInt("decay_from");
    int64_t layers = TensorBuilder::rows(load.counts);
    Value next = b.mapTo(b.element, {b.readRows(bias), load.counts, load.step}, layers, load.numExperts,
                         [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                           Value error = s.sub(s.constant(share), s.div(s.toElement(x[1]), s.constant(choices)));
                           Value mu = s.constant(rate);
                           if (from > 0)
                             mu = s.select(s.less(x[2], s.constant(from - 0.5)), mu, s.constant(rate / 5));
                           Value moved = s.add(x[0], s.mul(mu, error));
                           return s.select(s.less(x[4], s.integer(load.ffnExperts)), moved, x[0]);
                         });
    b.writeRows(bias, next);
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    auto moe = experiment.section<exp::MoeOp>();
    std::vector<exp::Conflict> conflicts;
    if (moe && moe.getZeroExperts() == 0)
      conflicts.push_back({.field = "balance",
                           .text = "budget_bias needs zero experts: without them every token meets top_k experts; give "
                                   "model.moe.zero_experts, or use \"bias\"",
                           .other = moe,
                           .otherField = "zero_experts",
                           .otherText = "zero_experts is 0"});
    if (!moe)
      return conflicts;
    llvm::append_range(conflicts, findNothingToBalance(experiment, "balance", "set balance to null",
                                                       /*isWarning=*/false));
    exp::TopKPlace least = exp::findSmallestTopK(experiment);
    if (attr.getFloat("expected") > static_cast<double>(least.topK))
      conflicts.push_back({.field = "balance.expected",
                           .text = "expected is larger than top_k: a token meets top_k experts at most, in every layer "
                                   "at every step; lower it",
                           .other = least.section,
                           .otherField = least.field,
                           .otherText = least.text()});
    return conflicts;
  }
};

} // namespace

void registerBudgetBias(exp::MethodRegistry &registry) { registry.add(std::make_unique<BudgetBias>()); }

} // namespace moec
