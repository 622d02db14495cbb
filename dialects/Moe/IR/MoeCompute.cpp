// Verifiers and folds of the compute ops.
#include "dialects/Moe/IR/MoeVerify.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::moe {

//===--- Checks ---------------------------------------------------------------------------------------------------===//

LogicalResult expectShape(Operation *op, StringRef what, Value value, ArrayRef<int64_t> expected) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(value.getType()).getShape();
  if (shape == expected)
    return success();
  InFlightDiagnostic diag = op->emitOpError(what) << " is [";
  llvm::interleaveComma(shape, diag);
  diag << "], expected [";
  llvm::interleaveComma(expected, diag);
  return diag << ']';
}

LogicalResult expectSameElement(Operation *op, StringRef what, Value value, StringRef otherName, Value other) {
  if (elementType(value) == elementType(other))
    return success();
  return op->emitOpError(what) << " is of " << elementType(value) << ", but " << otherName << " is of "
                               << elementType(other);
}

LogicalResult expectDivides(Operation *op, StringRef divisorName, int64_t divisor, StringRef numberName,
                            int64_t number) {
  if (divisor > 0 && number % divisor == 0)
    return success();
  return op->emitOpError(divisorName) << ' ' << divisor << " does not divide " << numberName << ' ' << number;
}

static int64_t depth(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(2); }

//===--- Reshape --------------------------------------------------------------------------------------------------===//

LogicalResult ReshapeOp::verify() {
  // (C1)
  auto from = cast<RankedTensorType>(getInput().getType()), to = cast<RankedTensorType>(getResult().getType());
  if (from.getNumElements() != to.getNumElements())
    return emitOpError("makes ") << to.getNumElements() << " elements of " << from.getNumElements();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult CastOp::verify() {
  // (C1)
  Type from = cast<RankedTensorType>(getInput().getType()).getElementType();
  Type to = cast<RankedTensorType>(getResult().getType()).getElementType();
  if (!isa<FloatType>(from) || !isa<FloatType>(to) || from == to)
    return emitOpError("casts ") << from << " to " << to << "; expected two floating-point types that differ";
  return success();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (getInput().getType() == getResult().getType())
    return getInput();
  if (auto inner = getInput().getDefiningOp<ReshapeOp>()) {
    if (inner.getInput().getType() == getResult().getType())
      return inner.getInput();
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return {};
}

//===--- Row ops --------------------------------------------------------------------------------------------------===//

LogicalResult RowReduceOp::verify() {
  int64_t columns = cols(getInput()), every = getEvery().value_or(columns);
  if (every < 1 || columns % every != 0 || (getEvery() && getKind() != Reduction::sum))
    return emitOpError("takes every ") << every << " of " << columns << " columns; expected a sum of a divisor of them";
  if (failed(expectShape(*this, "result", getResult(), {rows(getInput()), columns / every})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult RmsNormOp::verify() {
  if (failed(expectShape(*this, "scale", getScale(), {1, cols(getInput())})))
    return failure();
  return expectSameElement(*this, "scale", getScale(), "input", getInput());
}

LogicalResult SoftmaxOp::verify() { return success(); }

LogicalResult LogSumExpOp::verify() {
  if (failed(expectShape(*this, "result", getResult(), {rows(getInput()), 1})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult TopKOp::verify() {
  if (rows(getIds()) != rows(getScores()))
    return expectShape(*this, "result", getIds(), {rows(getScores()), cols(getIds())});
  // (C1)
  if (cols(getIds()) < 1 || cols(getIds()) > cols(getScores()))
    return emitOpError("chooses ") << cols(getIds()) << " of " << cols(getScores()) << " columns";
  return success();
}

LogicalResult TakeOp::verify() {
  if (failed(expectShape(*this, "ids", getIds(), {rows(getInput()), cols(getIds())})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getInput()), cols(getIds())})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult PutOp::verify() {
  if (failed(expectShape(*this, "values", getValues(), {rows(getIds()), cols(getIds())})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getIds()), cols(getResult())})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "values", getValues());
}

LogicalResult RopeOp::verify() {
  // (C1)
  if (failed(expectDivides(*this, "head size", 2 * cols(getCos()), "columns", cols(getInput()))))
    return failure();
  // (C2)
  if (failed(expectDivides(*this, "sequence length times heads", rows(getCos()) * std::max<int64_t>(1, getHeads()),
                           "rows", rows(getInput()))))
    return failure();
  return expectSameElement(*this, "cos", getCos(), "input", getInput());
}

LogicalResult GatherRowsOp::verify() {
  if (failed(expectShape(*this, "rows", getRows(), {rows(getRows()), 1})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getRows()), cols(getInput())})))
    return failure();
  if (getSlotRow() && rows(getSlotRow()) != rows(getInput()))
    return expectShape(*this, "slot_row", getSlotRow(), {rows(getInput()), cols(getSlotRow())});
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult CombineRowsOp::verify() {
  if ((getRowSlot() && failed(expectShape(*this, "row_slot", getRowSlot(), {rows(getRows()), 1}))) ||
      failed(expectShape(*this, "result", getResult(), {rows(getSlotRow()), cols(getRows())})))
    return failure();
  if (getWeights() && (failed(expectShape(*this, "weights", getWeights(), {rows(getSlotRow()), cols(getSlotRow())})) ||
                       failed(expectSameElement(*this, "weights", getWeights(), "rows", getRows()))))
    return failure();
  return expectSameElement(*this, "result", getResult(), "rows", getRows());
}

LogicalResult SpreadRowsOp::verify() {
  if (static_cast<int64_t>(getTopK()) < 1)
    return emitOpError("has top_k ") << getTopK() << ", expected at least 1";
  if (failed(expectShape(*this, "row_slot", getRowSlot(), {rows(getRowSlot()), 1})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getRowSlot()), cols(getInput())})))
    return failure();
  if (getWeights() &&
      (failed(expectShape(*this, "weights", getWeights(), {rows(getInput()), static_cast<int64_t>(getTopK())})) ||
       failed(expectSameElement(*this, "weights", getWeights(), "input", getInput()))))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult DotRowsOp::verify() {
  if (failed(expectShape(*this, "rows", getRows(), {rows(getRows()), cols(getInput())})) ||
      failed(expectShape(*this, "slot_row", getSlotRow(), {rows(getInput()), cols(getSlotRow())})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getSlotRow()), cols(getSlotRow())})) ||
      failed(expectSameElement(*this, "rows", getRows(), "input", getInput())))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

LogicalResult EmbedOp::verify() {
  if (failed(expectShape(*this, "ids", getIds(), {rows(getIds()), 1})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getIds()), cols(getTable())})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "table", getTable());
}

//===--- Reductions over rows -------------------------------------------------------------------------------------===//

LogicalResult ColReduceOp::verify() {
  // (C1)
  if (failed(expectDivides(*this, "number of groups", rows(getResult()), "rows", rows(getInput()))) ||
      failed(expectShape(*this, "result", getResult(), {rows(getResult()), cols(getInput())})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "input", getInput());
}

void ColumnKthOp::build(OpBuilder &builder, OperationState &state, Type result, Value input, int64_t n) {
  build(builder, state, result, /*row=*/Type(), input, static_cast<uint64_t>(n), /*rank=*/Value());
}

LogicalResult ColumnKthOp::verify() {
  // (C1)
  if (failed(expectDivides(*this, "number of groups", rows(getResult()), "rows", rows(getInput()))))
    return failure();
  // (C2)
  int64_t n = getN(), each = rows(getInput()) / rows(getResult());
  if (n < 1 || n > each)
    return emitOpError("asks for entry ") << n << " of groups of " << each << " rows, expected 1 to " << each;
  // (C3)
  if (failed(expectShape(*this, "result", getResult(), {rows(getResult()), cols(getInput())})) ||
      failed(expectSameElement(*this, "result", getResult(), "input", getInput())))
    return failure();
  // (C4)
  if (getRow() && failed(expectShape(*this, "row", getRow(), {rows(getResult()), cols(getResult())})))
    return failure();
  // (C5)
  return getRank() ? expectShape(*this, "rank", getRank(), {1, 1}) : success();
}

LogicalResult EmbedGradOp::verify() {
  if (failed(expectShape(*this, "ids", getIds(), {rows(getGrad()), 1})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getResult()), cols(getGrad())})))
    return failure();
  return expectSameElement(*this, "result", getResult(), "grad", getGrad());
}

//===--- Matrix products ------------------------------------------------------------------------------------------===//

LogicalResult MatmulOp::verify() {
  int64_t m = getTa() ? cols(getA()) : rows(getA()), k = getTa() ? rows(getA()) : cols(getA());
  int64_t n = getTb() ? rows(getB()) : cols(getB()), kOfB = getTb() ? cols(getB()) : rows(getB());
  if (k != kOfB)
    return emitOpError("sums over ") << k << " elements of a, but " << kOfB << " of b";
  if (failed(expectShape(*this, "result", getResult(), {m, n})) ||
      failed(expectSameElement(*this, "b", getB(), "a", getA())))
    return failure();
  return expectSameElement(*this, "result", getResult(), "a", getA());
}

// offsets [1, E+1] and counts [1, E].
static LogicalResult verifyGroups(Operation *op, Value offsets, Value counts, int64_t experts) {
  if (failed(expectShape(op, "offsets", offsets, {1, experts + 1})))
    return failure();
  return expectShape(op, "counts", counts, {1, experts});
}

bool GroupedMatmulOp::leavesRows() { return !getAllRows(); }

LogicalResult GroupedMatmulOp::verify() {
  int64_t k = getTb() ? depth(getW()) : cols(getW()), n = getTb() ? cols(getW()) : depth(getW());
  if (cols(getA()) != k)
    return emitOpError("sums over ") << cols(getA()) << " elements of a, but " << k << " of w";
  if (failed(expectShape(*this, "result", getResult(), {rows(getA()), n})) ||
      failed(verifyGroups(*this, getOffsets(), getCounts(), rows(getW()))) ||
      failed(expectSameElement(*this, "w", getW(), "a", getA())))
    return failure();
  if (!getScales().empty()) { // (C1)
    if (getScales().size() != 2)
      return emitOpError("has ") << getScales().size() << " scales, expected one of rows and one of columns";
    if (failed(expectShape(*this, "scale of rows", getRowScale(), {rows(getA()), 1})) ||
        failed(expectShape(*this, "scale of columns", getColumnScale(), {rows(getW()), n})))
      return failure();
  }
  return expectSameElement(*this, "result", getResult(), "a", getA());
}

LogicalResult GroupedOuterOp::verify() {
  if (failed(expectShape(*this, "b", getB(), {rows(getA()), cols(getB())})) ||
      failed(expectShape(*this, "result", getResult(), {rows(getResult()), cols(getA()), cols(getB())})) ||
      failed(verifyGroups(*this, getOffsets(), getCounts(), rows(getResult()))) ||
      failed(expectSameElement(*this, "b", getB(), "a", getA())))
    return failure();
  return expectSameElement(*this, "result", getResult(), "a", getA());
}

//===--- Quantisation ---------------------------------------------------------------------------------------------===//

LogicalResult QuantizeRowsOp::verify() {
  if (getInputs().empty() || getInputs().size() != getValues().size()) // (C1)
    return emitOpError("has ") << getInputs().size() << " inputs and " << getValues().size()
                               << " values, expected at least one and as many";
  Value first = getInputs().front();
  for (TypeRange types : {TypeRange(getInputs()), TypeRange(getValues())})
    for (Type type : types)
      if (type != first.getType())
        return emitOpError("quantises ") << first.getType() << " together with " << type;
  if (failed(expectSameElement(*this, "scale", getScale(), "input", first))) // (C2)
    return failure();
  return expectShape(*this, "scale", getScale(), {rows(first), 1});
}

LogicalResult QuantizeColumnsOp::verify() {
  int64_t matrices = rows(getInput()), height = cols(getInput()), width = depth(getInput());
  if (failed(expectShape(*this, "values", getValues(), {matrices, width, height})) || // (C1)
      failed(expectSameElement(*this, "values", getValues(), "input", getInput())) ||
      failed(expectSameElement(*this, "scale", getScale(), "input", getInput())))
    return failure();
  return expectShape(*this, "scale", getScale(), {matrices, width});
}

//===--- Attention ------------------------------------------------------------------------------------------------===//

// Of attention and of its gradient.
template <typename Op> static LogicalResult verifyAttention(Op op) {
  if (op.getWindow() && static_cast<int64_t>(*op.getWindow()) < 1)
    return op.emitOpError("has a window of ")
           << static_cast<int64_t>(*op.getWindow()) << "; expected at least 1: a query sees its own position";
  Value q = op.getQ(), k = op.getK(), lse = op.getLse();
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(), seqLen = op.getSeqLen();
  if (failed(expectDivides(op, "heads", heads, "columns of q", cols(q))) ||
      failed(expectDivides(op, "kv_heads", kvHeads, "heads", heads)) ||
      failed(expectDivides(op, "seq_len", seqLen, "rows", rows(q))) ||
      failed(expectShape(op, "k", k, {rows(q), cols(q) / heads * kvHeads})) ||
      failed(expectShape(op, "lse", lse, {rows(q), heads})) || failed(expectSameElement(op, "k", k, "q", q)))
    return failure();
  return expectSameElement(op, "lse", lse, "q", q);
}

LogicalResult AttentionOp::verify() { return verifyAttention(*this); }
LogicalResult AttentionGradOp::verify() { return verifyAttention(*this); }

template <typename Op> static LogicalResult dropFullWindow(Op op, PatternRewriter &rewriter) {
  if (!op.getWindow() || *op.getWindow() < op.getSeqLen())
    return failure();
  rewriter.modifyOpInPlace(op, [&] { op.removeWindowAttr(); });
  return success();
}

LogicalResult AttentionOp::canonicalize(AttentionOp op, PatternRewriter &rewriter) {
  return dropFullWindow(op, rewriter);
}

LogicalResult AttentionGradOp::canonicalize(AttentionGradOp op, PatternRewriter &rewriter) {
  return dropFullWindow(op, rewriter);
}

//===--- Routing --------------------------------------------------------------------------------------------------===//

int64_t PermuteOp::getPermutedRows(int64_t slots, int64_t experts, int64_t align) {
  return llvm::alignTo(slots + experts * (align - 1), align);
}

LogicalResult PermuteOp::verify() {
  int64_t experts = getExperts(), align = getAlign(), slots = rows(getIds()) * cols(getIds());
  // (C1)
  if (experts < 1 || align < 1)
    return emitOpError("has ") << experts << " experts and align " << align << ", expected at least 1 of each";
  // (C2)
  int64_t limit = getLimit().value_or(slots);
  if (limit < 1 || limit > slots)
    return emitOpError("has limit ") << limit << ", expected 1 to the number of slots " << slots;
  // (C3)
  if (failed(verifyGroups(*this, getOffsets(), getCounts(), experts)))
    return failure();
  int64_t numRows = getPermutedRows(limit, experts, align);
  return expectShape(*this, "row_token", getRowToken(), {numRows, 1});
}

LogicalResult LimitCapacityOp::verify() {
  // (C1)
  if (static_cast<int64_t>(getExperts()) < 1 || static_cast<int64_t>(getCapacity()) < 1)
    return emitOpError("has ") << getExperts() << " experts and capacity " << getCapacity()
                               << ", expected at least 1 of each";
  // (C2)
  if (failed(expectShape(*this, "weights", getWeights(), {rows(getIds()), cols(getIds())})))
    return failure();
  // (C3)
  return getRoom() ? expectShape(*this, "room", getRoom(), {1, 1}) : success();
}

LogicalResult CountIdsOp::verify() {
  return expectDivides(*this, "number of groups", rows(getResult()), "rows", rows(getIds()));
}

LogicalResult SinkhornOp::verify() {
  // (C1)
  if (failed(expectShape(*this, "enabled", getEnabled(), {1, 1})))
    return failure();
  // (C2)
  double xi = getXi().convertToDouble(), tol = getTol().convertToDouble();
  int64_t most = getMaxIters();
  if (!(xi > 0) || !(tol >= 0) || most < 1)
    return emitOpError("has xi ") << xi << ", tol " << tol << " and max_iters " << most
                                  << ", expected xi above 0, tol of at least 0 and max_iters of at least 1";
  return success();
}

//===--- Decompositions -------------------------------------------------------------------------------------------===//

LogicalResult EighOp::verify() {
  // (C1)
  int64_t n = cols(getInput());
  if (depth(getInput()) != n)
    return emitOpError("has matrices of ")
           << n << " rows and " << depth(getInput()) << " columns, expected square ones";
  // (C2)
  if (failed(expectShape(*this, "values", getValues(), {rows(getInput()), n})) ||
      failed(expectSameElement(*this, "values", getValues(), "input", getInput())))
    return failure();
  // (C3)
  return expectShape(*this, "enabled", getEnabled(), {1, 1});
}

LogicalResult QrOp::verify() {
  // (C1)
  if (cols(getInput()) < depth(getInput()))
    return emitOpError("has matrices of ")
           << cols(getInput()) << " rows and " << depth(getInput()) << " columns, expected no more columns than rows";
  // (C2)
  return expectShape(*this, "enabled", getEnabled(), {1, 1});
}

//===--- Sources --------------------------------------------------------------------------------------------------===//

LogicalResult SliceColumnsOp::verify() {
  int64_t first = getFirst(), count = cols(getResult());
  if (rows(getResult()) != rows(getInput()))
    return expectShape(*this, "result", getResult(), {rows(getInput()), count});
  if (first < 0 || first + count > cols(getInput()))
    return emitOpError("takes columns ") << first << " to " << first + count - 1 << ", but the input has "
                                         << cols(getInput());
  return success();
}

} // namespace moec::moe
