#include "compiler/Methods/AdamSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {

std::vector<exp::Field> getAdamFields(const char *betas) {
  using exp::FieldType;
  return {{.key = "betas",
           .type = FieldType::NumberList,
           .fallback = betas,
           .minimum = 0,
           .maximum = 1,
           .doc = "decay of the first and of the second moment",
           .openMaximum = true,
           .length = 2},
          {.key = "eps",
           .type = FieldType::Number,
           .fallback = "1e-8",
           .minimum = exp::kLeastEps,
           .maximum = 1,
           .doc = "added to the root of the second moment"}};
}

exp::Field getDecayField(const char *fallback) {
  return {.key = "weight_decay",
          .type = exp::FieldType::Number,
          .fallback = fallback,
          .minimum = 0,
          .maximum = 1e3,
          .doc = "share of the parameter that a step subtracts, times the learning rate"};
}

SmallVector<Value> buildBiasCorrections(TensorBuilder &b, exp::MethodAttr attr, Value step) {
  return b.mapMany({step}, 2, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    // Written as -expm1(t ln beta): in f32, 1 - exp(...) would lose half the digits of 1 - 0.999 in the first steps.
    auto correction = [&](double beta) {
      return beta == 0 ? s.constant(1.0) : s.neg(s.expm1(s.mul(x[0], s.constant(std::log(beta)))));
    };
    Value first = correction(attr.getFloats("betas")[0]);
    return SmallVector<Value>{first, correction(attr.getFloats("betas")[1])};
  });
}

Value readElements(TensorBuilder &b, moe::StateOp state) {
  constexpr int64_t kWide = 8192, kColumns = 2048;
  Value rows = b.readRows(state);
  int64_t elements = TensorBuilder::rows(rows) * TensorBuilder::cols(rows);
  bool isCut = TensorBuilder::cols(rows) > kWide && elements % kColumns == 0;
  return isCut ? b.reshape(rows, elements / kColumns, kColumns) : rows;
}

Value buildAdamRoot(ScalarBuilder &s, Value v, Value correction, double eps, EpsPlace place) {
  if (place == EpsPlace::CorrectedRoot)
    return s.add(s.sqrt(s.div(v, correction)), s.constant(eps));
  return s.div(s.add(s.sqrt(v), s.constant(eps)), s.sqrt(correction));
}

AdamMoments buildAdam(TensorBuilder &b, exp::MethodAttr attr, Value g, Value m, Value v, Value step, EpsPlace place) {
  double beta1 = attr.getFloats("betas")[0], beta2 = attr.getFloats("betas")[1], eps = attr.getFloat("eps");
  SmallVector<Value> bias = buildBiasCorrections(b, attr, step);
  SmallVector<Value> next = b.mapMany({g, m, v, bias[0], bias[1]}, 3, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value m = s.add(s.mul(s.constant(beta1), x[1]), s.mul(s.constant(1 - beta1), x[0]));
    Value v = s.add(s.mul(s.constant(beta2), x[2]), s.mul(s.constant(1 - beta2), s.mul(x[0], x[0])));
    return SmallVector<Value>{m, v, s.div(s.div(m, x[3]), buildAdamRoot(s, v, x[4], eps, place))};
  });
  return {next[0], next[1], next[2]};
}

AdamMoments buildAdam(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                      OptimizerStates &states, EpsPlace place) {
  moe::StateOp m = states.declare("m"), v = states.declare("v");
  Value g = b.mul(b.readRows(update.gradient), update.gradientScale);
  AdamMoments next = buildAdam(b, attr, g, b.readRows(m), b.readRows(v), update.step, place);
  b.writeRows(m, next.m);
  b.writeRows(v, next.v);
  return next;
}

} // namespace moec
