// x + mixture(norm(x)): route, bring rows to their experts, run them, bring the results back.
#include "compiler/Model/ModelContext.h"

#include <cmath>

using namespace mlir;

namespace moec {

namespace {

/// States of one loss in one slot.
class SlotStates : public StateDeclarer {
public:
  SlotStates(ModelContext &ctx, const LayerSlot &slot, StringRef lossName) : ctx(ctx), slot(slot), lossName(lossName) {}

  moe::StateOp perLayer(StringRef name, moe::StateKind kind, RankedTensorType type, bool resetEachStep) override {
    std::string symbol =
        (moe::stringifyStateKind(kind) + "." + getSlotSymbol(slot, (lossName + "." + name).str())).str();
    moe::StateOp state = ctx.declare(symbol, kind, type, &slot);
    if (resetEachStep)
      ctx.perStep.push_back(state);
    return state;
  }

private:
  ModelContext &ctx;
  const LayerSlot &slot;
  StringRef lossName;
};

} // namespace

static RoutingValues buildRouting(ModelContext &ctx, const LayerScope &layer, Value h) {
  LocationScope scope(ctx, ctx.router.getLoc());
  exp::MethodAttr attr = ctx.router.getScore();
  RoutingValues r;
  r.numTokens = layer.numTokens;
  r.numExperts = ctx.moe.getNumExperts();
  r.topK = ctx.moe.getTopK();
  r.seqLen = ctx.seqLen();
  r.microBatches = ctx.microBatches();
  r.layer = layer.index;
  r.logits = ctx.t.matmul(h, ctx.readParameter(layer.slot, "moe.router", layer.index));
  // Which expert is the largest must not hang on a rounding.
  r.logits.getDefiningOp()->setAttr("moe.full_precision", ctx.b.getUnitAttr());
  r.scores = ctx.score->buildScores(ctx.t, attr, r.logits);
  r.ids = moe::TopKOp::create(ctx.b, ctx.idType(r.numTokens, r.topK), r.scores);
  Value weights = ctx.score->buildWeights(ctx.t, attr, r.logits, r.scores, r.ids, ctx.router.getNormalize());
  r.weights = ctx.t.scale(weights, ctx.router.getScale().convertToDouble());
  return r;
}

// One metric a segment that has mixtures; a period has one at most.
static moe::StateOp declareExpertTokens(ModelContext &ctx, const LayerScope &layer) {
  unsigned number = 0;
  for (const Segment &segment : ctx.segments)
    for (const LayerSlot &slot : segment.slots)
      number += slot.isMoe && slot.number < layer.slot.number;
  std::string symbol = "metric.expert_tokens" + (number == 0 ? "" : "." + std::to_string(number));
  moe::StateOp state =
      ctx.declare(symbol, moe::StateKind::metric, ctx.countType(1, ctx.moe.getNumExperts()), &layer.slot);
  ctx.perStep.push_back(state);
  return state;
}

static void buildLosses(ModelContext &ctx, const LayerScope &layer, RoutingValues &r, MutableArrayRef<Value> sums) {
  r.counts = moe::CountIdsOp::create(ctx.b, ctx.countType(1, r.numExperts), r.ids);
  ctx.accumulate(declareExpertTokens(ctx, layer), r.counts, layer.index);
  if (!ctx.losses.empty())
    r.rowScores = ctx.score->buildRowScores(ctx.t, ctx.router.getScore(), r.scores);
  for (auto [term, sum] : llvm::zip_equal(ctx.losses, sums)) {
    exp::LossOp op = term.op;
    LocationScope scope(ctx, op.getLoc());
    SlotStates states(ctx, layer.slot, op.getName());
    sum = ctx.t.add(sum, term.method->buildLayer(ctx.t, op.getMethod(), r, states));
  }
}

// Ids with the slots beyond an expert's capacity taken out. No expert gets more than N slots, so a capacity of N or
// more never drops.
static Value buildCapacity(ModelContext &ctx, const RoutingValues &r) {
  double factor = ctx.moe.getCapacityFactor().convertToDouble();
  double mean = static_cast<double>(r.numTokens) * r.topK / r.numExperts;
  if (factor == 0 || factor * mean >= r.numTokens)
    return r.ids;
  // The small slack keeps a product like 1.1 * 10, a little above 11 in binary, at 11.
  int64_t capacity = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(factor * mean * (1 - 1e-12))));
  LocationScope scope(ctx, exp::fieldLoc(ctx.moe, "capacity_factor"));
  auto policy = ctx.moe.getDrop() == "position" ? moe::DropPolicy::position : moe::DropPolicy::lowest_weight;
  return moe::LimitCapacityOp::create(ctx.b, r.ids.getType(), policy, r.ids, r.weights, r.numExperts, capacity);
}

static Value buildExperts(ModelContext &ctx, const LayerScope &layer, const RoutingValues &r, Value h) {
  int64_t rows = moe::PermuteOp::getPermutedRows(r.numTokens * r.topK, r.numExperts, ctx.options.rowAlign);
  int64_t width = TensorBuilder::cols(h), inner = ctx.moe.getExpertInnerSize();
  auto order = moe::PermuteOp::create(ctx.b, ctx.idType(1, r.numExperts + 1), ctx.idType(1, r.numExperts),
                                      ctx.idType(rows, 1), ctx.idType(rows, 1), r.ids.getType(), buildCapacity(ctx, r),
                                      r.numExperts, ctx.options.rowAlign, /*limit=*/IntegerAttr());
  auto grouped = [&](Value a, StringRef name, int64_t cols) -> Value {
    Value w = ctx.readParameter(layer.slot, name, layer.index);
    return moe::GroupedMatmulOp::create(ctx.b, ctx.t.type(rows, cols), a, w, order.getOffsets(), order.getCounts(),
                                        /*tb=*/false, /*scales=*/ValueRange());
  };
  // The weight of a row multiplies what enters the last product, not what leaves it: then no backward needs the
  // experts' results, and the weight's gradient is a sum over a row of the narrower tensor.
  Value slots = ctx.t.reshape(r.weights, r.numTokens * r.topK, 1);
  Value slotRow = moe::ReshapeOp::create(ctx.b, ctx.idType(r.numTokens * r.topK, 1), order.getSlotRow());
  Value weight = moe::GatherRowsOp::create(ctx.b, ctx.t.type(rows, 1), slots, order.getRowSlot(), slotRow);
  Value in = moe::GatherRowsOp::create(ctx.b, ctx.t.type(rows, width), h, order.getRowToken(), order.getSlotRow());
  Value gate = grouped(in, "moe.experts.gate", inner);
  Value up = grouped(in, "moe.experts.up", inner);
  Value out = grouped(buildSwigluGate(ctx, gate, up, weight), "moe.experts.down", width);
  return moe::CombineRowsOp::create(ctx.b, h.getType(), out, order.getSlotRow(), order.getRowSlot(),
                                    /*weights=*/Value());
}

Value buildMoeBlock(ModelContext &ctx, const LayerScope &layer, Value x, MutableArrayRef<Value> lossSums) {
  LocationScope scope(ctx, ctx.moe.getLoc());
  Value h = buildNorm(ctx, layer, "moe.norm", x);
  RoutingValues routing = buildRouting(ctx, layer, h);
  if (layer.training)
    buildLosses(ctx, layer, routing, lossSums);
  Value y = buildExperts(ctx, layer, routing, h);
  if (ctx.moe.getSharedExperts() > 0)
    y = ctx.t.add(y, buildSwiglu(ctx, layer, "moe.shared", h));
  return buildResidual(ctx, layer, "moe", x, y);
}

} // namespace moec
