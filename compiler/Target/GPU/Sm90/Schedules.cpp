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

/// Whether the epilogue reads a matrix as large as the results.
bool readsMatrices(const MatmulProblem &problem) {
  for (moe::MapOp map : problem.maps)
    for (mlir::Value input : map.getInputs()) {
      auto shape = mlir::cast<mlir::RankedTensorType>(input.getType()).getShape();
      if (problem.body.paramOf(input) && shape == llvm::ArrayRef{problem.rows, problem.columns})
        return true;
    }
  return false;
}

/// How long lanes take at best, in units of one of their tiles of 64 rows, and how many there are then. A lane loads
/// the right side when it begins and when its group changes.
std::pair<double, int64_t> costOfLanes(const MatmulProblem &problem, int64_t across, int64_t numSms) {
  constexpr double kLoad = 1.5; // measured: 2.8 us, where a tile takes 1.8
  constexpr int64_t kRows = 64;
  int64_t down = llvm::divideCeil(problem.rows, kRows);
  std::pair<double, int64_t> best{};
  for (int64_t lanes = 1; lanes <= std::min(numSms, down); ++lanes) {
    double tiles = llvm::divideCeil(down, lanes), loads = 1 + static_cast<double>(problem.experts) / lanes;
    double cost = static_cast<double>(llvm::divideCeil(lanes * across, numSms)) * (tiles + kLoad * loads);
    if (!best.second || cost < best.first)
      best = {cost, lanes};
  }
  return best;
}

/// The same for tiles of both consumers, of which each group has half a tile too many on average.
double costOfTiles(const MatmulProblem &problem, int64_t across, int64_t numSms) {
  constexpr double kTile = 2.4; // measured: 2.2 to 2.8
  int64_t tiles = (llvm::divideCeil(problem.rows, kM) + problem.experts / 2) * across;
  return kTile * static_cast<double>(llvm::divideCeil(tiles, numSms));
}

/// Lanes, where a block can hold the right side of its column of tiles: shallow products of groups. Null: they do not
/// fit, or would take longer.
tile::ScheduleAttr chooseLanes(const MatmulProblem &problem, const gpu::GpuTarget &target, int64_t slices,
                               mlir::MLIRContext *context) {
  constexpr int64_t kRows = 64, kBuffers = 2, kMostStages = 16, kBarrierBytes = 1024;
  constexpr int64_t kRightBytes = 128 * 1024; // beside which eight slices of the left side and the buffers fit
  if (problem.grouping != Grouping::Rows || readsMatrices(problem))
    return {};
  int64_t sums = problem.sums.size(), each = 0, bestCost = 0;
  for (int64_t n : {256, 192, 128}) {
    int64_t columns = n / sums / 64 * 64;
    if (columns == 0 || columns * sums * slices * tile::kSwizzleBytes > kRightBytes)
      continue;
    int64_t cost = llvm::divideCeil(problem.columns, columns) * (columns * sums + kTileOverhead);
    if (each && cost >= bestCost)
      continue;
    each = columns;
    bestCost = cost;
  }
  if (each == 0)
    return {};
  int64_t across = llvm::divideCeil(problem.columns, each);
  auto [cost, lanes] = costOfLanes(problem, across, target.numSms);
  if (cost > costOfTiles(problem, across, target.numSms))
    return {};
  int64_t n = each * sums;
  int64_t taken = n * slices * tile::kSwizzleBytes + 2 * kBuffers * tile::kBoxBytes + kBarrierBytes;
  int64_t stages = std::min((tile::kMaxSharedBytes - taken) / (kRows * tile::kSwizzleBytes), kMostStages);
  return tile::ScheduleAttr::get(context, kRows, n, problem.elementsIn(tile::kSwizzleBytes), stages, /*producer=*/40,
                                 /*consumer=*/232, /*raster=*/8, kBuffers, /*split=*/1, lanes);
}

/// Into how many pieces the depth of all groups is cut when they are skewed; 1: tiles of whole groups are as good. The
/// cost is the longest path of a block, in slices.
int64_t choosePieces(const MatmulProblem &problem, int64_t tiles, int64_t slices, int64_t numSms) {
  constexpr int64_t kConsumers = kM / 64;
  constexpr int64_t kJoin = 16; // measured: what it takes to write and add parts
  if (problem.experts < 2)
    return 1;
  // If a block takes each group's tiles one after the other, it may have one tile more than others of each group.
  int64_t best = 1, bestCost = llvm::divideCeil(tiles, numSms) * slices;
  for (int64_t pieces = 2; pieces * tiles * kConsumers <= kCounters && pieces * kLeastSlices <= slices; ++pieces) {
    int64_t cost = llvm::divideCeil(pieces * tiles, numSms) * (slices / pieces + kJoin);
    if (cost >= bestCost)
      continue;
    best = pieces;
    bestCost = cost;
  }
  return best;
}

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

  if (!gathers)
    if (tile::ScheduleAttr lanes = chooseLanes(problem, target, slices, context))
      return lanes;

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
  if (problem.grouping == Grouping::Depth)
    split = choosePieces(problem, tiles / groups, slices, target.numSms);
  for (const Row &row : table)
    if (row.n == best && depth >= row.longDepth * problem.elementsIn(2))
      return tile::ScheduleAttr::get(context, kM, best, k, row.stages, gathers ? 56 : 40, gathers ? 224 : 232,
                                     /*raster=*/8, row.buffers, split, /*lanes=*/0);
  llvm_unreachable("the table has a row for each width");
}

} // namespace moec::sm90
