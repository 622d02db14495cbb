// Each token goes to the k experts of its highest scores, optionally within a few groups of experts.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class TokenChoice : public RoutingMethod {
public:
  std::string kind() const override { return "token_choice"; }
  std::string summary() const override { return "Each token goes to the experts of its highest scores"; }
  std::string source() const override {
    return "Shazeer et al. 2017; groups: DeepSeek-V2 (max), DeepSeek-V3 (top2_sum)";
  }

  Value buildIds(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r, Value selection) const override {
    auto idType = [&](int64_t k) { return RankedTensorType::get({r.numTokens, k}, b.b.getI32Type()); };
    if (r.groups > 0 && r.topGroups < r.groups)
      selection = buildWithinGroups(b, r, selection);
    return keepLayerTopK(b, r, moe::TopKOp::create(b.b, idType(r.topK), selection));
  }

private:
  // Scores outside a token's best groups become -infinity, which top-k takes last.
  static Value buildWithinGroups(TensorBuilder &b, const RoutingValues &r, Value selection) {
    int64_t size = r.numExperts / r.groups, rows = r.numTokens * r.groups;
    Value grouped = b.reshape(selection, rows, size);
    Value best;
    if (r.groupScore == exp::GroupScore::top2_sum && size > 1) {
      Value ids = moe::TopKOp::create(b.b, RankedTensorType::get({rows, 2}, b.b.getI32Type()), grouped);
      best = b.sumCols(b.take(grouped, ids));
    } else {
      best = moe::RowReduceOp::create(b.b, b.type(rows, 1), moe::Reduction::max, grouped);
    }
    Value chosen = moe::TopKOp::create(b.b, RankedTensorType::get({r.numTokens, r.topGroups}, b.b.getI32Type()),
                                       b.reshape(best, r.numTokens, r.groups));
    Value ones = b.fill(1.0, r.numTokens, r.topGroups);
    Value isIn = b.reshape(moe::PutOp::create(b.b, b.type(r.numTokens, r.groups), ones, chosen), rows, 1);
    Value within = b.map({grouped, isIn}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(s.constant(0.5), x[1]), x[0], s.constant(-std::numeric_limits<double>::infinity()));
    });
    return b.reshape(within, r.numTokens, r.numExperts);
  }
};

} // namespace

void registerTokenChoice(exp::MethodRegistry &registry) { registry.add(std::make_unique<TokenChoice>()); }

} // namespace moec
