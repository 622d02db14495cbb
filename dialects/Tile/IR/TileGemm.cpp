// Rules of the ops that describe matrix products.
#include "dialects/Tile/IR/Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::tile {

int64_t boxesBesideFetches(KernelOp kernel) {
  auto fetches = kernel.getBlock()->getOps<FetchOp>();
  int64_t places = std::distance(fetches.begin(), fetches.end()), boxes = 0;
  for (StoreOp store : kernel.getBlock()->getOps<StoreOp>()) {
    Type element = store.getMap().getDefiningOp<MapOp>().getElement();
    if (!element.isF32() && places > 0)
      --places;
    else
      boxes += kChunkColumns / boxColumns(element);
  }
  return boxes;
}

namespace {

KernelOp parentOf(Operation *work) { return work->getParentOfType<KernelOp>(); }

/// Slices of the whole depth of a tile.
int64_t slicesOf(KernelOp kernel) {
  int64_t slices = 0;
  for (MmaOp mma : kernel.getBlock()->getOps<MmaOp>()) {
    for (int64_t depth : mma.getDepth())
      slices += llvm::divideCeil(depth, kernel.getSchedule().getK());
    break; // all have the same
  }
  return slices;
}

// A stage holds 128 bytes of depth of each row of both tiles; after the stages lie the store buffers, then two barriers
// per stage and a word for each consumer. With lanes a stage holds the left side alone; the right side has a place and
// two barriers for each slice, and each consumer has a barrier for its turn.
int64_t gemmSharedBytes(KernelOp kernel, ScheduleAttr schedule) {
  constexpr int64_t kWords = 64, kTurns = 16;
  int64_t stages = schedule.getStages(), places = schedule.getLanes() ? slicesOf(kernel) : stages;
  int64_t barriers = 16 * stages + (schedule.getLanes() ? 16 * places + kTurns : 0);
  return (stages * schedule.getM() + places * schedule.getN()) * kSwizzleBytes +
         schedule.getConsumers() * schedule.getBuffers() * kBoxBytes + barriers + kWords;
}

int64_t tilesOf(int64_t rows, int64_t columns, ScheduleAttr schedule, int64_t products) {
  return llvm::divideCeil(rows, schedule.getM()) * llvm::divideCeil(columns, schedule.getN() / products);
}

int64_t productsBeside(Operation *work) {
  auto all = parentOf(work).getBlock()->getOps<MmaOp>();
  return std::max<int64_t>(1, std::distance(all.begin(), all.end()));
}

/// What may follow the products, where the work and the stages allow it.
LogicalResult verifyFetches(KernelOp kernel, bool ragged, FragmentType product) {
  ScheduleAttr schedule = kernel.getSchedule();
  int64_t count = 0;
  for (FetchOp fetch : kernel.getBlock()->getOps<FetchOp>()) {
    auto map = fetch.getMap().getDefiningOp<MapOp>();
    if (map.getBox()[1] != schedule.getM()) // fetch_c1
      return fetch.emitOpError("takes boxes of ") << map.getBox()[1] << " rows; the schedule has " << schedule.getM();
    if (ragged || schedule.getSplit() != 1) // fetch_c2
      return fetch.emitOpError("in work that is ragged or split");
    if (fetch.getType() != product) // fetch_c4
      return fetch.emitOpError("makes ") << fetch.getType() << "; products make " << product;
    if (++count * schedule.getM() > schedule.getM() + schedule.getN()) // fetch_c3
      return fetch.emitOpError("is number ")
             << count << "; a stage has room for " << 1 + schedule.getN() / schedule.getM();
  }
  for (StoreOp store : kernel.getBlock()->getOps<StoreOp>())
    if (count > 0 && store.getTransposed()) // store_c4
      return store.emitOpError("stores the transpose beside fetched matrices, whose places it cannot take");
  int64_t beside = boxesBesideFetches(kernel), buffers = schedule.getBuffers();
  if (count > 0 && 2 * beside > buffers) // fetch_c5
    return kernel.emitOpError("stores ") << beside << " boxes of 64 columns each beside those in the places of fetched"
                                         << " matrices, in two sets of buffers; the schedule has " << buffers;
  return success();
}

/// Lanes are for what comes by TMA through the stages, and leaves through the buffers.
LogicalResult verifyLanes(KernelOp kernel, bool grouped) {
  if (kernel.getSchedule().getLanes() == 0)
    return success();
  if (!grouped) // kernel_c5
    return kernel.emitOpError("has lanes, which only grouped work has");
  for (Operation &op : *kernel.getBlock())
    if (isa<GatherOp, FetchOp>(op)) // kernel_c5
      return op.emitOpError("in a kernel with lanes");
  return success();
}

LogicalResult verifyRowSums(KernelOp kernel, bool ragged, int64_t rows, int64_t columns) {
  for (RowSumsOp sums : kernel.getBlock()->getOps<RowSumsOp>()) {
    if (ragged) // row_sums_c3
      return sums.emitOpError("in ragged work");
    if (columns % kChunkColumns != 0 || // row_sums_c2
        sums.getSums().getType().getShape() != ArrayRef{rows, columns / kChunkColumns})
      return sums.emitOpError("stores ") << sums.getSums().getType() << " for results of " << rows << " x " << columns
                                         << "; expected the sums of each " << kChunkColumns << " columns";
  }
  return success();
}

LogicalResult verifyGemm(KernelOp kernel, int64_t rows, int64_t resultColumns, bool ragged = false,
                         bool grouped = false) {
  ScheduleAttr schedule = kernel.getSchedule();
  int64_t columns = 0;
  MmaOp first;
  for (MmaOp mma : kernel.getBlock()->getOps<MmaOp>()) {
    auto lhs = cast<SlicesType>(mma.getLhs().front().getType()), rhs = cast<SlicesType>(mma.getRhs().front().getType());
    if (lhs.getRows() != schedule.getM() || lhs.getDepth() != schedule.getK())
      return mma.emitOpError("multiplies tiles of ")
             << lhs.getRows() << " rows and depth " << lhs.getDepth() << "; the schedule has " << schedule.getM()
             << " and " << schedule.getK();
    if (lhs.getDepth() * lhs.getElement().getIntOrFloatBitWidth() / 8 != kSwizzleBytes)
      return mma.emitOpError("has a stage of depth ") << lhs.getDepth() << "; expected " << kSwizzleBytes << " bytes";
    if (ragged && (lhs.getMajor() != Major::mn || rhs.getMajor() != Major::mn || mma.getLhs().size() != 1))
      return mma.emitOpError("is of ragged depth; expected one term of MN-major operands");
    if (first && first.getLhs() != mma.getLhs()) {
      InFlightDiagnostic diag = mma.emitOpError("has other left operands than the product beside it");
      diag.attachNote(first.getLoc()) << "this one";
      return diag;
    }
    if (first && (first.getResult().getType() != mma.getResult().getType() || first.getDepth() != mma.getDepth() ||
                  first.getRhs().front().getType() != mma.getRhs().front().getType()))
      return mma.emitOpError("has another shape than the product beside it");
    first = first ? first : mma;
    columns += rhs.getRows();
  }
  if (!first)
    return kernel.emitOpError("has no tile.mma");
  if (columns != schedule.getN())
    return kernel.emitOpError("multiplies tiles of ") << columns << " columns; the schedule has " << schedule.getN();
  if (failed(verifyFetches(kernel, ragged, first.getType())) || failed(verifyLanes(kernel, grouped)))
    return failure();
  return verifyRowSums(kernel, ragged, rows, resultColumns);
}

/// Parts of a tile meet at counters, which have 4096 bytes of scratch.
LogicalResult verifySplit(Operation *work, int64_t tiles) {
  constexpr int64_t kCounters = 1024;
  ScheduleAttr schedule = parentOf(work).getSchedule();
  if (int64_t counters = tiles * schedule.getConsumers(); schedule.getSplit() > 1 && counters > kCounters) // C1
    return work->emitOpError("needs ") << counters << " counters for the parts of its tiles; there are " << kCounters;
  return success();
}

} // namespace

int64_t DenseOp::getSharedBytes(ScheduleAttr schedule) { return gemmSharedBytes(parentOf(*this), schedule); }
int64_t GroupedOp::getSharedBytes(ScheduleAttr schedule) { return gemmSharedBytes(parentOf(*this), schedule); }
int64_t RaggedOp::getSharedBytes(ScheduleAttr schedule) { return gemmSharedBytes(parentOf(*this), schedule); }

int64_t DenseOp::getTileCount(ScheduleAttr schedule) {
  return tilesOf(getRows(), getColumns(), schedule, productsBeside(*this)) * schedule.getSplit();
}
int64_t GroupedOp::getTileCount(ScheduleAttr schedule) {
  // Each group may end in a tile that is not full.
  int64_t groups = getOffsets().getType().getNumElements() - 1;
  return tilesOf(getRows() + groups * schedule.getM(), getColumns(), schedule, productsBeside(*this));
}
int64_t RaggedOp::getTileCount(ScheduleAttr schedule) {
  int64_t groups = getOffsets().getType().getNumElements() - 1;
  return std::max(groups, schedule.getSplit()) * tilesOf(getRows(), getColumns(), schedule, productsBeside(*this));
}

LogicalResult DenseOp::verifyWork() {
  ScheduleAttr schedule = parentOf(*this).getSchedule();
  if (failed(verifySplit(*this, getTileCount(schedule) / schedule.getSplit())))
    return failure();
  return verifyGemm(parentOf(*this), getRows(), getColumns());
}
LogicalResult GroupedOp::verifyWork() {
  if (parentOf(*this).getSchedule().getSplit() != 1)
    return emitOpError("cannot split the depth; only dense and ragged work can");
  return verifyGemm(parentOf(*this), getRows(), getColumns(), /*ragged=*/false, /*grouped=*/true);
}
LogicalResult RaggedOp::verifyWork() {
  ScheduleAttr schedule = parentOf(*this).getSchedule();
  int64_t tiles = tilesOf(getRows(), getColumns(), schedule, productsBeside(*this));
  if (failed(verifySplit(*this, tiles * schedule.getSplit())))
    return failure();
  return verifyGemm(parentOf(*this), getRows(), getColumns(), /*ragged=*/true);
}

LogicalResult LoadOp::verify() {
  auto map = getMap().getDefiningOp<MapOp>();
  SlicesType type = getType();
  if (!map || map.getElement() != type.getElement()) // C1
    return emitOpError("loads ") << type.getElement() << " by a map of another element type";
  if (map.getSwizzle() != kSwizzleBytes) // C2
    return emitOpError("loads by a map of swizzle ") << map.getSwizzle() << "; expected " << kSwizzleBytes;
  bool alongK = type.getMajor() == Major::k;
  int64_t first = alongK ? type.getDepth() : 64, second = alongK ? type.getRows() : type.getDepth();
  ArrayRef<int64_t> box = map.getBox();
  if (box.size() < 2 || box[0] != first || box[1] != second ||
      llvm::any_of(box.drop_front(2), [](int64_t side) { return side != 1; })) // C3
    return emitOpError("takes boxes of [") << box << "]; its slices need [" << first << ", " << second << "]";
  return success();
}

LogicalResult GatherOp::verify() {
  auto source = cast<RankedTensorType>(getSource().getType());
  SlicesType type = getType();
  if (source.getRank() != 2 || source.getElementType() != type.getElement() ||
      source.getDimSize(1) * type.getElement().getIntOrFloatBitWidth() % 128 != 0) // C1
    return emitOpError("gathers rows of ")
           << source << "; expected [rows, columns] of " << type.getElement() << " with rows of whole 16 bytes";
  if (type.getRows() != 128) // C2
    return emitOpError("makes tiles of ") << type.getRows() << " rows; expected 128";
  if (getSlots() < 1) // C3
    return emitOpError("has ") << getSlots() << " slots per row; expected at least 1";
  return success();
}

LogicalResult MmaOp::verify() {
  if (getLhs().empty() || getLhs().size() != getRhs().size() || getLhs().size() != getDepth().size()) // C1
    return emitOpError("has ") << getLhs().size() << " left and " << getRhs().size() << " right operands and "
                               << getDepth().size() << " depths; expected as many of each";
  for (ValueRange side : {ValueRange(getLhs()), ValueRange(getRhs())})
    for (Value slices : side)
      if (slices.getType() != side.front().getType()) // C2
        return emitOpError("mixes operands ") << slices.getType() << " and " << side.front().getType();
  auto lhs = cast<SlicesType>(getLhs().front().getType()), rhs = cast<SlicesType>(getRhs().front().getType());
  if (lhs.getElement() != rhs.getElement() || lhs.getDepth() != rhs.getDepth()) // C2
    return emitOpError("mixes operands ") << lhs << " and " << rhs;
  if (getType().getRows() != lhs.getRows() || getType().getColumns() != rhs.getRows()) // C3
    return emitOpError("makes ") << getType() << " of " << lhs << " and " << rhs;
  if (lhs.getElement().getIntOrFloatBitWidth() == 8 && (lhs.getMajor() != Major::k || rhs.getMajor() != Major::k)) // C4
    return emitOpError("takes ") << lhs.getElement() << " operands, which must be K-major";
  return success();
}

LogicalResult FetchOp::verify() {
  auto map = getMap().getDefiningOp<MapOp>();
  if (!map || !map.getElement().isBF16() || map.getBox().size() != 2 || map.getBox()[0] != kChunkColumns ||
      map.getSwizzle() != kSwizzleBytes) // C1
    return emitOpError("fetches by another map than bf16 in boxes of 64 columns with swizzle ") << kSwizzleBytes;
  return success();
}

LogicalResult RowSumsOp::verify() {
  if (getSums().getType().getRank() != 2 || !getSums().getDefiningOp<OperandOp>()) // C1
    return emitOpError("stores to ") << getSums().getType() << "; expected a parameter [rows, columns / 64]";
  return success();
}

LogicalResult EpilogueOp::verify() {
  Block &block = getBody().front();
  auto isF32 = [](Type type) { return type.isF32(); };
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (block.getNumArguments() != getFragments().size() + getElements().size() ||
      !llvm::all_of(block.getArgumentTypes(), isF32) || !yield || yield.getValues().size() != getNumResults()) // C1
    return emitOpError("has a region that does not take and yield one f32 for each operand and result");
  for (Operation &op : block.without_terminator())
    if (!isa<arith::ArithDialect, math::MathDialect>(op.getDialect())) // C2
      return op.emitOpError("inside tile.epilogue; expected arith and math ops");
  return success();
}

LogicalResult StoreOp::verify() {
  auto map = getMap().getDefiningOp<MapOp>();
  Type element = map ? map.getElement() : Type();
  int64_t rows = getTransposed() && map ? boxColumns(element) : kBoxRows;
  if (!map || (!element.isBF16() && !element.isF32()) || map.getBox().size() < 2 ||
      map.getBox()[0] != boxColumns(element) || map.getBox()[1] != rows || map.getSwizzle() != kSwizzleBytes) // C1, C3
    return emitOpError("stores by another map than bf16 in boxes of 64 x 64, or f32 in boxes of 32 x ")
           << (getTransposed() ? 32 : kBoxRows) << ", with swizzle " << kSwizzleBytes;
  auto kernel = parentOf(*this);
  if (kernel && kernel.getSchedule().getBuffers() == 0) // C2
    return emitOpError("has no buffer in the schedule");
  return success();
}

} // namespace moec::tile
