// forward_backward (its forward half; moe-differentiate adds the other), evaluate and logits.
#include "compiler/Model/ModelContext.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {

namespace {

struct Trunk {
  Value embedded;              // [N, D] what the first layer reads
  Value stream;                // [N, D] what the last layer returns
  Value hidden;                // [N, D] after the final norm
  SmallVector<Value> lossSums; // over layers, unweighted, in the order of the losses; only when training
  SmallVector<Value> carried;  // from mixture to mixture, for losses and measures; only when training
  Value textTokens;            // RoutingValues::textTokens
};

} // namespace

// One repeat: the residual stream is carried and, when its layers have losses, their sums.
static void buildSegment(ModelContext &ctx, const Segment &segment, bool training, Trunk &trunk) {
  bool hasMoe = llvm::any_of(segment.stacks, [](const LayerStack &stack) { return stack.isMoe; });
  SmallVector<Value> carried{trunk.hidden};
  if (hasMoe) {
    llvm::append_range(carried, trunk.lossSums);
    llvm::append_range(carried, trunk.carried);
  }
  auto repeat = moe::RepeatOp::create(ctx.b, carried, ValueRange(), TypeRange(), segment.count);
  OpBuilder::InsertionGuard guard(ctx.b);
  ctx.b.setInsertionPointToStart(repeat.getBlock());

  SmallVector<Value> values(ValueRange(repeat.getCarryArguments()));
  LayerTerms terms;
  if (hasMoe) {
    terms.lossSums = MutableArrayRef(values).slice(1, trunk.lossSums.size());
    terms.carried = MutableArrayRef(values).drop_front(1 + trunk.lossSums.size());
  }
  for (const LayerStack &stack : segment.stacks) {
    LayerScope layer{stack,         repeat.getIndexArgument(), TensorBuilder::rows(values[0]), training,
                     /*prefix=*/{}, trunk.textTokens};
    if (stack.isMoe && ctx.moe.getBlock() == exp::LayerShape::shortcut) {
      values[0] = buildShortcutBlock(ctx, layer, values[0], terms);
      continue;
    }
    Value x = buildAttentionBlock(ctx, layer, values[0]);
    values[0] = stack.isMoe ? buildMoeBlock(ctx, layer, x, terms) : buildFeedForwardBlock(ctx, layer, x);
  }
  moe::YieldOp::create(ctx.b, values);
  trunk.hidden = repeat.getResult(0);
  if (hasMoe) {
    auto finals = ValueRange(repeat.getFinals().drop_front());
    trunk.carried = llvm::to_vector(finals.drop_front(trunk.lossSums.size()));
    trunk.lossSums = llvm::to_vector(finals.take_front(trunk.lossSums.size()));
  }
}

// Zeros of everything that goes from layer to layer beside the residual stream.
static void buildTermStarts(ModelContext &ctx, int64_t numTokens, Trunk &trunk) {
  RoutingSizes sizes{};
  sizes.numTokens = numTokens;
  sizes.numExperts = ctx.numRouterOutputs();
  sizes.topK = ctx.moe.getTopK();
  auto carry = [&](const LayerMethod &method, exp::MethodAttr attr) {
    if (int64_t columns = method.carriedColumns(attr, sizes))
      trunk.carried.push_back(ctx.t.fill(0.0, numTokens, columns));
  };
  for (const LossTerm &term : ctx.methods.losses) {
    exp::LossOp op = term.op;
    trunk.lossSums.push_back(ctx.t.constant(0.0));
    carry(*term.method, op.getMethod());
  }
  for (const WatchTerm &term : ctx.methods.watches) {
    exp::WatchOp op = term.op;
    carry(*term.method, op.getMethod());
  }
}

static Trunk buildTrunk(ModelContext &ctx, Value ids, bool training, Value textTokens = {}) {
  Trunk trunk;
  trunk.textTokens = textTokens;
  int64_t width = ctx.model.getHiddenSize();
  trunk.hidden =
      moe::EmbedOp::create(ctx.b, ctx.t.type(TensorBuilder::rows(ids), width), ctx.readParameter("embed"), ids);
  trunk.embedded = trunk.hidden;
  if (training && ctx.numMoeLayers() > 0)
    buildTermStarts(ctx, TensorBuilder::rows(ids), trunk);
  for (const Segment &segment : ctx.segments)
    buildSegment(ctx, segment, training, trunk);
  trunk.stream = trunk.hidden;
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

// Log-sum-exp minus the logit of the token that comes next, [N, 1].
static Value buildSurprises(ModelContext &ctx, Value hidden, Value targets) {
  Value logits = buildHead(ctx, hidden);
  return ctx.t.sub(ctx.t.logSumExp(logits), ctx.t.take(logits, targets));
}

// Its mean over tokens.
static Value buildCrossEntropy(ModelContext &ctx, Value hidden, Value targets) {
  return ctx.t.scale(ctx.t.sumAll(buildSurprises(ctx, hidden, targets)), 1.0 / TensorBuilder::rows(targets));
}

// The weighted sum that is minimised. Weights multiply the sum over layers; metrics are means over layers, without the
// weight.
static Value buildTotal(ModelContext &ctx, Value crossEntropy, const Trunk &trunk, Value targets, double share) {
  Value total = crossEntropy;
  if (auto multiToken = ctx.experiment.section<exp::MultiTokenOp>()) {
    Value loss = buildMultiToken(ctx, multiToken, trunk.stream, trunk.embedded,
                                 [&](Value hidden) { return buildSurprises(ctx, hidden, targets); });
    total = ctx.t.add(total, ctx.t.scale(loss, multiToken.getWeight().convertToDouble()));
    ctx.accumulate(ctx.states.declareMetric("multi_token", multiToken), ctx.t.scale(loss, share));
  }
  for (auto [index, term] : llvm::enumerate(ctx.methods.losses)) {
    exp::LossOp op = term.op;
    LocationScope scope(ctx, op.getLoc());
    double weight = op.getWeight().convertToDouble();
    Value sum = term.method->buildHidden(ctx.t, op.getMethod(), trunk.hidden);
    int64_t numTerms = 1;
    if (!sum) {
      sum = trunk.lossSums[index];
      numTerms = std::max<int64_t>(1, term.method->numTerms(op.getMethod(), ctx.numMoeLayers()));
      weight /= term.method->isMean(op.getMethod()) ? numTerms : 1;
    }
    total = ctx.t.add(total, ctx.t.scale(sum, weight));
    ctx.accumulate(ctx.states.declareMetric(op.getName(), op), ctx.t.scale(sum, share / numTerms));
  }
  return total;
}

static void buildForwardBackward(ModelContext &ctx, moe::StateOp tokens) {
  double share = 1.0 / ctx.microBatches();
  func::FuncOp function = ctx.beginFunction(moe::kForwardBackwardFunction);
  function->setAttr("moe.differentiate", ctx.b.getUnitAttr());
  Value batch = ctx.t.read(tokens);
  Trunk trunk = buildTrunk(ctx, buildTokenColumn(ctx, batch, 0), /*training=*/true);
  Value targets = buildTokenColumn(ctx, batch, 1);
  Value crossEntropy = buildCrossEntropy(ctx, trunk.hidden, targets);
  ctx.accumulate(ctx.states.declareMetric("loss", ctx.experiment, moe::StateRole::loss),
                 ctx.t.scale(crossEntropy, share));
  Value total = buildTotal(ctx, crossEntropy, trunk, targets, share);
  ctx.accumulate(ctx.states.declareMetric("total_loss", ctx.experiment, moe::StateRole::total_loss),
                 ctx.t.scale(total, share));
  moe::LossOp::create(ctx.b, total, ctx.b.getF64FloatAttr(share));
  ctx.endFunction();
}

static void buildEvaluate(ModelContext &ctx, moe::StateOp tokens) {
  auto evaluate = ctx.experiment.section<exp::EvaluateOp>();
  LocationScope scope(ctx, evaluate.getLoc());
  ctx.beginFunction(moe::kEvaluateFunction);
  Value batch = ctx.t.read(tokens);
  Trunk trunk = buildTrunk(ctx, buildTokenColumn(ctx, batch, 0), /*training=*/false);
  Value surprises = buildSurprises(ctx, trunk.hidden, buildTokenColumn(ctx, batch, 1));
  // Token by token: which of them count, and how much, depends on the data, so the runtime sums.
  ctx.write(ctx.states.declare("evaluate.losses", moe::StateKind::output, ctx.t.type(TensorBuilder::rows(surprises), 1),
                               {.role = moe::StateRole::token_losses}),
            surprises);
  ctx.endFunction();
}

// One window; only the row at `position` goes through the head. The tokens after it are not text: attention is causal,
// and routing counts only the tokens up to it.
static void buildLogits(ModelContext &ctx) {
  int64_t window = ctx.seqLen(), vocabulary = ctx.model.getVocabSize();
  using Role = moe::StateRole;
  moe::StateOp tokens = ctx.states.declare("generate.tokens", moe::StateKind::batch, ctx.idType(1, window),
                                           {.role = Role::generate_tokens});
  moe::StateOp position = ctx.states.declare("generate.position", moe::StateKind::batch, ctx.idType(1, 1),
                                             {.role = Role::generate_position});
  moe::StateOp logits = ctx.states.declare("generate.logits", moe::StateKind::output, ctx.t.type(1, vocabulary),
                                           {.role = Role::generate_logits});
  ctx.beginFunction(moe::kLogitsFunction);
  Value last = ctx.t.read(position), textTokens;
  if (ctx.moe)
    textTokens = ctx.t.mapTo(ctx.b.getI64Type(), {last}, 1, 1, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.add(s.toInteger(x[0], 64), s.integer(1));
    });
  Trunk trunk = buildTrunk(ctx, ctx.t.reshape(ctx.t.read(tokens), window, 1), /*training=*/false, textTokens);
  Value row = moe::GatherRowsOp::create(ctx.b, ctx.t.type(1, TensorBuilder::cols(trunk.hidden)), trunk.hidden, last,
                                        /*slot_row=*/Value());
  ctx.write(logits, buildHead(ctx, row));
  ctx.endFunction();
}

void buildForwardFunctions(ModelContext &ctx) {
  LocationScope scope(ctx, ctx.model.getLoc());
  int64_t half = ctx.attention.getHeadDim() / 2;
  ctx.states.declare("constant.rope.cos", moe::StateKind::constant, ctx.t.type(ctx.seqLen(), half));
  ctx.states.declare("constant.rope.sin", moe::StateKind::constant, ctx.t.type(ctx.seqLen(), half));
  moe::StateOp tokens =
      ctx.states.declare("batch.tokens", moe::StateKind::batch, ctx.idType(ctx.microSequences(), ctx.seqLen() + 1),
                         {.role = moe::StateRole::batch_tokens});
  buildForwardBackward(ctx, tokens);
  buildEvaluate(ctx, tokens);
  buildLogits(ctx);
}

} // namespace moec
