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
    return "Lepikhin et al. 2020, Fedus et al. 2021; global scope: arXiv 2501.11873";
  }
  std::vector<exp::Field> fields() const override {
    return {
        {"scope",
         exp::FieldType::Choice,
         "\"micro\"",
         0,
         0,
         {"micro", "sequence", "global"},
         "",
         "tokens over which f and P are taken; global: f over all micro-batches of the step so far, P over this one"}};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                   StateDeclarer &states) const override {
    StringRef scope = attr.getString("scope");
    int64_t groups = scope == "sequence" ? r.numTokens / r.seqLen : 1;
    Value counts = r.counts;
    if (scope == "sequence")
      counts = moe::CountIdsOp::create(b.b, RankedTensorType::get({groups, r.numExperts}, b.b.getI64Type()), r.ids);
    else if (scope == "global" && r.microBatches > 1)
      counts = accumulateCounts(b, r, states);

    // Every choice counts once, so the counts of a group add up to k times its tokens, whatever number of micro-batches
    // they cover.
    Value choices = b.toElement(counts);
    Value share = b.div(choices, b.sumCols(choices));
    Value mean = b.scale(b.sumRows(r.rowScores, groups), static_cast<double>(groups) / r.numTokens);
    return b.scale(b.sumAll(b.mul(share, mean)), static_cast<double>(r.numExperts) / groups);
  }

private:
  // Added before it is read: a recomputed read sees the same counts, a recomputed sum would count twice.
  static Value accumulateCounts(TensorBuilder &b, const RoutingValues &r, StateDeclarer &states) {
    moe::StateOp state =
        states.perLayer("counts", moe::StateKind::counter, RankedTensorType::get({1, r.numExperts}, b.b.getI64Type()),
                        /*resetEachStep=*/true);
    moe::AccumulateOp::create(b.b, FlatSymbolRefAttr::get(state.getSymNameAttr()), r.layer, r.counts);
    return b.read(state, r.layer);
  }
};

} // namespace

void registerLoadBalance(exp::MethodRegistry &registry) { registry.add(std::make_unique<LoadBalance>()); }

} // namespace moec
