// forward_backward (its forward half; moe-differentiate adds the other), evaluate and logits.
#include "compiler/Model/ModelContext.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {

namespace {

struct Trunk {
  Value hidden;                // [N, D] after the final norm
  SmallVector<Value> lossSums; // over layers, unweighted, in the order of ctx.losses; only when training
};

} // namespace

// One repeat: the residual stream is carried and, when its layers have losses, their sums.
static void buildSegment(ModelContext &ctx, const Segment &segment, bool training, Trunk &trunk) {
  bool hasMoe = llvm::any_of(segment.slots, [](const LayerSlot &slot) { return slot.isMoe; });
  SmallVector<Value> carried{trunk.hidden};
  if (hasMoe)
    llvm::append_range(carried, trunk.lossSums);
  auto repeat = moe::RepeatOp::create(ctx.b, carried, ValueRange(), TypeRange(), segment.count);
  OpBuilder::InsertionGuard guard(ctx.b);
  ctx.b.setInsertionPointToStart(repeat.getBlock());

  SmallVector<Value> values(ValueRange(repeat.getCarryArguments()));
  MutableArrayRef<Value> sums = MutableArrayRef(values).drop_front();
  for (const LayerSlot &slot : segment.slots) {
    LayerScope layer{slot, repeat.getIndexArgument(), TensorBuilder::rows(values[0]), training};
    Value x = buildAttentionBlock(ctx, layer, values[0]);
    values[0] = slot.isMoe ? buildMoeBlock(ctx, layer, x, sums) : buildFeedForwardBlock(ctx, layer, x);
  }
  moe::YieldOp::create(ctx.b, values);
  trunk.hidden = repeat.getResult(0);
  if (hasMoe)
    trunk.lossSums = llvm::to_vector(ValueRange(repeat.getFinals().drop_front()));
}

static Trunk buildTrunk(ModelContext &ctx, Value ids, bool training) {
  Trunk trunk;
  int64_t width = ctx.model.getHiddenSize();
  trunk.hidden =
      moe::EmbedOp::create(ctx.b, ctx.t.type(TensorBuilder::rows(ids), width), ctx.readParameter("embed"), ids);
  if (training && ctx.numMoeLayers() > 0)
    for (size_t i = 0; i < ctx.losses.size(); ++i)
      trunk.lossSums.push_back(ctx.t.constant(0.0));
  for (const Segment &segment : ctx.segments)
    buildSegment(ctx, segment, training, trunk);
  Value scale = ctx.readParameter("final_norm.scale");
  trunk.hidden =
      moe::RmsNormOp::create(ctx.b, trunk.hidden.getType(), trunk.hidden, scale, ctx.b.getF64FloatAttr(ctx.eps()));
  return trunk;
}

static Value buildHead(ModelContext &ctx, Value hidden) {
  LocationScope scope(ctx, exp::fieldLoc(ctx.model, "tie_embeddings"));
  if (ctx.model.getTieEmbeddings())
    return ctx.t.matmul(hidden, ctx.readParameter("embed"), /*tb=*/true);
  return ctx.t.matmul(hidden, ctx.readParameter("head"));
}

// Columns first .. first + S - 1 of the batch, as one column of N ids.
static Value buildTokenColumn(ModelContext &ctx, Value batch, int64_t first) {
  int64_t rows = TensorBuilder::rows(batch), cols = ctx.seqLen();
  Value part = moe::SliceColumnsOp::create(ctx.b, ctx.idType(rows, cols), batch, first);
  return ctx.t.reshape(part, rows * cols, 1);
}

// Mean over tokens of log-sum-exp minus the logit of the token that comes next.
static Value buildCrossEntropy(ModelContext &ctx, Value hidden, Value targets) {
  Value logits = buildHead(ctx, hidden);
  Value surprise = ctx.t.sub(ctx.t.logSumExp(logits), ctx.t.take(logits, targets));
  return ctx.t.scale(ctx.t.sumAll(surprise), 1.0 / TensorBuilder::rows(targets));
}

// The weighted sum that is minimised. Weights multiply the sum over layers; metrics are means over layers, without the
// weight.
static Value buildTotal(ModelContext &ctx, Value crossEntropy, ArrayRef<Value> lossSums, double share) {
  Value total = crossEntropy;
  for (auto [term, sum] : llvm::zip(ctx.losses, lossSums)) {
    exp::LossOp op = term.op;
    LocationScope scope(ctx, op.getLoc());
    total = ctx.t.add(total, ctx.t.scale(sum, op.getWeight().convertToDouble()));
    ctx.accumulate(ctx.declareMetric(op.getName()), ctx.t.scale(sum, share / ctx.numMoeLayers()));
  }
  return total;
}

static void buildForwardBackward(ModelContext &ctx, moe::StateOp tokens) {
  double share = 1.0 / ctx.microBatches();
  func::FuncOp function = ctx.beginFunction("forward_backward");
  function->setAttr("moe.differentiate", ctx.b.getUnitAttr());
  Value batch = ctx.t.read(tokens);
  Trunk trunk = buildTrunk(ctx, buildTokenColumn(ctx, batch, 0), /*training=*/true);
  Value crossEntropy = buildCrossEntropy(ctx, trunk.hidden, buildTokenColumn(ctx, batch, 1));
  ctx.accumulate(ctx.declareMetric("loss"), ctx.t.scale(crossEntropy, share));
  Value total = buildTotal(ctx, crossEntropy, trunk.lossSums, share);
  ctx.accumulate(ctx.declareMetric("total_loss"), ctx.t.scale(total, share));
  moe::LossOp::create(ctx.b, total, ctx.b.getF64FloatAttr(share));
  ctx.endFunction();
}

static void buildEvaluate(ModelContext &ctx, moe::StateOp tokens) {
  auto evaluate = ctx.experiment.section<exp::EvaluateOp>();
  LocationScope scope(ctx, evaluate.getLoc());
  ctx.beginFunction("evaluate");
  Value batch = ctx.t.read(tokens);
  Trunk trunk = buildTrunk(ctx, buildTokenColumn(ctx, batch, 0), /*training=*/false);
  Value loss = buildCrossEntropy(ctx, trunk.hidden, buildTokenColumn(ctx, batch, 1));
  ctx.accumulate(ctx.declareMetric("validation.loss", /*evaluation=*/true),
                 ctx.t.scale(loss, 1.0 / evaluate.getBatches()));
  ctx.endFunction();
}

// One window; only the row at `position` goes through the head.
static void buildLogits(ModelContext &ctx) {
  int64_t window = ctx.seqLen(), vocabulary = ctx.model.getVocabSize();
  moe::StateOp tokens = ctx.declare("generate.tokens", moe::StateKind::batch, ctx.idType(1, window));
  moe::StateOp position = ctx.declare("generate.position", moe::StateKind::batch, ctx.idType(1, 1));
  moe::StateOp logits = ctx.declare("generate.logits", moe::StateKind::output, ctx.t.type(1, vocabulary));
  ctx.beginFunction("logits");
  Trunk trunk = buildTrunk(ctx, ctx.t.reshape(ctx.t.read(tokens), window, 1), /*training=*/false);
  Value row = moe::GatherRowsOp::create(ctx.b, ctx.t.type(1, TensorBuilder::cols(trunk.hidden)), trunk.hidden,
                                        ctx.t.read(position), /*slot_row=*/Value());
  ctx.write(logits, buildHead(ctx, row));
  ctx.endFunction();
}

void buildForwardFunctions(ModelContext &ctx) {
  LocationScope scope(ctx, ctx.model.getLoc());
  int64_t half = ctx.attention.getHeadDim() / 2;
  ctx.declare("constant.rope.cos", moe::StateKind::constant, ctx.t.type(ctx.seqLen(), half));
  ctx.declare("constant.rope.sin", moe::StateKind::constant, ctx.t.type(ctx.seqLen(), half));
  moe::StateOp tokens =
      ctx.declare("batch.tokens", moe::StateKind::batch, ctx.idType(ctx.microSequences(), ctx.seqLen() + 1));
  buildForwardBackward(ctx, tokens);
  buildEvaluate(ctx, tokens);
  buildLogits(ctx);
}

} // namespace moec
