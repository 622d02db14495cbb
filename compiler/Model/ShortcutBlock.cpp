// The shortcut-connected mixture (LongCat-Flash, arXiv 2509.01322): a layer has attention and a dense block twice. The
// mixture reads what the first dense block reads, and its result is added at the end of the layer. So its exchange of
// tokens can overlap with the first dense block, the second attention and the second dense block.
//
//   h1 = x + attention(norm(x)), u = norm(h1), h2 = h1 + dense(u), h3 = h2 + attention2(norm(h2)),
//   y = h3 + dense2(norm(h3)) + mixture(u)
#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

Value buildShortcutBlock(ModelContext &ctx, const LayerScope &layer, Value x, LayerTerms terms) {
  LayerScope second = layer;
  second.prefix = kSecondHalf;
  Value h1 = buildAttentionBlock(ctx, layer, x);
  Value u, dense, mixture;
  {
    LocationScope scope(ctx, ctx.ffn.getLoc());
    u = buildNorm(ctx, layer, "ffn.norm", h1);
    dense = buildSwiglu(ctx, layer, "ffn", u);
  }
  {
    LocationScope scope(ctx, ctx.moe.getLoc());
    mixture = buildMixture(ctx, layer, u, terms);
  }
  Value h2 = buildResidual(ctx, layer, "ffn", h1, dense);
  Value h3 = buildAttentionBlock(ctx, second, h2);
  Value y = buildFeedForwardBlock(ctx, second, h3);
  return buildResidual(ctx, layer, "moe", y, mixture);
}

} // namespace moec
