// Modules that predict tokens further ahead, in training alone: module d = 1 .. depth takes the result of the previous
// module (of the trunk for d = 1) at position i and the embedding of token i + d, and predicts token i + d + 1 with the
// head of the trunk.
#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

int64_t getMultiTokenInner(exp::ExperimentOp experiment) {
  if (auto ffn = experiment.section<exp::FfnOp>())
    return ffn.getInnerSize();
  auto moe = experiment.section<exp::MoeOp>();
  return static_cast<int64_t>((moe.getTopK() + moe.getSharedExperts()) * moe.getExpertInnerSize());
}

/// Row i of a sequence becomes its row i + distance; zeros where the sequence has none.
static Value buildShift(ModelContext &ctx, Value x, int64_t distance) {
  int64_t tokens = TensorBuilder::rows(x), length = ctx.seqLen();
  auto rows = [&](int64_t by) {
    return ctx.t.mapTo(ctx.b.getI32Type(), {}, tokens, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars place) {
      Value there = s.add(s.rem(place[0], s.integer(length)), s.integer(by));
      Value isIn = s.both(s.less(s.integer(-1), there), s.less(there, s.integer(length)));
      return s.toInteger(s.select(isIn, s.add(place[0], s.integer(by)), s.integer(-1)), 32);
    });
  };
  return moe::GatherRowsOp::create(ctx.b, x.getType(), x, rows(distance), /*slot_row=*/rows(-distance));
}

// Attention and a dense block after the two inputs. Positions whose token i + d lies beyond the sequence come last, so
// no other position sees them.
static Value buildModule(ModelContext &ctx, const LayerScope &layer, Value hidden, Value embedded) {
  auto weight = [&](StringRef name) { return ctx.readParameter(layer, name); };
  Value fromHidden = ctx.t.matmul(buildNorm(ctx, layer, "hidden_norm", hidden), weight("from_hidden"));
  Value fromEmbed = ctx.t.matmul(buildNorm(ctx, layer, "embed_norm", embedded), weight("from_embed"));
  Value x = buildAttentionBlock(ctx, layer, ctx.t.add(fromHidden, fromEmbed));
  return buildResidual(ctx, layer, "ffn", x, buildSwiglu(ctx, layer, "ffn", buildNorm(ctx, layer, "ffn.norm", x)));
}

Value buildMultiToken(ModelContext &ctx, exp::MultiTokenOp op, Value hidden, Value embedded,
                      llvm::function_ref<Value(Value)> surprises) {
  LocationScope scope(ctx, op.getLoc());
  int64_t tokens = TensorBuilder::rows(hidden), length = ctx.seqLen(), depth = op.getDepth();
  LayerStack noStack{};
  Value sum;
  for (int64_t d = 1; d <= depth; ++d) {
    std::string prefix = getMultiTokenPrefix(d - 1);
    LayerScope layer{noStack, Value(), tokens, /*training=*/true, prefix};
    hidden = buildModule(ctx, layer, hidden, buildShift(ctx, embedded, d));
    // Rows move to the position whose next token is the one to predict. The first d positions of a sequence get no row.
    Value surprise = surprises(buildShift(ctx, buildNorm(ctx, layer, "out_norm", hidden), -d));
    Value counted = ctx.t.mapTo(ctx.t.element, {surprise}, tokens, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(s.rem(x[1], s.integer(length)), s.integer(d)), s.constant(0.0), x[0]);
    });
    double share = 1.0 / static_cast<double>(tokens / length * (length - d) * depth);
    Value term = ctx.t.scale(ctx.t.sumAll(counted), share);
    sum = sum ? ctx.t.add(sum, term) : term;
  }
  return sum;
}

} // namespace moec
