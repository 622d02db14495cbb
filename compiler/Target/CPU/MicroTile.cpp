#include "compiler/Target/CPU/MicroTile.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace moec::cpu {

namespace {
std::optional<int64_t> constantOf(Value value) {
  APInt known;
  if (matchPattern(value, m_ConstantInt(&known)))
    return known.getSExtValue();
  return std::nullopt;
}
} // namespace

MicroTile::MicroTile(KernelBuilder &kb, Type element, int64_t resultRows, int64_t resultColumns)
    : kb(kb), element(element), numRows(std::min(kb.target.tileRows, resultRows)), numLanes(kb.lanes(element)) {
  numVectors = std::min<int64_t>(kb.target.tileVectors, llvm::divideCeil(resultColumns, numLanes));
}

SmallVector<Value> MicroTile::zeros() const {
  Value zero = kb.constant(VectorType::get(numLanes, element), 0);
  return SmallVector<Value>(numRows * numVectors, zero);
}

SmallVector<Value> MicroTile::load(Value tile, int64_t stride) const {
  SmallVector<Value> accumulators;
  for (int64_t r = 0; r < numRows; ++r)
    for (int64_t v = 0; v < numVectors; ++v)
      accumulators.push_back(kb.load(element, tile, kb.i64(r * stride + v * numLanes), numLanes));
  return accumulators;
}

void MicroTile::store(ValueRange accumulators, Value tile, int64_t stride) const {
  for (int64_t r = 0; r < numRows; ++r)
    for (int64_t v = 0; v < numVectors; ++v)
      kb.store(accumulators[r * numVectors + v], tile, kb.i64(r * stride + v * numLanes));
}

void MicroTile::step(SmallVectorImpl<Value> &accumulators, Value k, LeftAt leftAt, Value panel) const {
  Value row = kb.at(panel, kb.mul(k, kb.i64(columns())), element);
  SmallVector<Value> right;
  for (int64_t v = 0; v < numVectors; ++v)
    right.push_back(kb.load(element, row, kb.i64(v * numLanes), numLanes));
  SmallVector<Value> left = leftAt(k);
  for (int64_t r = 0; r < numRows; ++r) {
    Value a = kb.splat(kb.load(element, left[r], kb.i64(0)), numLanes);
    for (int64_t v = 0; v < numVectors; ++v) {
      Value &accumulator = accumulators[r * numVectors + v];
      accumulator = kb.fma(a, right[v], accumulator);
    }
  }
}

SmallVector<Value> MicroTile::multiply(ValueRange accumulators, Value depth, LeftAt leftAt, Value panel,
                                       bool wholeSteps) const {
  auto body = [&](int64_t unroll) {
    return [&, unroll](Value k, ValueRange carried) {
      SmallVector<Value> next(carried);
      for (int64_t u = 0; u < unroll; ++u)
        step(next, kb.add(k, kb.i64(u)), leftAt, panel);
      return next;
    };
  };
  std::optional<int64_t> known = constantOf(depth);
  Value whole = depth;
  if (!wholeSteps)
    whole = known ? kb.i64(*known / kUnroll * kUnroll) : kb.sub(depth, kb.rem(depth, kb.i64(kUnroll)));
  SmallVector<Value> sums(accumulators);
  if (!known || *known >= kUnroll)
    sums = kb.loop(kb.i64(0), whole, kUnroll, sums, body(kUnroll));
  if (!wholeSteps && (!known || *known % kUnroll != 0))
    sums = kb.loop(whole, depth, 1, sums, body(1));
  return sums;
}

SmallVector<Value> MicroTile::multiply(ValueRange accumulators, Value depth, Value rows, int64_t stride, Value panel,
                                       bool wholeSteps) const {
  return multiply(
      accumulators, depth,
      [&](Value k) {
        SmallVector<Value> pointers;
        for (int64_t r = 0; r < numRows; ++r)
          pointers.push_back(kb.at(rows, kb.add(k, kb.i64(r * stride)), element));
        return pointers;
      },
      panel, wholeSteps);
}

void MicroTile::packRows(Value panel, Value depth, llvm::function_ref<Value(Value k)> source, Value valid) const {
  kb.loop(kb.i64(0), depth, 1, [&](Value k) {
    Value from = source(k);
    Value to = kb.at(panel, kb.mul(k, kb.i64(columns())), element);
    for (int64_t v = 0; v < numVectors; ++v) {
      Value first = kb.i64(v * numLanes);
      Value row = valid ? kb.loadPart(element, from, first, numLanes, kb.sub(valid, first))
                        : kb.load(element, from, first, numLanes);
      kb.store(row, to, first);
    }
  });
}

void MicroTile::packColumns(Value panel, Value depth, Value source, int64_t stride, Value valid) const {
  Value last = valid ? kb.sub(valid, kb.i64(1)) : Value();
  auto column = [&](Value j) { return kb.at(source, kb.mul(last ? kb.min(j, last) : j, kb.i64(stride)), element); };
  // Transposes square blocks of lanes x lanes in registers, then the rest of the depth one by one.
  std::optional<int64_t> known = constantOf(depth);
  Value whole = known ? kb.i64(*known / numLanes * numLanes) : kb.sub(depth, kb.rem(depth, kb.i64(numLanes)));
  if (!known || *known >= numLanes)
    kb.loop(kb.i64(0), kb.i64(columns()), numLanes, [&](Value first) {
      SmallVector<Value> starts;
      for (int64_t j = 0; j < numLanes; ++j)
        starts.push_back(column(kb.add(first, kb.i64(j))));
      kb.loop(kb.i64(0), whole, numLanes, [&](Value k) {
        SmallVector<Value> block;
        for (Value start : starts)
          block.push_back(kb.load(element, start, k, numLanes));
        transpose(kb, block);
        Value to = kb.at(panel, kb.add(kb.mul(k, kb.i64(columns())), first), element);
        for (int64_t i = 0; i < numLanes; ++i)
          kb.store(block[i], to, kb.i64(i * columns()));
      });
    });
  if (!known || *known % numLanes != 0)
    kb.loop(kb.i64(0), kb.i64(columns()), 1, [&](Value j) {
      Value from = column(j);
      kb.loop(whole, depth, 1,
              [&](Value k) { kb.store(kb.load(element, from, k), panel, kb.add(kb.mul(k, kb.i64(columns())), j)); });
    });
}

void transpose(KernelBuilder &kb, SmallVectorImpl<Value> &vectors) {
  // Swaps the off-diagonal quarters of 2s x 2s blocks, for s from half the size down to 1: log2(lanes) shuffles per
  // element.
  int64_t lanes = vectors.size();
  for (int64_t s = lanes / 2; s >= 1; s /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      bool second = lane & s;
      low.push_back(second ? lanes + lane - s : lane);
      high.push_back(second ? lanes + lane : lane + s);
    }
    for (int64_t i = 0; i < lanes; ++i) {
      if (i & s)
        continue;
      Value a = vectors[i], c = vectors[i + s];
      vectors[i] = vector::ShuffleOp::create(kb.b, a, c, low);
      vectors[i + s] = vector::ShuffleOp::create(kb.b, a, c, high);
    }
  }
}

} // namespace moec::cpu
