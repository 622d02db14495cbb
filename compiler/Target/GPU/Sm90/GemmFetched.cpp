// Epilogues that read whole matrices, 64 columns per stage of the ring, after the products' slices.
//
//   for each 64 columns: wait full; for each 16 of them: ldmatrix, the region, stmatrix to where the matrices were;
//                        stores by TMA; give the stage back when they have read it
//
// Results overwrite the fetched matrices, and every 16 columns are finished before the next are loaded, so that few
// values are alive besides the accumulators. If there are more results than fetched matrices, the others use two sets
// of buffers in turn.
#include "compiler/Target/GPU/Sm90/Gemm.h"

using namespace mlir;

namespace moec::sm90 {

/// Where fetched matrix `number` lies in a stage: in the left tile's place, or in those of the right ones.
GemmEmitter::Value GemmEmitter::boxAt(int64_t number, Value stage) {
  return number == 0 ? k.add(lhsBase, k.i32mul(stage, lhsBytes))
                     : k.i32add(k.add(rhsBase, k.i32mul(stage, rhsBytes)), (number - 1) * lhsBytes);
}

/// The producer requests 64 columns of each matrix per stage: one box with the rows of both consumers.
GemmEmitter::Values GemmEmitter::produceFetches(const Tile &tile, ValueRange ring) {
  int64_t bytes = static_cast<int64_t>(gemm.fetches.size()) * lhsBytes;
  return k.loop32(k.i32(0), k.i32(gemm.stagesOfFetches()), k.i32(1), ring, [&](Value chunk, ValueRange state) {
    Value stage = state[0], parity = state[1], barrier = full(stage);
    k.wait(empty(stage), parity);
    Value column = k.add(tile.column, k.i32mul(chunk, tile::kChunkColumns));
    auto ask = [&] {
      k.expect(barrier, k.i32(bytes));
      for (auto [i, fetch] : llvm::enumerate(gemm.fetches))
        k.loadBox(k.map(fetch.getMap()), boxAt(i, stage), barrier, {column, tile.row});
    };
    gemm.gathers ? k.when(k.is(k.thread(), 0), ask) : ask();
    if (gemm.gathers) // all producers must arrive, although they copy nothing
      k.arrive(barrier);
    auto [nextStage, nextParity] = next(stage, parity);
    return Values{nextStage, nextParity};
  });
}

/// Where this consumer's rows of fetched matrix `number` are, in bytes from its first buffer.
GemmEmitter::Value GemmEmitter::fetchedAt(int64_t number, Value stage) {
  return k.sub(k.add(boxAt(number, stage), k.i32mul(consumer, tile::kBoxBytes)), staging);
}

/// Where sinks put chunk `chunk`, in bytes from the first buffer: the first in bf16 where fetched matrices are, others
/// in the chunk's set of buffers.
GemmEmitter::Values GemmEmitter::placesOverFetched(int64_t chunk, Value stage) {
  auto fetches = static_cast<int64_t>(gemm.fetches.size());
  int64_t beside = tile::boxesBesideFetches(gemm.kernel), taken = 0, buffers = 0;
  Values places;
  for (const Gemm::Sink &sink : gemm.sinks) {
    if (!sink.element.isF32() && taken < fetches) {
      places.push_back(fetchedAt(taken++, stage));
      continue;
    }
    places.push_back(k.i32((chunk % 2 * beside + buffers) * tile::kBoxBytes));
    buffers += tile::kChunkColumns / tile::boxColumns(sink.element);
  }
  return places;
}

/// This thread's values of the 16 columns at `place`.
GemmEmitter::Values GemmEmitter::takeFetched(Value place, int64_t quarter) {
  Values values;
  for (Value packed : k.loadMatrix(k.add(matrixRows[quarter], place))) {
    auto [low, high] = k.unpackBf16(packed);
    values.append({low, high});
  }
  return values;
}

GemmEmitter::Values GemmEmitter::storeOverFetched(const Tile &tile, const Place &place, ArrayRef<Value> accumulators,
                                                  Operands operands, ValueRange ring) {
  constexpr int64_t kThreads = 128, kQuarter = 8; // the latter: values of a thread in 16 columns
  Value stage = ring[0], parity = ring[1], before;
  for (int64_t number = 0; number < gemm.stagesOfFetches(); ++number) {
    Chunk chunk = beginChunk(place, accumulators, number, operands);
    Values places = placesOverFetched(number, stage);
    k.wait(full(stage), parity);
    for (int64_t quarter = 0; quarter < 4; ++quarter) {
      for (auto [i, fetch] : llvm::enumerate(gemm.fetches))
        chunk.values[fetch.getResult()].append(takeFetched(fetchedAt(i, stage), quarter));
      k.syncWarp(); // before lanes write where others read
      for (int64_t i = 0; i < kQuarter; ++i)
        compute(chunk, quarter * kQuarter + i);
      for (auto [sink, to] : llvm::zip_equal(gemm.sinks, places))
        writeStaging(ArrayRef(chunk.values[sink.value]).slice(quarter * kQuarter, kQuarter), sink.element, quarter, to);
    }
    storeRowSums(tile, place, chunk);
    // Waits until the stores of the previous chunk have read their stage and buffers; then all threads go on.
    k.fenceAsync();
    k.when(isLeader, [&] { k.waitStores(0, /*readOnly=*/true); });
    k.sync(barrierId, kThreads);
    k.when(isLeader, [&] {
      if (before)
        k.arrive(empty(before));
      for (auto [sink, from] : llvm::zip_equal(gemm.sinks, places)) {
        int64_t columnsOfBox = tile::boxColumns(sink.element);
        for (int64_t first = 0; first < tile::kChunkColumns; first += columnsOfBox)
          sendBox(tile, place, sink, number * tile::kChunkColumns + first,
                  k.i32add(k.add(staging, from), first / columnsOfBox * tile::kBoxBytes));
      }
      k.commitStores();
    });
    before = stage;
    std::tie(stage, parity) = next(stage, parity);
  }
  k.when(isLeader, [&] {
    k.waitStores(0, /*readOnly=*/true);
    k.arrive(empty(before));
  });
  return {stage, parity};
}

} // namespace moec::sm90
