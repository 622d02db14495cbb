// Epilogues that read whole matrices, 64 columns a stage of the ring, behind the products' slices.
//
//   for each 64 columns: wait full; for each 16 of them: ldmatrix, the region, stmatrix to where the matrices were;
//                        stores by TMA; give the stage back when they have read it
//
// Results take the places of what was read, and each 16 columns are done with before the next are loaded, so that few
// values live beside the accumulators. Results beyond the fetched matrices have two sets of buffers in turn.
#include "compiler/Target/GPU/Sm90/Gemm.h"

using namespace mlir;

namespace moec::sm90 {

/// This thread's values of 16 columns of a fetched matrix.
GemmEmitter::Values GemmEmitter::takeFetched(Value place, int64_t quarter) {
  Values values;
  for (Value packed : k.loadMatrix(k.add(matrixRows[quarter], place))) {
    auto [low, high] = k.unpackBf16(packed);
    values.append({low, high});
  }
  return values;
}

/// Where sinks put chunk `chunk`, in bytes from the first buffer; the first ones: where fetched matrices are.
GemmEmitter::Values GemmEmitter::placesOverFetched(int64_t chunk, Value stage) {
  Values fetched, places;
  for (size_t i = 0; i < gemm.fetches.size(); ++i)
    fetched.push_back(k.sub(k.add(fetchedAt(i, stage), k.i32mul(consumer, tile::kBoxBytes)), staging));
  int64_t beside = tile::boxesBesideFetches(gemm.kernel), used = 0;
  for (const Gemm::Sink &sink : gemm.sinks) {
    if (!sink.element.isF32() && places.size() - used < fetched.size()) {
      places.push_back(fetched[places.size() - used]);
      continue;
    }
    places.push_back(k.i32((chunk % 2 * beside + used) * tile::kBoxBytes));
    used += tile::kChunkColumns / tile::boxColumns(sink.element);
  }
  return places;
}

GemmEmitter::Values GemmEmitter::storeOverFetched(const Tile &tile, const Place &place, ArrayRef<Value> accumulators,
                                                  Operands operands, ValueRange ring) {
  constexpr int64_t kQuarter = 8, kThreads = 128; // values of a thread in 16 columns
  Value stage = ring[0], parity = ring[1], before;
  for (int64_t number = 0; number < gemm.stagesOfFetches(); ++number) {
    Chunk chunk = beginChunk(place, accumulators, number, operands);
    Values places = placesOverFetched(number, stage);
    k.wait(full(stage), parity);
    for (int64_t quarter = 0; quarter < 4; ++quarter) {
      for (auto [i, fetch] : llvm::enumerate(gemm.fetches)) {
        Value from = k.sub(k.add(fetchedAt(i, stage), k.i32mul(consumer, tile::kBoxBytes)), staging);
        chunk.values[fetch.getResult()].append(takeFetched(from, quarter));
      }
      k.syncWarp();
      for (int64_t i = 0; i < kQuarter; ++i)
        compute(chunk, quarter * kQuarter + i);
      for (auto [sink, to] : llvm::zip_equal(gemm.sinks, places))
        this->stage(ArrayRef(chunk.values[sink.value]).slice(quarter * kQuarter, kQuarter), sink.element, quarter, to);
    }
    storeRowSums(tile, place, chunk);
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
