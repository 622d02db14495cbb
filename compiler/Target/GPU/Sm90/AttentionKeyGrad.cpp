// Causal attention, backward: dK and dV. A tile is 128 keys of one key head, its blocks of 64 queries run over the
// query heads of the group, from the diagonal to the last, or to the window's far edge; so each sum has one order and
// one owner.
//
//   for each block:  issue S^T = K Q^T, dP^T = V dO^T; wait for S^T (and dK of the block before)
//                    P^T = exp2(c S^T + nlse); issue dV += P^T dO; wait for dP^T
//                    dS^T = P^T (dP^T - D); issue dK += dS^T Q; wait for dV
//   results: dV, scale dK                                          c = scale * log2 e
//
// nlse and D come from the kernel of dQ. In each head, a warpgroup has exactly one block on the diagonal. The second
// warpgroup skips the first block, whose queries come before its keys, while its dK may still read an older stage; so
// with two stages the kernel would deadlock. With a window, the first warpgroup skips the last block in the same way,
// unless the sequence ends before. Registers: dV, dK 64 each, S^T, dP^T 32 each, P^T, dS^T 16 each: they just fit.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

constexpr int64_t kQueries = 64;              // of a block
constexpr int64_t kStatistics = kQueries * 4; // bytes of nlse, or D, of a block

class KeyGradients : AttentionKernel {
public:
  KeyGradients(tile::KernelOp kernel, tile::AttentionDkvOp op) : AttentionKernel(kernel, op.getShape()), op(op) {
    std::tie(shifts, rowSums) = statistics();
    tile = tileBytes(kBlock);
    queryTile = tileBytes(kQueries);
    keys = reserve(tile);
    values = reserve(tile);
    staging = reserve(2 * tile);
    int64_t data = reserve(2 * queryTile * schedule.getStages());
    columnData = reserve(2 * kStatistics * schedule.getStages());
    queries = reserveRing(data, 2 * queryTile, kConsumers * kWarpgroup);
  }
  void emit() { emitRoles(); }

private:
  Value produce(Value tileNumber, Value step) override;
  Value consume(Value tileNumber, Value step) override;
  void prepareConsumer() override;

  /// The values for which the next block must wait, and the sums.
  struct Running {
    Values dk, dv, scoreGrads; // dk runs and reads scoreGrads
    Value empty;               // barrier of the stage that it reads; 0: none
  };
  /// Blocks of queries from a tile's first key on that see some of its keys.
  Value queryBlocks(Value keyBlock);
  int64_t laterBlocks() const { return llvm::divideCeil(shape.getWindow() - 1, kQueries); } // after the diagonal
  /// The block of queries `distance` blocks after the diagonal (null: on it).
  Running block(Value number, const Running &before, bool diagonal, Value distance);
  Value statisticsOf(const Stage &stage) { return k.add(address(columnData), k.mul(stage.index, 2 * kStatistics)); }
  /// All threads read the statistics, so each thread arrives.
  void releaseColumns(Value barrier) { k.arrive(barrier); }
  Values columnValues(const Stage &stage, int64_t offset);

  tile::AttentionDkvOp op;
  Value shifts, rowSums; // nlse and D
  int64_t tile, queryTile, keys, values, staging, columnData;
  Ring queries;             // of queries and gradients
  Value keyRows, valueRows; // descriptors
  Value out, scale;
};

Value KeyGradients::produce(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getKvHeads(), /*descending=*/false);
  Value firstRow = k.mul(at.block, kBlock);
  k.expect(address(tileFull), k.i32(2 * tile));
  copyTile(k.map(op.getK()), address(keys), address(tileFull), kBlock, firstRow, at.head, at.sequence);
  copyTile(k.map(op.getV()), address(values), address(tileFull), kBlock, firstRow, at.head, at.sequence);
  Value blocks = queryBlocks(at.block);
  return k.loop(k.i32(shape.getGroup()), {step}, [&](Value member, ArrayRef<Value> first) {
    Value head = k.add(k.mul(at.head, shape.getGroup()), member);
    Value padded = k.mul(k.add(k.mul(at.flatHead, shape.getGroup()), member), shape.getPaddedPositions());
    k.loop(blocks, {}, [&](Value i, ArrayRef<Value>) {
      Stage to = stage(queries, k.add(first[0], i));
      acquire(to, 2 * queryTile + 2 * kStatistics);
      Value position = k.add(firstRow, k.mul(i, kQueries));
      copyTile(k.map(op.getQ()), to.data, to.full, kQueries, position, head, at.sequence);
      copyTile(k.map(op.getGrad()), k.add(to.data, queryTile), to.full, kQueries, position, head, at.sequence);
      Value index = k.add(padded, position), place = statisticsOf(to);
      k.loadBytes(k.at(shifts, index, k.b.getF32Type()), place, to.full, kStatistics);
      k.loadBytes(k.at(rowSums, index, k.b.getF32Type()), k.add(place, kStatistics), to.full, kStatistics);
      return Values();
    });
    return Values{k.add(first[0], blocks)};
  })[0];
}

Value KeyGradients::queryBlocks(Value keyBlock) {
  Value blocks = k.mul(k.sub(shape.getBlocks(), keyBlock), kBlock / kQueries);
  return shape.isWindowed() ? k.min(blocks, k.i32(kBlock / kQueries + laterBlocks())) : blocks;
}

void KeyGradients::prepareConsumer() {
  Value mine = k.mul(consumer, 64 * 128);
  keyRows = k.descriptor(k.add(address(keys), mine));
  valueRows = k.descriptor(k.add(address(values), mine));
  out = k.add(address(staging), k.mul(consumer, tile));
  scale = k.f32(scoreScale() * M_LOG2E);
}

// One value for each column of this thread's accumulators: two neighbours in each eight.
AttentionBuilder::Values KeyGradients::columnValues(const Stage &stage, int64_t offset) {
  Type pair = VectorType::get(2, k.b.getF32Type());
  Value base = k.add(k.add(statisticsOf(stage), offset), k.shiftLeft(column, 2));
  Values found;
  for (int64_t i = 0; i < kQueries; i += 8) {
    Value both = k.loadAligned(pair, k.pointer(k.add(base, i * 4)), 8, /*isInvariant=*/false);
    found.push_back(k.element(both, 0));
    found.push_back(k.element(both, 1));
  }
  return found;
}

KeyGradients::Running KeyGradients::block(Value number, const Running &before, bool diagonal, Value distance) {
  int64_t panel = kBlock * 128, queryPanel = kQueries * 128;
  SmallVector<int64_t> keySteps = AttentionBuilder::steps(shape.getHeadSize(), panel);
  SmallVector<int64_t> querySteps = AttentionBuilder::steps(shape.getHeadSize(), queryPanel);
  SmallVector<int64_t> transposed = AttentionBuilder::stepsTransposed(kQueries);
  auto columnOf = [](size_t i) { return 2 * (i / 4) + (i & 1); };
  Stage here = stage(queries, number);
  Value gradData = k.add(here.data, queryTile);
  k.wait(here.full, here.parity);
  Values scores = k.multiplyTiles(kQueries, keyRows, keySteps, k.descriptor(here.data), querySteps);
  Values gradients = k.multiplyTiles(kQueries, valueRows, keySteps, k.descriptor(gradData), querySteps);
  Values finished(scores);
  finished.append(before.dk);
  finished = k.awaitProducts(1, finished, before.scoreGrads);
  scores.assign(finished.begin(), finished.begin() + kQueries / 2);
  Running next;
  next.dk.assign(finished.begin() + kQueries / 2, finished.end());
  k.when(k.compare(AttentionBuilder::Predicate::ne, before.empty, 0), [&] { releaseColumns(before.empty); });
  Values shift = columnValues(here, 0);
  if (diagonal)
    scores = maskScores(scores, row, AttentionBuilder::Predicate::slt);
  scores = maskWindow(scores, row, distance, kQueries, AttentionBuilder::Predicate::sgt);
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2Fast(k.fma(score, scale, shift[columnOf(i)])));
  Values probabilities = k.packBf16(p);
  next.dv = k.multiplyRegisters(probabilities, k.descriptor(gradData, queryPanel), transposed, before.dv);
  gradients = k.awaitProducts(1, gradients);
  Values rowSum = columnValues(here, kStatistics);
  for (auto [i, gradient] : llvm::enumerate(gradients))
    gradient = k.fmul(p[i], k.fsub(gradient, rowSum[columnOf(i)]));
  next.scoreGrads = k.packBf16(gradients);
  next.dk = k.multiplyRegisters(next.scoreGrads, k.descriptor(here.data, queryPanel), transposed, next.dk);
  next.dv = k.awaitProducts(1, next.dv, probabilities);
  next.empty = here.empty;
  return next;
}

Value KeyGradients::consume(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.getKvHeads(), /*descending=*/false);
  Value blocks = queryBlocks(at.block);
  Value later = k.sub(k.sub(blocks, 1), consumer), skipsLast;
  if (shape.isWindowed()) {
    Value seen = k.min(later, k.i32(laterBlocks()));
    skipsLast = k.less(seen, later);
    later = seen;
  }
  size_t sums = shape.getHeadSize() / 2;
  auto close = [](const Running &running) {
    Values all(running.dk);
    all.append(running.dv);
    all.append(running.scoreGrads);
    all.push_back(running.empty);
    return all;
  };
  auto open = [&](ArrayRef<Value> all) {
    return Running{Values(all.take_front(sums)), Values(all.slice(sums, sums)),
                   Values(all.drop_front(2 * sums).drop_back()), all.back()};
  };
  Running zero{Values(sums, k.f32(0)), Values(sums, k.f32(0)), Values(kQueries / 4, k.i32(0)), k.i32(0)};
  Values carried = close(zero);
  carried.push_back(step);
  Values left = k.loop(k.i32(shape.getGroup()), carried, [&](Value, ArrayRef<Value> all) {
    Value first = all.back();
    auto skip = [&](Value number) {
      Stage skipped = stage(queries, number);
      k.wait(skipped.full, skipped.parity);
      releaseColumns(skipped.empty);
    };
    k.when(k.equal(consumer, 1), [&] { skip(first); });
    Value start = k.add(first, consumer);
    Running running = block(start, open(all.drop_back()), /*diagonal=*/true, /*distance=*/Value());
    Values next = k.loop(later, close(running), [&](Value i, ArrayRef<Value> all) {
      Value distance = shape.isWindowed() ? k.add(i, 1) : Value();
      return close(block(k.add(k.add(start, i), 1), open(all), /*diagonal=*/false, distance));
    });
    if (skipsLast)
      k.when(skipsLast, [&] { skip(k.sub(k.add(first, blocks), 1)); });
    next.push_back(k.add(first, blocks));
    return next;
  });
  Value end = left.pop_back_val();
  Running running = open(left);
  Values dk = k.awaitProducts(0, running.dk, running.scoreGrads);
  releaseColumns(running.empty);
  releaseTile();
  Value factor = k.f32(scoreScale());
  for (Value &sum : dk)
    sum = k.fmul(sum, factor);
  Value second = k.add(out, tile / kConsumers);
  beginStaging();
  stageRows(out, running.dv);
  stageRows(second, dk);
  endStaging([&] {
    Value first = k.add(k.mul(at.block, kBlock), k.mul(consumer, 64));
    copyRowsOut(k.map(op.getDv()), out, first, at.head, at.sequence);
    copyRowsOut(k.map(op.getDk()), second, first, at.head, at.sequence);
  });
  return end;
}

} // namespace

void expandAttentionDkv(tile::KernelOp kernel, tile::AttentionDkvOp op) { KeyGradients(kernel, op).emit(); }

} // namespace moec::sm90
