// Which tiles a block computes, in which order. Every role walks the same list.
#include "compiler/Target/GPU/Sm90/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace moec::sm90 {

void GemmEmitter::walk(ValueRange carried, TileBody body) {
  switch (gemm.work) {
  case Gemm::Work::Dense:
    return walkDense(carried, body);
  case Gemm::Work::Grouped:
    return walkGrouped(carried, body);
  case Gemm::Work::Ragged:
    if (!gemm.cutsDepth())
      return walkRagged(carried, body);
    // Two programs, so that whole groups pay nothing for parts.
    auto pieces = [&] { walkPieces(carried, body); };
    k.when(skewed, pieces, [&] { walkRagged(carried, body); });
  }
}

/// Bands of `raster` tiles down, walked column by column: the blocks that run at one time share rows and columns.
std::pair<Value, Value> GemmEmitter::rasterize(Value number, int64_t down, int64_t across) {
  int64_t raster = std::min<int64_t>(gemm.schedule.getRaster(), down);
  Value perBand = k.i32(raster * across);
  Value first = k.i32mul(k.div(number, perBand), raster), rest = k.rem(number, perBand);
  Value height = down % raster == 0 ? k.i32(raster) : k.min(k.sub(k.i32(down), first), k.i32(raster));
  return {k.add(first, k.rem(rest, height)), k.div(rest, height)};
}

void GemmEmitter::walkDense(ValueRange carried, TileBody body) {
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct(), split = gemm.schedule.getSplit();
  int64_t down = llvm::divideCeil(gemm.rows, m), across = llvm::divideCeil(gemm.columns, n);
  k.loop32(k.block(), k.i32(down * across * split), k.blocks(), carried, [&](Value number, ValueRange state) {
    Tile tile;
    if (split > 1) {
      int64_t slices = gemm.slicesOf(gemm.terms.front()), each = llvm::divideCeil(slices, split);
      tile.part = k.rem(number, k.i32(split));
      tile.number = number = k.div(number, k.i32(split));
      tile.first = k.i32mul(tile.part, each);
      tile.slices = k.min(k.i32(each), k.sub(k.i32(slices), tile.first));
    }
    auto [i, j] = rasterize(number, down, across);
    tile.row = k.i32mul(i, m);
    tile.column = k.i32mul(j, n);
    return body(tile, state);
  });
}

Value GemmEmitter::offsetOf(Value group) {
  auto operand = gemm.offsets.getDefiningOp<tile::OperandOp>();
  return k.loadInvariant(k.b.getI32Type(), k.param(operand.getParam()), group);
}

/// The group of a tile is only known from the offsets, so each role goes through them once, as it takes tiles: it
/// carries the tile's number, then the group, the number of its first tile, its first row and the row after its last.
void GemmEmitter::walkGrouped(ValueRange carried, TileBody body) {
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct();
  Value across = k.i32(llvm::divideCeil(gemm.columns, n)), groups = k.i32(gemm.groups);
  auto tilesDown = [&](Value begin, Value end) { return k.div(k.i32add(k.sub(end, begin), m - 1), k.i32(m)); };
  Values start{k.block(), k.i32(0), k.i32(0), k.i32(0), offsetOf(k.i32(1))};
  start.append(carried.begin(), carried.end());
  SmallVector<Type> types(ValueRange(start).getTypes());
  SmallVector<Location> places(types.size(), k.b.getLoc());
  auto walkOp = scf::WhileOp::create(k.b, types, start);
  OpBuilder::InsertionGuard guard(k.b);

  // Before: find the group of the tile.
  Block *before = k.b.createBlock(&walkOp.getBefore(), {}, types, places);
  Value number = before->getArgument(0);
  SmallVector<Type> four(4, k.b.getI32Type());
  auto search = scf::WhileOp::create(k.b, four, before->getArguments().slice(1, 4));
  {
    OpBuilder::InsertionGuard inner(k.b);
    Block *test = k.b.createBlock(&search.getBefore(), {}, four, SmallVector<Location>(4, k.b.getLoc()));
    Value behind = k.add(test->getArgument(1), k.mul(tilesDown(test->getArgument(2), test->getArgument(3)), across));
    Value goes = k.both(k.compare(arith::CmpIPredicate::uge, number, behind), k.below(test->getArgument(0), groups));
    scf::ConditionOp::create(k.b, goes, test->getArguments());
    Block *step = k.b.createBlock(&search.getAfter(), {}, four, SmallVector<Location>(4, k.b.getLoc()));
    Value first = k.add(step->getArgument(1), k.mul(tilesDown(step->getArgument(2), step->getArgument(3)), across));
    Value group = k.i32add(step->getArgument(0), 1);
    // After the last group there is no offset to read; the walk ends there.
    Value end = offsetOf(k.min(k.i32add(group, 1), groups));
    scf::YieldOp::create(k.b, ValueRange{group, first, step->getArgument(3), end});
  }
  Values found{number};
  found.append(search.result_begin(), search.result_end());
  found.append(before->args_begin() + 5, before->args_end());
  scf::ConditionOp::create(k.b, k.below(search.getResult(0), groups), found);

  Block *after = k.b.createBlock(&walkOp.getAfter(), {}, types, places);
  auto argument = [&](unsigned i) -> Value { return after->getArgument(i); };
  Value rest = k.sub(argument(0), argument(2)), down = tilesDown(argument(3), argument(4));
  Tile tile;
  tile.group = argument(1);
  tile.rowEnd = argument(4);
  // Down first: a panel of the group's weights is used by all its rows while it is in the cache.
  tile.row = k.add(argument(3), k.i32mul(k.rem(rest, down), m));
  tile.column = k.i32mul(k.div(rest, down), n);
  Values result = body(tile, after->getArguments().drop_front(5));
  Values following{k.add(argument(0), k.blocks()), argument(1), argument(2), argument(3), argument(4)};
  following.append(result);
  scf::YieldOp::create(k.b, following);
}

void GemmEmitter::walkRagged(ValueRange carried, TileBody body) {
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct();
  int64_t down = llvm::divideCeil(gemm.rows, m), across = llvm::divideCeil(gemm.columns, n);
  k.loop32(k.block(), k.i32(gemm.groups * down * across), k.blocks(), carried, [&](Value number, ValueRange state) {
    Tile tile;
    tile.group = k.div(number, k.i32(down * across));
    auto [i, j] = rasterize(k.rem(number, k.i32(down * across)), down, across);
    tile.row = k.i32mul(i, m);
    tile.column = k.i32mul(j, n);
    tile.first = offsetOf(tile.group);
    tile.slices = k.shiftRight(k.sub(offsetOf(k.i32add(tile.group, 1)), tile.first), 6); // slices of 64 rows
    return body(tile, state);
  });
}

/// Whether the tiles of the largest group would leave other blocks waiting, and there is enough to share. All threads
/// call this.
Value GemmEmitter::isSkewed() {
  constexpr int64_t kLeastSlices = 8; // of a piece
  Value lane = k.bitAnd(k.thread(), 31), groups = k.i32(gemm.groups);
  Value most = k.loop32(lane, groups, k.i32(32), ValueRange{k.i32(0)}, [&](Value group, ValueRange state) {
    return Values{k.max(state[0], k.sub(offsetOf(k.i32add(group, 1)), offsetOf(group)))};
  })[0];
  for (int64_t apart = 16; apart > 0; apart /= 2)
    most = k.max(most, k.shuffleXor(most, apart));
  most = k.shuffleFrom(most, k.i32(0)); // the assembler does not know that all lanes have the same
  Value total = k.shiftRight(offsetOf(groups), 6);
  Value isLarge = k.below(k.add(total, k.shiftRight(total, 2)), k.i32mul(k.shiftRight(most, 6), gemm.groups));
  return k.both(isLarge, k.compare(arith::CmpIPredicate::uge, total, k.i32(kLeastSlices * gemm.schedule.getSplit())));
}

/// Pieces of the depth of all groups that take equally long, each with the tiles of a group. What a piece has of a
/// group is a part of its tiles, or all of it.
///
/// Lengths are in slices of 64 rows. A group is as long as its slices and what a tile costs beside them, which comes
/// first. A group without rows goes to the piece in which this ends.
void GemmEmitter::walkPieces(ValueRange carried, TileBody body) {
  constexpr int64_t kRows = 64;
  constexpr int64_t kTile = 4; // measured: 2 to 5
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct(), split = gemm.schedule.getSplit();
  int64_t down = llvm::divideCeil(gemm.rows, m), across = llvm::divideCeil(gemm.columns, n), tiles = down * across;
  Value groups = k.i32(gemm.groups);
  auto startOfGroup = [&](Value group) { return k.add(k.shiftRight(offsetOf(group), 6), k.i32mul(group, kTile)); };
  Value total = startOfGroup(groups);
  auto startOf = [&](Value piece) { return k.div(k.mul(piece, total), k.i32(split)); };
  // The last piece that starts at `place` or before; no piece is empty.
  auto pieceOf = [&](Value place) { return k.div(k.i32add(k.i32mul(k.i32add(place, 1), split), -1), total); };
  k.loop32(k.block(), k.i32(split * tiles), k.blocks(), carried, [&](Value number, ValueRange state) {
    Value piece = k.div(number, k.i32(tiles)), ofGroup = k.rem(number, k.i32(tiles));
    Value start = startOf(piece), end = startOf(k.i32add(piece, 1));
    Values first{groupOfRow(k.i32mul(start, kRows), kTile * kRows)};
    first.append(state.begin(), state.end());
    SmallVector<Type> types(ValueRange(first).getTypes());
    SmallVector<Location> places(types.size(), k.b.getLoc());
    auto walkOp = scf::WhileOp::create(k.b, types, first);
    OpBuilder::InsertionGuard guard(k.b);

    Block *before = k.b.createBlock(&walkOp.getBefore(), {}, types, places);
    Value group = before->getArgument(0), known = k.min(group, k.i32(gemm.groups - 1));
    Value slicesFrom = k.i32add(startOfGroup(known), kTile), after = startOfGroup(k.i32add(known, 1));
    Value isEmpty = k.compare(arith::CmpIPredicate::eq, slicesFrom, after);
    Value begins = k.below(k.select(isEmpty, k.i32add(slicesFrom, -1), slicesFrom), end);
    scf::ConditionOp::create(k.b, k.both(k.below(group, groups), begins), before->getArguments());

    Block *work = k.b.createBlock(&walkOp.getAfter(), {}, types, places);
    Tile tile;
    tile.group = work->getArgument(0);
    auto [i, j] = rasterize(ofGroup, down, across);
    tile.row = k.i32mul(i, m);
    tile.column = k.i32mul(j, n);
    Value begin = k.i32add(startOfGroup(tile.group), kTile), next = startOfGroup(k.i32add(tile.group, 1));
    Value from = k.max(begin, start);
    tile.first = k.add(offsetOf(tile.group), k.i32mul(k.sub(from, begin), kRows));
    tile.slices = k.max(k.sub(k.min(next, end), from), k.i32(0));
    Value firstPiece = pieceOf(begin), pieces = k.i32add(k.sub(pieceOf(k.i32add(next, -1)), firstPiece), 1);
    // Of a group without rows both are meaningless.
    tile.parts = k.select(k.is(tile.slices, 0), k.i32(1), pieces);
    tile.part = k.sub(piece, firstPiece);
    tile.number = k.add(k.i32mul(firstPiece, tiles), ofGroup);
    Values following{k.i32add(tile.group, 1)};
    following.append(body(tile, work->getArguments().drop_front()));
    scf::YieldOp::create(k.b, following);
    return Values(walkOp.getResults().drop_front());
  });
}

} // namespace moec::sm90
