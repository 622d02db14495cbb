// A bias of each expert is added before the choice, and moves after each step towards equal loads. It needs no loss and
// has no gradient.
#include "compiler/Methods/BalanceSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Update { Sign, Proportional };
constexpr exp::Choice<Update> kUpdate = {"update", {{Update::Sign, "sign"}, {Update::Proportional, "proportional"}}};

class Bias : public BalanceMethod {
public:
  std::string kind() const override { return "bias"; }
  std::string summary() const override {
    return "A bias of each expert that changes the choice but not the weights, and follows the loads after each step";
  }
  std::string source() const override { return "Wang et al. 2024 (arXiv 2408.15664), DeepSeek-V3 (arXiv 2412.19437)"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {kUpdate.field(Update::Sign, "sign: every bias moves by rate; proportional: by rate times the relative "
                                        "deviation of the load"),
            {.key = "rate",
             .type = FieldType::Number,
             .fallback = "1e-3",
             .minimum = 0,
             .maximum = 1e3,
             .doc = "how far a bias moves after a step"},
            exp::stepsField("until", exp::StepsKind::Moment, "null",
                            "biases stay as they are from this step on; null: never"),
            {.key = "center",
             .type = FieldType::Boolean,
             .fallback = "false",
             .doc = "whether the mean of the biases is subtracted"}};
  }

  Value buildSelection(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r,
                       StateDeclarer &states) const override {
    return b.add(r.scores, b.read(declareBias(b, r.numExperts, states), r.layer));
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const override {
    moe::StateOp bias = declareBias(b, load.numExperts, states);
    bool isSign = kUpdate.in(attr) == Update::Sign;
    double rate = attr.getFloat("rate");
    int64_t until = attr.getInt("until");
    Value counts = b.toElement(load.counts);
    Value sum = b.sumCols(counts), experts = b.constant(static_cast<double>(load.numExperts));
    Value next =
        b.map({b.readRows(bias), counts, sum, experts, load.step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
          // Counts are whole, so comparing E * count with their sum compares count with the mean without rounding.
          Value error = s.sub(x[2], s.mul(x[1], x[3]));
          Value zero = s.constant(0.0);
          Value change = isSign ? s.select(s.less(zero, error), s.constant(rate),
                                           s.select(s.less(error, zero), s.constant(-rate), zero))
                                : s.mul(s.constant(rate), s.div(error, s.max(x[2], s.constant(1.0))));
          if (until > 0) // the update after step `until` does not move them any more
            change = s.select(s.less(x[4], s.constant(until - 0.5)), change, zero);
          return s.add(x[0], change);
        });
    if (attr.getBool("center"))
      next = b.sub(next, b.scale(b.sumCols(next), 1.0 / load.numExperts));
    b.writeRows(bias, next);
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    if (attr.getInt("until") == 1)
      return {
          {.field = "balance.until",
           .text = "biases that rest from the first step on never move; choose a later step, or set balance to null"}};
    std::vector<exp::Conflict> conflicts =
        findBalanceLosses(experiment,
                          "the bias already makes loads alike, and a loss of some weight beside it "
                          "changes what is learnt; keep its weight small, with scope \"sequence\"",
                          /*isWarning=*/true);
    llvm::append_range(conflicts, findNothingToBalance(experiment, "balance", "set balance to null",
                                                       /*isWarning=*/true));
    return conflicts;
  }
};

} // namespace

void registerBias(exp::MethodRegistry &registry) { registry.add(std::make_unique<Bias>()); }

} // namespace moec
