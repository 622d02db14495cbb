// Analyses a "matmul" dispatch, and decides whether the tensor-core template covers it.
#include "compiler/Target/GPU/Sm90/Matmul.h"

#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::sm90 {

using kernel::DispatchBody;

bool MatmulProblem::addFactor(Value value, MatmulFactor &factor) {
  auto type = cast<RankedTensorType>(value.getType());
  int64_t rank = type.getRank(), columns = type.getDimSize(rank - 1);
  value = DispatchBody::stripViews(value);
  if (std::optional<moe::PickedRows> picked = moe::pickedRows(value.getDefiningOp())) {
    if (cast<RankedTensorType>(value.getType()).getDimSize(1) != columns)
      return false;
    factor.rowMap = body.paramOf(picked->numbers);
    if (!factor.rowMap)
      return false;
    factor.rowMapCount = cast<RankedTensorType>(picked->numbers.getType()).getNumElements();
    factor.slots = picked->slots;
    type = cast<RankedTensorType>(picked->input.getType());
    rank = 2;
    value = picked->input;
  }
  std::optional<unsigned> param = body.paramOf(value);
  if (!param)
    return false;
  Type storage = body.storageOf(*param);
  if ((!storage.isBF16() && !isa<Float8E4M3FNType>(storage)) || (element && element != storage))
    return false;
  element = storage;
  factor.param = *param;
  factor.experts = rank == 3 ? type.getDimSize(0) : 1;
  factor.rows = type.getDimSize(rank - 2);
  factor.columns = columns;
  return type.getElementType().isF32() && columns == type.getDimSize(rank - 1);
}

bool MatmulProblem::addProduct(Operation *op) {
  MatmulTerm term;
  MatmulSum sum;
  Value offsetsValue;
  Grouping kind = Grouping::None;
  if (auto matmul = dyn_cast<moe::MatmulOp>(op)) {
    term.ta = matmul.getTa();
    term.tb = matmul.getTb();
  } else if (auto grouped = dyn_cast<moe::GroupedMatmulOp>(op)) {
    kind = Grouping::Rows;
    term.tb = grouped.getTb();
    offsetsValue = grouped.getOffsets();
    if (Value scale = grouped.getRowScale()) {
      sum.rowScale = body.paramOf(scale);
      sum.columnScale = body.paramOf(grouped.getColumnScale());
      if (!sum.rowScale || !sum.columnScale)
        return false;
    }
  } else if (auto outer = dyn_cast<moe::GroupedOuterOp>(op)) {
    kind = Grouping::Depth;
    term.ta = true;
    offsetsValue = outer.getOffsets();
  } else {
    return false;
  }
  if (!addFactor(op->getOperand(0), term.lhs) || !addFactor(op->getOperand(1), term.rhs))
    return false;
  auto lhsType = cast<RankedTensorType>(op->getOperand(0).getType());
  term.depth = lhsType.getDimSize(term.ta ? 0 : 1);
  unsigned groupOffsets = 0;
  int64_t groups = 1;
  if (offsetsValue) {
    std::optional<unsigned> param = body.paramOf(offsetsValue);
    if (!param)
      return false;
    groupOffsets = *param;
    groups = cast<RankedTensorType>(offsetsValue.getType()).getNumElements() - 1;
  }
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t rank = type.getRank(), resultRows = type.getDimSize(rank - 2), resultColumns = type.getDimSize(rank - 1);
  if (sums.empty()) {
    grouping = kind;
    experts = groups;
    rows = resultRows;
    columns = resultColumns;
    offsets = groupOffsets;
  } else if (grouping != kind || experts != groups || rows != resultRows || columns != resultColumns ||
             offsets != groupOffsets) {
    return false;
  }
  sum.value = op->getResult(0);
  sum.terms = {term};
  sums.push_back(sum);
  return true;
}

/// A map that only adds sums, which nobody else reads, becomes one longer sum. False: the map belongs to the epilogue.
bool MatmulProblem::joinSum(moe::MapOp map) {
  if (map.getPosition() || map.getNumResults() != 1 || !maps.empty() || grouping == Grouping::Depth)
    return false;
  Block *block = map.getBlock();
  for (Operation &op : block->without_terminator())
    if (!isa<arith::AddFOp>(op) || !op.hasOneUse())
      return false;
  for (BlockArgument argument : block->getArguments())
    if (!argument.hasOneUse())
      return false;
  SmallVector<unsigned> parts;
  for (Value input : map.getInputs()) {
    auto *found = llvm::find_if(sums, [&](const MatmulSum &sum) { return sum.value == input; });
    if (found == sums.end() || !input.hasOneUse())
      return false;
    parts.push_back(found - sums.begin());
  }
  const MatmulSum &leader = sums[parts.front()];
  const MatmulTerm &first = leader.terms.front();
  for (unsigned part : parts)
    if (sums[part].terms.front().ta != first.ta || sums[part].terms.front().tb != first.tb ||
        sums[part].rowScale != leader.rowScale || sums[part].columnScale != leader.columnScale)
      return false;
  MatmulSum joined{map.getResult(0), {}, leader.rowScale, leader.columnScale};
  SmallVector<MatmulSum> rest;
  for (unsigned part : parts)
    joined.terms.append(sums[part].terms);
  for (auto [i, sum] : llvm::enumerate(sums))
    if (!llvm::is_contained(parts, i))
      rest.push_back(sum);
  rest.push_back(joined);
  sums = rest;
  return true;
}

/// Rows are gathered only on the left side: it is the smaller side of a tile, and copies by threads cost more than TMA.
/// A gradient of weights whose right side is gathered is computed as its transpose. False: this is not possible.
bool MatmulProblem::gatherOnTheLeft() {
  MatmulTerm &term = sums.front().terms.front();
  if (!term.rhs.rowMap)
    return true;
  if (grouping != Grouping::Depth || sums.size() != 1 || term.lhs.rowMap || !maps.empty())
    return false;
  transposed = true;
  std::swap(term.lhs, term.rhs);
  std::swap(rows, columns);
  return true;
}

/// Rows must be multiples of 16 bytes, as TMA and the copies of gathered rows need, and all sums must have one left
/// side. Tensor cores take 8-bit factors only if their depth is contiguous.
bool MatmulProblem::checkTerms() const {
  constexpr int64_t kResultElements = 8, kMostSums = 4;
  int64_t elements = elementsIn(16);
  if ((transposed ? rows : columns) % kResultElements != 0 || static_cast<int64_t>(sums.size()) > kMostSums)
    return false;
  const SmallVector<MatmulTerm> &first = sums.front().terms;
  if (!element.isBF16() && (first.front().ta || !first.front().tb))
    return false;
  for (const MatmulSum &sum : sums) {
    if (sum.terms.size() != first.size())
      return false;
    for (auto [term, other] : llvm::zip_equal(sum.terms, first)) {
      if (!(term.lhs == other.lhs) || term.ta != first.front().ta || term.tb != first.front().tb ||
          term.depth != other.depth)
        return false;
      if (term.lhs.columns % elements != 0 || term.rhs.columns % elements != 0 || term.rhs.rowMap)
        return false;
      // Gathered rows are the rows of the tile, or the depth of ragged work.
      if (term.lhs.rowMap && term.ta != (grouping == Grouping::Depth))
        return false;
      if (grouping == Grouping::None && (term.lhs.experts != 1 || term.rhs.experts != 1))
        return false;
    }
  }
  return true;
}

bool MatmulProblem::checkEpilogue() {
  for (DispatchBody::Sink sink : body.sinks()) {
    auto reduce = sink.value.getDefiningOp<moe::RowReduceOp>();
    if (!reduce) {
      sinks.push_back(sink);
      continue;
    }
    if (reduce.getEvery() != tile::kChunkColumns || !body.storageOf(sink.param).isF32() || sink.accumulates ||
        grouping == Grouping::Depth)
      return false;
    sink.value = DispatchBody::stripViews(reduce.getInput());
    rowSums.push_back(sink);
  }
  if (sinks.empty())
    return false;
  int64_t allRows = rows * (grouping == Grouping::Depth ? experts : 1);
  SmallVector<Value> computed;
  for (const MatmulSum &sum : sums) {
    computed.push_back(sum.value);
    for (std::optional<unsigned> scale : {sum.rowScale, sum.columnScale})
      if (scale && !body.storageOf(*scale).isF32())
        return false;
  }
  for (moe::MapOp map : maps) {
    RankedTensorType shape = map.getShapeType();
    if (map.getPosition() || shape.getRank() != 2 || shape.getDimSize(1) != columns || shape.getDimSize(0) != allRows)
      return false;
    for (Value input : map.getInputs()) {
      auto type = cast<RankedTensorType>(input.getType());
      if (!type.getElementType().isF32())
        return false;
      if (llvm::is_contained(computed, DispatchBody::stripViews(input)) || kernel::splatOf(input))
        continue;
      std::optional<unsigned> param = body.paramOf(input);
      if (!param || (type.getDimSize(0) != 1 && type.getDimSize(0) != allRows))
        return false;
      Type storage = body.storageOf(*param);
      if (!storage.isF32() && !storage.isBF16())
        return false;
    }
    for (Value result : map.getResults())
      if (!cast<RankedTensorType>(result.getType()).getElementType().isF32())
        return false;
    llvm::append_range(computed, map.getResults());
  }
  auto isComputed = [&](const DispatchBody::Sink &sink) { return llvm::is_contained(computed, sink.value); };
  return llvm::all_of(rowSums, isComputed) && llvm::all_of(sinks, [&](const DispatchBody::Sink &sink) {
           Type storage = body.storageOf(sink.param);
           return isComputed(sink) && (storage.isF32() || storage.isBF16());
         });
}

std::optional<MatmulProblem> MatmulProblem::create(moe::DispatchOp dispatch) {
  MatmulProblem problem(dispatch);
  for (Operation &op : *dispatch.getBlock()) {
    if (moe::isProduct(&op)) {
      if (!problem.addProduct(&op))
        return std::nullopt;
    } else if (auto map = dyn_cast<moe::MapOp>(op)) {
      if (!problem.joinSum(map))
        problem.maps.push_back(map);
    } else if (!moe::computesNothing(&op) && !moe::pickedRows(&op) && !isa<moe::RowReduceOp>(op)) {
      return std::nullopt;
    }
  }
  if (problem.sums.empty() || !problem.gatherOnTheLeft() || !problem.checkTerms() || !problem.checkEpilogue())
    return std::nullopt;
  return problem;
}

double MatmulProblem::flops() const {
  double total = 0;
  for (const MatmulSum &sum : sums)
    for (const MatmulTerm &term : sum.terms)
      total += 2.0 * rows * columns * term.depth;
  return total;
}

} // namespace moec::sm90
