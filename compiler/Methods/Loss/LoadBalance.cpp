// The load-balancing loss of GShard and Switch over a micro-batch, a sequence, or the whole batch of a step.
#include "compiler/Methods/BalanceSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Scope { Micro, Sequence, Global, Group };
constexpr exp::Choice<Scope> kScope = {
    "scope",
    {{Scope::Micro, "micro"}, {Scope::Sequence, "sequence"}, {Scope::Global, "global"}, {Scope::Group, "group"}}};
enum class Choices { Scores, Actual };
constexpr exp::Choice<Choices> kChoices = {"choices", {{Choices::Scores, "scores"}, {Choices::Actual, "actual"}}};

class LoadBalance : public LossMethod {
public:
  std::string kind() const override { return "load_balance"; }
  std::string summary() const override {
    return "E * sum over experts of f_e * P_e: f the share of choices, P the mean score; 1 when either is uniform";
  }
  std::string source() const override {
    return "Lepikhin et al. 2020, Fedus et al. 2021; global scope: arXiv 2501.11873; groups: DeepSeekMoE";
  }
  std::vector<exp::Field> fields() const override {
    return {kScope.field(Scope::Micro, "tokens over which f and P are taken; global: f over all micro-batches of the "
                                       "step so far, P over this one; group: as micro, over groups of experts"),
            {.key = "groups",
             .type = exp::FieldType::Integer,
             .fallback = "1",
             .minimum = 1,
             .maximum = 65536,
             .unit = "groups",
             .doc = "equal groups of consecutive experts, for example those of a device; for scope \"group\""},
            kChoices.field(Choices::Scores,
                           "scores: f counts the experts that the scores alone would choose among all; actual: f "
                           "counts the chosen experts. They differ with a balancing method and with groups")};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &states) const override {
    Scope scope = kScope.in(attr);
    int64_t groups = scope == Scope::Sequence ? r.numTokens / r.seqLen : 1;
    Value ids = kChoices.in(attr) == Choices::Actual ? r.ids : r.unbiasedIds;
    Value counts = r.counts;
    if (scope == Scope::Sequence || ids != r.ids)
      counts = moe::CountIdsOp::create(b.b, RankedTensorType::get({groups, r.numExperts}, b.b.getI64Type()), ids);
    if (scope == Scope::Global && r.microBatches > 1)
      counts = accumulateCounts(b, r, counts, states);

    // Every choice counts once, so the counts of a group add up to k times its tokens, whatever number of micro-batches
    // they cover.
    Value choices = b.toElement(counts);
    Value share = b.div(choices, b.sumCols(choices));
    Value mean = b.scale(b.sumRows(r.rowScores, groups), static_cast<double>(groups) / r.numTokens);
    if (scope == Scope::Group)
      return buildGroups(b, share, mean, attr.getInt("groups"));
    return b.scale(b.sumAll(b.mul(share, mean)), static_cast<double>(r.numExperts) / groups);
  }

  bool balancesLoad() const override { return true; }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    auto moe = experiment.section<exp::MoeOp>();
    std::vector<exp::Conflict> conflicts;
    if (!cast<exp::LossOp>(section).getWeight().isZero())
      conflicts = findNothingToBalance(experiment, "", "leave the loss out", /*isWarning=*/true);
    if (!moe || kScope.in(attr) != Scope::Group)
      return conflicts;
    int64_t outputs = moe.getNumExperts() + moe.getZeroExperts(), groups = attr.getInt("groups");
    if (outputs % groups != 0)
      conflicts.push_back({.field = "groups",
                           .text = "groups " + std::to_string(groups) + " does not divide the " +
                                   std::to_string(outputs) + " experts; expected a divisor",
                           .other = moe,
                           .otherField = "num_experts",
                           .otherText = "num_experts is " + std::to_string(moe.getNumExperts())});
    if (groups == 1)
      conflicts.push_back({.field = "groups",
                           .text = "one group has all choices and all scores, so the loss would be 1 whatever the "
                                   "router does; give groups 2 or more, or another scope"});
    return conflicts;
  }

private:
  // DeepSeekMoE's device-level loss: D * sum over groups of (share of choices) * (sum of mean scores), which is 1 when
  // either is uniform over the groups.
  static Value buildGroups(TensorBuilder &b, Value share, Value mean, int64_t groups) {
    int64_t size = TensorBuilder::cols(share) / groups;
    auto sums = [&](Value x) { return b.sumCols(b.reshape(x, groups, size)); };
    return b.scale(b.sumAll(b.mul(sums(share), sums(mean))), static_cast<double>(groups));
  }

  // The counts are added before they are read. So a read that the backward repeats sees the same counts; a repeated
  // addition would count twice.
  static Value accumulateCounts(TensorBuilder &b, const LayerValues &r, Value counts, StateDeclarer &states) {
    moe::StateOp state =
        states.perLayer("counts", moe::StateKind::counter, RankedTensorType::get({1, r.numExperts}, b.b.getI64Type()),
                        /*resetEachStep=*/true);
    moe::AccumulateOp::create(b.b, FlatSymbolRefAttr::get(state.getSymNameAttr()), r.layer, counts);
    return b.read(state, r.layer);
  }
};

} // namespace

void registerLoadBalance(exp::MethodRegistry &registry) { registry.add(std::make_unique<LoadBalance>()); }

} // namespace moec
