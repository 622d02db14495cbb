// moe.map: its builder, verifier, canonicalizer, and which of its rows may be left out.
#include "dialects/Moe/IR/MoeVerify.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/BitVector.h"

using namespace mlir;

namespace moec::moe {

void MapOp::build(OpBuilder &builder, OperationState &state, TypeRange resultTypes, ValueRange inputs,
                  function_ref<SmallVector<Value>(OpBuilder &, Location, ValueRange)> body, bool position) {
  OpBuilder::InsertionGuard guard(builder);
  state.addTypes(resultTypes);
  state.addOperands(inputs);
  if (position)
    state.getOrAddProperties<Properties>().position = builder.getUnitAttr();
  Block *block = builder.createBlock(state.addRegion());
  for (Value input : inputs)
    block->addArgument(elementType(input), state.location);
  if (position)
    for (int i = 0; i < 2; ++i)
      block->addArgument(builder.getI64Type(), state.location);
  SmallVector<Value> values = body(builder, state.location, block->getArguments());
  YieldOp::create(builder, state.location, values);
}

LogicalResult MapOp::verify() {
  if (getNumResults() == 0)
    return emitOpError("has no results, expected at least one");
  RankedTensorType shape = getShapeType();
  int64_t numRows = shape.getDimSize(0), numCols = shape.getDimSize(1);
  for (Value result : getResults())
    if (failed(expectShape(*this, "result", result, {numRows, numCols})))
      return failure();
  // (C1)
  for (auto [index, input] : llvm::enumerate(getInputs())) {
    if (numRows % rows(input) != 0)
      return emitOpError("operand ") << index << " has " << rows(input) << " rows, which do not divide " << numRows;
    if (cols(input) != 1 && cols(input) != numCols)
      return emitOpError("operand ") << index << " has " << cols(input) << " columns, expected 1 or " << numCols;
  }
  Block *block = getBlock();
  size_t numArgs = getInputs().size() + (getPosition() ? 2 : 0);
  if (block->getNumArguments() != numArgs)
    return emitOpError("has ") << block->getNumArguments() << " block arguments, expected " << numArgs;
  for (BlockArgument arg : block->getArguments()) {
    unsigned i = arg.getArgNumber();
    Type expected = i < getInputs().size() ? elementType(getInputs()[i]) : IntegerType::get(getContext(), 64);
    if (arg.getType() != expected)
      return emitOpError("block argument ") << i << " is " << arg.getType() << ", expected " << expected;
  }
  // (C2)
  auto yield = dyn_cast<YieldOp>(block->getTerminator());
  if (!yield || yield.getValues().size() != getNumResults())
    return emitOpError("yields ") << (yield ? yield.getValues().size() : 0) << " values, expected " << getNumResults();
  for (auto [index, pair] : llvm::enumerate(llvm::zip_equal(yield.getValues(), getResults())))
    if (std::get<0>(pair).getType() != elementType(std::get<1>(pair)))
      return emitOpError("yields ") << std::get<0>(pair).getType() << " as value " << index << ", expected "
                                    << elementType(std::get<1>(pair));
  // (C3)
  for (Operation &op : block->without_terminator())
    if ((!isa<arith::ArithDialect, math::MathDialect>(op.getDialect()) && !isa<SigmoidOp>(op)) ||
        llvm::any_of(op.getResultTypes(), [](Type type) { return !type.isIntOrIndexOrFloat(); }))
      return op.emitOpError("is not allowed in a map, expected arith, math or moe.sigmoid on scalars");
  return success();
}

namespace {
struct SimplifyMapSignature : OpRewritePattern<MapOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(MapOp op, PatternRewriter &rewriter) const override {
    Block *block = op.getBlock();
    // Constants of one number become scalars of the region, and equal operands become one. Then operands without a use
    // are removed.
    bool changed = false;
    for (auto [argument, input] : llvm::zip(block->getArguments(), op.getInputs())) {
      SplatElementsAttr splat;
      if (argument.use_empty() || !matchPattern(underReshapes(input), m_Constant(&splat)))
        continue;
      rewriter.setInsertionPointToStart(block);
      auto scalar = cast<TypedAttr>(splat.getSplatValue<Attribute>());
      rewriter.replaceAllUsesWith(argument, arith::ConstantOp::create(rewriter, op.getLoc(), scalar));
      changed = true;
    }
    rewriter.setInsertionPoint(op);
    llvm::SmallDenseMap<Value, unsigned> first;
    for (auto [index, input] : llvm::enumerate(op.getInputs())) {
      auto [entry, isNew] = first.try_emplace(input, index);
      if (isNew || block->getArgument(index).use_empty())
        continue;
      rewriter.replaceAllUsesWith(block->getArgument(index), block->getArgument(entry->second));
      changed = true;
    }
    llvm::BitVector deadInputs(block->getNumArguments()), deadResults(op.getNumResults());
    for (unsigned i = 0; i < op.getInputs().size(); ++i)
      deadInputs[i] = block->getArgument(i).use_empty();
    for (OpResult result : op.getResults())
      deadResults[result.getResultNumber()] = result.use_empty();
    bool deadPosition = op.getPosition() && llvm::all_of(block->getArguments().take_back(2),
                                                         [](BlockArgument arg) { return arg.use_empty(); });
    if (deadResults.all() || (!deadPosition && deadInputs.none() && deadResults.none()))
      return success(changed);
    if (deadPosition)
      deadInputs.set(op.getInputs().size(), block->getNumArguments());

    SmallVector<Value> inputs, results;
    SmallVector<Type> types;
    for (auto [index, input] : llvm::enumerate(op.getInputs()))
      if (!deadInputs[index])
        inputs.push_back(input);
    rewriter.modifyOpInPlace(op, [&] { block->eraseArguments(deadInputs); });
    YieldOp yield = op.getYield();
    for (OpResult result : op.getResults())
      if (!deadResults[result.getResultNumber()]) {
        types.push_back(result.getType());
        results.push_back(yield.getValues()[result.getResultNumber()]);
      }
    rewriter.modifyOpInPlace(yield, [&] { yield.getValuesMutable().assign(results); });
    auto replacement = MapOp::create(
        rewriter, op.getLoc(), types, inputs, [&](OpBuilder &, Location, ValueRange) { return SmallVector<Value>(); },
        op.getPosition() && !deadPosition);
    replacement->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    replacement.setPartial(op.getPartial());
    rewriter.eraseBlock(replacement.getBlock());
    rewriter.inlineRegionBefore(op.getBody(), replacement.getBody(), replacement.getBody().end());
    unsigned next = 0;
    for (OpResult result : op.getResults())
      if (!deadResults[result.getResultNumber()])
        rewriter.replaceAllUsesWith(result, replacement.getResult(next++));
    rewriter.eraseOp(op);
    return success();
  }
};
} // namespace

void MapOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<SimplifyMapSignature>(context);
}

bool MapOp::isLeftWith(function_ref<bool(Value)> isLeft) {
  if (getPartial())
    return true;
  llvm::SmallDenseSet<Value> undefined;
  for (auto [argument, input] : llvm::zip(getBlock()->getArguments(), getInputs()))
    if (rows(input) == getShapeType().getDimSize(0) && isLeft(input))
      undefined.insert(argument);
  auto isUndefined = [&](Value value) { return undefined.contains(value); };
  for (Operation &op : getBlock()->without_terminator()) {
    // A select may take the other value, and one operand may decide a product of integers. All other ops need all
    // operands.
    auto select = dyn_cast<arith::SelectOp>(op);
    bool isSettled = isa<arith::AndIOp, arith::OrIOp, arith::MulIOp>(op);
    if (select && !isUndefined(select.getCondition())
            ? isUndefined(select.getTrueValue()) && isUndefined(select.getFalseValue())
        : isSettled ? llvm::all_of(op.getOperands(), isUndefined)
                    : llvm::any_of(op.getOperands(), isUndefined))
      undefined.insert_range(op.getResults());
  }
  return llvm::all_of(getYield().getValues(), isUndefined);
}

} // namespace moec::moe
