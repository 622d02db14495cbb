// Prices of experts that follow, step by step, the quantiles at which loads would be equal.
#include "compiler/Methods/BalanceSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Quantile : public BalanceMethod {
public:
  std::string kind() const override { return "quantile"; }
  std::string summary() const override {
    return "A price of each expert on its logits: a running mean of the quantile at which loads would be equal";
  }
  std::string source() const override { return "Megatron-Core"; }
  std::vector<exp::Field> fields() const override {
    return {{.key = "ema",
             .type = exp::FieldType::Number,
             .fallback = "0.9",
             .minimum = 0,
             .maximum = 1,
             .doc = "share of the old price that stays after a step",
             .openMaximum = true}};
  }

  Value buildSelection(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r,
                       StateDeclarer &states) const override {
    Value prices = b.read(declareBias(b, r.numExperts, states), r.layer);
    Value selection = b.sub(b.detach(r.logits), prices);
    if (r.training) {
      Value tokens = buildTokenPrices(b, r, selection);
      Value quantiles = buildExpertPrices(b, r, b.sub(b.detach(r.logits), tokens));
      moe::AccumulateOp::create(b.b, FlatSymbolRefAttr::get(declareSums(b, r.numExperts, states).getSymNameAttr()),
                                r.layer, b.scale(quantiles, 1.0 / r.microBatches));
    }
    return selection;
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const override {
    double ema = attr.getFloat("ema");
    moe::StateOp state = declareBias(b, load.numExperts, states);
    Value next = b.map({b.readRows(state), b.readRows(declareSums(b, load.numExperts, states))},
                       [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                         return s.add(s.mul(s.constant(ema), x[0]), s.mul(s.constant(1 - ema), x[1]));
                       });
    // Adding one number to all prices changes no choice; subtracting their mean keeps them from drifting.
    b.writeRows(state, b.sub(next, b.scale(b.sumCols(next), 1.0 / load.numExperts)));
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    std::vector<exp::Conflict> conflicts = findPriceConflicts(experiment, "quantile");
    auto router = cast<exp::RouterOp>(section);
    if (router.getGroups() > 0)
      conflicts.push_back({.field = "balance",
                           .text =
                               "quantile prices experts for tokens that choose among all of them, and groups do not "
                               "let them; set groups to null, or use \"bias\"",
                           .other = router,
                           .otherField = "groups",
                           .otherText = "groups.count is " + std::to_string(router.getGroups())});
    auto moe = experiment.section<exp::MoeOp>();
    if (!moe)
      return conflicts;
    int64_t tokens =
        experiment.section<exp::BatchOp>().getMicroSequences() * experiment.section<exp::DataOp>().getSeqLen();
    int64_t choices = tokens * static_cast<int64_t>(moe.getTopK());
    int64_t outputs = moe.getNumExperts() + moe.getZeroExperts();
    if (choices % outputs != 0)
      conflicts.push_back({.field = "balance",
                           .text = "quantile needs equal loads to be whole: the " + std::to_string(choices) +
                                   " choices of a micro-batch are not a multiple of the " + std::to_string(outputs) +
                                   " experts; change batch.micro_sequences or data.seq_len",
                           .other = moe,
                           .otherField = "num_experts",
                           .otherText = "num_experts is " + std::to_string(moe.getNumExperts())});
    return conflicts;
  }

private:
  static moe::StateOp declareSums(TensorBuilder &b, int64_t numExperts, StateDeclarer &states) {
    return states.perLayer("quantiles", moe::StateKind::counter, b.type(1, numExperts), /*resetEachStep=*/true);
  }
};

} // namespace

void registerQuantile(exp::MethodRegistry &registry) { registry.add(std::make_unique<Quantile>()); }

} // namespace moec
