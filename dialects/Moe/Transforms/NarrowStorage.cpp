// Decides what lies in memory as bf16 or as f8, and puts casts where values enter and leave dispatches.
#include "dialects/Moe/Analysis/Values.h"
#include "dialects/Moe/IR/FunctionNames.h"
#include "dialects/Moe/IR/Quantization.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/IntEqClasses.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOENARROWSTORAGE
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

bool isFloat(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && isa<FloatType>(type.getElementType());
}

Type withElement(Type type, Type element) { return cast<RankedTensorType>(type).clone(element); }

/// Whether a tensor core reads this operand, of a product or of attention.
bool readsFactor(OpOperand &use) {
  Operation *op = use.getOwner();
  auto facts = dyn_cast<FactsOpInterface>(op);
  if (facts && facts.isFactor(use.getOperandNumber()))
    return true;
  // Picking rows and views inside a dispatch happen in the product's loads.
  return (pickedRows(op) || isView(op)) && use.getOperandNumber() == 0 &&
         llvm::any_of(op->getUses(), [](OpOperand &inner) { return readsFactor(inner); });
}

//===--- Copies of parameters -------------------------------------------------------------------------------------===//

/// Gives every parameter that products read a copy in the narrow type, written wherever the parameter is.
class ParameterCopies {
public:
  explicit ParameterCopies(ModuleOp module) : module(module) {}

  void build() {
    for (StateOp state : module.getOps<StateOp>())
      if (state.getKind() == StateKind::parameter)
        parameters[state.getSymName()] = state;
    module.walk([&](ReadOp read) {
      if (parameters.contains(read.getState()) && llvm::any_of(read->getUses(), readsFactor))
        declareCopy(parameters.lookup(read.getState()));
    });
    module.walk([&](Operation *op) {
      if (auto read = dyn_cast<ReadOp>(op))
        redirect(read);
      else if (auto write = dyn_cast<WriteOp>(op))
        follow(write);
      else if (staysApart(op) && isSink(op))
        followGathered(op);
    });
    if (!copied.empty())
      buildRefresh();
  }

private:
  void declareCopy(StateOp parameter) {
    StateOp &copy = copies[parameter.getSymName()];
    if (copy)
      return;
    OpBuilder b(parameter);
    b.setInsertionPointAfter(parameter);
    copy = StateOp::create(b, parameter.getLoc(), b.getStringAttr("copy." + parameter.getSymName()),
                           StateKindAttr::get(b.getContext(), StateKind::copy), parameter.getTypeAttr(),
                           parameter.getCountAttr(), parameter.getLayersAttr(), FlatSymbolRefAttr());
    if (parameter.getLogicalName())
      copy.setLogicalName(("copy." + parameter.getName()).str());
    copied.push_back(parameter);
  }

  FlatSymbolRefAttr copyOf(StringRef parameter) {
    StateOp copy = copies.lookup(parameter);
    return copy ? FlatSymbolRefAttr::get(copy.getSymNameAttr()) : FlatSymbolRefAttr();
  }

  // Rows of a table are taken from the copy too when there is one: they are rounded anyway.
  void redirect(ReadOp read) {
    FlatSymbolRefAttr copy = copyOf(read.getState());
    auto isRounded = [](OpOperand &use) {
      auto facts = dyn_cast<FactsOpInterface>(use.getOwner());
      return facts && use.getOwner()->getNumResults() && facts.getStorage(0) == Storage::narrow;
    };
    if (!copy || !llvm::all_of(read->getUses(), [&](OpOperand &use) { return readsFactor(use) || isRounded(use); }))
      return;
    read.setStateAttr(copy);
  }

  void follow(WriteOp write) {
    FlatSymbolRefAttr copy = copyOf(write.getState());
    if (!copy)
      return;
    OpBuilder b(write);
    b.setInsertionPointAfter(write);
    WriteOp::create(b, write.getLoc(), copy, write.getIndex(), write.getValue());
  }

  // What arrived from other ranks is rounded where it lies.
  void followGathered(Operation *op) {
    StringRef name = cast<StateAccessOpInterface>(op).getStateAttr().getValue();
    if (!copyOf(name))
      return;
    OpBuilder b(op);
    b.setInsertionPointAfter(op);
    buildCopy(b, parameters.lookup(name));
  }

  /// A dispatch that rounds all of a parameter into its copy.
  void buildCopy(OpBuilder &b, StateOp parameter) {
    Location loc = parameter.getLoc();
    auto dispatch = DispatchOp::create(b, loc, TypeRange(), ValueRange(), b.getStringAttr(kRowKind), StringAttr());
    OpBuilder inside = OpBuilder::atBlockBegin(&dispatch.getBody().emplaceBlock());
    RankedTensorType type = parameter.getTensorType();
    int64_t columns = type.getShape().back();
    auto rows = RankedTensorType::get({parameter.getTotalElements() / columns, columns}, type.getElementType());
    Value value = ReadOp::create(inside, loc, rows, FlatSymbolRefAttr::get(parameter.getSymNameAttr()), Value());
    WriteOp::create(inside, loc, copyOf(parameter.getSymName()), Value(), value);
    YieldOp::create(inside, loc, ValueRange());
  }

  void buildRefresh() {
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    auto function = module.lookupSymbol<func::FuncOp>(kRefreshFunction);
    if (function) { // which makes quantised copies
      b.setInsertionPoint(function.getBody().back().getTerminator());
    } else {
      function = func::FuncOp::create(b, module.getLoc(), kRefreshFunction, b.getFunctionType({}, {}));
      b.setInsertionPointToStart(function.addEntryBlock());
      func::ReturnOp::create(b, module.getLoc());
      b.setInsertionPointToStart(&function.getBody().front());
    }
    for (StateOp parameter : copied)
      buildCopy(b, parameter);
  }

  ModuleOp module;
  llvm::StringMap<StateOp> parameters, copies;
  SmallVector<StateOp> copied;
};

//===--- Values between dispatches --------------------------------------------------------------------------------===//

/// Values that are the same memory (views, what a repeat carries) have one type: a class. A class is narrow when any of
/// its members is made narrow, or is read by a product; it lies as f8 when its members were rounded to that.
class Classes {
public:
  Classes(func::FuncOp function, FloatType narrow) : narrowType(narrow) {
    function.walk<WalkOrder::PreOrder>([&](Operation *op) {
      for (Value result : op->getResults())
        add(result);
      if (auto dispatch = dyn_cast<DispatchOp>(op)) {
        dispatches.push_back(dispatch);
        return WalkResult::skip();
      }
      if (staysApart(op) && isSink(op))
        apartSinks.push_back(cast<StateAccessOpInterface>(op));
      if (auto repeat = dyn_cast<RepeatOp>(op))
        for (Value argument : repeat.getBlock()->getArguments())
          add(argument);
      return WalkResult::advance();
    });
    classes.grow(values.size());
    for (Value value : values) {
      if (auto reshape = value.getDefiningOp<ReshapeOp>())
        join(value, reshape.getInput());
      if (auto repeat = dyn_cast_if_present<RepeatOp>(value.getDefiningOp()))
        joinRepeat(repeat);
      if (staysApart(value.getDefiningOp())) // moves bytes as they lie
        for (Value operand : value.getDefiningOp()->getOperands())
          join(value, operand);
    }
    classes.compress();
    storage.assign(classes.getNumClasses(), FloatType());
  }

  /// Fixpoint over the dispatches. `storageOfState`: null where a state is wide.
  void solve(function_ref<FloatType(StringRef)> storageOfState) {
    for (Value value : values)
      if (auto read = value.getDefiningOp<ReadOp>())
        mark(value, storageOfState(read.getState()));
    for (StateAccessOpInterface sink : apartSinks)
      mark(sink.getStored(), storageOfState(sink.getStateAttr().getValue()));
    do {
      changed = false;
      for (DispatchOp dispatch : dispatches)
        visit(dispatch);
    } while (changed);
  }

  /// The element type in memory, when it is another than that of the value; else null.
  FloatType storageOf(Value value) const {
    auto found = numbers.find(value);
    return found != numbers.end() ? storage[classes[found->second]] : FloatType();
  }
  ArrayRef<Value> getValues() const { return values; }
  ArrayRef<DispatchOp> getDispatches() const { return dispatches; }

private:
  void add(Value value) {
    if (isFloat(value)) {
      numbers[value] = values.size();
      values.push_back(value);
    }
  }
  void join(Value a, Value b) {
    if (isFloat(a) && isFloat(b))
      classes.join(numbers.lookup(a), numbers.lookup(b));
  }
  void joinRepeat(RepeatOp repeat) {
    OperandRange yields = repeat.getYield().getValues();
    for (auto [init, argument, yielded, final] :
         llvm::zip(repeat.getInits(), repeat.getCarryArguments(), yields, repeat.getFinals())) {
      join(init, argument);
      join(argument, yielded);
      join(yielded, final);
    }
    for (auto [stacked, slice] : llvm::zip(repeat.getStacked(), repeat.getSliceArguments()))
      join(stacked, slice);
    for (auto [out, yielded] : llvm::zip(repeat.getOuts(), yields.drop_front(repeat.getCarried())))
      join(out, yielded);
  }
  /// The narrowest wins: only what was rounded to it is marked as f8.
  void mark(Value value, FloatType type) {
    auto found = numbers.find(value);
    if (!type || found == numbers.end())
      return;
    FloatType &known = storage[classes[found->second]];
    if (known && known.getWidth() <= type.getWidth())
      return;
    known = type;
    changed = true;
  }

  void visit(DispatchOp dispatch) {
    Inside inside;
    for (auto [argument, input] : llvm::zip(dispatch.getBlock()->getArguments(), dispatch.getInputs())) {
      if (FloatType type = storageOf(input))
        inside[argument] = type;
      if (llvm::any_of(argument.getUses(), readsFactor))
        mark(input, narrowType);
    }
    for (Operation &op : dispatch.getBlock()->without_terminator())
      for (OpResult result : op.getResults())
        if (FloatType type = isFloat(result) ? storageWhenMade(result, inside) : FloatType())
          inside[result] = type;
    for (auto [yielded, result] : llvm::zip(dispatch.getYield().getValues(), dispatch.getResults()))
      mark(result, inside.lookup(yielded));
  }

  /// Values of a dispatch's body, and how they would lie in memory if they were stored; not those that stay wide.
  using Inside = llvm::DenseMap<Value, FloatType>;

  FloatType storageWhenMade(OpResult result, const Inside &inside) const {
    Operation *op = result.getOwner();
    auto facts = dyn_cast<FactsOpInterface>(op);
    if (!facts) // a constant
      return {};
    if (auto map = dyn_cast<MapOp>(op))
      if (FloatType type = roundedTo(map.getYield().getValues()[result.getResultNumber()]))
        return type;
    auto type = cast<RankedTensorType>(result.getType());
    bool isStatistic = type.getShape().back() == 1; // of a row: it keeps its precision
    switch (facts.getStorage(result.getResultNumber())) {
    case Storage::wide:
      return {};
    case Storage::narrow:
      return narrowType;
    case Storage::float8:
      return Float8E4M3FNType::get(op->getContext());
    case Storage::likeInput:
      return isStatistic ? FloatType() : inside.lookup(op->getOperand(0));
    case Storage::narrowWithInput:
      return !isStatistic && inside.contains(op->getOperand(0)) ? narrowType : FloatType();
    case Storage::elementwise:
      break;
    }
    bool joinsNarrow = llvm::any_of(op->getOperands(), [&](Value operand) {
      auto other = dyn_cast<RankedTensorType>(operand.getType());
      return other && other.getShape() == type.getShape() && inside.contains(operand);
    });
    return !isStatistic && joinsNarrow ? narrowType : FloatType();
  }

  SmallVector<Value> values;
  llvm::DenseMap<Value, unsigned> numbers;
  SmallVector<DispatchOp> dispatches;
  SmallVector<StateAccessOpInterface> apartSinks; // they store bytes as they lie
  llvm::IntEqClasses classes;
  SmallVector<FloatType> storage; // of each class
  FloatType narrowType;
  bool changed = false;
};

//===--- Types and casts ------------------------------------------------------------------------------------------===//

/// `value` in the narrow type, for a place that stores it.
Value narrowed(OpBuilder &b, Value value, Type element) {
  Type type = withElement(value.getType(), element);
  if (auto widened = value.getDefiningOp<CastOp>(); widened && widened.getInput().getType() == type)
    return widened.getInput();
  if (isZero(value)) // zeros stay a constant: writing them is a fill
    return arith::ConstantOp::create(b, value.getLoc(), cast<TypedAttr>(b.getZeroAttr(type)));
  return CastOp::create(b, value.getLoc(), type, value);
}

/// Gives `value` the narrow type, and its users the wide one.
void widenUses(OpBuilder &b, Value value, Type element) {
  Type wide = value.getType();
  value.setType(withElement(wide, element));
  if (value.use_empty())
    return;
  auto cast = CastOp::create(b, value.getLoc(), wide, value);
  value.replaceAllUsesExcept(cast.getResult(), cast);
}

struct NarrowStoragePass : impl::MoeNarrowStorageBase<NarrowStoragePass> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!master)
      ParameterCopies(module).build();
    if (!narrow)
      return;
    element = BFloat16Type::get(&getContext());
    narrowStates(module);
    for (auto function : module.getOps<func::FuncOp>()) {
      if (failed(checkFacts(function)))
        return signalPassFailure();
      Classes classes(function, element);
      classes.solve([&](StringRef name) { return stateStorage.lookup(name); });
      if (failed(narrowValues(classes)))
        return signalPassFailure();
    }
  }

private:
  /// Ops in dispatches say how their results lie in memory.
  static LogicalResult checkFacts(func::FuncOp function) {
    WalkResult walked = function.walk([](DispatchOp dispatch) -> WalkResult {
      for (Operation &op : *dispatch.getBlock())
        if (!factsOf(&op) && !computesNothing(&op))
          return op.emitOpError("internal: has no facts, so nothing says how its results lie in memory");
      return WalkResult::advance();
    });
    return failure(walked.wasInterrupted());
  }

  void narrowStates(ModuleOp module) {
    for (StateOp state : module.getOps<StateOp>()) {
      StateKind kind = state.getKind();
      bool chosen = kind == StateKind::copy || (kind == StateKind::parameter && master) ||
                    (kind == StateKind::optimizer && optimizer) || (kind == StateKind::gradient && gradients);
      if (!chosen || !isa<FloatType>(state.getTensorType().getElementType()) || state->hasAttr("moe.full_precision"))
        continue;
      FloatType type = state->hasAttr("moe.quantized") ? Float8E4M3FNType::get(&getContext()) : element;
      state.setType(withElement(state.getTensorType(), type));
      stateStorage[state.getSymName()] = type;
    }
  }

  LogicalResult narrowValues(const Classes &classes) {
    for (DispatchOp dispatch : classes.getDispatches())
      narrowInside(dispatch, classes);
    for (Value value : classes.getValues()) {
      FloatType type = classes.storageOf(value);
      if (!type)
        continue;
      Operation *op = value.getDefiningOp();
      if (isa_and_present<ReadOp>(op) && !stateStorage.contains(cast<ReadOp>(op).getState()))
        return op->emitOpError("is read by a product outside a dispatch, but its state is wide");
      value.setType(withElement(value.getType(), type));
      if (auto constant = dyn_cast_if_present<arith::ConstantOp>(op)) {
        if (!cast<DenseElementsAttr>(constant.getValue()).getSplatValue<APFloat>().isPosZero())
          return op->emitOpError("starts a narrow value with something else than zero");
        constant.setValueAttr(cast<TypedAttr>(Builder(op).getZeroAttr(value.getType())));
      }
    }
    return success();
  }

  void narrowInside(DispatchOp dispatch, const Classes &classes) {
    Block *block = dispatch.getBlock();
    OpBuilder b(&getContext());
    for (Operation &op : llvm::make_early_inc_range(*block)) {
      auto access = dyn_cast<StateAccessOpInterface>(op);
      FloatType type = access ? stateStorage.lookup(access.getStateAttr().getValue()) : FloatType();
      if (!type)
        continue;
      if (auto read = dyn_cast<ReadOp>(op)) {
        b.setInsertionPointAfter(read);
        widenUses(b, read.getResult(), type);
      } else {
        OpOperand &stored = op.getOpOperand(op.getNumOperands() - 1);
        b.setInsertionPoint(&op);
        stored.set(narrowed(b, stored.get(), type));
      }
    }
    b.setInsertionPointToStart(block);
    for (auto [argument, input] : llvm::zip(block->getArguments(), dispatch.getInputs()))
      if (FloatType type = classes.storageOf(input))
        widenUses(b, argument, type);
    b.setInsertionPoint(dispatch.getYield());
    for (auto [operand, result] : llvm::zip(dispatch.getYield()->getOpOperands(), dispatch.getResults()))
      if (FloatType type = classes.storageOf(result))
        operand.set(narrowed(b, operand.get(), type));
  }

  FloatType element;
  llvm::StringMap<FloatType> stateStorage; // of narrow states
};

} // namespace
} // namespace moec::moe
