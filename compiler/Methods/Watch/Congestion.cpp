// Treats loads as those of a congestion game, and measures how strongly the load of an expert keeps tokens away.
#include "compiler/Methods/WatchSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Congestion : public WatchMethod {
public:
  std::string kind() const override { return "congestion"; }
  std::string summary() const override {
    return "The gamma >= 0 for which rho = softmax(q - gamma rho) comes nearest to the loads, q the mean logits";
  }
  std::string source() const override {
    return "ours, after the idea of arXiv 2604.04230, whose estimator is another one";
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &states) const override {
    b.accumulate(declare(b, r.numExperts, states), b.sumRows(r.logits), r.layer);
    return {};
  }

  // A grid over [0, 10 E], then grids around the best place.
  Value buildStep(TensorBuilder &b, exp::MethodAttr, const StepLoad &load, StateDeclarer &states) const override {
    int64_t n = load.numExperts, layers = TensorBuilder::rows(load.counts);
    double limit = 10.0 * static_cast<double>(n);
    Value quality = b.scale(b.readRows(declare(b, n, states)), 1.0 / static_cast<double>(load.tokens));
    Value counts = b.toElement(load.counts), shares = b.div(counts, b.sumCols(counts));
    Value start[] = {b.fill(0.0, layers, 1), b.fill(limit, layers, 1)};
    return repeat(
        b, kRounds, start,
        [&](ValueRange range) {
          Value grid = b.mapTo(b.element, {range[0], range[1]}, layers * kGrid, 1,
                               [](ScalarBuilder &s, TensorBuilder::Scalars x) {
                                 Value place = s.toElement(s.rem(x[2], s.integer(kGrid)));
                                 Value part = s.mul(place, s.constant(1.0 / (kGrid - 1)));
                                 return s.add(x[0], s.mul(s.sub(x[1], x[0]), part));
                               });
          Value errors =
              b.map({buildEquilibrium(b, quality, grid), shares},
                    [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.neg(s.abs(s.sub(x[0], x[1]))); });
          Value quality = b.reshape(b.sumCols(errors), layers, kGrid);
          auto idType = RankedTensorType::get({layers, 1}, b.b.getI32Type());
          Value best = b.take(b.reshape(grid, layers, kGrid), moe::TopKOp::create(b.b, idType, quality));
          return b.mapMany({best, range[0], range[1]}, 2, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
            Value step = s.mul(s.sub(x[2], x[1]), s.constant(1.0 / (kGrid - 1)));
            return SmallVector<Value>{s.max(s.sub(x[0], step), s.constant(0.0)),
                                      s.min(s.add(x[0], step), s.constant(limit))};
          });
        },
        [&](ValueRange range) { return b.scale(b.add(range[0], range[1]), 0.5); });
  }

private:
  static constexpr int64_t kRounds = 5, kGrid = 33, kNewton = 20;

  static moe::StateOp declare(TensorBuilder &b, int64_t n, StateDeclarer &states) {
    return states.perLayer("logits", moe::StateKind::counter, b.type(1, n), /*resetEachStep=*/true);
  }

  static Value repeat(TensorBuilder &b, int64_t count, ValueRange start,
                      function_ref<SmallVector<Value>(ValueRange)> body, function_ref<Value(ValueRange)> finish) {
    auto loop = moe::RepeatOp::create(b.b, start, ValueRange(), TypeRange(), count);
    {
      OpBuilder::InsertionGuard guard(b.b);
      b.b.setInsertionPointToStart(loop.getBlock());
      SmallVector<Value> carried(ValueRange(loop.getCarryArguments()));
      moe::YieldOp::create(b.b, body(carried));
    }
    return finish(loop.getFinals());
  }

  // Newton's method in x = ln rho and the normaliser c, for x + gamma e^x - q + c = 0 and sum e^x = 1. The problem is
  // strictly convex. It starts from the solution of the linear problem and bounds its steps. quality [L, E], gamma [L *
  // G, 1] -> [L * G, E].
  static Value buildEquilibrium(TensorBuilder &b, Value quality, Value gamma) {
    double n = static_cast<double>(TensorBuilder::cols(quality));
    Value cooled = b.map({quality, gamma}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.div(x[0], s.add(s.constant(1.0), s.mul(x[1], s.constant(1.0 / n))));
    });
    Value start[] = {b.sub(cooled, b.logSumExp(cooled)), b.fill(0.0, TensorBuilder::rows(gamma), 1)};
    return repeat(
        b, kNewton, start,
        [&](ValueRange state) {
          SmallVector<Value> parts =
              b.mapMany({state[0], state[1], quality, gamma}, 3, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
                Value rho = s.exp(x[0]), error = s.add(s.sub(s.add(x[0], s.mul(x[3], rho)), x[2]), x[1]);
                Value share = s.div(rho, s.add(s.constant(1.0), s.mul(x[3], rho)));
                return SmallVector<Value>{s.sub(s.mul(share, error), rho), share, error};
              });
          // The change of c for which the new e^x sum up to 1.
          Value change =
              b.map({b.sumCols(parts[0]), b.sumCols(parts[1])}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
                return s.neg(s.div(s.add(s.constant(1.0), x[0]), x[1]));
              });
          Value next = b.map({state[0], parts[2], gamma, change}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
            Value slope = s.add(s.constant(1.0), s.mul(x[2], s.exp(x[0])));
            Value step = s.neg(s.div(s.add(x[1], x[3]), slope));
            return s.add(x[0], s.min(s.max(step, s.constant(-2.0)), s.constant(2.0)));
          });
          return SmallVector<Value>{next, b.add(state[1], change)};
        },
        [&](ValueRange state) {
          return b.map({state[0]}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.exp(x[0]); });
        });
  }
};

} // namespace

void registerCongestion(exp::MethodRegistry &registry) { registry.add(std::make_unique<Congestion>()); }

} // namespace moec
