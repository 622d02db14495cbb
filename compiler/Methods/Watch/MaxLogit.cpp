// How large router logits get.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class MaxLogit : public WatchMethod {
public:
  std::string kind() const override { return "max_logit"; }
  std::string summary() const override { return "Largest magnitude of a router logit in the step"; }
  std::string source() const override { return "common"; }

  // A state holds the maximum so far. If the backward computes the maximum again, the state does not change.
  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &states) const override {
    Value magnitudes = b.map({r.logits}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.abs(x[0]); });
    Value largest = maximum(b, b.reshape(maximum(b, magnitudes), 1, r.numTokens));
    moe::StateOp state = declare(b, states);
    Value next = b.map({b.read(state, r.layer), largest},
                       [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.max(x[0], x[1]); });
    b.write(state, next, r.layer);
    return {};
  }
  Value buildStep(TensorBuilder &b, exp::MethodAttr, const StepLoad &, StateDeclarer &states) const override {
    return b.readRows(declare(b, states));
  }

private:
  static Value maximum(TensorBuilder &b, Value x) {
    return moe::RowReduceOp::create(b.b, b.type(TensorBuilder::rows(x), 1), moe::Reduction::max, x);
  }
  static moe::StateOp declare(TensorBuilder &b, StateDeclarer &states) {
    return states.perLayer("largest", moe::StateKind::counter, b.type(1, 1), /*resetEachStep=*/true);
  }
};

} // namespace

void registerMaxLogit(exp::MethodRegistry &registry) { registry.add(std::make_unique<MaxLogit>()); }

} // namespace moec
