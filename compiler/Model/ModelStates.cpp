#include "compiler/Model/ModelStates.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec {

/// Whether a resumed run needs the state and cannot make it again.
static bool isSaved(moe::StateKind kind, std::optional<moe::StateRole> role) {
  return kind == moe::StateKind::parameter || kind == moe::StateKind::optimizer || kind == moe::StateKind::balance ||
         role == moe::StateRole::step_counter;
}

moe::StateOp ModelStates::declare(StringRef name, moe::StateKind kind, RankedTensorType type,
                                  const StateTraits &traits) {
  const LayerStack *stack = traits.stack;
  std::string symbol = getSymbol(name.str(), stack);
  if (moe::StateOp first = known.lookup(symbol))
    return first;
  OpBuilder::InsertionGuard guard(b);
  // States come before the functions, in the order of their declaration.
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
  known[symbol] = state;
  return state;
}

moe::StateOp ModelStates::declareTable(StringRef name, const LayerStack &stack, RankedTensorType type,
                                       std::vector<double> numbers) {
  std::string inLayers = "constant." + getNameInLayers(name.str());
  bool isNew = !known.contains(getSymbol(inLayers, &stack));
  moe::StateOp state = declare(inLayers, moe::StateKind::constant, type, {.stack = &stack});
  if (isNew)
    tables.push_back({state, std::move(numbers)});
  return state;
}

moe::StateOp ModelStates::getState(StringRef symbol) const {
  moe::StateOp state = known.lookup(symbol);
  assert(state && "state was not declared");
  return state;
}

std::string ModelStates::claimMetric(StringRef name, Operation *section) {
  bool isKey = llvm::is_contained(lineKeys, name);
  Operation *first = metricOwners.try_emplace(name, section).first->second;
  if (!isKey && first == section)
    return name.str();
  // Building goes on with another name, so that all such errors are reported.
  std::string other = (name + "#" + exp::pointerOf(section)).str();
  if (!clashes.insert(other).second)
    return other;
  hasErrors = true;
  // Report at the section whose name the author chose; built-in names cannot change.
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

moe::StateOp ModelStates::declareMetric(StringRef name, Operation *section, std::optional<moe::StateRole> role) {
  std::string claimed = claimMetric(name, section);
  moe::StateOp state = declare("metric." + claimed, moe::StateKind::metric, RankedTensorType::get({1, 1}, element),
                               {.role = role, .logName = claimed});
  zeroEachStep(state);
  return state;
}

} // namespace moec
