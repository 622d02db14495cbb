// The serial ops of the row template: those whose columns depend on each other.
#include "compiler/Target/CPU/RowEmitter.h"

#include "compiler/Target/Kernel/RandomNormal.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <limits>

using namespace mlir;

namespace moec::cpu {

namespace {
Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

Value compare(KernelBuilder &k, arith::CmpIPredicate predicate, Value a, Value b) {
  return k.b.createOrFold<arith::CmpIOp>(predicate, a, b);
}
} // namespace

void RowEmitter::setElement(Value result, Value column, Value value) {
  if (schedule.columnsOf(result) == 1)
    scalars[result] = value;
  else
    k.store(value, rowPointer(result), column);
}

void RowEmitter::emitSerial(Operation *op) {
  if (auto map = dyn_cast<moe::MapOp>(op)) {
    SmallVector<Value> values =
        emitMap(k, map, 1, row, k.i64(0), [&](unsigned i) { return scalar(map.getInputs()[i]); });
    for (auto [result, value] : llvm::zip_equal(map.getResults(), values))
      scalars[result] = value;
    return;
  }
  if (isa<moe::RowReduceOp>(op)) {
    scalars[op->getResult(0)] = scalar(op->getOperand(0)); // of one column
    return;
  }
  if (isLoopOp(op)) { // of one column
    scalars[op->getResult(0)] = sourceOf(op)(k.i64(0), Piece{1, 1});
    return;
  }
  for (Value result : op->getResults())
    if (schedule.columnsOf(result) > 1)
      rowPointer(result);
  if (auto topK = dyn_cast<moe::TopKOp>(op))
    return emitTopK(topK);
  if (auto take = dyn_cast<moe::TakeOp>(op))
    return emitTake(take);
  if (auto put = dyn_cast<moe::PutOp>(op))
    return emitPut(put);
  if (auto rope = dyn_cast<moe::RopeOp>(op))
    return emitRope(rope);
  if (auto dot = dyn_cast<moe::DotRowsOp>(op))
    return emitDotRows(dot);
  emitRandomNormal(cast<moe::RandomNormalOp>(op));
}

// Scores become integers with the same order, NaN below all of them, and chosen scores below NaN. Then each choice
// takes two passes: one finds the largest key, the other the first column that has it.
void RowEmitter::emitTopK(moe::TopKOp op) {
  constexpr int64_t kTaken = std::numeric_limits<int64_t>::min();
  static_assert(kTaken < KernelBuilder::kNanKey);
  Value scores = op.getScores();
  prepare(scores);
  Type element = elementType(scores), integer = k.b.getI64Type();
  int64_t columns = schedule.columnsOf(scores), count = schedule.columnsOf(op.getIds());
  int64_t lanes = k.lanes(integer);
  auto filled = [&](int64_t value) { return k.splat(k.i64(value), lanes); };
  Value step = k.iota(lanes);

  auto keysAt = [&](Value column, int64_t exist) -> Value {
    Value value;
    if (columns == 1)
      value = k.splat(scalar(scores), lanes);
    else
      value = k.load(element, rowPointer(scores), column, Piece{lanes, exist});
    Value key = k.orderedKey(value);
    if (exist == lanes)
      return key;
    return k.select(compare(k, arith::CmpIPredicate::slt, step, filled(exist)), key, filled(kTaken));
  };
  auto fold = [&](Value vector, auto join) {
    if (lanes == 1)
      return vector;
    for (int64_t half = lanes / 2; half >= 1; half /= 2) {
      Value low = vector::ExtractStridedSliceOp::create(k.b, vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{half},
                                                        ArrayRef<int64_t>{1});
      Value high = vector::ExtractStridedSliceOp::create(k.b, vector, ArrayRef<int64_t>{half}, ArrayRef<int64_t>{half},
                                                         ArrayRef<int64_t>{1});
      vector = join(low, high);
    }
    return vector::ExtractOp::create(k.b, vector, 0).getResult();
  };
  auto largest = [&](Value a, Value b) { return k.max(a, b); };
  auto smallest = [&](Value a, Value b) { return k.min(a, b); };
  auto columnsFrom = [&](Value first) { return k.add(k.splat(first, lanes), step); };
  auto candidates = [&](Value keys, Value best, Value first) {
    return k.select(compare(k, arith::CmpIPredicate::eq, keys, best), columnsFrom(first),
                    filled(std::numeric_limits<int64_t>::max()));
  };

  int64_t vectors = llvm::divideCeil(columns, lanes);
  auto existing = [&](int64_t v) { return std::min(lanes, columns - v * lanes); };
  constexpr int64_t kMostInRegisters = 8;
  if (vectors <= kMostInRegisters) {
    SmallVector<Value> keys;
    for (int64_t v = 0; v < vectors; ++v)
      keys.push_back(keysAt(k.i64(v * lanes), existing(v)));
    auto choose = [&](Value slot, ValueRange keys) {
      Value best = keys[0];
      for (Value key : keys.drop_front())
        best = largest(best, key);
      best = k.splat(fold(best, largest), lanes);
      Value first;
      for (auto [v, key] : llvm::enumerate(keys)) {
        Value found = candidates(key, best, k.i64(v * lanes));
        first = first ? smallest(first, found) : found;
      }
      first = fold(first, smallest);
      setElement(op.getIds(), slot, k.toI32(first));
      Value taken = k.splat(first, lanes);
      SmallVector<Value> next;
      for (auto [v, key] : llvm::enumerate(keys))
        next.push_back(
            k.select(compare(k, arith::CmpIPredicate::eq, columnsFrom(k.i64(v * lanes)), taken), filled(kTaken), key));
      return next;
    };
    if (count == 1)
      choose(k.i64(0), keys);
    else
      k.loop(k.i64(0), k.i64(count), 1, keys, choose);
    return;
  }

  Value keys = k.scratch(vectors * lanes * 8);
  int64_t end = columns / lanes * lanes;
  k.loop(k.i64(0), k.i64(end), lanes, [&](Value i) { k.store(keysAt(i, lanes), keys, i); });
  if (end < columns)
    k.store(keysAt(k.i64(end), columns - end), keys, k.i64(end));
  auto pass = [&](int64_t init, auto body) {
    return k.loop(k.i64(0), k.i64(vectors * lanes), lanes, ValueRange{filled(init)}, [&](Value i, ValueRange carried) {
      return SmallVector<Value>{body(i, k.load(integer, keys, i, lanes), carried[0])};
    })[0];
  };
  auto choose = [&](Value slot) {
    Value best = pass(kTaken, [&](Value, Value key, Value so) { return largest(so, key); });
    best = k.splat(fold(best, largest), lanes);
    Value first = pass(std::numeric_limits<int64_t>::max(),
                       [&](Value i, Value key, Value so) { return smallest(so, candidates(key, best, i)); });
    first = fold(first, smallest);
    k.store(k.i64(kTaken), keys, first);
    setElement(op.getIds(), slot, k.toI32(first));
  };
  if (count == 1)
    choose(k.i64(0));
  else
    k.loop(k.i64(0), k.i64(count), 1, choose);
}

void RowEmitter::emitTake(moe::TakeOp op) {
  prepare({op.getInput(), op.getIds()});
  Type type = elementType(op.getResult());
  auto take = [&](Value slot) {
    Value id = k.toI64(element(op.getIds(), slot));
    Value value = element(op.getInput(), k.max(id, k.i64(0)));
    setElement(op.getResult(), slot, k.select(k.less(id, k.i64(0)), k.constant(type, 0), value));
  };
  if (schedule.columnsOf(op.getResult()) == 1)
    take(k.i64(0));
  else
    k.loop(k.i64(0), k.i64(schedule.columnsOf(op.getResult())), 1, take);
}

void RowEmitter::emitPut(moe::PutOp op) {
  prepare({op.getValues(), op.getIds()});
  Type type = elementType(op.getResult());
  int64_t columns = schedule.columnsOf(op.getResult()), slots = schedule.columnsOf(op.getIds());
  Value target = columns == 1 ? k.scratch(64) : rowPointer(op.getResult());
  k.fillZero(target, type, columns);
  auto put = [&](Value slot) {
    Value id = k.toI64(element(op.getIds(), slot));
    Value value = element(op.getValues(), slot);
    k.when(k.less(k.i64(-1), id), [&] { k.store(k.fadd(k.load(type, target, id), value), target, id); });
  };
  if (slots == 1)
    put(k.i64(0));
  else
    k.loop(k.i64(0), k.i64(slots), 1, put);
  if (columns == 1)
    scalars[op.getResult()] = k.load(type, target, k.i64(0));
}

void RowEmitter::emitRope(moe::RopeOp op) {
  prepare(op.getInput());
  Type type = elementType(op.getInput());
  int64_t half = tensorColumns(op.getCos()), positions = tensorRows(op.getCos());
  int64_t columns = schedule.columnsOf(op.getInput());
  Value position = k.rem(k.div(row, k.i64(op.getHeads())), k.i64(positions));
  Value cosRow = k.at(paramPointer(op.getCos()), k.mul(position, k.i64(half)), type);
  Value sinRow = k.at(paramPointer(op.getSin()), k.mul(position, k.i64(half)), type);
  Value from = rowPointer(op.getInput()), to = rowPointer(op.getResult());
  k.loop(k.i64(0), k.i64(columns), 2 * half, [&](Value head) {
    k.loopPieces(type, half, [&](Value i, Piece piece) {
      Value first = k.add(head, i), second = k.add(first, k.i64(half));
      Value a = k.load(type, from, first, piece), b = k.load(type, from, second, piece);
      Value c = k.load(type, cosRow, i, piece), s = k.load(type, sinRow, i, piece);
      Value as = k.fmul(a, s), bs = k.fmul(b, s), ac = k.fmul(a, c), bc = k.fmul(b, c);
      k.store(op.getInverse() ? k.fadd(ac, bs) : k.fsub(ac, bs), to, first, piece);
      k.store(op.getInverse() ? k.fsub(bc, as) : k.fadd(bc, as), to, second, piece);
    });
  });
}

void RowEmitter::emitDotRows(moe::DotRowsOp op) {
  prepare({op.getInput(), op.getSlotRow()});
  Type type = elementType(op.getInput());
  int64_t width = schedule.columnsOf(op.getInput()), slots = schedule.columnsOf(op.getSlotRow());
  auto dot = [&](Value slot) {
    Value number = k.toI64(element(op.getSlotRow(), slot));
    auto missing = [&] { return SmallVector<Value>{k.constant(type, 0)}; };
    auto sum = [&]() -> SmallVector<Value> {
      Value other = k.at(paramPointer(op.getRows()), k.mul(number, k.i64(width)), type);
      if (width == 1)
        return {k.fmul(scalar(op.getInput()), k.load(type, other, k.i64(0)))};
      return {k.reduceVectors(
          type, width, k.constant(type, 0),
          [&](Value i, int64_t lanes, Value so) {
            return k.fma(k.load(type, rowPointer(op.getInput()), i, lanes), k.load(type, other, i, lanes), so);
          },
          [&](Value a, Value b) { return k.fadd(a, b); }, [&](Value v) { return k.sumLanes(v); })};
    };
    setElement(op.getResult(), slot, k.choose(type, k.less(number, k.i64(0)), missing, sum)[0]);
  };
  if (slots == 1)
    dot(k.i64(0));
  else
    k.loop(k.i64(0), k.i64(slots), 1, dot);
}

void RowEmitter::emitRandomNormal(moe::RandomNormalOp op) {
  int64_t columns = schedule.columnsOf(op.getResult());
  Value copy = kernel::randomCopy(k, body, op);
  auto pairAt = [&](Value pair) { return kernel::randomPair(k, op, copy, pair); };

  Value first = k.mul(row, k.i64(columns));
  if (columns % 2 == 0) {
    Value to = rowPointer(op.getResult());
    k.loop(k.i64(0), k.i64(columns), 2, [&](Value column) {
      auto [even, odd] = pairAt(k.div(k.add(first, column), k.i64(2)));
      k.store(even, to, column);
      k.store(odd, to, k.add(column, k.i64(1)));
    });
    return;
  }
  // A pair may lie in two rows, so each element computes its own pair.
  auto make = [&](Value column) {
    Value index = k.add(first, column);
    auto [even, odd] = pairAt(k.div(index, k.i64(2)));
    setElement(op.getResult(), column, k.select(k.equal(k.rem(index, k.i64(2)), k.i64(0)), even, odd));
  };
  if (columns == 1)
    make(k.i64(0));
  else
    k.loop(k.i64(0), k.i64(columns), 1, make);
}

} // namespace moec::cpu
