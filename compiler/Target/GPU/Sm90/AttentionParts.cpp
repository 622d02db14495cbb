#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include "compiler/Target/GPU/SimtBuilder.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

double AttentionKernel::scoreScale() const { return 1.0 / std::sqrt(static_cast<double>(shape.getHeadSize())); }

std::pair<Value, Value> AttentionKernel::statistics() {
  Type byte = k.b.getI8Type();
  Value first = k.at(k.scratch(), k.i64(gpu::SimtBuilder::kCounterBytes), byte);
  return {first, k.at(first, k.i64(shape.getStatisticsBytes() / 2), byte)};
}

//===--- Shared memory ---===//

int64_t AttentionKernel::reserve(int64_t bytes) {
  int64_t offset = used;
  used += bytes;
  return offset;
}

int64_t AttentionKernel::reserveBarrier(int64_t arrivals) {
  int64_t offset = reserve(8);
  barriers.push_back({offset, arrivals});
  return offset;
}

AttentionKernel::Ring AttentionKernel::reserveRing(int64_t data, int64_t stageBytes, int64_t arrivals) {
  Ring ring{data, stageBytes, schedule.getStages(), used, used + 8 * schedule.getStages()};
  for (int64_t i = 0; i < schedule.getStages(); ++i)
    reserveBarrier(1);
  for (int64_t i = 0; i < schedule.getStages(); ++i)
    reserveBarrier(arrivals);
  return ring;
}

AttentionKernel::Stage AttentionKernel::stage(const Ring &ring, Value step) {
  Value index = k.rem(step, ring.stages), parity = k.bitAnd(k.div(step, ring.stages), 1);
  Value offset = k.shiftLeft(index, 3);
  return {index, k.add(address(ring.data), k.mul(index, ring.stageBytes)), k.add(address(ring.full), offset),
          k.add(address(ring.empty), offset), parity};
}

void AttentionKernel::acquire(const Stage &stage, int64_t bytes) {
  // On a new barrier, the phase before the first counts as complete.
  k.wait(stage.empty, k.bitXor(stage.parity, 1));
  k.expect(stage.full, k.i32(bytes));
}

void AttentionKernel::copyTile(Value map, Value to, Value barrier, int64_t rows, Value row, Value head,
                               Value sequence) {
  for (int64_t column = 0; column < shape.getHeadSize(); column += kPanel)
    k.loadBox(map, k.add(to, column * 2 * rows), barrier, {k.i32(column), row, head, sequence});
}

//===--- Skeleton ---===//

void AttentionKernel::emitRoles() {
  tileFull = reserveBarrier(1);
  tileEmpty = reserveBarrier(kConsumers * kWarps + (isOrdered ? 1 : 0));
  tileSlot = reserve(16);
  assert(used == kernel.getSharedBytes() && "what the op announces");
  k.when(k.equal(k.thread(), 0), [&] {
    for (const Barrier &barrier : barriers)
      k.initBarrier(address(barrier.offset), barrier.arrivals);
  });
  k.publishBarriers();
  k.when(
      k.equal(k.warpgroup(), 0),
      [&] {
        k.setRegisters(schedule.getProducer(), /*increase=*/false);
        k.when(k.equal(k.thread(), 0), [&] { emitProducer(); });
        if (isOrdered)
          k.when(k.equal(k.thread(), 32), [&] { emitKeeper(); });
      },
      [&] {
        k.setRegisters(schedule.getConsumer(), /*increase=*/true);
        consumer = k.sub(k.warpgroup(), 1);
        emitConsumer();
      });
  k.finish();
}

void AttentionKernel::emitProducer() {
  int64_t tiles = kernel.getWork().getTileCount(schedule);
  Type i32 = k.b.getI32Type();
  Value counter = k.scratch(), leavers = k.at(counter, k.i32(1), i32), grid = k.blocks();
  auto draw = [&] { return k.draw(counter, LLVM::AtomicOrdering::monotonic); };
  auto announce = [&](Value tile, Value parity) {
    k.wait(address(tileEmpty), parity);
    k.storeWord(tile, k.pointer(address(tileSlot)));
  };
  Values left = k.loopWhile(
      {isOrdered ? draw() : k.block(), k.i32(0), k.i32(1)},
      [&](ArrayRef<Value> carried) { return std::pair(k.less(carried[0], tiles), Values(carried)); },
      [&](ArrayRef<Value> carried) {
        // The next tile is drawn ahead of time, so that its number arrives while copies run. A tile for which others
        // may wait is not drawn ahead, because it would stay undone while this tile runs.
        Value next = isOrdered ? Value() : k.add(draw(), grid);
        announce(carried[0], carried[2]);
        Value step = produce(carried[0], carried[1]);
        if (isOrdered)
          next = draw();
        return Values{next, step, k.bitXor(carried[2], 1)};
      });
  announce(k.i32(-1), left[2]);
  k.arrive(address(tileFull));
  // The last block to leave puts the counters back to zero.
  Value before = k.draw(leavers, LLVM::AtomicOrdering::acq_rel);
  k.when(k.equal(before, k.sub(grid, 1)), [&] {
    k.storeWord(k.i32(0), counter);
    k.storeWord(k.i32(0), leavers);
  });
}

void AttentionKernel::emitConsumer() {
  Value thread = k.bitAnd(k.thread(), kWarpgroup - 1);
  lane = k.bitAnd(k.thread(), 31);
  warp = k.shiftRight(thread, 5);
  isLeader = k.equal(thread, 0);
  row = k.add(k.mul(warp, 16), k.shiftRight(lane, 2));
  column = k.shiftLeft(k.bitAnd(lane, 3), 1);
  // Lane l stores row l % 8 of the upper or lower half of the warp's 16 rows, left or right half of 16 columns; chunks
  // of 16 bytes lie xored with the row.
  Value low = k.bitAnd(lane, 7), lower = k.bitAnd(k.shiftRight(lane, 3), 1), right = k.shiftRight(lane, 4);
  Value matrixRow = k.add(k.add(k.mul(warp, 16), k.mul(lower, 8)), low);
  Value chunk = k.shiftLeft(k.bitXor(right, low), 4);
  for (int64_t i = 0; i < kPanel / 16; ++i)
    matrixOffsets.push_back(k.add(k.mul(matrixRow, 128), k.bitXor(chunk, i << 5)));
  prepareConsumer();
  // The lane that later arrives for the warp reads the number, so that the slot is not overwritten before another
  // lane's read.
  auto readByLane = [&] {
    return k.firstLane(
        k.choose(k.equal(lane, 0), [&] { return Values{readSlot()}; }, [&] { return Values{k.i32(0)}; })[0]);
  };
  followTiles(readByLane, [&](Value tile, Value step) { return consume(tile, step); });
  k.when(isLeader, [&] { k.waitStores(0, /*readOnly=*/false); });
}

void AttentionKernel::emitKeeper() {
  followTiles([&] { return readSlot(); },
              [&](Value tile, Value step) {
                k.arrive(address(tileEmpty));
                return keepTurns(tile, step);
              });
}

Value AttentionKernel::readSlot() { return k.loadVolatile(k.b.getI32Type(), k.pointer(address(tileSlot))); }

void AttentionKernel::followTiles(llvm::function_ref<Value()> readSlot,
                                  llvm::function_ref<Value(Value tile, Value step)> work) {
  k.loopWhile(
      {k.i32(0), k.i32(0)},
      [&](ArrayRef<Value> carried) {
        k.wait(address(tileFull), carried[0]);
        Value tile = readSlot();
        return std::pair(k.compare(arith::CmpIPredicate::sge, tile, 0), Values{carried[0], carried[1], tile});
      },
      [&](ArrayRef<Value> carried) {
        Value step = work(carried[2], carried[1]);
        return Values{k.bitXor(carried[0], 1), step};
      });
}

AttentionKernel::Position AttentionKernel::position(Value tile, int64_t heads, bool descending) {
  int64_t blocks = shape.getBlocks(), section = shape.getSection();
  Value which = k.div(tile, blocks * section), rest = k.rem(tile, blocks * section);
  Value block = k.div(rest, section);
  Position at;
  at.block = descending ? k.sub(blocks - 1, block) : block;
  at.flatHead = k.add(k.mul(which, section), k.rem(rest, section));
  at.sequence = k.div(at.flatHead, heads);
  at.head = k.rem(at.flatHead, heads);
  return at;
}

//===--- Consumers ---===//

void AttentionKernel::release(Value barrier) {
  k.when(k.equal(lane, 0), [&] { k.arrive(barrier); });
}

Value AttentionKernel::joinQuad(Value x, llvm::function_ref<Value(Value, Value)> join) {
  for (int64_t mask : {1, 2})
    x = join(x, k.shuffleXor(x, mask));
  return x;
}

AttentionKernel::Values AttentionKernel::maskScores(ArrayRef<Value> scores, Value firstRow,
                                                    AttentionBuilder::Predicate hidden) {
  Value lowest = k.f32(-INFINITY);
  Value relative[2] = {k.sub(firstRow, column), k.add(k.sub(firstRow, column), 8)};
  Values masked;
  for (auto [i, score] : llvm::enumerate(scores)) {
    int64_t registerColumn = 8 * (i / 4) + (i & 1);
    masked.push_back(k.select(k.compare(hidden, registerColumn, relative[(i >> 1) & 1]), lowest, score));
  }
  return masked;
}

// A key is hidden from queries that are `window` or more positions after it. In the first window / width blocks,
// including the one on the diagonal, every pair is near enough.
AttentionKernel::Values AttentionKernel::maskWindow(Values scores, Value firstRow, Value distance, int64_t width,
                                                    AttentionBuilder::Predicate hidden) {
  int64_t whole = shape.getWindow() / width;
  if (!shape.isWindowed() || (!distance && whole > 0))
    return scores;
  auto mask = [&] {
    AttentionBuilder::Int reach(shape.getWindow() - 1);
    if (distance)
      reach = k.sub(reach, k.mul(distance, width));
    bool keys = hidden == AttentionBuilder::Predicate::slt;
    return maskScores(scores, keys ? k.sub(firstRow, reach) : k.add(firstRow, reach), hidden);
  };
  if (whole <= 1)
    return mask();
  // The branch is the same for all threads, so blocks inside of the window cost only a branch.
  return k.choose(k.compare(arith::CmpIPredicate::sge, distance, whole), mask, [&] { return scores; });
}

Value AttentionKernel::earlierBlocks(Value block) {
  return shape.isWindowed() ? k.min(block, k.i32(llvm::divideCeil(shape.getWindow() - 1, kBlock))) : block;
}

void AttentionKernel::beginStaging() {
  k.when(isLeader, [&] { k.waitStores(0, /*readOnly=*/true); });
  k.sync(k.add(consumer, 1), kWarpgroup);
}

void AttentionKernel::stagePacked(Value to, ArrayRef<Value> packed) {
  int64_t panelBytes = 64 * 128;
  for (size_t i = 0; i < packed.size(); i += 4)
    k.storeMatrix(k.add(k.add(to, matrixOffsets[i / 4 % 4]), static_cast<int64_t>(i / 16) * panelBytes),
                  ArrayRef(packed).slice(i, 4));
}

void AttentionKernel::endStaging(llvm::function_ref<void()> copies) {
  k.fenceAsync();
  k.sync(k.add(consumer, 1), kWarpgroup);
  k.when(isLeader, [&] {
    copies();
    k.commitStores();
  });
}

void AttentionKernel::copyRowsOut(Value map, Value from, Value row, Value head, Value sequence) {
  for (int64_t column = 0; column < shape.getHeadSize(); column += kPanel)
    k.storeBox(map, k.add(from, column * 128), {k.i32(column), row, head, sequence});
}

} // namespace moec::sm90
