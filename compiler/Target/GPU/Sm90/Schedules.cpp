// The schedules of matrix products, by shape. Measured on one H200; see docs/performance.md.
#include "compiler/Target/GPU/Sm90/Matmul.h"

namespace moec::sm90 {

namespace {

struct Row {
  int64_t n;         // columns of all sums together
  int64_t longDepth; // from here on, in pairs of bytes
  int64_t stages, buffers;
};

// Shallow products store often: more staging, so that all boxes of a tile go out at once, is worth a stage.
constexpr Row table[] = {
    {256, 2049, 4, 2}, {256, 0, 3, 4}, {192, 0, 4, 4}, {128, 2049, 6, 2}, {128, 0, 5, 4}, {64, 0, 8, 2},
};

constexpr int64_t kM = 128;
constexpr int64_t kLeastSlices = 8;   // of a part of a split depth
constexpr int64_t kCounters = 1024;   // i32, in the first bytes of scratch
constexpr int64_t kTileOverhead = 32; // of a tile, in columns of its mainloop

} // namespace

tile::ScheduleAttr chooseSchedule(const MatmulProblem &problem, const gpu::GpuTarget &target,
                                  mlir::MLIRContext *context) {
  int64_t sums = problem.sums.size(), slices = 0, depth = 0;
  int64_t k = problem.elementsIn(tile::kSwizzleBytes);
  bool gathers = false;
  for (const MatmulTerm &term : problem.sums.front().terms) {
    depth += term.depth;
    slices += llvm::divideCeil(term.depth, k);
    gathers |= term.lhs.rowMap.has_value();
  }
  if (problem.grouping == Grouping::Depth)
    depth /= problem.experts;

  // The widest tile costs least for each column, but may leave multiprocessors without work in the last round.
  int64_t down = llvm::divideCeil(problem.rows, kM), groups = problem.grouping == Grouping::Depth ? problem.experts : 1;
  int64_t best = 0, bestCost = 0, tiles = 0;
  for (int64_t n : {256, 128, 64}) {
    int64_t each = n / sums / 64 * 64;
    if (each == 0)
      continue;
    int64_t count = groups * down * llvm::divideCeil(problem.columns, each);
    int64_t cost = llvm::divideCeil(count, target.numSms) * (each * sums + kTileOverhead);
    if (best && cost >= bestCost)
      continue;
    best = each * sums;
    bestCost = cost;
    tiles = count;
  }

  int64_t split = 1;
  if (problem.grouping == Grouping::None && problem.sums.front().terms.size() == 1 && 2 * tiles <= target.numSms &&
      tiles * (kM / 64) <= kCounters) {
    split = std::max<int64_t>(1, std::min(target.numSms / tiles, slices / kLeastSlices));
    int64_t each = llvm::divideCeil(slices, split);
    split = llvm::divideCeil(slices, each); // no part is empty
  }
  for (const Row &row : table)
    if (row.n == best && depth >= row.longDepth * problem.elementsIn(2))
      return tile::ScheduleAttr::get(context, kM, best, k, row.stages, gathers ? 56 : 40, gathers ? 224 : 232,
                                     /*raster=*/8, row.buffers, split);
  llvm_unreachable("the table has a row for each width");
}

} // namespace moec::sm90
