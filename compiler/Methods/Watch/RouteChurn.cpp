// How fast the choices of routers change.
#include "compiler/Methods/WatchSupport.h"

using namespace mlir;

namespace moec {
namespace {

class RouteChurn : public WatchMethod {
public:
  std::string kind() const override { return "route_churn"; }
  std::string summary() const override {
    return "Share of probe tokens whose set of top_k experts by logits differs from the set that was stored last";
  }
  std::string source() const override { return "ours"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{.key = "tokens",
             .type = FieldType::Integer,
             .fallback = "64",
             .minimum = 1,
             .maximum = 1 << 20,
             .unit = "tokens",
             .doc = "number of tokens of the first step (of its last micro-batch) whose router inputs are kept and "
                    "routed again; at most those of a micro-batch"},
            exp::stepsField(
                "every", exp::StepsKind::Cadence, "{\"steps\": 10}",
                "routes are stored at the first step and at multiples of this, and compared with those stored last")};
  }

  // In the first step the probe is set to the router's input. With several micro-batches, the last one stays. Writes
  // that are repeated within a step give the same values.
  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &states) const override {
    int64_t tokens = std::min(attr.getInt("tokens"), r.numTokens), width = TensorBuilder::cols(r.hidden);
    auto type = RankedTensorType::get({tokens, 1}, b.b.getI32Type());
    Value rows = b.mapTo(type.getElementType(), {}, tokens, 1,
                         [](ScalarBuilder &s, TensorBuilder::Scalars place) { return s.toInteger(place[0], 32); });
    Value first = moe::GatherRowsOp::create(b.b, b.type(tokens, width), r.hidden, rows, /*slot_row=*/Value());
    moe::StateOp probe = states.perLayer("probe", moe::StateKind::balance, b.type(tokens, width), false);
    Value kept = chooseFirst(b, r.step, first, b.read(probe, r.layer));
    b.write(probe, kept, r.layer);

    auto idType = RankedTensorType::get({tokens, r.topK}, b.b.getI32Type());
    Value ids = keepLayerTopK(b, r, moe::TopKOp::create(b.b, idType, b.matmulExactly(kept, r.router)));
    Value now = buildChosenMask(b, ids, r.numExperts);
    b.write(declareMask(b, "now", tokens, r.numExperts, states), now, r.layer);
    Value before = b.read(declareMask(b, "before", tokens, r.numExperts, states), r.layer);
    Value difference = b.map({r.step, now, before}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.equal(x[0], s.integer(0)), s.constant(0.0), s.abs(s.sub(x[1], x[2])));
    });
    Value changed = b.map({b.sumCols(difference)}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(s.constant(0.5), x[0]), s.constant(1.0), s.constant(0.0));
    });
    return b.scale(b.sumAll(changed), 1.0 / static_cast<double>(tokens));
  }

  Value buildStep(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const override {
    moe::StateOp now = states.perLayer("now", moe::StateKind::balance, {}, false);
    moe::StateOp before = states.perLayer("before", moe::StateKind::balance, {}, false);
    int64_t every = attr.getInt("every");
    b.writeRows(before, b.map({b.readRows(now), b.readRows(before), load.stepsDone},
                              [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                                Value number = s.add(x[2], s.integer(1));
                                Value isFirst = s.equal(x[2], s.integer(0));
                                Value isDue = s.equal(s.rem(number, s.integer(every)), s.integer(0));
                                return s.select(isFirst, x[0], s.select(isDue, x[0], x[1]));
                              }));
    return {};
  }

private:
  static Value chooseFirst(TensorBuilder &b, Value step, Value inFirst, Value later) {
    return b.map({step, inFirst, later}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.equal(x[0], s.integer(0)), x[1], x[2]);
    });
  }
  static moe::StateOp declareMask(TensorBuilder &b, StringRef name, int64_t tokens, int64_t experts,
                                  StateDeclarer &states) {
    return states.perLayer(name, moe::StateKind::balance, b.type(tokens, experts), /*resetEachStep=*/false);
  }
};

} // namespace

void registerRouteChurn(exp::MethodRegistry &registry) { registry.add(std::make_unique<RouteChurn>()); }

} // namespace moec
