// SwiGLU (Shazeer 2020): down(silu(gate(h)) * up(h)).
#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

Value buildSwigluGate(ModelContext &ctx, Value gate, Value up) {
  return ctx.t.map(
      {gate, up}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.mul(s.mul(x[0], s.sigmoid(x[0])), x[1]); });
}

Value buildSwiglu(ModelContext &ctx, const LayerScope &layer, StringRef name, Value h) {
  auto weight = [&](StringRef part) { return ctx.readParameter(layer.slot, (name + part).str(), layer.index); };
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
