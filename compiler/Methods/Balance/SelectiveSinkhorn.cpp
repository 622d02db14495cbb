// In a few steps, chosen at random, tokens are routed by the balanced transport plan nearest to their scores.
#include "compiler/Methods/BalanceSupport.h"

#include <numbers>

using namespace mlir;

namespace moec {
namespace {

enum class Cost { Softmax, Linear };
constexpr exp::Choice<Cost> kCost = {"cost", {{Cost::Softmax, "softmax"}, {Cost::Linear, "linear"}}};

class SelectiveSinkhorn : public BalanceMethod {
public:
  std::string kind() const override { return "sinkhorn"; }
  std::string summary() const override {
    return "In a small share of layers and steps, routes follow the balanced transport plan nearest to the scores";
  }
  std::string source() const override {
    return "Selective Sinkhorn Routing (arXiv 2511.08972); the plan counts as a constant";
  }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{.key = "share",
             .type = FieldType::Number,
             .fallback = "0.001",
             .minimum = 0,
             .maximum = 1,
             .doc = "probability of the plan in a layer and step"},
            kCost.field(Cost::Softmax, "what the plan is close to: the softmax of the logits, or the logits"),
            {.key = "xi",
             .type = FieldType::Number,
             .fallback = "0.05",
             .minimum = 0,
             .maximum = 1e3,
             .doc = "weight of the plan's entropy; 0.5 is usual for linear",
             .openMinimum = true},
            {.key = "max_iterations",
             .type = FieldType::Integer,
             .fallback = "100",
             .minimum = 1,
             .maximum = 10000,
             .doc = "pairs of column and row updates, at most"},
            {.key = "tolerance",
             .type = FieldType::Number,
             .fallback = "1e-4",
             .minimum = 0,
             .maximum = 1,
             .doc = "the updates end when the norm of the errors of all sums is below this"},
            {.key = "noise",
             .type = FieldType::Number,
             .fallback = "0",
             .minimum = 0,
             .maximum = 1e3,
             .doc = "standard deviation of normal noise on the scores, in training steps that do not use the plan"}};
  }

  std::string describeFuture(exp::MethodAttr attr) const override {
    if (attr.getFloat("share") == 0)
      return "";
    return "sinkhorn: in training the plan, where it is followed, is that of all tokens of the micro-batch";
  }

  Value buildSelection(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, StateDeclarer &) const override {
    if (!r.training)
      return r.scores;
    Value scores = b.detach(r.scores);
    // With share 1 there are no other steps for the noise.
    if (double noise = attr.getFloat("noise"); noise > 0 && attr.getFloat("share") < 1)
      scores = b.add(scores, b.scale(buildNormal(b, r), noise));
    if (attr.getFloat("share") == 0)
      return attr.getFloat("noise") > 0 ? scores : r.scores;
    Value enabled = buildCoin(b, attr, r);
    Value logits = b.detach(r.logits);
    Value cost = kCost.in(attr) == Cost::Linear ? logits : b.softmax(logits);
    Value plan = moe::SinkhornOp::create(b.b, cost.getType(), cost, enabled, b.b.getF64FloatAttr(attr.getFloat("xi")),
                                         b.b.getI64IntegerAttr(attr.getInt("max_iterations")),
                                         b.b.getF64FloatAttr(attr.getFloat("tolerance")));
    return choose(b, enabled, plan, scores);
  }

  // In steps that follow the plan: its entries for the chosen experts, scaled to sum to 1.
  Value buildWeights(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, Value weights,
                     StateDeclarer &) const override {
    if (!r.training || attr.getFloat("share") == 0)
      return weights;
    Value chosen = b.detach(b.take(r.selection, r.ids));
    return choose(b, buildCoin(b, attr, r), b.div(chosen, b.sumCols(chosen)), weights);
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    std::vector<exp::Conflict> conflicts =
        findBalanceLosses(experiment, "sinkhorn does without such losses; remove the loss or set its weight to 0",
                          /*isWarning=*/false);
    llvm::append_range(conflicts, findNothingToBalance(experiment, "balance", "set balance to null",
                                                       /*isWarning=*/true));
    return conflicts;
  }

private:
  // 1 if this layer follows the plan in this step, [1, 1]; the same for all micro-batches.
  static Value buildCoin(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r) {
    Value toss = r.noise->uniform(b, "router.sinkhorn", 1, 1, /*perToken=*/false);
    return b.map({toss}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(x[0], s.constant(attr.getFloat("share"))), s.constant(1.0), s.constant(0.0));
    });
  }

  static Value choose(TensorBuilder &b, Value enabled, Value yes, Value no) {
    return b.map({enabled, yes, no}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(s.constant(0.5), x[0]), x[1], x[2]);
    });
  }

  // Box-Muller.
  static Value buildNormal(TensorBuilder &b, const RoutingValues &r) {
    Value radius = r.noise->uniform(b, "router.noise.radius", r.numTokens, r.numExperts, /*perToken=*/true);
    Value angle = r.noise->uniform(b, "router.noise.angle", r.numTokens, r.numExperts, /*perToken=*/true);
    return b.map({radius, angle}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value length = s.sqrt(s.mul(s.constant(-2.0), s.log(s.sub(s.constant(1.0), x[0]))));
      return s.mul(length, s.cos(s.mul(s.constant(2 * std::numbers::pi), x[1])));
    });
  }
};

} // namespace

void registerSelectiveSinkhorn(exp::MethodRegistry &registry) { registry.add(std::make_unique<SelectiveSinkhorn>()); }

} // namespace moec
