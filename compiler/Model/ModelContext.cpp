#include "compiler/Model/ModelContext.h"

#include "compiler/Methods/FindMethod.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {

/// What dispatches compute with; moe-narrow-storage decides what lies in memory as something narrower.
static Type getElementType(exp::ExperimentOp experiment, const ModelOptions &options) {
  Builder builder(experiment.getContext());
  bool wide = options.wide || experiment.section<exp::PrecisionOp>().getCompute() == exp::ComputeFormat::f64;
  return wide ? Type(builder.getF64Type()) : Type(builder.getF32Type());
}

ModelContext::ModelContext(exp::ExperimentOp experiment, ModuleOp module, const ModelOptions &options)
    : experiment(experiment), module(module), options(options), model(experiment.section<exp::ModelOp>()),
      attention(experiment.section<exp::AttentionOp>()), ffn(experiment.section<exp::FfnOp>()),
      moe(experiment.section<exp::MoeOp>()), router(experiment.section<exp::RouterOp>()),
      optimizer(experiment.section<exp::OptimizerOp>()),
      b(ImplicitLocOpBuilder::atBlockEnd(experiment.getLoc(), module.getBody())),
      t(b, getElementType(experiment, options)), segments(formSegments(experiment)) {}

LogicalResult ModelContext::findMethods() {
  if (router) {
    routing = findMethod<RoutingMethod>(router, router.getMethod());
    score = findMethod<ScoreMethod>(router, router.getScore());
    if (router.getBalance())
      balance = findMethod<BalanceMethod>(router, *router.getBalance());
    if (router.getForced())
      forced = findMethod<ForcedMethod>(router, *router.getForced());
    if (!routing || !score || (router.getBalance() && !balance) || (router.getForced() && !forced))
      return failure();
  }
  for (auto watch : experiment.sections<exp::WatchOp>()) {
    const auto *method = findMethod<WatchMethod>(watch, watch.getMethod());
    if (!method)
      return failure();
    watches.push_back({watch, method});
  }
  for (auto loss : experiment.sections<exp::LossOp>()) {
    if (loss.getWeight().isZero())
      continue;
    const auto *method = findMethod<LossMethod>(loss, loss.getMethod());
    if (!method)
      return failure();
    losses.push_back({loss, method});
  }
  auto scalingAttr = optimizer.getScaling();
  if (scalingAttr && !(scaling = findMethod<ScalingMethod>(optimizer, *scalingAttr)))
    return failure();
  double tokensPerStep = static_cast<double>(experiment.section<exp::BatchOp>().getSequences()) * seqLen();
  double steps = experiment.section<exp::DurationOp>().getSteps();
  run = {static_cast<double>(model.getHiddenSize()), static_cast<double>(model.getNumLayers()), tokensPerStep,
         tokensPerStep * steps};
  return success();
}

ParameterTraits ModelContext::getTraits(const ParameterInfo &info) const {
  using Role = ParameterTraits::Role;
  ParameterTraits traits;
  traits.name = info.logicalName;
  traits.copies = info.getCopies();
  traits.rows = info.shape[info.shape.size() - 2];
  traits.cols = info.shape.back();
  traits.matrices = info.getElements() / (traits.rows * traits.cols);
  traits.role = info.name == "embed"        ? Role::Embedding
                : info.name == "head"       ? Role::Head
                : !info.stddev              ? Role::Vector
                : info.name == "moe.router" ? Role::Router
                                            : Role::Hidden;
  if (info.stddev) {
    double stddev = *info.stddev;
    if (scaling)
      stddev = scaling->getInitialStd(*exp::OptimizerOp(optimizer).getScaling(), run, traits, stddev);
    traits.initialStd = stddev * info.residual;
  }
  return traits;
}

int64_t ModelContext::seqLen() { return experiment.section<exp::DataOp>().getSeqLen(); }
int64_t ModelContext::microSequences() { return experiment.section<exp::BatchOp>().getMicroSequences(); }
int64_t ModelContext::microBatches() {
  auto batch = experiment.section<exp::BatchOp>();
  return batch.getSequences() / batch.getMicroSequences();
}
int64_t ModelContext::numMoeLayersBefore(int64_t layer) {
  int64_t count = 0;
  for (int64_t i = 0; i < layer; ++i)
    count += moe && exp::isMoeLayer(moe, i);
  return count;
}

//===--- States
//-------------------------------------------------------------------------------------------------------===//

/// What a run that goes on needs from the one before, and cannot make again.
static bool isSaved(moe::StateKind kind, std::optional<moe::StateRole> role) {
  return kind == moe::StateKind::parameter || kind == moe::StateKind::optimizer || kind == moe::StateKind::balance ||
         role == moe::StateRole::step_counter;
}

moe::StateOp ModelContext::declare(StringRef name, moe::StateKind kind, RankedTensorType type,
                                   const StateTraits &traits) {
  const LayerStack *stack = traits.stack;
  std::string symbol = getSymbol(name.str(), stack);
  if (moe::StateOp known = states.lookup(symbol))
    return known;
  OpBuilder::InsertionGuard guard(b);
  // States stand before the functions, in the order of their declaration.
  auto functions = module.getOps<func::FuncOp>();
  if (functions.empty())
    b.setInsertionPointToEnd(module.getBody());
  else
    b.setInsertionPoint(*functions.begin());
  IntegerAttr count;
  DenseI64ArrayAttr layers;
  if (stack) {
    count = b.getI64IntegerAttr(stack->count);
    layers = b.getDenseI64ArrayAttr({stack->first, stack->step});
  }
  FlatSymbolRefAttr gradientName;
  if (moe::StateOp gradient = traits.gradient)
    gradientName = FlatSymbolRefAttr::get(gradient.getSymNameAttr());
  auto state = moe::StateOp::create(b, b.getStringAttr(symbol), moe::StateKindAttr::get(b.getContext(), kind),
                                    TypeAttr::get(type), count, layers, gradientName);
  if (symbol != name)
    state.setLogicalName(name);
  if (traits.role)
    state.setRole(*traits.role);
  if (!traits.logName.empty())
    state.setLogName(traits.logName);
  state.setSaved(isSaved(kind, traits.role));
  states[symbol] = state;
  return state;
}

moe::StateOp ModelContext::declareStepCounter() {
  return declare("counter.step", moe::StateKind::counter, countType(1, 1), {.role = moe::StateRole::step_counter});
}

moe::StateOp ModelContext::declareBatchSources() {
  return declare("batch.domains", moe::StateKind::batch, idType(microSequences(), 1),
                 {.role = moe::StateRole::batch_sources});
}

moe::StateOp ModelContext::declareTable(StringRef name, const LayerStack &stack, RankedTensorType type,
                                        std::vector<double> numbers) {
  std::string inLayers = "constant." + getNameInLayers(name.str());
  bool isNew = !states.contains(getSymbol(inLayers, &stack));
  moe::StateOp state = declare(inLayers, moe::StateKind::constant, type, {.stack = &stack});
  if (isNew)
    tables.push_back({state, std::move(numbers)});
  return state;
}

void ModelContext::declareParameters() {
  for (ParameterInfo &info : listParameters(experiment)) {
    LocationScope scope(*this, info.loc);
    auto type = RankedTensorType::get(info.shape, t.element);
    const LayerStack *stack = info.stack ? &*info.stack : nullptr;
    moe::StateOp gradient = declare("grad." + info.logicalName, moe::StateKind::gradient, type, {.stack = stack});
    moe::StateOp state =
        declare(info.logicalName, moe::StateKind::parameter, type, {.stack = stack, .gradient = gradient});
    perStep.push_back(gradient);
    parameters.push_back({std::move(info), state, gradient});
  }
}

moe::StateOp ModelContext::getState(StringRef symbol) const {
  moe::StateOp state = states.lookup(symbol);
  assert(state && "state was not declared");
  return state;
}

Value ModelContext::readParameter(StringRef symbol) { return t.read(getState(symbol)); }
Value ModelContext::readParameter(const LayerScope &layer, StringRef name) {
  std::string inLayer = (layer.prefix + name).str();
  if (!layer.index)
    return t.read(getState(inLayer));
  return t.read(getState(getSymbol(getNameInLayers(inLayer), &layer.stack)), layer.index);
}

void ModelContext::accumulate(moe::StateOp state, Value value, Value index) {
  moe::AccumulateOp::create(b, FlatSymbolRefAttr::get(state.getSymNameAttr()), index, value);
}
void ModelContext::write(moe::StateOp state, Value value, Value index) {
  moe::WriteOp::create(b, FlatSymbolRefAttr::get(state.getSymNameAttr()), index, value);
}

void ModelContext::writeZero(moe::StateOp state) {
  RankedTensorType type = state.getTensorType();
  if (state.getCount()) {
    SmallVector<int64_t> shape{state.getCopies()};
    llvm::append_range(shape, type.getShape());
    type = RankedTensorType::get(shape, type.getElementType());
  }
  write(state, arith::ConstantOp::create(b, b.getZeroAttr(type)));
}

void ModelContext::writeFill(moe::StateOp state, double value) {
  RankedTensorType type = state.getTensorType();
  int64_t cols = type.getShape().back();
  t.writeRows(state, t.fill(value, state.getCopies() * type.getNumElements() / cols, cols));
}

std::string ModelContext::claimMetric(StringRef name, Operation *section) {
  bool isKey = llvm::is_contained(options.lineKeys, name);
  Operation *first = metricOwners.try_emplace(name, section).first->second;
  if (!isKey && first == section)
    return name.str();
  // Building goes on under another name, to hear of all such errors.
  std::string other = (name + "#" + exp::pointerOf(section)).str();
  if (!clashes.insert(other).second)
    return other;
  hasErrors = true;
  // At the one that its author named; built-in numbers cannot move.
  if (!isKey && isa<exp::LossOp, exp::WatchOp>(first) && !isa<exp::LossOp, exp::WatchOp>(section))
    std::swap(first, section);
  InFlightDiagnostic diagnostic = exp::report(section, "", exp::Rule::MetricName);
  diagnostic << "\"" << name << "\" is the name of another number in the log; expected a name of its own";
  if (!isKey)
    diagnostic.attachNote(exp::placeOf(first, "")) << "\"" << name << "\" is logged for this";
  else
    diagnostic.attachNote(exp::placeOf(section, "")) << "lines of the log have a \"" << name << "\" of their own";
  return other;
}

moe::StateOp ModelContext::declareMetric(StringRef name, Operation *section, std::optional<moe::StateRole> role) {
  std::string claimed = claimMetric(name, section);
  moe::StateOp state =
      declare("metric." + claimed, moe::StateKind::metric, t.type(1, 1), {.role = role, .logName = claimed});
  perStep.push_back(state);
  return state;
}

//===--- Functions
//----------------------------------------------------------------------------------------------------===//

func::FuncOp ModelContext::beginFunction(StringRef name) {
  b.setInsertionPointToEnd(module.getBody());
  function = func::FuncOp::create(b, name, b.getFunctionType({}, {}));
  stepRead = firstTokenRead = {};
  b.setInsertionPointToStart(function.addEntryBlock());
  return function;
}
void ModelContext::endFunction() { func::ReturnOp::create(b); }

Value ModelContext::stepCounter() {
  if (!stepRead) {
    OpBuilder::InsertionGuard guard(b);
    moe::StateOp counter = declareStepCounter();
    b.setInsertionPointToStart(&function.getBody().front());
    stepRead = t.read(counter);
  }
  return stepRead;
}

// Counted before it is read: the backward, which may read again, sees the same number.
Value ModelContext::firstToken() {
  if (!firstTokenRead) {
    OpBuilder::InsertionGuard guard(b);
    bool isNew = !states.contains("counter.micro_batch");
    moe::StateOp counter = declare("counter.micro_batch", moe::StateKind::counter, countType(1, 1));
    if (isNew)
      perStep.push_back(counter);
    b.setInsertionPointToStart(&function.getBody().front());
    accumulate(counter, arith::ConstantOp::create(b, b.getOneAttr(countType(1, 1))));
    int64_t tokens = microSequences() * seqLen();
    firstTokenRead = t.mapTo(b.getI64Type(), {t.read(counter)}, 1, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.mul(s.sub(x[0], s.integer(1)), s.integer(tokens));
    });
  }
  return firstTokenRead;
}

RankedTensorType ModelContext::idType(int64_t rows, int64_t cols) {
  return RankedTensorType::get({rows, cols}, b.getI32Type());
}
RankedTensorType ModelContext::countType(int64_t rows, int64_t cols) {
  return RankedTensorType::get({rows, cols}, b.getI64Type());
}

} // namespace moec
