// Causal attention, backward: dK, dV and dQ. A tile is 128 keys of one key head, its blocks are 64 queries of the query
// heads of the group that see a key of it; a warpgroup has 64 of the keys.
//
//   for each block:  issue S^T = K Q^T, dP^T = V dO^T; wait for S^T (and dK of the block before)
//                    P^T = exp2(c S^T + nlse); issue dV += P^T dO; wait for dP^T
//                    dS^T = P^T (dP^T - D), to shared memory too; when both warpgroups are here:
//                    issue dQ = dS K, of all keys and half the head's columns, and dK += dS^T Q; wait for dV and dQ
//                    add dQ to its sums
//   results: dV, scale dK                                          c = scale * log2 e
//
// nlse and D come from the kernel of row statistics.
//
// dQ of a block has a part from each tile of keys that the block sees. The parts are added in f32 in the workspace, in
// the order in which the tiles are drawn, so every run gives the same bits. A word for each block counts the parts
// added so far. A tile adds its part when the count reaches its turn; the last tile adds the sum to its registers and
// writes the result. An accumulator is always added by the thread with the same number, so the sums of a block are in
// the order of registers. Heads take places in the workspace in turn; the count of a place goes on where the previous
// head ended.
//
// Orders: waiting for turns costs time, so tiles of one head that run at the same time should be at different queries.
//   rising    tiles from the last keys to the first, blocks from the diagonal to the last query: tiles that start
//             together are two blocks apart and stay so; shorter ones end, and are followed, earlier, in the same
//             distance. But the longest tile comes last.
//   falling   tiles from the first keys to the last, blocks from the last query to the diagonal, at each of them the
//             heads of a group: longest tiles first. Tiles that start together want the same block, and wait once for
//             each other.
// With one query head for each key head, all sections except the last are rising. With groups, a tile takes as many
// times longer as the group has heads, so a single wait matters little, and tiles that are at the same queries find
// them in the second-level cache. So all sections are falling.
//
// Why every wait ends: a tile waits only for tiles that were drawn earlier (of its head, or of a head two sections
// earlier). The blocks of these tiles are running, because a block draws its tiles itself and works on them in that
// order. So the earliest unfinished tile waits for no other. One thread of the producer's warpgroup, the turn keeper,
// reads and increments the counts. Consumers go on meanwhile, and wait for it at barriers of the block, one block of
// queries later.
//
// Registers: dV, dK 64 each, S^T, dP^T 32 each, P^T, dS^T 16 each, or dQ 32 in the place of one of S^T and dP^T.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include "compiler/Target/GPU/SimtBuilder.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

constexpr int64_t kQueries = 64;              // of a block
constexpr int64_t kStatistics = kQueries * 4; // bytes of nlse, or D, of a block
constexpr int64_t kScoreBuffers = 2;          // dS of a block is read while that of the next is written

class Gradients : AttentionKernel {
public:
  Gradients(tile::KernelOp kernel, tile::AttentionGradOp op) : AttentionKernel(kernel, op.getShape()), op(op) {
    isOrdered = true;
    std::tie(shifts, rowSums) = statistics();
    tile = tileBytes(kBlock);
    queryTile = tileBytes(kQueries);
    keys = reserve(tile);
    values = reserve(tile);
    staging = reserve(tile);
    scoreGrads = reserve(kScoreBuffers * kScoreTile);
    int64_t data = reserve(2 * queryTile * schedule.getStages());
    columnData = reserve(2 * kStatistics * schedule.getStages());
    queries = reserveRing(data, 2 * queryTile, kConsumers * kWarpgroup);
    notice = reserve(kNotice);
    turn = reserveBarrier(1);
    added = reserveBarrier(kConsumers * kWarps);
  }
  void emit() { emitRoles(); }

private:
  Value produce(Value tileNumber, Value step) override;
  Value consume(Value tileNumber, Value step) override;
  Value keepTurns(Value tileNumber, Value step) override;
  void prepareConsumer() override;

  static constexpr int64_t kScoreTile = kBlock * kQueries * 2; // bytes of dS of a block
  static constexpr int64_t kBothConsumers = 3;                 // hardware barrier; the consumers' own are 1 and 2

  /// Tile number `tile`, in the order of its head.
  Position tileAt(Value tile);
  /// The number of key heads, from the first on, whose tiles are rising.
  int64_t risingHeads() const {
    return shape.getGroup() > 1 ? 0 : shape.getSequences() * shape.getKvHeads() - shape.getSection();
  }
  /// The blocks of a tile: those of the queries from its first key on.
  struct Walk {
    Value count, first, end, rises;
  };
  Walk walk(const Position &at);
  /// A block of a walk: the block of queries, its query head, and its distance in blocks from the tile's first key.
  struct Block {
    Value query, flatHead, head, distance;
    Value turn, order; // the word, as a number; its value when it is this tile's turn
    Value isFirst, isLast;
  };
  Block blockAt(const Position &at, const Walk &walk, Value i);

  /// The turn keeper passes four words to the consumers of a block: which part this tile has in its dQ, the number of
  /// the block's place, its first row and its head. So consumers need not keep the values from which these are
  /// computed.
  enum Part { kFirst, kBetween, kLast, kOnly };
  static constexpr int64_t kNotice = 16;

  /// The values for which the next block must wait, and the sums.
  struct Running {
    Values dk, dv, scoreGrads; // dk runs and reads scoreGrads
  };
  Running runBlock(const Position &at, const Walk &walk, Value i, Value step, const Running &before);
  /// When the turn of this tile comes, adds its dQ of a block to the block's sums, or writes the result.
  void finishQueries(const Position &at, Value number, Values dq);
  Value statisticsOf(const Stage &stage) { return k.add(address(columnData), k.mul(stage.index, 2 * kStatistics)); }
  Values columnValues(const Stage &stage, int64_t offset);
  /// All lanes read the statistics of a stage.
  void releaseStage(Value number) { k.arrive(stage(queries, number).empty); }

  tile::AttentionGradOp op;
  Value shifts, rowSums; // nlse and D
  int64_t tile, queryTile, keys, values, staging, scoreGrads, columnData, notice, turn, added;
  Ring queries;                                  // of queries and gradients
  Value keyRows, valueRows, keyColumns, scoreTo; // descriptors; where this warpgroup's dS goes
  Value out, scale;
};

//===--- Order ---===//

AttentionKernel::Position Gradients::tileAt(Value tile) {
  Position at = position(tile, shape.getKvHeads(), /*descending=*/false);
  at.block = k.select(k.less(at.flatHead, risingHeads()), k.sub(shape.getBlocks() - 1, at.block), at.block);
  return at;
}

Gradients::Walk Gradients::walk(const Position &at) {
  Value first = k.mul(at.block, kBlock / kQueries), end = k.i32(shape.getQueryBlocks());
  return {k.mul(k.sub(end, first), shape.getGroup()), first, end, k.less(at.flatHead, risingHeads())};
}

Gradients::Block Gradients::blockAt(const Position &at, const Walk &walk, Value i) {
  Block block;
  Value member = k.rem(i, shape.getGroup()), step = k.div(i, shape.getGroup());
  block.query = k.select(walk.rises, k.add(walk.first, step), k.sub(k.sub(walk.end, 1), step));
  block.flatHead = k.add(k.mul(at.flatHead, shape.getGroup()), member);
  block.head = k.add(k.mul(at.head, shape.getGroup()), member);
  block.distance = k.sub(block.query, walk.first);
  // Parts come from the tiles of keys up to the one on the diagonal; falling heads begin with tile 0.
  Value diagonal = k.div(block.query, kBlock / kQueries);
  Value before = k.select(walk.rises, k.sub(diagonal, at.block), at.block);
  block.isFirst = k.equal(before, 0);
  block.isLast = k.equal(before, diagonal);
  int64_t places = shape.getHeadsInFlight() / shape.getGroup(); // of key heads
  Value place = k.add(k.mul(k.rem(at.flatHead, places), shape.getGroup()), member);
  block.turn = k.add(k.mul(place, shape.getQueryBlocks()), block.query);
  block.order = k.add(k.mul(k.div(at.flatHead, places), k.add(diagonal, 1)), before);
  return block;
}

Value Gradients::keepTurns(Value tileNumber, Value step) {
  Position at = tileAt(tileNumber);
  Walk blocks = walk(at);
  Value turns = k.at(k.scratch(), k.i64(gpu::SimtBuilder::kCounterBytes + shape.getStatisticsBytes()), k.b.getI8Type());
  k.loop(blocks.count, {}, [&](Value i, ArrayRef<Value>) {
    Block block = blockAt(at, blocks, i);
    Value word = k.at(turns, block.turn, k.b.getI32Type());
    k.loopWhile(
        {k.i32(0)},
        [&](ArrayRef<Value> carried) {
          return std::pair(k.compare(AttentionBuilder::Predicate::ne, k.loadAcquire(word), block.order),
                           Values(carried));
        },
        [&](ArrayRef<Value> carried) { return Values(carried); });
    Value what = k.select(block.isLast, k.select(block.isFirst, k.i32(kOnly), k.i32(kLast)),
                          k.select(block.isFirst, k.i32(kFirst), k.i32(kBetween)));
    Value words[] = {what, block.turn, k.mul(block.query, kQueries), block.head};
    for (int64_t i = 0; i < 4; ++i)
      k.storeWord(words[i], k.pointer(address(notice + 4 * i)));
    k.arrive(address(turn));
    k.wait(address(added), k.bitAnd(k.add(step, i), 1));
    k.storeRelease(k.add(block.order, 1), word);
    return Values();
  });
  return k.add(step, blocks.count);
}

//===--- Producer ---===//

Value Gradients::produce(Value tileNumber, Value step) {
  Position at = tileAt(tileNumber);
  Value firstKey = k.mul(at.block, kBlock);
  k.expect(address(tileFull), k.i32(2 * tile));
  copyTile(k.map(op.getK()), address(keys), address(tileFull), kBlock, firstKey, at.head, at.sequence);
  copyTile(k.map(op.getV()), address(values), address(tileFull), kBlock, firstKey, at.head, at.sequence);
  Walk blocks = walk(at);
  k.loop(blocks.count, {}, [&](Value i, ArrayRef<Value>) {
    Block block = blockAt(at, blocks, i);
    Stage to = stage(queries, k.add(step, i));
    acquire(to, 2 * queryTile + 2 * kStatistics);
    Value position = k.mul(block.query, kQueries);
    copyTile(k.map(op.getQ()), to.data, to.full, kQueries, position, block.head, at.sequence);
    copyTile(k.map(op.getGrad()), k.add(to.data, queryTile), to.full, kQueries, position, block.head, at.sequence);
    Value index = k.add(k.mul(block.flatHead, shape.getPaddedPositions()), position), place = statisticsOf(to);
    k.loadBytes(k.at(shifts, index, k.b.getF32Type()), place, to.full, kStatistics);
    k.loadBytes(k.at(rowSums, index, k.b.getF32Type()), k.add(place, kStatistics), to.full, kStatistics);
    return Values();
  });
  return k.add(step, blocks.count);
}

//===--- Consumers ---===//

void Gradients::prepareConsumer() {
  Value mine = k.mul(consumer, 64 * 128);
  keyRows = k.descriptor(k.add(address(keys), mine));
  valueRows = k.descriptor(k.add(address(values), mine));
  // This warpgroup's half of the head's columns: a panel of 64, or half of one.
  keyColumns = k.descriptor(k.add(address(keys), k.mul(consumer, shape.getHeadSize() == 128 ? kBlock * 128 : 64)));
  scoreTo = k.add(address(scoreGrads), mine);
  out = k.add(address(staging), k.mul(consumer, tile / kConsumers));
  scale = k.f32(scoreScale() * M_LOG2E);
}

// One value for each column of this thread's accumulators: two neighbours in each eight.
AttentionBuilder::Values Gradients::columnValues(const Stage &stage, int64_t offset) {
  Type pair = VectorType::get(2, k.b.getF32Type());
  Value base = k.opaque(k.add(k.add(statisticsOf(stage), offset), k.shiftLeft(column, 2)));
  Values found;
  for (int64_t i = 0; i < kQueries; i += 8) {
    Value both = k.loadAligned(pair, k.pointer(k.add(base, i * 4)), 8, /*isInvariant=*/false);
    found.push_back(k.element(both, 0));
    found.push_back(k.element(both, 1));
  }
  return found;
}

Gradients::Running Gradients::runBlock(const Position &at, const Walk &walk, Value i, Value step,
                                       const Running &before) {
  constexpr auto kSlt = AttentionBuilder::Predicate::slt;
  int64_t panel = kBlock * 128, queryPanel = kQueries * 128, sums = shape.getHeadSize() / 2;
  SmallVector<int64_t> keySteps = AttentionBuilder::steps(shape.getHeadSize(), panel);
  SmallVector<int64_t> querySteps = AttentionBuilder::steps(shape.getHeadSize(), queryPanel);
  SmallVector<int64_t> downQueries = AttentionBuilder::stepsTransposed(kQueries);
  SmallVector<int64_t> downKeys = AttentionBuilder::stepsTransposed(kBlock);
  auto columnOf = [](size_t i) { return 2 * (i / 4) + (i & 1); };
  i = k.opaque(i);
  Value number = k.opaque(k.add(step, i));
  Stage here = stage(queries, number);
  Value gradData = k.add(here.data, queryTile);
  Block block = blockAt(at, walk, i);

  k.wait(here.full, here.parity);
  Values scores = k.multiplyTiles(kQueries, keyRows, keySteps, k.descriptor(here.data), querySteps);
  Values gradients = k.multiplyTiles(kQueries, valueRows, keySteps, k.descriptor(gradData), querySteps);
  Values finished(scores);
  finished.append(before.dk);
  finished = k.awaitProducts(1, finished, before.scoreGrads);
  scores.assign(finished.begin(), finished.begin() + kQueries / 2);
  Running next;
  next.dk.assign(finished.begin() + kQueries / 2, finished.end());
  k.when(k.compare(AttentionBuilder::Predicate::ne, i, 0), [&] { releaseStage(k.sub(number, 1)); });
  Values shift = columnValues(here, 0);
  Value distance = k.sub(block.distance, consumer); // from this warpgroup's keys
  scores = k.choose(
      k.compare(AttentionBuilder::Predicate::sle, distance, 0),
      [&] { return maskScores(scores, k.sub(row, k.mul(distance, kQueries)), kSlt); }, [&] { return scores; });
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2Fast(k.fma(score, scale, shift[columnOf(i)])));
  Values probabilities = k.packBf16(p);
  next.dv = k.multiplyRegisters(probabilities, k.descriptor(gradData, queryPanel), downQueries, before.dv);

  gradients = k.awaitProducts(1, gradients);
  Values rowSum = columnValues(here, kStatistics);
  for (auto [i, gradient] : llvm::enumerate(gradients))
    gradient = k.fmul(p[i], k.fsub(gradient, rowSum[columnOf(i)]));
  next.scoreGrads = k.packBf16(gradients);
  // Rows of keys, 64 queries each. When the warpgroups meet, both have finished dQ of the previous block, so its dS is
  // free.
  Value buffer = k.mul(k.bitAnd(number, kScoreBuffers - 1), kScoreTile);
  stagePacked(k.add(scoreTo, buffer), next.scoreGrads);
  k.fenceAsync();
  k.sync(k.i32(kBothConsumers), kConsumers * kWarpgroup);
  Value scoreColumns = k.descriptor(k.add(address(scoreGrads), buffer));
  Values dq = k.multiplyTiles(shape.getHeadSize() / kConsumers, scoreColumns, downKeys, keyColumns, downKeys,
                              /*transposed=*/true);
  next.dk = k.multiplyRegisters(next.scoreGrads, k.descriptor(here.data, queryPanel), downQueries, next.dk);
  // The products are read in the block that issued them: after the next branch of the loop, the assembler would treat
  // them as unfinished.
  finished.assign(next.dv.begin(), next.dv.end());
  finished.append(dq);
  finished = k.awaitProducts(1, finished, probabilities);
  next.dv.assign(finished.begin(), finished.begin() + sums);
  finishQueries(at, number, Values(finished.begin() + sums, finished.end()));
  return next;
}

void Gradients::finishQueries(const Position &at, Value number, Values dq) {
  Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type();
  int64_t chunks = dq.size() / 4, chunk = kWarpgroup * 4; // elements
  k.wait(address(turn), k.bitAnd(number, 1));
  // The lane that reads it gives it back (release).
  Values told = k.choose(
      k.equal(lane, 0),
      [&] {
        Value all = k.loadAligned(VectorType::get(4, i32), k.pointer(address(notice)), kNotice, /*isInvariant=*/false);
        return Values{k.element(all, 0), k.element(all, 1), k.element(all, 2), k.element(all, 3)};
      },
      [&] { return Values(4, k.i32(0)); });
  for (Value &word : told)
    word = k.firstLane(word);
  auto is = [&](Part part) { return k.equal(told[0], part); };
  int64_t sumsAt = gpu::SimtBuilder::kCounterBytes + shape.getStatisticsBytes() + shape.getTurnBytes();
  Value thread = k.bitAnd(k.thread(), kWarpgroup - 1), part = k.add(k.mul(told[1], kConsumers), consumer);
  Value base = k.at(k.at(k.scratch(), k.i64(sumsAt), k.b.getI8Type()),
                    k.add(k.mul(k.wide(part), chunks * chunk), k.wide(k.shiftLeft(thread, 2))), f32);
  auto place = [&](int64_t i) { return k.at(base, k.i64(i * chunk), f32); };
  auto four = [&](int64_t i) { return ArrayRef(dq).slice(4 * i, 4); };
  auto each = [&](llvm::function_ref<void(int64_t)> visit) {
    for (int64_t i = 0; i < chunks; ++i)
      visit(i);
  };
  auto write = [&] {
    Values total = k.choose(
        is(kOnly), [&] { return dq; },
        [&] {
          Values sums;
          each([&](int64_t i) {
            for (auto [here, there] : llvm::zip(four(i), k.loadFour(place(i))))
              sums.push_back(k.fadd(there, here));
          });
          return sums;
        });
    Value factor = k.f32(scoreScale());
    for (Value &sum : total)
      sum = k.fmul(sum, factor);
    beginStaging();
    stageRows(out, total);
    endStaging([&] { k.storeBox(k.map(op.getDq()), out, {k.mul(consumer, kPanel), told[2], told[3], at.sequence}); });
  };
  k.when(
      is(kBetween), [&] { each([&](int64_t i) { k.addFour(place(i), four(i)); }); },
      [&] { k.when(is(kFirst), [&] { each([&](int64_t i) { k.storeFour(place(i), four(i)); }); }, write); });
  k.syncWarp();
  release(address(added));
}

Value Gradients::consume(Value tileNumber, Value step) {
  Position at = tileAt(tileNumber);
  Walk blocks = walk(at);
  size_t sums = shape.getHeadSize() / 2;
  auto close = [](const Running &running) {
    Values all(running.dk);
    all.append(running.dv);
    all.append(running.scoreGrads);
    return all;
  };
  auto open = [&](ArrayRef<Value> all) {
    return Running{Values(all.take_front(sums)), Values(all.slice(sums, sums)), Values(all.drop_front(2 * sums))};
  };
  Running zero{Values(sums, k.f32(0)), Values(sums, k.f32(0)), Values(kQueries / 4, k.i32(0))};
  Values left = k.loop(blocks.count, close(zero),
                       [&](Value i, ArrayRef<Value> all) { return close(runBlock(at, blocks, i, step, open(all))); });
  Running running = open(left);
  Value end = k.add(step, blocks.count), first = k.add(k.mul(at.block, kBlock), k.mul(consumer, 64));
  auto store = [&](Value map, ArrayRef<Value> sums) {
    beginStaging();
    stageRows(out, sums);
    endStaging([&] { copyRowsOut(map, out, first, at.head, at.sequence); });
  };
  Values dk = k.awaitProducts(0, running.dk, running.scoreGrads);
  releaseTile();
  releaseStage(k.sub(end, 1));
  Value factor = k.f32(scoreScale());
  for (Value &sum : dk)
    sum = k.fmul(sum, factor);
  store(k.map(op.getDk()), dk);
  store(k.map(op.getDv()), running.dv);
  return end;
}

} // namespace

void expandAttentionGrad(tile::KernelOp kernel, tile::AttentionGradOp op) { Gradients(kernel, op).emit(); }

} // namespace moec::sm90
