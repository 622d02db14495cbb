// x + attention(norm(x)), and the norms that blocks share.
#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

static Value buildRmsNorm(ModelContext &ctx, Value x, Value scale) {
  return moe::RmsNormOp::create(ctx.b, x.getType(), x, scale, ctx.b.getF64FloatAttr(ctx.eps()));
}

Value buildNorm(ModelContext &ctx, const LayerScope &layer, StringRef name, Value x) {
  Value scale = ctx.readParameter(layer, (name + ".scale").str());
  return buildRmsNorm(ctx, x, scale);
}

Value buildResidual(ModelContext &ctx, const LayerScope &layer, StringRef block, Value x, Value change) {
  if (ctx.model.getNormPlacement() == exp::NormPlacement::peri)
    change = buildNorm(ctx, layer, (block + ".out_norm").str(), change);
  return ctx.t.add(x, change);
}

static Value buildRope(ModelContext &ctx, Value x, int64_t heads) {
  LocationScope scope(ctx, exp::fieldLoc(ctx.attention, "rope_theta"));
  Value cos = ctx.readParameter("constant.rope.cos"), sin = ctx.readParameter("constant.rope.sin");
  return moe::RopeOp::create(ctx.b, x.getType(), x, cos, sin, /*inverse=*/false, heads);
}

// Norm and rotation (positions) of queries or keys. The norm is over each head or over the whole row. After a norm over
// heads, the rotation also works on rows of one head, so that both are one kernel.
static Value buildPositioned(ModelContext &ctx, const LayerScope &layer, StringRef name, Value x) {
  exp::QkNorm kind = ctx.attention.getQkNorm();
  if (kind == exp::QkNorm::none)
    return buildRope(ctx, x, 1);
  int64_t rows = TensorBuilder::rows(x), cols = TensorBuilder::cols(x);
  int64_t width = kind == exp::QkNorm::head ? static_cast<int64_t>(ctx.attention.getHeadDim()) : cols;
  Value normed;
  {
    LocationScope scope(ctx, exp::fieldLoc(ctx.attention, "qk_norm"));
    normed = buildNorm(ctx, layer, name, ctx.t.reshape(x, rows * cols / width, width));
  }
  return ctx.t.reshape(buildRope(ctx, normed, cols / width), rows, cols);
}

Value buildAttentionBlock(ModelContext &ctx, const LayerScope &layer, Value x) {
  LocationScope scope(ctx, ctx.attention.getLoc());
  int64_t heads = ctx.attention.getNumHeads(), kvHeads = ctx.attention.getNumKvHeads();
  auto weight = [&](StringRef name) { return ctx.readParameter(layer, name); };

  Value h = buildNorm(ctx, layer, "attention.norm", x);
  Value q = ctx.t.matmul(h, weight("attention.q"));
  Value k = ctx.t.matmul(h, weight("attention.k"));
  Value v = ctx.t.matmul(h, weight("attention.v"));
  q = buildPositioned(ctx, layer, "attention.q_norm", q);
  k = buildPositioned(ctx, layer, "attention.k_norm", k);
  int64_t window = ctx.attention.getWindow();
  if (window >= ctx.seqLen()) // as wide as a sequence, so it hides nothing
    window = 0;
  auto mixed = moe::AttentionOp::create(ctx.b, q.getType(), ctx.t.type(layer.numTokens, heads), q, k, v, heads, kvHeads,
                                        ctx.seqLen(), window ? ctx.b.getI64IntegerAttr(window) : IntegerAttr());
  Value change = ctx.t.matmul(mixed.getResult(), weight("attention.o"));
  return buildResidual(ctx, layer, "attention", x, change);
}

} // namespace moec
