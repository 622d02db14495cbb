#include "compiler/Model/ModelContext.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {

/// What dispatches compute with; moe-narrow-storage decides what lies in memory as something narrower.
static Type getElementType(exp::ExperimentOp experiment, const ModelOptions &options) {
  Builder builder(experiment.getContext());
  bool wide = options.wide || experiment.section<exp::PrecisionOp>().getCompute() == exp::ComputeFormat::f64;
  return wide ? Type(builder.getF64Type()) : Type(builder.getF32Type());
}

ModelContext::ModelContext(exp::ExperimentOp experiment, ModuleOp module, const ModelOptions &options,
                           ModelMethods methods)
    : experiment(experiment), module(module), options(options), model(experiment.section<exp::ModelOp>()),
      attention(experiment.section<exp::AttentionOp>()), ffn(experiment.section<exp::FfnOp>()),
      moe(experiment.section<exp::MoeOp>()), router(experiment.section<exp::RouterOp>()),
      optimizer(experiment.section<exp::OptimizerOp>()),
      b(ImplicitLocOpBuilder::atBlockEnd(experiment.getLoc(), module.getBody())),
      t(b, getElementType(experiment, options)), segments(formSegments(experiment)), methods(std::move(methods)),
      states(b, module, t.element, options.lineKeys) {}

ParameterTraits ModelContext::getTraits(const ParameterInfo &info) const {
  ParameterTraits traits;
  traits.name = info.logicalName;
  traits.copies = info.getCopies();
  traits.rows = info.shape[info.shape.size() - 2];
  traits.cols = info.shape.back();
  traits.matrices = info.getElements() / (traits.rows * traits.cols);
  traits.role = info.role;
  if (info.stddev) {
    double stddev = *info.stddev;
    if (methods.scaling)
      stddev = methods.scaling->getInitialStd(*exp::OptimizerOp(optimizer).getScaling(), methods.run, traits, stddev);
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

moe::StateOp ModelContext::declareStepCounter() {
  return states.declare("counter.step", moe::StateKind::counter, countType(1, 1),
                        {.role = moe::StateRole::step_counter});
}

moe::StateOp ModelContext::declareBatchSources() {
  return states.declare("batch.domains", moe::StateKind::batch, idType(microSequences(), 1),
                        {.role = moe::StateRole::batch_sources});
}

void ModelContext::declareParameters() {
  for (ParameterInfo &info : listParameters(experiment)) {
    LocationScope scope(*this, info.loc);
    auto type = RankedTensorType::get(info.shape, t.element);
    const LayerStack *stack = info.stack ? &*info.stack : nullptr;
    moe::StateOp gradient =
        states.declare("grad." + info.logicalName, moe::StateKind::gradient, type, {.stack = stack});
    moe::StateOp state =
        states.declare(info.logicalName, moe::StateKind::parameter, type, {.stack = stack, .gradient = gradient});
    states.zeroEachStep(gradient);
    parameters.push_back({std::move(info), state, gradient});
  }
}

Value ModelContext::readParameter(StringRef symbol) { return t.read(states.getState(symbol)); }
Value ModelContext::readParameter(const LayerScope &layer, StringRef name) {
  std::string inLayer = (layer.prefix + name).str();
  if (!layer.index)
    return t.read(states.getState(inLayer));
  return t.read(states.getState(getSymbol(getNameInLayers(inLayer), &layer.stack)), layer.index);
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
    moe::StateOp counter = states.declare("counter.micro_batch", moe::StateKind::counter, countType(1, 1));
    counter->setAttr(moe::kMicroBatchIndex, b.getUnitAttr());
    states.zeroEachStep(counter);
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
