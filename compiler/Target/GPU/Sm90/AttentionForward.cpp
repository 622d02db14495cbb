// Causal attention, forward. A tile is 128 query rows of one head, its blocks of keys run from the diagonal to the
// first.
//
//   S = Q K^T, masked on the diagonal; m = max, P = exp2(c S - c m), l = sum
//   for each further block i:  issue S = Q K[i]^T; issue O += P V[i-1]; wait for S; new m, P; wait for O; O *= exp2(..)
//   O += P V; result = O / l; lse = ln 2 (c m + log2 l)          c = scale * log2 e
//
// The products of the next block and of this one run while the exponentials are computed; the two warpgroups drift
// apart by themselves, so that one's products fill the other's gaps. Registers: S, O 64 each, P 32.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

constexpr AttentionSchedule kSchedule{/*stages=*/2, /*producerRegisters=*/24, /*consumerRegisters=*/240,
                                      /*section=*/0};
// Keys and values of the heads of a section stay in the second-level cache.
constexpr int64_t kSectionBytes = 32 << 20;

enum Map { kQ, kK, kV, kO };

class Forward : AttentionKernel {
public:
  Forward(Sm90Builder &k, const AttentionShape &shape, const AttentionSchedule &schedule, Value lse)
      : AttentionKernel(k, shape, schedule), lse(lse) {
    tile = tileBytes(AttentionShape::kBlock);
    panel = AttentionShape::kBlock * 128;
    queries = reserve(tile);
    int64_t keyData = reserve(tile * schedule.stages), valueData = reserve(tile * schedule.stages);
    staging = reserve(tile);
    keys = reserveRing(keyData, tile);
    values = reserveRing(valueData, tile);
  }
  int64_t emit(int64_t tiles) {
    emitRoles(tiles);
    return sharedBytes();
  }

private:
  Value produce(Value tileNumber, Value step) override;
  Value consume(Value tileNumber, Value step) override;
  void prepareConsumer() override;

  struct Rows { // of this thread's two rows
    Value most[2], sum[2], factor[2];
  };
  Value perRow(ArrayRef<Value> registers, int64_t row, llvm::function_ref<Value(Value, Value)> join);
  Values softmax(ArrayRef<Value> scores, Rows &rows, bool first);
  void storeLse(const Position &at, const Rows &rows);
  Values products(const Stage &stage) {
    SmallVector<int64_t> steps = Sm90Builder::steps(shape.headSize, panel);
    return k.multiply(AttentionShape::kBlock, queryRows, steps, k.descriptor(stage.data), steps);
  }
  Values addValues(ArrayRef<Value> p, const Stage &stage, ArrayRef<Value> sums) {
    return k.multiplyRegisters(p, k.descriptorTransposed(stage.data, panel),
                               Sm90Builder::stepsTransposed(AttentionShape::kBlock), sums);
  }

  Value lse; // null: nobody wants it
  int64_t tile, panel, queries, staging;
  Ring keys, values;
  Value queryRows; // descriptor
  Value out;       // staging memory of this warpgroup
  Value scale;     // c
};

Value Forward::produce(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.heads, /*descending=*/true);
  Value keyHead = k.div(at.head, shape.group()), firstRow = k.mul(at.block, AttentionShape::kBlock);
  k.arriveExpecting(address(tileFull), tile);
  copyTile(kQ, address(queries), address(tileFull), AttentionShape::kBlock, firstRow, at.head, at.sequence);
  auto copy = [&](Map map, const Ring &ring, Value number, Value row) {
    Stage to = stage(ring, number);
    acquire(to, tile);
    copyTile(map, to.data, to.full, AttentionShape::kBlock, row, keyHead, at.sequence);
  };
  // In the order of use: the keys of a block come before the values of the one before.
  copy(kK, keys, step, firstRow);
  Value last = k.loop(at.block, {firstRow}, [&](Value i, ArrayRef<Value> before) {
    Value number = k.add(step, i), row = k.sub(before[0], AttentionShape::kBlock);
    copy(kK, keys, k.add(number, 1), row);
    copy(kV, values, number, before[0]);
    return Values{row};
  })[0];
  Value number = k.add(step, at.block);
  copy(kV, values, number, last);
  return k.add(number, 1);
}

void Forward::prepareConsumer() {
  // Rows of 128 bytes in each panel.
  queryRows = k.descriptor(k.add(address(queries), k.mul(consumer, 64 * 128)));
  out = k.add(address(staging), k.mul(consumer, tile / kConsumers));
  scale = k.f32(shape.scale() * M_LOG2E);
}

Value Forward::perRow(ArrayRef<Value> registers, int64_t row, llvm::function_ref<Value(Value, Value)> join) {
  Value joined;
  for (auto [i, value] : llvm::enumerate(registers))
    if (static_cast<int64_t>((i >> 1) & 1) == row)
      joined = joined ? join(joined, value) : value;
  return joined;
}

// Scores -> probabilities; `rows` follow, with the factor for what was summed under the old maximum.
Sm90Builder::Values Forward::softmax(ArrayRef<Value> scores, Rows &rows, bool first) {
  auto larger = [&](Value x, Value y) { return k.fmax(x, y); };
  Value shift[2];
  for (int64_t r : {0, 1}) {
    Value most = joinQuad(perRow(scores, r, larger), larger);
    if (!first) {
      most = k.fmax(most, rows.most[r]);
      rows.factor[r] = k.exp2(k.fmul(k.fsub(rows.most[r], most), scale));
    }
    rows.most[r] = most;
    shift[r] = k.fsub(k.f32(0), k.fmul(most, scale));
  }
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2(k.fma(score, scale, shift[(i >> 1) & 1])));
  for (int64_t r : {0, 1}) {
    Value sum = perRow(p, r, [&](Value x, Value y) { return k.fadd(x, y); });
    rows.sum[r] = first ? sum : k.fma(rows.sum[r], rows.factor[r], sum);
  }
  return p;
}

void Forward::storeLse(const Position &at, const Rows &rows) {
  Type f32 = k.b.getF32Type();
  for (int64_t r : {0, 1}) {
    Value position = k.add(k.add(k.mul(at.block, AttentionShape::kBlock), k.mul(consumer, 64)), k.add(row, 8 * r));
    Value value = k.fmul(k.fma(rows.most[r], scale, k.log2(rows.sum[r])), k.f32(M_LN2));
    // One of the four threads that share the row.
    k.when(k.both(k.less(position, shape.positions), k.equal(column, 0)), [&] {
      Value index = k.add(k.mul(k.add(k.mul(at.sequence, shape.positions), position), shape.heads), at.head);
      k.store(value, k.at(lse, index, f32));
    });
  }
}

Value Forward::consume(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.heads, /*descending=*/true);
  Stage diagonal = stage(keys, step);
  k.waitBarrier(diagonal.full, diagonal.parity);
  Values scores = k.wait(0, products(diagonal));
  release(diagonal.empty);
  Rows rows;
  Value firstRow = k.add(k.mul(consumer, 64), row);
  Values p = k.packBf16(softmax(maskDiagonal(scores, firstRow, arith::CmpIPredicate::sgt), rows, /*first=*/true));

  size_t sums = shape.headSize / 2;
  Values carried(sums, k.f32(0));
  auto carry = [&](ArrayRef<Value> o, ArrayRef<Value> p, const Rows &rows) {
    Values all(o);
    all.append(p.begin(), p.end());
    all.append({rows.most[0], rows.most[1], rows.sum[0], rows.sum[1]});
    return all;
  };
  auto open = [&](ArrayRef<Value> all, Rows &rows) {
    for (int64_t r : {0, 1}) {
      rows.most[r] = all[all.size() - 4 + r];
      rows.sum[r] = all[all.size() - 2 + r];
    }
    return std::pair(Values(all.take_front(sums)), Values(all.drop_front(sums).drop_back(4)));
  };
  Values left = k.loop(at.block, carry(carried, p, rows), [&](Value i, ArrayRef<Value> all) {
    Rows rows;
    auto [o, p] = open(all, rows);
    Value number = k.add(step, i);
    Stage nextKeys = stage(keys, k.add(number, 1)), theseValues = stage(values, number);
    k.waitBarrier(nextKeys.full, nextKeys.parity);
    Values scores = products(nextKeys);
    k.waitBarrier(theseValues.full, theseValues.parity);
    o = addValues(p, theseValues, o);
    scores = k.wait(1, scores);
    release(nextKeys.empty);
    Values probabilities = softmax(scores, rows, /*first=*/false);
    // P of this block must not take the registers that the product still reads.
    o.append(probabilities);
    o = k.wait(0, o, p);
    probabilities.assign(o.begin() + sums, o.end());
    o.truncate(sums);
    release(theseValues.empty);
    for (auto [i, value] : llvm::enumerate(o))
      value = k.fmul(value, rows.factor[(i >> 1) & 1]);
    return carry(o, k.packBf16(probabilities), rows);
  });

  releaseTile();
  auto [o, lastP] = open(left, rows);
  Value number = k.add(step, at.block);
  Stage lastValues = stage(values, number);
  k.waitBarrier(lastValues.full, lastValues.parity);
  o = addValues(lastP, lastValues, o);
  Value inverse[2];
  for (int64_t r : {0, 1}) {
    rows.sum[r] = joinQuad(rows.sum[r], [&](Value x, Value y) { return k.fadd(x, y); });
    inverse[r] = k.reciprocal(rows.sum[r]);
  }
  if (lse)
    storeLse(at, rows);
  o = k.wait(0, o, lastP);
  release(lastValues.empty);
  for (auto [i, value] : llvm::enumerate(o))
    value = k.fmul(value, inverse[(i >> 1) & 1]);
  beginStaging();
  stageRows(out, o);
  endStaging([&] {
    Value first = k.add(k.mul(at.block, AttentionShape::kBlock), k.mul(consumer, 64));
    copyRowsOut(kO, out, first, at.head, at.sequence);
  });
  return k.add(number, 1);
}

} // namespace

FailureOr<KernelInfo> emitForward(const AttentionDispatch &dispatch, ModuleOp kernels, StringRef symbol,
                                  const gpu::GpuTarget &target) {
  const AttentionShape &shape = dispatch.shape;
  AttentionSchedule schedule = kSchedule;
  int64_t inCache = std::max<int64_t>(1, kSectionBytes / (shape.positions * shape.headSize * 4));
  schedule.section = AttentionShape::section(shape.sequences * shape.heads, shape.group() * inCache);
  int64_t block = AttentionShape::kBlock;
  Sm90Builder k(kernels, dispatch.body.dispatch->getLoc(), symbol, dispatch.body.numParams(),
                {shape.queryMap(dispatch.inputs[0], block), shape.keyMap(dispatch.inputs[1], block),
                 shape.keyMap(dispatch.inputs[2], block), shape.queryMap(*dispatch.results[0], 64)},
                3 * Sm90Builder::kWarpgroup);
  int64_t tiles = shape.sequences * shape.heads * shape.blocks();
  Forward forward(k, shape, schedule, dispatch.results[1] ? k.param(*dispatch.results[1]) : Value());
  int64_t sharedBytes = forward.emit(tiles);
  k.finish();

  KernelInfo info = dispatch.info(symbol, /*products=*/2);
  info.grid = std::min(tiles, target.numSms);
  info.scratchBytes = Sm90Builder::kCounterBytes;
  info.launch = k.launch(sharedBytes);
  return info;
}

} // namespace moec::sm90
