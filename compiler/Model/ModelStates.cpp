#include "compiler/Model/ModelStates.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec {

moe::StateOp ModelStates::declare(StringRef symbol, moe::StateKind kind, RankedTensorType type, const LayerSlot *slot,
                                  moe::StateOp gradient) {
  if (moe::StateOp first = known.lookup(symbol))
    return first;
  OpBuilder::InsertionGuard guard(b);
  // States stand before the functions, in the order of their declaration.
  auto functions = module.getOps<func::FuncOp>();
  if (functions.empty())
    b.setInsertionPointToEnd(module.getBody());
  else
    b.setInsertionPoint(*functions.begin());
  IntegerAttr count;
  DenseI64ArrayAttr layers;
  if (slot) {
    count = b.getI64IntegerAttr(slot->count);
    layers = b.getDenseI64ArrayAttr({slot->first, slot->step});
  }
  FlatSymbolRefAttr gradientName;
  if (gradient)
    gradientName = FlatSymbolRefAttr::get(gradient.getSymNameAttr());
  auto state = moe::StateOp::create(b, b.getStringAttr(symbol), moe::StateKindAttr::get(b.getContext(), kind),
                                    TypeAttr::get(type), count, layers, gradientName);
  known[symbol] = state;
  return state;
}

moe::StateOp ModelStates::declareTable(StringRef name, const LayerSlot &slot, RankedTensorType type,
                                       std::vector<double> numbers) {
  std::string symbol = "constant." + getSlotSymbol(slot, name.str());
  bool isNew = !known.contains(symbol);
  moe::StateOp state = declare(symbol, moe::StateKind::constant, type, &slot);
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

moe::StateOp ModelStates::declareMetric(StringRef name, Operation *section) {
  moe::StateOp state =
      declare("metric." + claimMetric(name, section), moe::StateKind::metric, RankedTensorType::get({1, 1}, element));
  zeroEachStep(state);
  return state;
}

} // namespace moec
