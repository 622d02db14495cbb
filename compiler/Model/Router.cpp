#include "compiler/Model/Router.h"

#include "compiler/Methods/LogNames.h"

#include "llvm/Support/xxhash.h"

#include <map>

using namespace mlir;

namespace moec {

// One metric for each segment that has mixtures; a period has at most one mixture.
static moe::StateOp declareLayerMetric(ModelContext &ctx, const LayerStack &stack, Operation *section, StringRef name,
                                       RankedTensorType type, std::optional<moe::StateRole> role = std::nullopt) {
  unsigned number = 0;
  for (const Segment &segment : ctx.segments)
    for (const LayerStack &other : segment.stacks)
      number += other.isMoe && other.number < stack.number;
  std::string logName = nameInLog(ctx.states.claimMetric(name, section), number);
  moe::StateOp state = ctx.states.declare("metric." + logName, moe::StateKind::metric, type,
                                          {.stack = &stack, .role = role, .logName = logName});
  ctx.states.zeroEachStep(state);
  return state;
}

namespace {

/// States of one section's method in one stack.
class StackStates : public StateDeclarer {
public:
  /// Of the router, or of a loss or measure.
  StackStates(ModelContext &ctx, const LayerStack &stack, Operation *op)
      : ctx(ctx), stack(stack), op(op),
        section(op == ctx.router ? "router" : op->getAttrOfType<StringAttr>("name").getValue()) {}

  moe::StateOp perLayer(StringRef name, moe::StateKind kind, RankedTensorType type, bool resetEachStep) override {
    std::string inLayers = (moe::stringifyStateKind(kind) + "." + getNameInLayers((section + "." + name).str())).str();
    moe::StateOp state = ctx.states.declare(inLayers, kind, type, {.stack = &stack});
    if (resetEachStep)
      ctx.states.zeroEachStep(state);
    return state;
  }

  Value table(StringRef name, Value layer, int64_t columns,
              llvm::function_ref<std::vector<double>(int64_t)> numbersOf) override {
    std::vector<double> all;
    for (int64_t i = 0; i < stack.count; ++i)
      llvm::append_range(all, numbersOf(ctx.numMoeLayersBefore(stack.first + stack.step * i)));
    return ctx.t.read(
        ctx.states.declareTable((section + "." + name).str(), stack, ctx.t.type(1, columns), std::move(all)), layer);
  }

  moe::StateOp perLayerMetric(StringRef name, RankedTensorType type) override {
    return declareLayerMetric(ctx, stack, op, name, type);
  }

private:
  ModelContext &ctx;
  const LayerStack &stack;
  Operation *op;
  StringRef section;
};

} // namespace

// The random stream of a name is its hash, as for parameters.
Value LayerNoise::uniform(TensorBuilder &b, StringRef name, int64_t rows, int64_t cols, bool perToken) {
  const LayerStack &stack = layer.stack;
  std::vector<double> numbers;
  for (int64_t i = 0; i < stack.count; ++i)
    numbers.push_back(static_cast<double>(stack.first + stack.step * i));
  moe::StateOp table = ctx.states.declareTable("layer_number", stack, ctx.countType(1, 1), std::move(numbers));
  Value zero =
      b.mapTo(b.b.getI64Type(), {}, 1, 1, [](ScalarBuilder &s, TensorBuilder::Scalars) { return s.integer(0); });
  return b.uniform(ctx.experiment.getSeed(), static_cast<uint32_t>(llvm::xxh3_64bits(name)), ctx.stepCounter(),
                   b.read(table, layer.index), perToken ? ctx.firstToken() : zero, rows, cols);
}

static moe::StateOp declareExpertTokens(ModelContext &ctx, const LayerStack &stack) {
  return declareLayerMetric(ctx, stack, ctx.router, kExpertTokens, ctx.countType(1, ctx.numRouterOutputs()),
                            moe::StateRole::expert_tokens);
}

//===--- Routing --------------------------------------------------------------------------------------------------===//

// top_k of this layer at this step, [1, 1]; null if it is the same everywhere.
static Value buildLayerTopK(ModelContext &ctx, const LayerScope &layer) {
  std::map<int64_t, ArrayRef<double>> byStep; // steps done before the first one with it, top_k of each mixture layer
  SmallVector<double> everywhere(ctx.numMoeLayers(), static_cast<double>(ctx.moe.getTopK()));
  byStep.emplace(0, ctx.moe.getTopKPerLayer().empty() ? ArrayRef<double>(everywhere) : ctx.moe.getTopKPerLayer());
  for (auto change : ctx.experiment.sections<exp::ChangeOp>())
    byStep.insert_or_assign(static_cast<int64_t>(change.getAtStep()) - 1, change.getTopKPerLayer());
  for (auto it = std::next(byStep.begin()); it != byStep.end();)
    it = it->second == std::prev(it)->second ? byStep.erase(it) : std::next(it); // says what holds already
  if (byStep.size() == 1 && byStep.begin()->second == ArrayRef<double>(everywhere))
    return {};
  SmallVector<std::pair<int64_t, ArrayRef<double>>> phases(byStep.begin(), byStep.end());

  int64_t columns = phases.size();
  std::vector<double> numbers;
  for (int64_t i = 0; i < layer.stack.count; ++i)
    for (auto &[step, list] : phases)
      numbers.push_back(list[ctx.numMoeLayersBefore(layer.stack.first + layer.stack.step * i)]);
  moe::StateOp table = ctx.states.declareTable("top_k", layer.stack, ctx.t.type(1, columns), std::move(numbers));
  Value all = ctx.t.read(table, layer.index);
  if (columns == 1)
    return all;
  // In the sum, only the phase of this step is not zero.
  Value now =
      ctx.t.mapTo(ctx.t.element, {all, ctx.stepCounter()}, 1, columns, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
        Value value = s.constant(0.0);
        for (auto [index, phase] : llvm::enumerate(phases)) {
          Value isMine = s.equal(x[3], s.integer(index));
          Value begun = s.less(s.integer(phase.first - 1), x[1]);
          Value holds = s.both(isMine, begun);
          if (index + 1 < phases.size())
            holds = s.both(holds, s.less(x[1], s.integer(phases[index + 1].first)));
          value = s.select(holds, x[0], value);
        }
        return value;
      });
  return ctx.t.sumCols(now);
}

// The input of the router. With jitter, in training, its elements are multiplied by uniform numbers around 1.
static Value buildRouterInput(ModelContext &ctx, const RoutingValues &r) {
  double jitter = ctx.router.getJitter().convertToDouble();
  if (jitter == 0 || !r.training)
    return r.hidden;
  LocationScope scope(ctx, exp::fieldLoc(ctx.router, "jitter"));
  Value noise = r.noise->uniform(ctx.t, "router.jitter", r.numTokens, TensorBuilder::cols(r.hidden), /*perToken=*/true);
  return ctx.t.map({r.hidden, noise}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.mul(x[0], s.add(s.constant(1 - jitter), s.mul(s.constant(2 * jitter), x[1])));
  });
}

// `text` in the first textTokens rows, `other` in the rest.
static Value chooseText(ModelContext &ctx, const RoutingValues &r, Value text,
                        llvm::function_ref<Value(ScalarBuilder &)> other) {
  auto type = cast<RankedTensorType>(text.getType());
  return ctx.t.mapTo(
      type.getElementType(), {text, r.textTokens}, type.getDimSize(0), type.getDimSize(1),
      [&](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.select(s.less(x[2], x[1]), x[0], other(s)); });
}

static Value buildIds(ModelContext &ctx, const RoutingValues &r, Value selection) {
  exp::MethodAttr routing = ctx.router.getMethod();
  if (!r.textTokens)
    return ctx.methods.routing->buildIds(ctx.t, routing, r, selection);
  selection = chooseText(ctx, r, selection,
                         [](ScalarBuilder &s) { return s.constant(-std::numeric_limits<double>::infinity()); });
  return chooseText(ctx, r, ctx.methods.routing->buildIds(ctx.t, routing, r, selection),
                    [](ScalarBuilder &s) { return s.toInteger(s.integer(-1), 32); });
}

static void buildChoice(ModelContext &ctx, const LayerScope &layer, LayerValues &r) {
  exp::MethodAttr routing = ctx.router.getMethod();
  r.hasEmptySlots = ctx.methods.routing->hasEmptySlots(routing) || r.layerTopK || r.textTokens;
  if (ctx.methods.forced && r.training) {
    LocationScope scope(ctx, exp::fieldLoc(ctx.router, "forced"));
    StackStates states(ctx, layer.stack, ctx.router);
    r.ids = ctx.methods.forced->buildIds(ctx.t, *ctx.router.getForced(), r, states);
    r.unbiasedIds = r.ids;
    return;
  }
  r.maxChosen = ctx.methods.routing->maxChosen(routing, r);
  r.selection = r.scores;
  if (ctx.methods.balance) {
    LocationScope scope(ctx, exp::fieldLoc(ctx.router, "balance"));
    StackStates states(ctx, layer.stack, ctx.router);
    r.selection = ctx.methods.balance->buildSelection(ctx.t, *ctx.router.getBalance(), r, states);
  }
  r.ids = buildIds(ctx, r, r.selection);
  RoutingValues free = r; // DeepSeek-V3, eq. 18: the top k of all scores, without bias or groups
  free.groups = 0;
  bool isFree = !r.training || (r.selection == r.scores && (r.groups == 0 || r.topGroups == r.groups));
  r.unbiasedIds = isFree ? r.ids : buildIds(ctx, free, r.scores);
}

LayerValues buildRouting(ModelContext &ctx, const LayerScope &layer, Value h) {
  LocationScope scope(ctx, ctx.router.getLoc());
  exp::MethodAttr score = ctx.router.getScore();
  LayerNoise noise(ctx, layer);
  LayerValues r{};
  r.numTokens = layer.numTokens;
  r.seqLen = ctx.seqLen();
  r.ffnExperts = ctx.moe.getNumExperts();
  r.numExperts = r.ffnExperts + ctx.moe.getZeroExperts();
  r.topK = ctx.moe.getTopK();
  r.groups = ctx.router.getGroups();
  r.topGroups = ctx.router.getTopGroups();
  r.groupScore = ctx.router.getGroupScore();
  r.microBatches = ctx.microBatches();
  r.rowAlign = ctx.options.rowAlign;
  r.layer = layer.index;
  r.training = layer.training;
  r.noise = layer.training ? &noise : nullptr;
  r.step = ctx.stepCounter();
  r.textTokens = layer.textTokens;
  r.hidden = h;
  r.router = ctx.readParameter(layer, "moe.router");
  r.routerInput = buildRouterInput(ctx, r);
  // Rounding must not decide which expert has the largest logit.
  r.logits = ctx.t.matmulExactly(r.routerInput, r.router);
  r.scores = ctx.methods.score->buildScores(ctx.t, score, r.logits);
  r.layerTopK = buildLayerTopK(ctx, layer);
  buildChoice(ctx, layer, r);
  r.weights = ctx.methods.score->buildWeights(ctx.t, score, r, ctx.router.getNormalize());
  if (ctx.methods.balance && !ctx.methods.forced) {
    LocationScope atBalance(ctx, exp::fieldLoc(ctx.router, "balance"));
    StackStates states(ctx, layer.stack, ctx.router);
    r.weights = ctx.methods.balance->buildWeights(ctx.t, *ctx.router.getBalance(), r, r.weights, states);
  }
  r.weights = ctx.t.scale(r.weights, ctx.router.getScale().convertToDouble());
  r.noise = nullptr; // ends with this call
  if (layer.training) {
    r.counts = moe::CountIdsOp::create(ctx.b, ctx.countType(1, r.numExperts), r.ids);
    ctx.accumulate(declareExpertTokens(ctx, layer.stack), r.counts, layer.index);
    r.rowScores = ctx.methods.score->buildRowScores(ctx.t, score, r.scores);
    r.probabilities = ctx.methods.score->buildProbabilities(ctx.t, score, r.scores);
  }
  return r;
}

//===--- Losses and measures --------------------------------------------------------------------------------------===//

void buildLayerTerms(ModelContext &ctx, const LayerScope &layer, LayerValues &r, LayerTerms terms) {
  LayerNoise noise(ctx, layer);
  r.noise = &noise;
  auto buildProbabilities = [&](Value input) {
    exp::MethodAttr score = ctx.router.getScore();
    Value scores = ctx.methods.score->buildScores(ctx.t, score, ctx.t.matmulExactly(input, r.router));
    return ctx.methods.score->buildProbabilities(ctx.t, score, scores);
  };
  r.buildProbabilities = buildProbabilities;
  auto sets = ctx.experiment.sections<exp::DatasetOp>();
  r.numSources = llvm::count_if(sets, [](exp::DatasetOp set) { return set.getSplit() == exp::Split::train; });
  auto readSources = [&] { return ctx.t.read(ctx.declareBatchSources()); };
  r.readSources = readSources;
  auto carried = terms.carried.begin();
  auto carry = [&](const LayerMethod &method, exp::MethodAttr attr, auto build) {
    bool carries = method.carriedColumns(attr, r) > 0;
    r.carried = carries ? *carried : Value();
    build();
    if (carries)
      *carried++ = method.buildCarried(ctx.t, attr, r);
  };
  for (auto [term, sum] : llvm::zip_equal(ctx.methods.losses, terms.lossSums)) {
    exp::LossOp op = term.op;
    LocationScope scope(ctx, op.getLoc());
    StackStates states(ctx, layer.stack, op);
    carry(*term.method, op.getMethod(), [&, term = &term, sum = &sum] {
      if (Value value = term->method->buildLayer(ctx.t, op.getMethod(), r, states))
        *sum = ctx.t.add(*sum, value);
    });
  }
  for (const WatchTerm &term : ctx.methods.watches) {
    exp::WatchOp op = term.op;
    LocationScope scope(ctx, op.getLoc());
    StackStates states(ctx, layer.stack, op);
    carry(*term.method, op.getMethod(), [&] {
      Value value = term.method->buildLayer(ctx.t, op.getMethod(), r, states);
      if (!value)
        return;
      auto type = ctx.t.type(1, TensorBuilder::cols(value));
      ctx.accumulate(declareLayerMetric(ctx, layer.stack, op, op.getName(), type),
                     ctx.t.scale(value, 1.0 / ctx.microBatches()), layer.index);
    });
  }
  r.noise = nullptr; // these end with this call
  r.buildProbabilities = {};
  r.readSources = {};
}

//===--- After a step ---------------------------------------------------------------------------------------------===//

void buildRouterUpdates(ModelContext &ctx, Value step) {
  if (!ctx.moe || (!ctx.methods.balance && ctx.methods.watches.empty()))
    return;
  LocationScope scope(ctx, ctx.router.getLoc());
  for (const Segment &segment : ctx.segments)
    for (const LayerStack &stack : segment.stacks) {
      if (!stack.isMoe)
        continue;
      auto countRows = ctx.countType(stack.count, ctx.numRouterOutputs());
      Value counts = moe::ReshapeOp::create(ctx.b, countRows, ctx.t.read(declareExpertTokens(ctx, stack)));
      StepLoad load{counts,
                    ctx.microBatches() * ctx.microSequences() * ctx.seqLen(),
                    ctx.numRouterOutputs(),
                    static_cast<int64_t>(ctx.moe.getNumExperts()),
                    static_cast<int64_t>(ctx.moe.getTopK()),
                    ctx.microBatches(),
                    step,
                    static_cast<int64_t>(ctx.experiment.section<exp::DurationOp>().getSteps()),
                    ctx.stepCounter()};
      if (ctx.methods.balance && !ctx.methods.forced) {
        LocationScope atBalance(ctx, exp::fieldLoc(ctx.router, "balance"));
        StackStates states(ctx, stack, ctx.router);
        ctx.methods.balance->buildUpdate(ctx.t, *ctx.router.getBalance(), load, states);
      }
      for (const WatchTerm &term : ctx.methods.watches) {
        exp::WatchOp op = term.op;
        LocationScope atWatch(ctx, op.getLoc());
        StackStates states(ctx, stack, op);
        if (Value value = term.method->buildStep(ctx.t, op.getMethod(), load, states)) {
          auto type = ctx.t.type(1, TensorBuilder::cols(value));
          ctx.t.writeRows(declareLayerMetric(ctx, stack, op, op.getName(), type), value);
        }
      }
    }
}

} // namespace moec
