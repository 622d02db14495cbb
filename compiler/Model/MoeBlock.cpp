// x + mixture(norm(x)): route, bring rows to their experts, run them, bring the results back.
#include "compiler/Methods/RoutingSupport.h"
#include "compiler/Model/Router.h"

#include <cmath>

using namespace mlir;

namespace moec {

// GShard's random routing (Lepikhin et al. 2020): a token's first slot stays, another with the probability k * its
// share of the token's weights, which for two slots is the paper's 2 g2. k is that of the layer at this step.
static Value buildRandomSlots(ModelContext &ctx, const LayerScope &layer, const RoutingValues &r, Value ids) {
  int64_t slots = TensorBuilder::cols(ids);
  Value noise = LayerNoise(ctx, layer).uniform(ctx.t, "moe.drop", r.numTokens, slots, /*perToken=*/true);
  Value weights = ctx.t.detach(r.weights);
  SmallVector<Value> inputs{ids, noise, weights, ctx.t.sumCols(weights)};
  if (r.layerTopK)
    inputs.push_back(r.layerTopK);
  return ctx.t.mapTo(ctx.b.getI32Type(), inputs, r.numTokens, slots, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value topK = r.layerTopK ? x[4] : s.constant(r.topK), slot = x.back();
    Value stays = s.less(s.mul(x[1], x[3]), s.mul(topK, x[2]));
    Value other = s.select(stays, x[0], s.toInteger(s.integer(-1), 32));
    return s.select(s.less(slot, s.integer(1)), x[0], other);
  });
}

// The number of slots that an expert keeps, if the tokens or top_k are known only at run time: i64 [1, 1].
static Value buildRoom(ModelContext &ctx, const RoutingValues &r, double factor) {
  SmallVector<Value> inputs;
  for (Value known : {r.textTokens, r.layerTopK})
    if (known)
      inputs.push_back(known);
  return ctx.t.mapTo(ctx.b.getI64Type(), inputs, 1, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value tokens = r.textTokens ? x[0] : s.integer(r.numTokens);
    Value topK = r.layerTopK ? s.toInteger(x[inputs.size() - 1], 64) : s.integer(r.topK);
    Value share = buildShare(s, s.mul(tokens, topK), factor / r.numExperts, r.numTokens * r.topK, /*up=*/true);
    return s.max(share, s.integer(1));
  });
}

// Ids without the slots beyond an expert's capacity. No expert gets more than N slots, so a capacity of N or more drops
// nothing.
static Value buildCapacity(ModelContext &ctx, const LayerScope &layer, const RoutingValues &r, Value ids) {
  double factor = ctx.moe.getCapacityFactor().convertToDouble();
  if (factor == 0)
    return ids;
  LocationScope scope(ctx, exp::fieldLoc(ctx.moe, "capacity_factor"));
  bool isRandom = ctx.moe.getDrop() == exp::DropRule::random2;
  if (isRandom && layer.training)
    ids = buildRandomSlots(ctx, layer, r, ids);
  double mean = static_cast<double>(r.numTokens) * r.topK / r.numExperts;
  // With a smaller top_k an expert may have less room; with top_k 1 it has the least.
  if (factor * mean >= r.numTokens && (!r.layerTopK || factor >= static_cast<double>(r.numExperts)))
    return ids;
  // The small factor keeps a product like 1.1 * 10, which is a little above 11 in binary, at 11.
  auto capacity = static_cast<int64_t>(std::ceil(std::min<double>(factor * mean * (1 - 1e-12), r.numTokens)));
  Value room = r.textTokens || r.layerTopK ? buildRoom(ctx, r, factor) : Value();
  Value weights = r.weights;
  if (isRandom) // all first slots before all second ones, each in token order
    weights = ctx.t.mapTo(ctx.t.element, {}, r.numTokens, TensorBuilder::cols(ids),
                          [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                            Value place = s.add(s.mul(s.toElement(x[1]), s.constant(r.numTokens)), s.toElement(x[0]));
                            return s.sub(s.constant(0.0), place);
                          });
  auto policy =
      ctx.moe.getDrop() == exp::DropRule::position ? moe::DropPolicy::position : moe::DropPolicy::lowest_weight;
  return moe::LimitCapacityOp::create(ctx.b, ids.getType(), policy, ids, weights, r.ffnExperts,
                                      std::max<int64_t>(1, capacity), room);
}

// Zero experts have no rows, so their slots are empty for the other experts.
static Value buildExpertIds(ModelContext &ctx, const RoutingValues &r) {
  if (r.ffnExperts == r.numExperts)
    return r.ids;
  return ctx.t.mapTo(ctx.b.getI32Type(), {r.ids}, r.numTokens, TensorBuilder::cols(r.ids),
                     [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                       Value isExpert = s.less(s.toInteger(x[0], 64), s.integer(r.ffnExperts));
                       return s.select(isExpert, x[0], s.toInteger(s.integer(-1), 32));
                     });
}

// h times the weights of the zero experts a token has chosen.
static Value buildZeroExperts(ModelContext &ctx, const RoutingValues &r) {
  LocationScope scope(ctx, exp::fieldLoc(ctx.moe, "zero_experts"));
  Value weights = ctx.t.map({r.weights, r.ids}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value isZero = s.less(s.integer(r.ffnExperts - 1), s.toInteger(x[1], 64));
    return s.select(isZero, x[0], s.constant(0.0));
  });
  return ctx.t.mul(r.hidden, ctx.t.sumCols(weights));
}

static Value buildExperts(ModelContext &ctx, const LayerScope &layer, LayerValues &r) {
  int64_t slots = TensorBuilder::cols(r.ids);
  int64_t rows = moe::PermuteOp::getPermutedRows(r.maxChosen ? r.maxChosen : r.numTokens * slots, r.ffnExperts,
                                                 ctx.options.rowAlign);
  int64_t width = TensorBuilder::cols(r.hidden), inner = ctx.moe.getExpertInnerSize();
  auto order = moe::PermuteOp::create(
      ctx.b, ctx.idType(1, r.ffnExperts + 1), ctx.idType(1, r.ffnExperts), ctx.idType(rows, 1), ctx.idType(rows, 1),
      r.ids.getType(), buildCapacity(ctx, layer, r, buildExpertIds(ctx, r)), r.ffnExperts, ctx.options.rowAlign,
      r.maxChosen ? ctx.b.getI64IntegerAttr(r.maxChosen) : IntegerAttr());
  auto grouped = [&](Value a, Value w, int64_t cols) -> Value {
    return moe::GroupedMatmulOp::create(ctx.b, ctx.t.type(rows, cols), a, w, order.getOffsets(), order.getCounts(),
                                        /*tb=*/false, /*scales=*/ValueRange());
  };
  auto weights = [&](StringRef name) { return ctx.readParameter(layer, name); };
  // The weight of a row multiplies the operand of the last product, not its result. So no backward needs the results of
  // experts, and the weight's gradient is a sum over a row of the narrower tensor.
  Value slotWeights = ctx.t.reshape(r.weights, r.numTokens * slots, 1);
  Value slotRow = moe::ReshapeOp::create(ctx.b, ctx.idType(r.numTokens * slots, 1), order.getSlotRow());
  Value weight = moe::GatherRowsOp::create(ctx.b, ctx.t.type(rows, 1), slotWeights, order.getRowSlot(), slotRow);
  Value in =
      moe::GatherRowsOp::create(ctx.b, ctx.t.type(rows, width), r.hidden, order.getRowToken(), order.getSlotRow());
  r.expertGate = weights("moe.experts.gate");
  Value gate = grouped(in, r.expertGate, inner);
  r.expertUp = weights("moe.experts.up");
  Value up = grouped(in, r.expertUp, inner);
  r.expertDown = weights("moe.experts.down");
  Value out = grouped(buildSwigluGate(ctx, gate, up, weight), r.expertDown, width);
  r.slotRow = order.getSlotRow();
  r.rowSlot = order.getRowSlot();
  if (layer.training)
    r.activations = buildSwigluGate(ctx, gate, up);
  return moe::CombineRowsOp::create(ctx.b, r.hidden.getType(), out, order.getSlotRow(), order.getRowSlot(),
                                    /*weights=*/Value());
}

Value buildMixture(ModelContext &ctx, const LayerScope &layer, Value h, LayerTerms terms) {
  LayerValues r = buildRouting(ctx, layer, h);
  Value y = buildExperts(ctx, layer, r);
  if (layer.training)
    buildLayerTerms(ctx, layer, r, terms);
  if (r.ffnExperts < r.numExperts)
    y = ctx.t.add(y, buildZeroExperts(ctx, r));
  if (ctx.moe.getSharedExperts() > 0) {
    double scale = ctx.methods.score->branchScale();
    y = ctx.t.add(ctx.t.scale(y, scale), ctx.t.scale(buildSwiglu(ctx, layer, "moe.shared", h), scale));
  }
  return y;
}

Value buildMoeBlock(ModelContext &ctx, const LayerScope &layer, Value x, LayerTerms terms) {
  LocationScope scope(ctx, ctx.moe.getLoc());
  Value h = buildNorm(ctx, layer, "moe.norm", x);
  return buildResidual(ctx, layer, "moe", x, buildMixture(ctx, layer, h, terms));
}

} // namespace moec
