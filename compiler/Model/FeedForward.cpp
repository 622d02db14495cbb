// SwiGLU (Shazeer 2020): down(silu(gate(h)) * up(h)).
#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

Value buildSwigluGate(ModelContext &ctx, Value gate, Value up, Value weight) {
  SmallVector<Value> inputs{gate, up};
  if (weight)
    inputs.push_back(weight);
  return ctx.t.map(inputs, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    // The weight multiplies `up`. If it multiplied the product, the backward would multiply the gradient by a factor
    // per row, and a kernel might do so long before it needs the result, and spill registers.
    Value weighted = x.size() > 2 ? s.mul(x[1], x[2]) : x[1];
    return s.mul(s.mul(x[0], s.sigmoid(x[0])), weighted);
  });
}

Value buildSwiglu(ModelContext &ctx, const LayerScope &layer, StringRef name, Value h) {
  auto weight = [&](StringRef part) { return ctx.readParameter(layer, (name + part).str()); };
  Value gate = ctx.t.matmul(h, weight(".gate"));
  Value up = ctx.t.matmul(h, weight(".up"));
  return ctx.t.matmul(buildSwigluGate(ctx, gate, up), weight(".down"));
}

Value buildFeedForwardBlock(ModelContext &ctx, const LayerScope &layer, Value x) {
  LocationScope scope(ctx, ctx.ffn.getLoc());
  Value h = buildNorm(ctx, layer, "ffn.norm", x);
  return buildResidual(ctx, layer, "ffn", x, buildSwiglu(ctx, layer, "ffn", h));
}

} // namespace moec
