// The consumer warpgroups: 64 rows of the tile each, from the stages to registers.
#include "compiler/Target/GPU/Sm90/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr int64_t kRows = 64; // of a consumer
constexpr int64_t kThreads = 128;
constexpr int64_t kCounterBytes = 4096; // at the start of scratch
// Registers for operands beside the accumulators in the mainloop.
constexpr int64_t kOperandsBefore = 48;
} // namespace

void GemmEmitter::consume() {
  tile::ScheduleAttr schedule = gemm.schedule;
  k.setRegisters(schedule.getConsumer(), /*increase=*/true);
  consumer = k.i32add(k.warpgroup(), -1);
  threadOfGroup = k.bitAnd(k.thread(), kThreads - 1);
  lane = k.bitAnd(k.thread(), 31);
  warp = k.shiftRight(threadOfGroup, 5);
  isLeader = k.is(threadOfGroup, 0);
  barrierId = k.warpgroup(); // 0 is the whole block's
  staging = k.add(stagingBase, k.i32mul(consumer, schedule.getBuffers() * tile::kBoxBytes));
  // Lane l of stmatrix names row l % 8 of block l / 8: blocks go down 8 rows, then right 8 columns.
  Value row = k.bitAnd(lane, 7), right = k.shiftRight(lane, 4), down = k.bitAnd(k.shiftRight(lane, 3), 1);
  Value rowOfBox = k.add(k.add(k.i32mul(warp, 16), k.i32mul(down, 8)), row);
  Value rowStart = k.add(staging, k.i32mul(rowOfBox, tile::kSwizzleBytes));
  for (int64_t pair = 0; pair < 4; ++pair)
    matrixRows.push_back(k.add(rowStart, k.bitXor(k.shiftLeft(k.bitXor(right, row), 4), k.i32(pair * 32))));
  // A thread's pairs of f32 are in row lane / 4 of 8, half a chunk of 16 bytes each.
  Value rowOfPairs = k.shiftRight(lane, 2), chunk = k.bitAnd(k.shiftRight(lane, 1), 1);
  Value pairStart = k.add(k.add(staging, k.i32mul(k.add(k.i32mul(warp, 16), rowOfPairs), tile::kSwizzleBytes)),
                          k.shiftLeft(k.bitAnd(lane, 1), 3));
  for (int64_t j = 0; j < 4; ++j)
    pairs.push_back(k.add(pairStart, k.bitXor(k.shiftLeft(k.bitXor(chunk, rowOfPairs), 4), k.i32(j * 32))));

  if (gemm.transposes)
    prepareTransposed();

  auto work = [&](const Tile &tile, const Place &place, ValueRange ring) {
    // The first operands of the epilogue come while the tensor cores are at work.
    Operands operands;
    if (!tile.part && operandRegisters() <= kOperandsBefore)
      operands.next = loadOperands(place, 0);
    Values accumulators;
    Values state = mainloop(tile, ring, accumulators);
    if (!gemm.fetches.empty())
      return storeOverFetched(tile, place, accumulators, operands, state);
    auto finish = [&] { store(tile, place, accumulators, operands); };
    if (tile.part)
      joinParts(tile, accumulators, finish);
    else
      finish();
    return state;
  };
  if (gemm.hasLanes())
    consumeLanes([&](const Tile &tile, ValueRange ring) { return work(tile, placeOf(tile), ring); });
  else
    walk({k.i32(0), k.i32(0)}, [&](const Tile &tile, ValueRange ring) {
      Place place = placeOf(tile);
      if (gemm.work != Gemm::Work::Grouped)
        return work(tile, place, ring);
      // Of a consumer's 64 rows all belong to the group or none does. Without rows there is nothing to multiply.
      return k.choose(
          ring.getTypes(), k.below(place.firstRow, tile.rowEnd), [&] { return work(tile, place, ring); },
          [&] { return skip(tile, ring); });
    });
  k.when(isLeader, [&] { k.waitStores(0, /*readOnly=*/false); });
}

GemmEmitter::Value GemmEmitter::slicesOfTile(const Tile &tile) {
  if (tile.slices)
    return tile.slices;
  return k.i32(gemm.slicesOfTile());
}

void GemmEmitter::release(Value stage) {
  k.when(isLeader, [&] { k.arrive(empty(stage)); });
}

/// Gives back the stages of a tile as they come. Products keep a consumer's warps together; here a barrier does: a warp
/// that fell two rounds of the ring behind would take the parity that it waits for to be still to come.
GemmEmitter::Values GemmEmitter::skip(const Tile &tile, ValueRange ring) {
  Value stages = k.i32add(slicesOfTile(tile), gemm.stagesOfFetches());
  return k.loop32(k.i32(0), stages, k.i32(1), ring, [&](Value, ValueRange state) {
    Value stage = state[0], parity = state[1];
    k.wait(full(stage), parity);
    k.sync(barrierId, kThreads);
    release(stage);
    auto [nextStage, nextParity] = next(stage, parity);
    return Values{nextStage, nextParity};
  });
}

GemmEmitter::Values GemmEmitter::mainloop(const Tile &tile, ValueRange ring, Values &accumulators) {
  int64_t n = gemm.schedule.getN();
  const Gemm::Term &term = gemm.terms.front();
  tile::Major left = term.lhs.major, right = term.rhs.front().major;
  Value rows = gemm.hasLanes() ? lhsBase : k.add(lhsBase, k.i32mul(consumer, kRows * tile::kSwizzleBytes));
  Value lhs = k.descriptor(rows, left == tile::Major::k ? 0 : tile::kBoxBytes);
  Value rhs = k.descriptor(rhsBase, right == tile::Major::k ? 0 : tile::kBoxBytes);
  Type type = k.accumulatorType(n / 2);
  Value zero = LLVM::ZeroOp::create(k.b, type);
  Value slices = slicesOfTile(tile);
  auto releaseRight = [&](Value slice) { k.when(k.both(isLeader, tile.isLast), [&] { k.arrive(rightEmpty(slice)); }); };
  if (tile.turnParity)
    k.wait(turnOf(consumer), tile.turnParity);
  Values state = k.loop32(k.i32(0), slices, k.i32(1), ValueRange{ring[0], ring[1], zero, k.i32(0)},
                          [&](Value slice, ValueRange state) {
                            Value stage = state[0], parity = state[1];
                            k.wait(full(stage), parity);
                            if (gemm.hasLanes())
                              k.wait(rightFull(slice), tile.rightParity);
                            // Copied rows were written by instructions of other threads, which the tensor cores see
                            // through this.
                            if (gemm.gathers)
                              k.fenceAsync();
                            Value at = k.wide(stage);
                            PipelineBuilder::Operand a{k.add(lhs, k.mul(at, k.i64(lhsBytes / 16))), left};
                            PipelineBuilder::Operand c{
                                k.add(rhs, k.mul(gemm.hasLanes() ? k.wide(slice) : at, k.i64(rhsBytes / 16))), right};
                            Value sums = k.multiply(state[2], n, a, c, gemm.element);
                            // One slice stays in flight; the one before it has been read.
                            k.waitProducts(1);
                            k.when(k.compare(arith::CmpIPredicate::ne, slice, k.i32(0)), [&] {
                              release(state[3]);
                              if (gemm.hasLanes())
                                releaseRight(k.i32add(slice, -1));
                            });
                            auto [nextStage, nextParity] = next(stage, parity);
                            return Values{nextStage, nextParity, sums, stage};
                          });
  if (gemm.hasLanes()) // all products of the tile are issued; the other's follow
    k.when(isLeader, [&] { k.arrive(turnOf(k.bitXor(consumer, k.i32(1)))); });
  accumulators = k.finishProducts(state[2]);
  if (gemm.hasLanes())
    releaseRight(k.i32add(slices, -1));
  // A group without rows has taken no stage.
  if (gemm.work == Gemm::Work::Ragged)
    k.when(k.compare(arith::CmpIPredicate::ne, slices, k.i32(0)), [&] { release(state[3]); });
  else
    release(state[3]);
  return {state[0], state[1]};
}

//===--- Parts of a tile's depth ---===//
//
// They meet in scratch: each consumer writes its sums, counts itself in, and the last one adds all in order of depth.
// Consumers of different rows never wait for each other.

/// Where this thread's first sums of a part are. Of a cut depth the first part of a tile has a place of its own: its
/// piece may also have the last part of the group before.
GemmEmitter::Value GemmEmitter::partAt(const Tile &tile, Value part) {
  int64_t split = gemm.schedule.getSplit(), consumers = gemm.schedule.getConsumers();
  int64_t bytes = gemm.schedule.getN() / 2 * kThreads * 4;
  Value place = k.add(k.i32mul(tile.number, split), part);
  if (gemm.cutsDepth()) {
    int64_t tiles = gemm.tilesOfGroup();
    place = k.add(tile.number, k.select(k.is(part, 0), k.i32(split * tiles), k.i32mul(part, tiles)));
  }
  Value unit = k.add(k.i32mul(place, consumers), consumer);
  Value offset = k.add(k.i64(kCounterBytes), k.mul(k.wide(unit), k.i64(bytes)));
  return k.at(k.scratch(), k.add(offset, k.wide(k.shiftLeft(threadOfGroup, 4))), k.b.getI8Type());
}

/// How many parts were there before this one.
GemmEmitter::Value GemmEmitter::writePart(const Tile &tile, ArrayRef<Value> accumulators, Value parts) {
  Type quad = VectorType::get(4, k.b.getF32Type()), byte = k.b.getI8Type();
  Value target = partAt(tile, tile.part);
  for (size_t i = 0; i < accumulators.size(); i += 4) {
    Value packed = LLVM::PoisonOp::create(k.b, quad);
    for (size_t c = 0; c < 4; ++c)
      packed = LLVM::InsertElementOp::create(k.b, packed, accumulators[i + c], k.i32(static_cast<int64_t>(c)));
    Value to = k.at(target, k.i64(static_cast<int64_t>(i) * kThreads * 4), byte);
    LLVM::StoreOp::create(k.b, packed, to, 16u);
  }
  k.fenceDevice();
  k.sync(barrierId, kThreads);
  Value unit = k.add(k.i32mul(tile.number, gemm.schedule.getConsumers()), consumer);
  Value counter = k.at(k.scratch(), k.wide(unit), k.b.getI32Type());
  Value word = k.pointer(k.add(words, k.shiftLeft(consumer, 2)));
  k.when(isLeader, [&] {
    Value before = LLVM::AtomicRMWOp::create(k.b, LLVM::AtomicBinOp::add, counter, k.i32(1),
                                             LLVM::AtomicOrdering::monotonic, "device");
    // The last one leaves the counter as it was.
    Value isLast = k.compare(arith::CmpIPredicate::eq, before, k.i32add(parts, -1));
    k.when(isLast, [&] { LLVM::StoreOp::create(k.b, k.i32(0), counter); });
    k.fenceDevice();
    LLVM::StoreOp::create(k.b, before, word);
  });
  k.sync(barrierId, kThreads);
  return LLVM::LoadOp::create(k.b, k.b.getI32Type(), word, 4u, /*isVolatile=*/true);
}

GemmEmitter::Values GemmEmitter::addParts(const Tile &tile, Value parts) {
  Type quad = VectorType::get(4, k.b.getF32Type()), byte = k.b.getI8Type();
  auto load = [&](Value part) {
    Value source = partAt(tile, part);
    Values values;
    for (int64_t i = 0; i < gemm.schedule.getN() / 2; i += 4) {
      Value packed = LLVM::LoadOp::create(k.b, quad, k.at(source, k.i64(i * kThreads * 4), byte), 16u);
      for (int64_t c = 0; c < 4; ++c)
        values.push_back(LLVM::ExtractElementOp::create(k.b, packed, k.i32(c)));
    }
    return values;
  };
  k.fenceDevice();
  return k.loop32(k.i32(1), parts, k.i32(1), load(k.i32(0)), [&](Value part, ValueRange sums) {
    Values next;
    for (auto [sum, value] : llvm::zip_equal(sums, load(part)))
      next.push_back(k.fadd(sum, value));
    return next;
  });
}

void GemmEmitter::joinParts(const Tile &tile, Values &accumulators, llvm::function_ref<void()> last) {
  Value parts = tile.parts ? tile.parts : k.i32(gemm.schedule.getSplit());
  SmallVector<Type> types(accumulators.size(), k.b.getF32Type());
  Values mine(accumulators);
  auto join = [&] {
    Value before = writePart(tile, mine, parts);
    Value isLast = k.compare(arith::CmpIPredicate::eq, before, k.i32add(parts, -1));
    Values sums = k.choose(types, isLast, [&] { return addParts(tile, parts); }, [&] { return mine; });
    sums.push_back(isLast);
    return sums;
  };
  if (!tile.parts) {
    accumulators = join();
  } else {
    types.push_back(k.b.getI1Type());
    Values whole(mine);
    whole.push_back(k.is(k.i32(0), 0));
    Value isWhole = k.is(parts, 1);
    SmallVector<Type> all(types);
    types.pop_back();
    accumulators = k.choose(all, isWhole, [&] { return whole; }, join);
  }
  k.when(accumulators.pop_back_val(), last);
  // The leaders' last stores end a pass of the loop over tiles. If lanes did not meet here, the assembler would take
  // the products of the next tile for divergent code.
  k.syncWarp();
}

} // namespace moec::sm90
