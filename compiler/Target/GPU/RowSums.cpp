// Sums over rows (moe.col_reduce) that a row kernel also makes: one block for each sum.
//
// Order of additions: a thread adds its columns of rows first, first + n, first + 2 n, ..., where the block does n rows
// at once; then the sums of these n are joined, halves onto halves.
#include "compiler/Target/GPU/RowEmitter.h"

using namespace mlir;

namespace moec::gpu {

using kernel::RowSum;

LogicalResult RowEmitter::emitSummedRows(Value number) {
  for (const RowSum &sum : schedule.sums)
    if (moe::ColReduceOp op = sum.op; !columnsOf(schedule.columnsOf(op.getInput())).inRegisters)
      return op.emitOpError("adds up rows of ")
             << schedule.columnsOf(op.getInput()) << " columns, whose sums are too many for the registers of a block";
  int64_t each = schedule.rowsPerSum, atOnce = layout.rowsPerBlock();
  repeats = true;
  Value first = k.mul(number, k.i64(each)), end = k.add(first, k.i64(each));
  Value own = atOnce == 1 ? k.i64(0) : k.div(k.thread(), k.i64(layout.group));
  LogicalResult emitted = success();
  Values sums = k.loop(first, end, atOnce, zeroSums(), [&](Value start, ValueRange carried) {
    row = k.add(start, own);
    if (each % atOnce) {
      // Threads without a row repeat the last one; they store and add nothing.
      rowExists = k.less(row, end);
      row = k.min(row, k.sub(end, k.i64(1)));
    }
    Values next(carried);
    emitted = emitRow(next);
    return next;
  });
  row = number;
  rowExists = {};
  storeSums(sums);
  return emitted;
}

RowEmitter::Values RowEmitter::zeroSums() {
  Values zeros;
  for (const RowSum &sum : schedule.sums) {
    moe::ColReduceOp op = sum.op;
    Columns columns = columnsOf(schedule.columnsOf(op.getInput()));
    Type element = op.getResult().getType().getElementType();
    zeros.append(columns.pieces, k.constant(columns.lanes == 1 ? element : VectorType::get(columns.lanes, element), 0));
  }
  return zeros;
}

void RowEmitter::addToSums(Values &sums) {
  Value *place = sums.begin();
  for (const RowSum &sum : schedule.sums) {
    moe::ColReduceOp op = sum.op;
    for (Value term : evaluate(op.getInput(), wholeRow(schedule.columnsOf(op.getInput())))) {
      *place = k.fadd(*place, masked(term, rowExists, k.constant(term.getType(), 0)));
      ++place;
    }
  }
}

void RowEmitter::storeSums(Values sums) {
  // Threads of other rows have the same columns. Sums are complete in those of the first row.
  struct Part {
    Value memory;
    Type element;
    int64_t lanes, alignment;
  };
  SmallVector<Part> parts;
  for (Value sum : sums) {
    Type element = SimtBuilder::elementOf(sum.getType());
    int64_t lanes = SimtBuilder::lanesOf(sum.getType()), bytes = lanes * element.getIntOrFloatBitWidth() / 8;
    Value memory = layout.rowsPerBlock() > 1 ? k.shared(layout.threads * bytes) : Value();
    parts.push_back({memory, element, lanes, std::min<int64_t>(16, bytes)});
  }
  for (int64_t half = layout.threads / 2; half >= layout.group; half /= 2) {
    for (auto [sum, part] : llvm::zip_equal(sums, parts))
      k.storeAligned(sum, part.memory, k.mul(k.thread(), k.i64(part.lanes)), part.alignment);
    k.barrier();
    Value other = k.rem(k.add(k.thread(), k.i64(half)), k.i64(layout.threads));
    for (auto [sum, part] : llvm::zip_equal(sums, parts))
      sum = k.fadd(sum, k.loadAligned(part.element, part.memory, k.mul(other, k.i64(part.lanes)), part.lanes,
                                      part.alignment)); // of no use in the upper half
    k.barrier();
  }
  Value isFirst = layout.rowsPerBlock() > 1 ? k.less(k.thread(), k.i64(layout.group)) : Value();
  ArrayRef<Value> left = sums;
  for (const RowSum &sum : schedule.sums) {
    moe::ColReduceOp op = sum.op;
    int64_t width = schedule.columnsOf(op.getInput()), pieces = columnsOf(width).pieces;
    Sites sites = sitesAt(width, k.i64(0), pieces, /*mayEnd=*/true);
    for (auto [value, column, exists] : llvm::zip_equal(left.take_front(pieces), sites.columns, sites.exists)) {
      Value condition = isFirst && exists ? k.both(isFirst, exists) : isFirst ? isFirst : exists;
      storeAll(storeOf({op.getResult(), *sum.param, /*accumulates=*/false}, value, column, sites), condition);
    }
    left = left.drop_front(pieces);
  }
}

} // namespace moec::gpu
