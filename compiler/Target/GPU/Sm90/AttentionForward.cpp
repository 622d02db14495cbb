// Causal attention, forward. A tile is 128 query rows of one head, its blocks of keys run from the diagonal to the
// first, or to the window's far edge.
//
//   S = Q K^T, masked on the diagonal, and at the window's far edge; m = max, P = exp2(c S - c m), l = sum
//   for each further block i:  issue S = Q K[i]^T; issue O += P V[i-1]; wait for S; new m, P; wait for O; O *= exp2(..)
//   O += P V; result = O / l; lse = ln 2 (c m + log2 l)          c = scale * log2 e
//
// The products of the next block and of this one run while the exponentials are computed. The two warpgroups run at
// different points of the loop, so the products of one fill the gaps of the other. Registers: S, O 64 each, P 32.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

class Forward : AttentionKernel {
public:
  Forward(tile::KernelOp kernel, tile::AttentionFwdOp op) : AttentionKernel(kernel, op.getShape()), op(op) {
    tile = tileBytes(kBlock);
    panel = kBlock * 128;
    queries = reserve(tile);
    int64_t keyData = reserve(tile * schedule.getStages()), valueData = reserve(tile * schedule.getStages());
    staging = reserve(tile);
    keys = reserveRing(keyData, tile);
    values = reserveRing(valueData, tile);
  }
  void emit() { emitRoles(); }

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
    SmallVector<int64_t> steps = AttentionBuilder::steps(shape.getHeadSize(), panel);
    return k.multiplyTiles(kBlock, queryRows, steps, k.descriptor(stage.data), steps);
  }
  Values addValues(ArrayRef<Value> p, const Stage &stage, ArrayRef<Value> sums) {
    return k.multiplyRegisters(p, k.descriptor(stage.data, panel), AttentionBuilder::stepsTransposed(kBlock), sums);
  }

  tile::AttentionFwdOp op;
  int64_t tile, panel, queries, staging;
  Ring keys, values;
  Value queryRows; // descriptor
  Value out;       // staging memory of this warpgroup
  Value scale;     // c
};

Value Forward::produce(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getHeads(), /*descending=*/true);
  Value keyHead = k.div(at.head, shape.getGroup()), firstRow = k.mul(at.block, kBlock);
  k.expect(address(tileFull), k.i32(tile));
  copyTile(k.map(op.getQ()), address(queries), address(tileFull), kBlock, firstRow, at.head, at.sequence);
  auto copy = [&](Value map, const Ring &ring, Value number, Value row) {
    Stage to = stage(ring, number);
    acquire(to, tile);
    copyTile(map, to.data, to.full, kBlock, row, keyHead, at.sequence);
  };
  // In the order of use: the keys of a block come before the values of the previous block.
  copy(k.map(op.getK()), keys, step, firstRow);
  Value earlier = earlierBlocks(at.block);
  Value last = k.loop(earlier, {firstRow}, [&](Value i, ArrayRef<Value> before) {
    Value number = k.add(step, i), row = k.sub(before[0], kBlock);
    copy(k.map(op.getK()), keys, k.add(number, 1), row);
    copy(k.map(op.getV()), values, number, before[0]);
    return Values{row};
  })[0];
  Value number = k.add(step, earlier);
  copy(k.map(op.getV()), values, number, last);
  return k.add(number, 1);
}

void Forward::prepareConsumer() {
  // Rows of 128 bytes in each panel.
  queryRows = k.descriptor(k.add(address(queries), k.mul(consumer, 64 * 128)));
  out = k.add(address(staging), k.mul(consumer, tile / kConsumers));
  scale = k.f32(scoreScale() * M_LOG2E);
}

Value Forward::perRow(ArrayRef<Value> registers, int64_t row, llvm::function_ref<Value(Value, Value)> join) {
  Value joined;
  for (auto [i, value] : llvm::enumerate(registers))
    if (static_cast<int64_t>((i >> 1) & 1) == row)
      joined = joined ? join(joined, value) : value;
  return joined;
}

// Scores -> probabilities. Also updates `rows`, with the factor for the sums under the old maximum.
AttentionBuilder::Values Forward::softmax(ArrayRef<Value> scores, Rows &rows, bool first) {
  auto larger = [&](Value x, Value y) { return k.larger(x, y); };
  Value shift[2];
  for (int64_t r : {0, 1}) {
    Value most = joinQuad(perRow(scores, r, larger), larger);
    if (!first) {
      most = k.larger(most, rows.most[r]);
      rows.factor[r] = k.exp2Fast(k.fmul(k.fsub(rows.most[r], most), scale));
    }
    rows.most[r] = most;
    shift[r] = k.fsub(k.f32(0), k.fmul(most, scale));
  }
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2Fast(k.fma(score, scale, shift[(i >> 1) & 1])));
  for (int64_t r : {0, 1}) {
    Value sum = perRow(p, r, [&](Value x, Value y) { return k.fadd(x, y); });
    rows.sum[r] = first ? sum : k.fma(rows.sum[r], rows.factor[r], sum);
  }
  return p;
}

void Forward::storeLse(const Position &at, const Rows &rows) {
  Type f32 = k.b.getF32Type();
  for (int64_t r : {0, 1}) {
    Value position = k.add(k.add(k.mul(at.block, kBlock), k.mul(consumer, 64)), k.add(row, 8 * r));
    Value value = k.fmul(k.fma(rows.most[r], scale, k.log2Fast(rows.sum[r])), k.f32(M_LN2));
    // One of the four threads that share the row stores.
    k.when(k.both(k.less(position, shape.getPositions()), k.equal(column, 0)), [&] {
      Value index = k.add(k.mul(k.add(k.mul(at.sequence, shape.getPositions()), position), shape.getHeads()), at.head);
      k.storeWord(value, k.at(k.operand(op.getLse()), index, f32));
    });
  }
}

Value Forward::consume(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getHeads(), /*descending=*/true);
  Stage diagonal = stage(keys, step);
  k.wait(diagonal.full, diagonal.parity);
  Values scores = k.awaitProducts(0, products(diagonal));
  release(diagonal.empty);
  Rows rows;
  Value firstRow = k.add(k.mul(consumer, 64), row);
  constexpr auto kSlt = AttentionBuilder::Predicate::slt;
  scores = maskScores(scores, firstRow, AttentionBuilder::Predicate::sgt);
  scores = maskWindow(scores, firstRow, /*distance=*/Value(), kBlock, kSlt);
  Values p = k.packBf16(softmax(scores, rows, /*first=*/true));

  size_t sums = shape.getHeadSize() / 2;
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
  Value earlier = earlierBlocks(at.block);
  Values left = k.loop(earlier, carry(carried, p, rows), [&](Value i, ArrayRef<Value> all) {
    Rows rows;
    auto [o, p] = open(all, rows);
    Value number = k.add(step, i);
    Stage nextKeys = stage(keys, k.add(number, 1)), theseValues = stage(values, number);
    k.wait(nextKeys.full, nextKeys.parity);
    Values scores = products(nextKeys);
    k.wait(theseValues.full, theseValues.parity);
    o = addValues(p, theseValues, o);
    scores = k.awaitProducts(1, scores);
    release(nextKeys.empty);
    if (shape.isWindowed())
      scores = maskWindow(scores, firstRow, k.add(i, 1), kBlock, kSlt);
    Values probabilities = softmax(scores, rows, /*first=*/false);
    // P of this block must not take the registers that the product still reads.
    o.append(probabilities);
    o = k.awaitProducts(0, o, p);
    probabilities.assign(o.begin() + sums, o.end());
    o.truncate(sums);
    release(theseValues.empty);
    for (auto [i, value] : llvm::enumerate(o))
      value = k.fmul(value, rows.factor[(i >> 1) & 1]);
    return carry(o, k.packBf16(probabilities), rows);
  });

  releaseTile();
  auto [o, lastP] = open(left, rows);
  Value number = k.add(step, earlier);
  Stage lastValues = stage(values, number);
  k.wait(lastValues.full, lastValues.parity);
  o = addValues(lastP, lastValues, o);
  Value inverse[2];
  for (int64_t r : {0, 1}) {
    rows.sum[r] = joinQuad(rows.sum[r], [&](Value x, Value y) { return k.fadd(x, y); });
    inverse[r] = k.reciprocalFast(rows.sum[r]);
  }
  if (op.getLse())
    storeLse(at, rows);
  o = k.awaitProducts(0, o, lastP);
  release(lastValues.empty);
  for (auto [i, value] : llvm::enumerate(o))
    value = k.fmul(value, inverse[(i >> 1) & 1]);
  beginStaging();
  stageRows(out, o);
  endStaging([&] {
    Value first = k.add(k.mul(at.block, kBlock), k.mul(consumer, 64));
    copyRowsOut(k.map(op.getResult()), out, first, at.head, at.sequence);
  });
  return k.add(number, 1);
}

} // namespace

void expandAttentionFwd(tile::KernelOp kernel, tile::AttentionFwdOp op) { Forward(kernel, op).emit(); }

} // namespace moec::sm90
