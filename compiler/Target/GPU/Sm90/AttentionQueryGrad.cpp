// Causal attention, backward: dQ, and the row statistics for dK and dV. A tile is 128 query rows of one head, its
// blocks of 128 keys run from the diagonal to the first, or to the window's far edge.
//
//   D = rowsum(dO * O), nlse = -log2 e * lse are written to the workspace; a row of padding has 0 and -inf
//   for each block:  issue S = Q K^T (dQ of the block before still runs); wait for that dQ; issue dP = dO V^T
//                    P = exp2(c S + nlse); dS = P (dP - D); issue dQ += dS K
//   result = scale dQ                                              c = scale * log2 e
//
// K serves twice: rows as columns of S, and transposed as the second factor of dQ. Registers: S, dP, dQ 64 each, dS 32.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

class QueryGradient : AttentionKernel {
public:
  QueryGradient(tile::KernelOp kernel, tile::AttentionDqOp op) : AttentionKernel(kernel, op.getShape()), op(op) {
    tile = tileBytes(kBlock);
    panel = kBlock * 128;
    queries = reserve(tile);
    grads = reserve(tile);
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
    Value shift[2], rowSum[2];
  };
  Rows rowStatistics(const Position &at);
  /// The values for which the next block must wait.
  struct Running {
    Values sums, scoreGrads; // dQ and the dS that it reads
    Value keysEmpty;         // barrier of the keys that it reads
  };
  /// The block of keys `distance` blocks before the diagonal. `before` is the previous block; null for the block on the
  /// diagonal.
  Running block(Value number, const Running *before, const Rows &rows, Value distance);

  tile::AttentionDqOp op;
  int64_t tile, panel, queries, grads, staging;
  Ring keys, values;
  Value queryRows, gradRows; // descriptors
  Value out, scale;
};

Value QueryGradient::produce(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getHeads(), /*descending=*/true);
  Value keyHead = k.div(at.head, shape.getGroup()), firstRow = k.mul(at.block, kBlock);
  k.expect(address(tileFull), k.i32(2 * tile));
  copyTile(k.map(op.getQ()), address(queries), address(tileFull), kBlock, firstRow, at.head, at.sequence);
  copyTile(k.map(op.getGrad()), address(grads), address(tileFull), kBlock, firstRow, at.head, at.sequence);
  Value blocks = k.add(earlierBlocks(at.block), 1);
  k.loop(blocks, {}, [&](Value i, ArrayRef<Value>) {
    Value number = k.add(step, i), row = k.mul(k.sub(at.block, i), kBlock);
    for (auto [map, ring] : {std::pair(k.map(op.getK()), keys), std::pair(k.map(op.getV()), values)}) {
      Stage to = stage(ring, number);
      acquire(to, tile);
      copyTile(map, to.data, to.full, kBlock, row, keyHead, at.sequence);
    }
    return Values();
  });
  return k.add(step, blocks);
}

void QueryGradient::prepareConsumer() {
  Value mine = k.mul(consumer, 64 * 128);
  queryRows = k.descriptor(k.add(address(queries), mine));
  gradRows = k.descriptor(k.add(address(grads), mine));
  out = k.add(address(staging), k.mul(consumer, tile / kConsumers));
  scale = k.f32(scoreScale() * M_LOG2E);
}

QueryGradient::Rows QueryGradient::rowStatistics(const Position &at) {
  constexpr int64_t kChunk = 8; // elements of a 16-byte load
  Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type(), four = VectorType::get(4, i32);
  Value quarter = k.bitAnd(lane, 3);
  Value result = k.operand(op.getResult()), grad = k.operand(op.getGradRows()), lse = k.operand(op.getLse());
  auto [shifts, rowSums] = statistics();
  Rows rows;
  for (int64_t r : {0, 1}) {
    Value position = k.add(k.add(k.mul(at.block, kBlock), k.mul(consumer, 64)), k.add(row, 8 * r));
    Value headRow = k.add(k.mul(k.add(k.mul(at.sequence, shape.getPositions()), position), shape.getHeads()), at.head);
    Values found = k.choose(
        k.less(position, shape.getPositions()),
        [&] {
          // The four threads of a row take every fourth chunk of it.
          Value first = k.add(k.mul(k.wide(headRow), shape.getHeadSize()), k.wide(k.mul(quarter, kChunk)));
          Value sums[2] = {k.f32(0), k.f32(0)};
          auto chunk = [&](Value rows, int64_t i) {
            return k.loadAligned(four, k.at(rows, k.add(first, i), k.b.getBF16Type()), 16, /*isInvariant=*/true);
          };
          SmallVector<std::pair<Value, Value>> chunks; // all loads first
          for (int64_t i = 0; i < shape.getHeadSize(); i += 4 * kChunk) {
            Value of = chunk(result, i);
            chunks.push_back({of, chunk(grad, i)});
          }
          for (auto [o, grad] : chunks)
            for (int64_t j = 0; j < 4; ++j) {
              auto [oLow, oHigh] = k.unpackBf16(k.element(o, j));
              auto [gradLow, gradHigh] = k.unpackBf16(k.element(grad, j));
              sums[0] = k.fma(oLow, gradLow, sums[0]);
              sums[1] = k.fma(oHigh, gradHigh, sums[1]);
            }
          Value shift = k.fmul(k.loadInvariant(f32, lse, headRow), k.f32(-M_LOG2E));
          return Values{shift, k.fadd(sums[0], sums[1])};
        },
        [&] { return Values{k.f32(-INFINITY), k.f32(0)}; });
    rows.shift[r] = found[0];
    rows.rowSum[r] = joinQuad(found[1], [&](Value x, Value y) { return k.fadd(x, y); });
    k.when(k.equal(quarter, 0), [&] {
      Value index = k.add(k.mul(at.flatHead, shape.getPaddedPositions()), position);
      k.storeWord(rows.shift[r], k.at(shifts, index, f32));
      k.storeWord(rows.rowSum[r], k.at(rowSums, index, f32));
    });
  }
  return rows;
}

QueryGradient::Running QueryGradient::block(Value number, const Running *before, const Rows &rows, Value distance) {
  SmallVector<int64_t> steps = AttentionBuilder::steps(shape.getHeadSize(), panel);
  Stage theseKeys = stage(keys, number), theseValues = stage(values, number);
  k.wait(theseKeys.full, theseKeys.parity);
  Values scores = k.multiplyTiles(kBlock, queryRows, steps, k.descriptor(theseKeys.data), steps);
  Running next;
  if (before) {
    next.sums = k.awaitProducts(1, before->sums, before->scoreGrads);
    release(before->keysEmpty);
  } else {
    next.sums.assign(shape.getHeadSize() / 2, k.f32(0));
  }
  k.wait(theseValues.full, theseValues.parity);
  Values gradients = k.multiplyTiles(kBlock, gradRows, steps, k.descriptor(theseValues.data), steps);
  scores = k.awaitProducts(1, scores);
  if (!before || shape.isWindowed()) {
    Value firstRow = k.add(k.mul(consumer, 64), row);
    if (!before)
      scores = maskScores(scores, firstRow, AttentionBuilder::Predicate::sgt);
    scores = maskWindow(scores, firstRow, distance, kBlock, AttentionBuilder::Predicate::slt);
  }
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2Fast(k.fma(score, scale, rows.shift[(i >> 1) & 1])));
  gradients = k.awaitProducts(0, gradients);
  release(theseValues.empty);
  for (auto [i, gradient] : llvm::enumerate(gradients))
    gradient = k.fmul(p[i], k.fsub(gradient, rows.rowSum[(i >> 1) & 1]));
  next.scoreGrads = k.packBf16(gradients);
  next.sums = k.multiplyRegisters(next.scoreGrads, k.descriptor(theseKeys.data, panel),
                                  AttentionBuilder::stepsTransposed(kBlock), next.sums);
  next.keysEmpty = theseKeys.empty;
  return next;
}

Value QueryGradient::consume(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getHeads(), /*descending=*/true);
  Rows rows = rowStatistics(at);
  auto close = [](const Running &running) {
    Values all(running.sums);
    all.append(running.scoreGrads);
    all.push_back(running.keysEmpty);
    return all;
  };
  auto open = [&](ArrayRef<Value> all) {
    size_t sums = shape.getHeadSize() / 2;
    return Running{Values(all.take_front(sums)), Values(all.drop_front(sums).drop_back()), all.back()};
  };
  Running running = block(step, nullptr, rows, /*distance=*/Value());
  Value earlier = earlierBlocks(at.block);
  Values left = k.loop(earlier, close(running), [&](Value i, ArrayRef<Value> all) {
    Running before = open(all);
    return close(block(k.add(k.add(step, i), 1), &before, rows, shape.isWindowed() ? k.add(i, 1) : Value()));
  });
  releaseTile();
  running = open(left);
  Values sums = k.awaitProducts(0, running.sums, running.scoreGrads);
  release(running.keysEmpty);
  Value factor = k.f32(scoreScale());
  for (Value &sum : sums)
    sum = k.fmul(sum, factor);
  beginStaging();
  stageRows(out, sums);
  endStaging([&] {
    Value first = k.add(k.mul(at.block, kBlock), k.mul(consumer, 64));
    copyRowsOut(k.map(op.getDq()), out, first, at.head, at.sequence);
  });
  return k.add(k.add(step, earlier), 1);
}

} // namespace

void expandAttentionDq(tile::KernelOp kernel, tile::AttentionDqOp op) { QueryGradient(kernel, op).emit(); }

} // namespace moec::sm90
