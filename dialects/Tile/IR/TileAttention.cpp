// Rules of the attention templates.
#include "dialects/Tile/IR/Tile.h"

using namespace mlir;

namespace moec::tile {

namespace {

// Barriers of the tile slot and the slot; two rings have full and empty barriers.
constexpr int64_t kSlotBytes = 32;
int64_t ringBytes(ScheduleAttr schedule) { return 16 * schedule.getStages(); }
int64_t tileBytes(AttentionAttr shape, int64_t rows) { return rows * shape.getHeadSize() * 2; }

LogicalResult verifyMap(Operation *op, Value value, AttentionAttr shape, int64_t heads, int64_t rows) {
  auto map = value.getDefiningOp<MapOp>();
  SmallVector<int64_t> dims{shape.getHeadSize(), shape.getPositions(), heads, shape.getSequences()};
  SmallVector<int64_t> box{64, rows, 1, 1};
  if (!map || !map.getElement().isBF16() || map.getDims() != ArrayRef(dims) || map.getBox() != ArrayRef(box) ||
      map.getSwizzle() != kSwizzleBytes) { // C2
    InFlightDiagnostic diag = op->emitOpError("needs a bf16 map of [")
                              << dims << "] with boxes of [" << box << "] and swizzle " << kSwizzleBytes;
    diag.attachNote(value.getLoc()) << "has this one";
    return diag;
  }
  return success();
}

/// The rules that all attention ops share. `n` is the number of rows in a block of the other side; `registers` is what
/// accumulators and operands take per consumer thread; a section counts `countedHeads` heads.
LogicalResult verifyAttention(Operation *op, AttentionAttr shape, int64_t n, int64_t registers, int64_t countedHeads) {
  ScheduleAttr schedule = op->getParentOfType<KernelOp>().getSchedule();
  int64_t headSize = shape.getHeadSize();
  if (headSize != 64 && headSize != 128) // C1
    return op->emitOpError("has heads of size ") << headSize << "; expected 64 or 128";
  if (schedule.getM() != 128 || schedule.getN() != n || schedule.getK() != headSize) // C3
    return op->emitOpError("needs a schedule of 128 x ")
           << n << " tiles and depth " << headSize << "; it has " << schedule.getM() << " x " << schedule.getN()
           << " and " << schedule.getK();
  constexpr int64_t kSpare = 8;
  if (registers + kSpare > schedule.getConsumer()) // C4
    return op->emitOpError("keeps ") << registers << " registers of products; a consumer has "
                                     << schedule.getConsumer();
  if (shape.getSequences() * countedHeads % shape.getSection() != 0)
    return op->emitOpError("has sections of ")
           << shape.getSection() << " heads, which do not divide " << shape.getSequences() * countedHeads;
  return success();
}

LogicalResult verifyMaps(Operation *op, AttentionAttr shape, int64_t queryRows, int64_t queryOutRows,
                         ValueRange queries, ValueRange queryOuts, ValueRange keys, ValueRange keyOuts) {
  for (auto [values, heads, rows] :
       {std::tuple(queries, shape.getHeads(), queryRows), std::tuple(queryOuts, shape.getHeads(), queryOutRows),
        std::tuple(keys, shape.getKvHeads(), int64_t(128)), std::tuple(keyOuts, shape.getKvHeads(), int64_t(64))})
    for (Value value : values)
      if (failed(verifyMap(op, value, shape, heads, rows)))
        return failure();
  return success();
}

} // namespace

LogicalResult AttentionAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t sequences, int64_t positions,
                                    int64_t heads, int64_t kvHeads, int64_t headSize, int64_t section, int64_t window) {
  if (std::min({sequences, positions, heads, kvHeads, headSize, section}) < 1)
    return emitError() << "attention has a size below 1";
  if (heads % kvHeads != 0) // C1
    return emitError() << "attention has " << heads << " query heads for " << kvHeads
                       << " key heads, which do not divide them";
  if (window < 0 || window >= positions) // C3
    return emitError() << "attention has a window of " << window << " for " << positions
                       << " positions; expected less, or none";
  return success();
}

//===--- Forward: a tile of queries, rings of keys and of values, a tile to store ---===//

int64_t AttentionFwdOp::getSharedBytes(ScheduleAttr schedule) {
  return tileBytes(getShape(), 128) * (2 + 2 * schedule.getStages()) + 2 * ringBytes(schedule) + kSlotBytes;
}
int64_t AttentionFwdOp::getTileCount(ScheduleAttr) {
  return getShape().getSequences() * getShape().getHeads() * getShape().getBlocks();
}
LogicalResult AttentionFwdOp::verifyWork() {
  // Scores, the sums, and probabilities as an operand.
  int64_t registers = 64 + getShape().getHeadSize() / 2 + 32;
  if (failed(verifyAttention(*this, getShape(), 128, registers, getShape().getHeads())))
    return failure();
  return verifyMaps(*this, getShape(), 128, 64, getQ(), getResult(), {getK(), getV()}, {});
}

//===--- dq: two tiles of rows, rings of keys and of values, a tile to store ---===//

int64_t AttentionDqOp::getSharedBytes(ScheduleAttr schedule) {
  return tileBytes(getShape(), 128) * (3 + 2 * schedule.getStages()) + 2 * ringBytes(schedule) + kSlotBytes;
}
int64_t AttentionDqOp::getTileCount(ScheduleAttr) {
  return getShape().getSequences() * getShape().getHeads() * getShape().getBlocks();
}
LogicalResult AttentionDqOp::verifyWork() {
  // Scores, their gradients, the sums, and gradients of scores as an operand.
  int64_t registers = 64 + 64 + getShape().getHeadSize() / 2 + 32;
  if (failed(verifyAttention(*this, getShape(), 128, registers, getShape().getHeads())))
    return failure();
  return verifyMaps(*this, getShape(), 128, 64, {getQ(), getGrad()}, getDq(), {getK(), getV()}, {});
}

//===--- dkv: tiles of keys and values and two to store, a ring of (queries, gradients, statistics) ---===//

int64_t AttentionDkvOp::getSharedBytes(ScheduleAttr schedule) {
  int64_t statistics = 2 * 64 * 4;
  return 4 * tileBytes(getShape(), 128) + schedule.getStages() * (2 * tileBytes(getShape(), 64) + statistics) +
         ringBytes(schedule) + kSlotBytes;
}
int64_t AttentionDkvOp::getTileCount(ScheduleAttr) {
  return getShape().getSequences() * getShape().getKvHeads() * getShape().getBlocks();
}
LogicalResult AttentionDkvOp::verifyWork() {
  // Two sums, scores and their gradients, and both again as operands.
  int64_t registers = getShape().getHeadSize() + 2 * 32 + 2 * 16;
  if (failed(verifyAttention(*this, getShape(), 64, registers, getShape().getKvHeads())))
    return failure();
  if (int64_t stages = (*this)->getParentOfType<KernelOp>().getSchedule().getStages(); stages < 3) // C5
    return emitOpError("has ") << stages << " stages; it needs 3 or it locks up";
  return verifyMaps(*this, getShape(), 64, 64, {getQ(), getGrad()}, {}, {getK(), getV()}, {getDk(), getDv()});
}

//===--- grad: tiles of keys and values and one to store, dS twice, a ring of (queries, gradients, statistics) ---===//

int64_t AttentionGradOp::getSharedBytes(ScheduleAttr schedule) {
  int64_t statistics = 2 * 64 * 4, scoreGradients = 2 * 128 * 64 * 2, turns = 32;
  return 3 * tileBytes(getShape(), 128) + scoreGradients +
         schedule.getStages() * (2 * tileBytes(getShape(), 64) + statistics) + ringBytes(schedule) + turns + kSlotBytes;
}
int64_t AttentionGradOp::getTileCount(ScheduleAttr) {
  return getShape().getSequences() * getShape().getKvHeads() * getShape().getBlocks();
}
LogicalResult AttentionGradOp::verifyWork() {
  if (getShape().isWindowed())
    return emitOpError("has a window; only tile.attention_dq and tile.attention_dkv know windows");
  // Two sums, scores and their gradients, and both again as operands.
  int64_t registers = getShape().getHeadSize() + 2 * 32 + 2 * 16;
  if (failed(verifyAttention(*this, getShape(), 64, registers, getShape().getKvHeads())))
    return failure();
  return verifyMaps(*this, getShape(), 64, 64, {getQ(), getGrad()}, {getDq()}, {getK(), getV()}, {getDk(), getDv()});
}

} // namespace moec::tile
