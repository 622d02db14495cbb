// The producer warpgroup: fills the stages, slice by slice.
#include "compiler/Target/GPU/Sm90/Gemm.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr int64_t kBlockRows = 64; // MN-major rows side by side in one block of a stage
constexpr int64_t kRowBytes = tile::kSwizzleBytes;
constexpr int64_t kCopyBytes = 16;
} // namespace

void GemmEmitter::produce() {
  k.setRegisters(gemm.schedule.getProducer(), /*increase=*/false);
  auto all = [&] {
    walk({k.i32(0), k.i32(1)}, [&](const Tile &tile, ValueRange ring) {
      Values state(ring);
      for (const Gemm::Term &term : gemm.terms)
        state = produceTerm(term, tile, state);
      return gemm.fetches.empty() ? state : produceFetches(tile, state);
    });
  };
  // One thread can request all boxes; only gathered rows need the other threads.
  gemm.gathers ? all() : k.when(k.is(k.thread(), 0), all);
}

GemmEmitter::Values GemmEmitter::produceTerm(const Gemm::Term &term, const Tile &tile, ValueRange ring) {
  bool ragged = gemm.work == Gemm::Work::Ragged;
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct(), depthOfStage = gemm.schedule.getK();
  Value from = k.i32(0), to = k.i32(gemm.slicesOf(term));
  if (tile.slices) {
    from = ragged ? from : tile.first;
    to = k.add(from, tile.slices);
  }
  bool byRow = term.lhs.isGathered() && term.lhs.major == tile::Major::k;
  bool byDepth = term.lhs.isGathered() && term.lhs.major == tile::Major::mn;
  Values prepared;
  if (byRow)
    prepared = gatherPrepare(term.lhs, tile);
  Values carried(ring);
  if (byDepth)
    carried.push_back(gatherNumbers(term.lhs, tile.first));
  Values state = k.loop32(from, to, k.i32(1), carried, [&](Value slice, ValueRange state) {
    Value stage = state[0], parity = state[1];
    Value barrier = full(stage);
    k.wait(empty(stage), parity);
    Value depth = k.i32mul(slice, depthOfStage);
    if (ragged)
      depth = k.add(tile.first, depth);
    Value lhs = k.add(lhsBase, k.i32mul(stage, lhsBytes)), rhs = k.add(rhsBase, k.i32mul(stage, rhsBytes));
    auto ask = [&] {
      k.expect(barrier, k.i32(rhsBytes + (term.lhs.isGathered() ? 0 : lhsBytes)));
      if (!term.lhs.isGathered())
        loadSide(term.lhs, m, lhs, barrier, tile.row, depth, tile.group);
      for (auto [p, side] : llvm::enumerate(term.rhs))
        loadSide(side, n, k.i32add(rhs, static_cast<int64_t>(p) * n * kRowBytes), barrier, tile.column, depth,
                 tile.group);
    };
    gemm.gathers ? k.when(k.is(k.thread(), 0), ask) : ask();
    Values following;
    if (byRow)
      gatherRows(term.lhs, prepared, lhs, depth);
    if (byDepth) {
      gatherDepth(term.lhs, tile, state[2], lhs);
      following.push_back(gatherNumbers(term.lhs, k.i32add(depth, depthOfStage)));
    }
    if (gemm.gathers)
      k.arriveWhenCopied(barrier);
    auto [nextStage, nextParity] = next(stage, parity);
    following.insert(following.begin(), {nextStage, nextParity});
    return following;
  });
  state.resize(2);
  return state;
}

void GemmEmitter::loadSide(const Gemm::Side &side, int64_t rows, Value shared, Value barrier, Value row, Value depth,
                           Value group) {
  if (side.major == tile::Major::k) {
    Values at{depth, row};
    if (side.rank == 3)
      at.push_back(group);
    k.loadBox(k.map(side.map), shared, barrier, at);
    return;
  }
  for (int64_t first = 0; first < rows; first += kBlockRows) {
    Values at{k.i32add(row, first), depth};
    if (side.rank == 3)
      at.push_back(group);
    k.loadBox(k.map(side.map), k.i32add(shared, first * kRowBytes), barrier, at);
  }
}

//===--- Gathered rows ---===//
//
// K-major: thread t copies chunk t % 8 of rows t / 8 + 16 i, i < 8. The swizzle is the same for all of them.

int64_t GemmEmitter::elementsOfCopy() const { return 8 * kCopyBytes / gemm.element.getIntOrFloatBitWidth(); }

/// For each of this thread's rows: where it starts in memory (i64, in elements), and the bytes to copy.
GemmEmitter::Values GemmEmitter::gatherPrepare(const Gemm::Side &side, const Tile &tile) {
  Value chunk = k.bitAnd(k.thread(), 7), row = k.shiftRight(k.thread(), 3);
  Values prepared;
  for (int64_t i = 0; i < 8; ++i) {
    // A tile may extend beyond the last row; these results are not stored.
    Value at = k.min(k.add(tile.row, k.i32add(row, 16 * i)), k.i32(side.count - 1));
    Value number = k.loadInvariant(k.b.getI32Type(), k.param(side.numbers), k.wide(at));
    Value exists = k.compare(arith::CmpIPredicate::sge, number, k.i32(0));
    Value source = k.max(number, k.i32(0));
    if (side.slots > 1)
      source = k.div(source, k.i32(side.slots));
    Value start = k.mul(k.wide(source), k.i64(side.sourceColumns));
    prepared.push_back(k.add(start, k.wide(k.i32mul(chunk, elementsOfCopy()))));
    prepared.push_back(k.select(exists, k.i32(kCopyBytes), k.i32(0)));
  }
  return prepared;
}

void GemmEmitter::gatherRows(const Gemm::Side &side, ValueRange prepared, Value shared, Value depth) {
  Value chunk = k.bitAnd(k.thread(), 7), row = k.shiftRight(k.thread(), 3);
  Value swizzled = k.shiftLeft(k.bitXor(chunk, k.bitAnd(row, 7)), 4);
  Value target = k.add(shared, k.add(k.i32mul(row, kRowBytes), swizzled));
  Value inside;
  if (side.sourceColumns % gemm.schedule.getK() != 0)
    inside = k.below(k.add(depth, k.i32mul(chunk, elementsOfCopy())), k.i32(side.sourceColumns));
  for (int64_t i = 0; i < 8; ++i) {
    Value from = k.at(k.param(side.source), k.add(prepared[2 * i], k.wide(depth)), gemm.element);
    Value bytes = prepared[2 * i + 1];
    if (inside)
      bytes = k.select(inside, bytes, k.i32(0));
    k.copy16(k.i32add(target, 16 * i * kRowBytes), from, bytes);
  }
}

// MN-major: thread t copies chunk t % 16 of the 128 columns of depth rows t / 16 + 8 i, i < 8. A warp has two of eight
// neighbouring rows at a time, 16 in all; its lanes hold their numbers: lane l that of row 2 warp + l % 2 + 8 (l / 2).

Value GemmEmitter::gatherNumbers(const Gemm::Side &side, Value depth) {
  Value laneOf = k.bitAnd(k.thread(), 15), warpOf = k.shiftRight(k.thread(), 5);
  Value row = k.add(k.add(k.shiftLeft(warpOf, 1), k.bitAnd(laneOf, 1)), k.shiftLeft(k.shiftRight(laneOf, 1), 3));
  // Numbers are fetched a slice ahead, so beyond the last one too.
  Value at = k.min(k.add(depth, row), k.i32(side.count - 1));
  Value number = k.loadInvariant(k.b.getI32Type(), k.param(side.numbers), k.wide(at));
  if (side.slots == 1)
    return number;
  Value exists = k.compare(arith::CmpIPredicate::sge, number, k.i32(0));
  return k.select(exists, k.div(number, k.i32(side.slots)), number);
}

void GemmEmitter::gatherDepth(const Gemm::Side &side, const Tile &tile, Value numbers, Value shared) {
  int64_t columns = side.sourceColumns;
  Value chunk = k.bitAnd(k.thread(), 15), row = k.shiftRight(k.thread(), 4); // row < 8: its own swizzle
  Value column = k.add(tile.row, k.shiftLeft(chunk, 3));
  Value swizzled = k.shiftLeft(k.bitXor(k.bitAnd(chunk, 7), row), 4);
  Value target = k.add(k.add(shared, k.i32mul(k.shiftRight(chunk, 3), kBlockRows * kRowBytes)),
                       k.add(k.i32mul(row, kRowBytes), swizzled));
  Value odd = k.bitAnd(k.shiftRight(k.thread(), 4), 1);
  Value inside;
  if (columns % gemm.schedule.getM() != 0)
    inside = k.below(column, k.i32(columns));
  for (int64_t i = 0; i < 8; ++i) {
    Value number = k.shuffleFrom(numbers, k.i32add(odd, 2 * i));
    Value exists = k.compare(arith::CmpIPredicate::sge, number, k.i32(0));
    if (inside)
      exists = k.both(exists, inside);
    Value start = k.mul(k.wide(k.max(number, k.i32(0))), k.i64(columns));
    Value from = k.at(k.param(side.source), k.add(start, k.wide(column)), gemm.element);
    k.copy16(k.i32add(target, 8 * i * kRowBytes), from, k.select(exists, k.i32(kCopyBytes), k.i32(0)));
  }
}

} // namespace moec::sm90
