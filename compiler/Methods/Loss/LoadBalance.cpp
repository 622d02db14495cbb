// The load-balancing loss of GShard and Switch over a micro-batch, a sequence, or the whole batch of a step.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

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
    return {{.key = "scope",
             .type = exp::FieldType::Choice,
             .fallback = "\"micro\"",
             .choices = {"micro", "sequence", "global", "group"},
             .doc = "tokens over which f and P are taken; global: f over all micro-batches of the step so far, P over "
                    "this one; "
                    "group: as micro, over groups of experts"},
            {.key = "groups",
             .type = exp::FieldType::Integer,
             .fallback = "1",
             .minimum = 1,
             .maximum = 65536,
             .unit = "groups",
             .doc = "equal groups of consecutive experts, for example those of a device; for scope \"group\""},
            {.key = "choices",
             .type = exp::FieldType::Choice,
             .fallback = "\"scores\"",
             .choices = {"scores", "actual"},
             .doc = "what f counts: what scores alone would choose among all experts, or what was chosen; they differ "
                    "beside a "
                    "balancing method and within groups"}};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &states) const override {
    StringRef scope = attr.getString("scope");
    int64_t groups = scope == "sequence" ? r.numTokens / r.seqLen : 1;
    Value ids = attr.getString("choices") == "actual" ? r.ids : r.unbiasedIds;
    Value counts = r.counts;
    if (scope == "sequence" || ids != r.ids)
      counts = moe::CountIdsOp::create(b.b, RankedTensorType::get({groups, r.numExperts}, b.b.getI64Type()), ids);
    if (scope == "global" && r.microBatches > 1)
      counts = accumulateCounts(b, r, counts, states);

    // Every choice counts once, so the counts of a group add up to k times its tokens, whatever number of micro-batches
    // they cover.
    Value choices = b.toElement(counts);
    Value share = b.div(choices, b.sumCols(choices));
    Value mean = b.scale(b.sumRows(r.rowScores, groups), static_cast<double>(groups) / r.numTokens);
    if (scope == "group")
      return buildGroups(b, share, mean, attr.getInt("groups"));
    return b.scale(b.sumAll(b.mul(share, mean)), static_cast<double>(r.numExperts) / groups);
  }

  bool balancesLoad() const override { return true; }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    auto moe = experiment.section<exp::MoeOp>();
    if (!moe || attr.getString("scope") != "group")
      return {};
    int64_t outputs = moe.getNumExperts() + moe.getZeroExperts();
    if (outputs % attr.getInt("groups") == 0)
      return {};
    return {{.field = "groups",
             .text = "groups " + std::to_string(attr.getInt("groups")) + " does not divide the " +
                     std::to_string(outputs) + " experts; expected a divisor",
             .other = moe,
             .otherField = "num_experts",
             .otherText = "num_experts is " + std::to_string(moe.getNumExperts())}};
  }

private:
  // DeepSeekMoE's device-level loss: D * sum over groups of (share of choices) * (sum of mean scores), which is 1 when
  // either is uniform over the groups.
  static Value buildGroups(TensorBuilder &b, Value share, Value mean, int64_t groups) {
    int64_t size = TensorBuilder::cols(share) / groups;
    auto sums = [&](Value x) { return b.sumCols(b.reshape(x, groups, size)); };
    return b.scale(b.sumAll(b.mul(sums(share), sums(mean))), static_cast<double>(groups));
  }

  // Added before it is read: a recomputed read sees the same counts, a recomputed sum would count twice.
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
