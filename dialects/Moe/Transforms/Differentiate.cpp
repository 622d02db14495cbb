// Appends the backward of a function's loss. The pass has three parts: it finds the values that have a gradient
// (activity), walks over one block in reverse, and makes the backward of moe.repeat with the values that the forward
// keeps for it.
#include "dialects/Moe/IR/MoeBuild.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEDIFFERENTIATE
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

using GradientMap = llvm::DenseMap<Value, Value>;
using ValueSet = llvm::DenseSet<Value>;

bool isFloatTensor(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && isa<FloatType>(type.getElementType());
}

/// Values of the body that come from outside of the repeat, in order of first use.
llvm::SetVector<Value> getCaptured(RepeatOp repeat) {
  llvm::SetVector<Value> captured;
  repeat.getBody().walk([&](Operation *op) {
    for (Value operand : op->getOperands())
      if (!repeat.getBody().isAncestor(operand.getParentRegion()))
        captured.insert(operand);
  });
  return captured;
}

class Differentiator {
public:
  explicit Differentiator(func::FuncOp func) : func(func) {}
  LogicalResult run();

private:
  void markActive(Block &block);
  void markReached(Block &block, ValueSet &reached);
  void addGradient(OpBuilder &builder, GradientMap &grads, Value value, Value grad);
  LogicalResult visitBlock(Block &block, Operation *end, OpBuilder &builder, GradientMap &grads);
  LogicalResult visitOp(Operation *op, OpBuilder &builder, GradientMap &grads);
  LogicalResult visitRepeat(RepeatOp forward, OpBuilder &builder, GradientMap &grads);
  void provideForwardValues(RepeatOp forward, RepeatOp backward);

  func::FuncOp func;
  /// Float values that depend on a parameter with a gradient state.
  ValueSet active;
  /// States that the function changes: reading them again would give another value.
  llvm::DenseSet<Attribute> changed;
};

//===--- Activity -------------------------------------------------------------------------------------------------===//

void Differentiator::markActive(Block &block) {
  for (Operation &op : block) {
    if (auto repeat = dyn_cast<RepeatOp>(op)) {
      // The body may make carried values active, so repeat until no value is added.
      auto copy = [&](auto from, auto to) {
        for (auto [source, target] : llvm::zip_equal(from, to))
          if (active.contains(source))
            active.insert(target);
      };
      auto values = [&] { return repeat.getYield().getValues(); };
      size_t before;
      do {
        before = active.size();
        copy(repeat.getInits(), repeat.getCarryArguments());
        copy(repeat.getStacked(), repeat.getSliceArguments());
        markActive(*repeat.getBlock());
        copy(values().take_front(repeat.getCarried()), repeat.getCarryArguments());
      } while (active.size() != before);
      copy(values(), repeat.getResults());
      continue;
    }
    bool isActive = llvm::any_of(op.getOperands(), [&](Value v) { return active.contains(v); });
    if (auto read = dyn_cast<ReadOp>(op)) {
      auto state = SymbolTable::lookupNearestSymbolFrom<StateOp>(read, read.getStateAttr());
      isActive = state && state.getKind() == StateKind::parameter && state.getGradientAttr();
    }
    if (isActive && !op.hasAttr("moe.stop_gradient"))
      for (Value result : op.getResults())
        if (isFloatTensor(result))
          active.insert(result);
  }
}

// Adds to `reached` the values of the block that have a gradient, given that the values in `reached` have one.
void Differentiator::markReached(Block &block, ValueSet &reached) {
  auto reach = [&](Value value) {
    if (active.contains(value))
      reached.insert(value);
  };
  for (Operation &op : llvm::reverse(block)) {
    if (llvm::none_of(op.getResults(), [&](Value v) { return reached.contains(v); }))
      continue;
    llvm::for_each(op.getOperands(), reach);
    // All values that a nested repeat reads. A value too many only costs a gradient of zeros.
    if (auto repeat = dyn_cast<RepeatOp>(op))
      for (Value value : getCaptured(repeat))
        reach(value);
  }
}

//===--- Reverse walk ---------------------------------------------------------------------------------------------===//

void Differentiator::addGradient(OpBuilder &builder, GradientMap &grads, Value value, Value grad) {
  if (!grad || !active.contains(value))
    return;
  Value &sum = grads[value];
  sum = sum ? buildSum(builder, grad.getLoc(), sum, grad) : grad;
}

LogicalResult Differentiator::visitBlock(Block &block, Operation *end, OpBuilder &builder, GradientMap &grads) {
  SmallVector<Operation *> ops;
  for (auto it = block.begin(); &*it != end; ++it)
    ops.push_back(&*it);
  for (Operation *op : llvm::reverse(ops)) {
    if (llvm::none_of(op->getResults(), [&](Value v) { return grads.contains(v); }))
      continue;
    auto repeat = dyn_cast<RepeatOp>(op);
    if (failed(repeat ? visitRepeat(repeat, builder, grads) : visitOp(op, builder, grads)))
      return failure();
  }
  return success();
}

LogicalResult Differentiator::visitOp(Operation *op, OpBuilder &builder, GradientMap &grads) {
  auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
  if (!differentiable)
    return op->emitOpError("lies between a parameter and the loss, but has no backward");
  SmallVector<Value> resultGrads, operandGrads(op->getNumOperands());
  SmallVector<bool> needed;
  for (Value result : op->getResults())
    resultGrads.push_back(grads.lookup(result));
  for (Value operand : op->getOperands())
    needed.push_back(active.contains(operand));
  if (failed(differentiable.buildBackward(builder, resultGrads, needed, operandGrads)))
    return failure();
  for (auto [operand, grad] : llvm::zip_equal(op->getOperands(), operandGrads))
    addGradient(builder, grads, operand, grad);
  return success();
}

//===--- Repeat ---------------------------------------------------------------------------------------------------===//

LogicalResult Differentiator::visitRepeat(RepeatOp forward, OpBuilder &builder, GradientMap &grads) {
  Location loc = forward.getLoc();
  Block *body = forward.getBlock();
  size_t carried = forward.getCarried();
  SmallVector<Value> yielded(forward.getYield().getValues());
  SmallVector<Value> carries(forward.getCarryArguments()), slices(forward.getSliceArguments());

  // Which carried values have a gradient in some iteration: the next iteration's argument is this one's yielded value.
  ValueSet reached;
  auto reach = [&](Value value) {
    if (active.contains(value))
      reached.insert(value);
  };
  for (auto [value, result] : llvm::zip_equal(yielded, forward.getResults()))
    if (grads.contains(result))
      reach(value);
  for (size_t before = ~size_t(0); before != reached.size();) {
    before = reached.size();
    markReached(*body, reached);
    for (size_t i = 0; i < carried; ++i)
      if (reached.contains(carries[i]))
        reach(yielded[i]);
  }

  // Operands of the backward: gradients of carried values, of captured values (from zero), then of stacked results by
  // slice.
  SmallVector<unsigned> gradCarries, gradOuts;
  SmallVector<Value> inits, stacked, gradCaptured;
  auto orZero = [&](Value grad, Value like) {
    return grad ? grad : buildSplat(builder, loc, cast<RankedTensorType>(like.getType()), 0);
  };
  for (size_t i = 0; i < carried; ++i)
    if (active.contains(carries[i]) && (reached.contains(carries[i]) || reached.contains(yielded[i]))) {
      gradCarries.push_back(i);
      inits.push_back(orZero(grads.lookup(forward.getResult(i)), carries[i]));
    }
  for (Value value : getCaptured(forward))
    if (reached.contains(value)) {
      gradCaptured.push_back(value);
      inits.push_back(orZero(Value(), value));
    }
  for (size_t i = carried; i < yielded.size(); ++i)
    if (Value grad = grads.lookup(forward.getResult(i)); grad && active.contains(yielded[i])) {
      gradOuts.push_back(i);
      stacked.push_back(grad);
    }
  SmallVector<unsigned> gradSlices;
  SmallVector<Type> outTypes;
  for (auto [index, slice] : llvm::enumerate(slices))
    if (reached.contains(slice)) {
      gradSlices.push_back(index);
      outTypes.push_back(forward.getStacked()[index].getType());
    }

  auto backward = RepeatOp::create(builder, loc, inits, stacked, outTypes, forward.getCount(), !forward.getReverse());
  OpBuilder inner = OpBuilder::atBlockEnd(backward.getBlock());
  GradientMap bodyGrads;
  auto carryArgs = backward.getCarryArguments();
  for (auto [arg, index] : llvm::zip(carryArgs, gradCarries))
    addGradient(inner, bodyGrads, yielded[index], arg);
  for (auto [arg, index] : llvm::zip_equal(backward.getSliceArguments(), gradOuts))
    addGradient(inner, bodyGrads, yielded[index], arg);
  if (failed(visitBlock(*body, body->getTerminator(), inner, bodyGrads)))
    return failure();

  SmallVector<Value> next;
  auto orZeroInside = [&](Value like) {
    Value grad = bodyGrads.lookup(like);
    return grad ? grad : buildSplat(inner, loc, cast<RankedTensorType>(like.getType()), 0);
  };
  for (unsigned index : gradCarries)
    next.push_back(orZeroInside(carries[index]));
  for (auto [arg, value] : llvm::zip_equal(carryArgs.drop_front(gradCarries.size()), gradCaptured)) {
    Value grad = bodyGrads.lookup(value);
    next.push_back(grad ? buildSum(inner, loc, arg, grad) : Value(arg));
  }
  for (unsigned index : gradSlices)
    next.push_back(orZeroInside(slices[index]));
  YieldOp::create(inner, loc, next);

  for (auto [index, grad] : llvm::zip(gradCarries, backward.getFinals()))
    addGradient(builder, grads, forward.getInits()[index], grad);
  for (auto [value, grad] : llvm::zip_equal(gradCaptured, backward.getFinals().drop_front(gradCarries.size())))
    addGradient(builder, grads, value, grad);
  for (auto [index, grad] : llvm::zip_equal(gradSlices, backward.getOuts()))
    addGradient(builder, grads, forward.getStacked()[index], grad);
  provideForwardValues(forward, backward);
  return success();
}

// The backward's body was written in terms of values of the forward's body. Each is now read again, computed again, or
// kept.
void Differentiator::provideForwardValues(RepeatOp forward, RepeatOp backward) {
  Block *from = forward.getBlock(), *to = backward.getBlock();
  // Only values that are still used may count as needed.
  eraseDeadOps(*to);

  IRMapping mapping;
  mapping.map(forward.getIndexArgument(), backward.getIndexArgument());
  auto addStacked = [&](Value stack, Type sliceType) {
    backward->insertOperands(backward->getNumOperands(), stack);
    return to->addArgument(sliceType, stack.getLoc());
  };

  // New stacked results exist once the forward repeat is rebuilt; until then their slices stand for them.
  SmallVector<Value> saved;
  SmallVector<BlockArgument> savedArgs;
  auto isComputedAgain = [&](Operation *op) {
    if (auto read = dyn_cast<ReadOp>(op))
      return !changed.contains(read.getStateAttr());
    return op->hasAttr("moe.remat") || op->hasTrait<OpTrait::ConstantLike>();
  };
  std::function<void(Value, Operation *)> provide = [&](Value value, Operation *user) {
    if (value.getParentBlock() != from || mapping.contains(value))
      return;
    if (auto arg = dyn_cast<BlockArgument>(value); arg && arg.getArgNumber() > forward.getCarried()) {
      unsigned index = arg.getArgNumber() - 1 - forward.getCarried();
      mapping.map(value, addStacked(forward.getStacked()[index], value.getType()));
      return;
    }
    Operation *op = value.getDefiningOp();
    if (op && isComputedAgain(op)) {
      for (Value operand : op->getOperands())
        provide(operand, user);
      OpBuilder builder(user);
      builder.clone(*op, mapping);
      return;
    }
    saved.push_back(value);
    BlockArgument arg = to->addArgument(value.getType(), value.getLoc());
    savedArgs.push_back(arg);
    mapping.map(value, arg);
  };
  for (Operation &op : llvm::make_early_inc_range(*to))
    op.walk([&](Operation *nested) {
      for (OpOperand &operand : nested->getOpOperands()) {
        provide(operand.get(), &op);
        operand.set(mapping.lookupOrDefault(operand.get()));
      }
    });
  if (saved.empty())
    return;

  // Arguments of kept values and of passed-on stacks may alternate; operands have to follow the arguments' order.
  OpBuilder builder(forward);
  int64_t count = forward.getCount();
  SmallVector<Type> outTypes(forward.getOuts().getTypes());
  for (Value value : saved) {
    auto type = cast<RankedTensorType>(value.getType());
    SmallVector<int64_t> shape{count};
    llvm::append_range(shape, type.getShape());
    outTypes.push_back(RankedTensorType::get(shape, type.getElementType()));
  }
  auto rebuilt = RepeatOp::create(builder, forward.getLoc(), forward.getInits(), forward.getStacked(), outTypes, count,
                                  forward.getReverse());
  rebuilt->setDiscardableAttrs(forward->getDiscardableAttrDictionary());
  YieldOp yield = forward.getYield();
  yield->insertOperands(yield->getNumOperands(), saved);
  rebuilt.getBody().takeBody(forward.getBody());
  forward->replaceAllUsesWith(rebuilt->getResults().take_front(forward->getNumResults()));
  forward.erase();
  for (auto [arg, stack] : llvm::zip_equal(savedArgs, rebuilt->getResults().take_back(saved.size())))
    backward->insertOperands(arg.getArgNumber() - 1, stack);
}

//===--- Function -------------------------------------------------------------------------------------------------===//

LogicalResult Differentiator::run() {
  if (!func.getBody().hasOneBlock())
    return func.emitOpError("is marked moe.differentiate, but has ")
           << func.getBody().getBlocks().size() << " blocks, expected 1";
  Block &block = func.getBody().front();
  SmallVector<LossOp> losses;
  func.walk([&](Operation *op) {
    if (auto loss = dyn_cast<LossOp>(op))
      losses.push_back(loss);
    else if (auto write = dyn_cast<WriteOp>(op))
      changed.insert(write.getStateAttr());
    else if (auto accumulate = dyn_cast<AccumulateOp>(op))
      changed.insert(accumulate.getStateAttr());
  });
  if (losses.size() != 1)
    return func.emitOpError("is marked moe.differentiate, but has ") << losses.size() << " moe.loss, expected 1";
  LossOp loss = losses.front();
  if (loss->getBlock() != &block)
    return loss.emitOpError("is nested, expected it at the top level of the function");

  markActive(block);
  if (!active.contains(loss.getTotal()))
    return loss.emitOpError("depends on no parameter with a gradient");

  OpBuilder builder(block.getTerminator());
  GradientMap grads;
  Value seed = buildSplat(builder, loss.getLoc(), cast<RankedTensorType>(loss.getTotal().getType()),
                          loss.getScale().convertToDouble());
  addGradient(builder, grads, loss.getTotal(), seed);
  if (failed(visitBlock(block, seed.getDefiningOp(), builder, grads)))
    return failure();
  loss.erase();
  func->removeAttr("moe.differentiate");
  func.walk([](Operation *op) { op->removeAttr("moe.remat"); });
  return success();
}

struct DifferentiatePass : impl::MoeDifferentiateBase<DifferentiatePass> {
  using Base::Base;
  void runOnOperation() override {
    if (getOperation()->hasAttr("moe.differentiate") && failed(Differentiator(getOperation()).run()))
      signalPassFailure();
  }
};

} // namespace
} // namespace moec::moe
