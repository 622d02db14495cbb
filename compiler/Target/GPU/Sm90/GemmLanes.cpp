// Lanes: a block goes down one column of tiles of a lane. It reads the right side's slices once for each group, and the
// epilogue of one consumer runs at the same time as the products of the other.
//
// The tiles of a block are numbered: even ones belong to the first consumer, odd ones to the second. The products of a
// tile begin when those of the previous tile have all been issued, so slices of the left side are used in order.
#include "compiler/Target/GPU/Sm90/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace moec::sm90 {

/// The last group that begins at `row` or before. If any group has the row, it is this one. `extra`: rows that each group
/// is taken to have beside its own.
GemmEmitter::Value GemmEmitter::groupOfRow(Value row, int64_t extra) {
  Values found = k.loop32(k.i32(0), k.i32(llvm::Log2_64_Ceil(gemm.groups)), k.i32(1), {k.i32(0), k.i32(gemm.groups)},
                          [&](Value, ValueRange state) {
                            // Binary search: the first group begins at `row` or before, the second does not. It ends
                            // when they are neighbours.
                            Value middle = k.shiftRight(k.add(state[0], state[1]), 1);
                            Value begin = k.add(offsetOf(middle), k.i32mul(middle, extra));
                            Value isIn = k.compare(arith::CmpIPredicate::ule, begin, row);
                            return Values{k.select(isIn, middle, state[0]), k.select(isIn, state[1], middle)};
                          });
  return found[0];
}

/// Neighbouring blocks have the columns of tiles of one lane, so that they read its rows at about the same time. The
/// lengths of lanes differ by at most one tile, whatever the sizes of groups. `body` is called for each run: the tiles
/// of the lane that belong to one group.
void GemmEmitter::walkLanes(ValueRange carried, TileBody body) {
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct(), lanes = gemm.schedule.getLanes();
  int64_t across = llvm::divideCeil(gemm.columns, n);
  Value tiles = k.div(offsetOf(k.i32(gemm.groups)), k.i32(m)), columns = k.i32(across);
  auto startOf = [&](Value lane) { return k.div(k.mul(lane, tiles), k.i32(lanes)); };
  k.loop32(k.block(), k.i32(lanes * across), k.blocks(), carried, [&](Value number, ValueRange state) {
    Value lane = k.div(number, columns), end = startOf(k.i32add(lane, 1));
    Values start{startOf(lane)};
    start.append(state.begin(), state.end());
    SmallVector<Type> types(ValueRange(start).getTypes());
    SmallVector<Location> places(types.size(), k.b.getLoc());
    auto runs = scf::WhileOp::create(k.b, types, start);
    OpBuilder::InsertionGuard guard(k.b);
    Block *before = k.b.createBlock(&runs.getBefore(), {}, types, places);
    scf::ConditionOp::create(k.b, k.below(before->getArgument(0), end), before->getArguments());
    Block *after = k.b.createBlock(&runs.getAfter(), {}, types, places);
    Value first = after->getArgument(0);
    Tile run;
    run.row = k.i32mul(first, m);
    run.column = k.i32mul(k.rem(number, columns), n);
    run.group = groupOfRow(run.row);
    run.rowEnd = offsetOf(k.i32add(run.group, 1));
    run.count = k.sub(k.min(end, k.div(run.rowEnd, k.i32(m))), first);
    Values following{k.add(first, run.count)};
    following.append(body(run, after->getArguments().drop_front()));
    scf::YieldOp::create(k.b, following);
    return Values(runs.getResults().drop_front());
  });
}

GemmEmitter::Tile GemmEmitter::tileOfRun(const Tile &run, Value number) {
  Tile tile = run;
  tile.row = k.add(run.row, k.i32mul(number, gemm.schedule.getM()));
  return tile;
}

void GemmEmitter::produceLanes() {
  constexpr int64_t kRightThread = 32; // of another warp: neither side waits for the other's places
  int64_t m = gemm.schedule.getM(), n = gemm.columnsOfProduct(), depth = gemm.schedule.getK();
  k.setRegisters(gemm.schedule.getProducer(), /*increase=*/false);

  auto loadTile = [&](const Tile &tile, ValueRange ring) {
    Values state(ring);
    for (const Gemm::Term &term : gemm.terms)
      state = k.loop32(k.i32(0), k.i32(gemm.slicesOf(term)), k.i32(1), state, [&](Value slice, ValueRange state) {
        Value stage = state[0], parity = state[1], barrier = full(stage);
        k.wait(empty(stage), parity);
        k.expect(barrier, k.i32(lhsBytes));
        loadSide(term.lhs, m, k.add(lhsBase, k.i32mul(stage, lhsBytes)), barrier, tile.row, k.i32mul(slice, depth),
                 tile.group);
        auto [nextStage, nextParity] = next(stage, parity);
        return Values{nextStage, nextParity};
      });
    return state;
  };
  k.when(k.is(k.thread(), 0), [&] {
    walkLanes({k.i32(0), k.i32(1)}, [&](const Tile &run, ValueRange ring) {
      return k.loop32(k.i32(0), run.count, k.i32(1), ring,
                      [&](Value number, ValueRange ring) { return loadTile(tileOfRun(run, number), ring); });
    });
  });

  auto loadRight = [&](const Gemm::Term &term, const Tile &run, int64_t before, Value parity) {
    k.loop32(k.i32(0), k.i32(gemm.slicesOf(term)), k.i32(1), parity, [&](Value slice, ValueRange state) {
      Value place = k.i32add(slice, before), barrier = rightFull(place);
      k.wait(rightEmpty(place), parity);
      k.expect(barrier, k.i32(rhsBytes));
      Value to = k.add(rhsBase, k.i32mul(place, rhsBytes));
      for (auto [p, side] : llvm::enumerate(term.rhs))
        loadSide(side, n, k.i32add(to, static_cast<int64_t>(p) * n * tile::kSwizzleBytes), barrier, run.column,
                 k.i32mul(slice, depth), run.group);
      return Values(state);
    });
  };
  k.when(k.is(k.thread(), kRightThread), [&] {
    walkLanes({k.i32(1)}, [&](const Tile &run, ValueRange state) {
      int64_t before = 0;
      for (const Gemm::Term &term : gemm.terms) {
        loadRight(term, run, before, state[0]);
        before += gemm.slicesOf(term);
      }
      return Values{k.bitXor(state[0], k.i32(1))};
    });
  });
}

/// The ring's place after `slices` more.
GemmEmitter::Values GemmEmitter::pass(ValueRange ring, int64_t slices) {
  int64_t stages = gemm.schedule.getStages();
  Value stage = k.i32add(ring[0], slices % stages), parity = k.bitXor(ring[1], k.i32(slices / stages % 2));
  Value wraps = k.compare(arith::CmpIPredicate::uge, stage, k.i32(stages));
  return {k.select(wraps, k.i32add(stage, -stages), stage), k.select(wraps, k.bitXor(parity, k.i32(1)), parity)};
}

/// Gives back the right side of a run in which this consumer has no tile. It waits for the slices first. If it ran
/// ahead, its arrival for the next run could be counted as the other consumer's arrival for this run.
void GemmEmitter::skipRight(Value parity) {
  for (int64_t i = 0; i < gemm.slicesOfTile(); ++i)
    k.wait(rightFull(k.i32(i)), parity);
  k.sync(barrierId, 128);
  k.when(isLeader, [&] {
    for (int64_t i = 0; i < gemm.slicesOfTile(); ++i)
      k.arrive(rightEmpty(k.i32(i)));
  });
}

void GemmEmitter::consumeLanes(llvm::function_ref<Values(const Tile &, ValueRange)> work) {
  int64_t slices = gemm.slicesOfTile();
  // The place of this consumer's first tile in the ring. The first consumer starts with the turn.
  Values second = pass({k.i32(0), k.i32(0)}, slices), start;
  Value isFirst = k.is(consumer, 0), one = k.i32(1);
  for (Value value : second)
    start.push_back(k.select(isFirst, k.i32(0), value));
  start.append({k.select(isFirst, one, k.i32(0)), k.i32(0), consumer}); // turn, right side, first tile of the run
  walkLanes(start, [&](const Tile &run, ValueRange state) {
    Value count = run.count, first = state[4];
    Values after = k.loop32(first, count, k.i32(2), state.take_front(3), [&](Value number, ValueRange mine) {
      Tile tile = tileOfRun(run, number);
      tile.turnParity = mine[2];
      tile.rightParity = state[3];
      tile.isLast = k.compare(arith::CmpIPredicate::uge, k.i32add(number, 2), count);
      Values ring = pass(work(tile, mine.take_front(2)), slices);
      ring.push_back(k.bitXor(mine[2], one));
      return ring;
    });
    k.when(k.compare(arith::CmpIPredicate::uge, first, count), [&] { skipRight(state[3]); });
    after.append({k.bitXor(state[3], one), k.bitAnd(k.add(first, count), 1)});
    return after;
  });
}

} // namespace moec::sm90
