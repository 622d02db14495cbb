// Reads a tile.kernel and lays out its kernel: shared memory, barriers, roles.
#include "compiler/Target/GPU/Sm90/Gemm.h"

using namespace mlir;

namespace moec::sm90 {

Gemm::Gemm(tile::KernelOp kernel) : kernel(kernel), schedule(kernel.getSchedule()) {
  auto noteGroups = [&](Value value, int64_t r, int64_t c, Work kind) {
    offsets = value;
    groups = cast<RankedTensorType>(value.getType()).getNumElements() - 1;
    rows = r;
    columns = c;
    work = kind;
  };
  for (Operation &op : *kernel.getBlock()) {
    if (auto dense = dyn_cast<tile::DenseOp>(op)) {
      rows = dense.getRows();
      columns = dense.getColumns();
    } else if (auto grouped = dyn_cast<tile::GroupedOp>(op)) {
      noteGroups(grouped.getOffsets(), grouped.getRows(), grouped.getColumns(), Work::Grouped);
    } else if (auto ragged = dyn_cast<tile::RaggedOp>(op)) {
      noteGroups(ragged.getOffsets(), ragged.getRows(), ragged.getColumns(), Work::Ragged);
    } else if (auto mma = dyn_cast<tile::MmaOp>(op)) {
      products.push_back(mma);
    } else if (auto map = dyn_cast<tile::EpilogueOp>(op)) {
      epilogue = map;
    } else if (auto fetch = dyn_cast<tile::FetchOp>(op)) {
      fetches.push_back(fetch);
    } else if (auto sums = dyn_cast<tile::RowSumsOp>(op)) {
      auto operand = sums.getSums().getDefiningOp<tile::OperandOp>();
      rowSums.push_back({sums.getValue(), static_cast<int64_t>(operand.getParam())});
    } else if (auto store = dyn_cast<tile::StoreOp>(op)) {
      auto map = store.getMap().getDefiningOp<tile::MapOp>();
      sinks.push_back({store.getValue(), map, static_cast<int64_t>(map.getDims().size()), map.getElement(),
                       store.getAccumulate(), store.getTransposed()});
      transposes |= store.getTransposed();
    }
  }
  auto side = [&](Value slices) {
    auto type = cast<tile::SlicesType>(slices.getType());
    element = type.getElement();
    Side result;
    result.major = type.getMajor();
    if (auto gather = slices.getDefiningOp<tile::GatherOp>()) {
      gathers = true;
      result.source = gather.getSource().getDefiningOp<tile::OperandOp>().getParam();
      result.sourceColumns = gather.getSource().getType().getDimSize(1);
      result.numbers = gather.getRows().getDefiningOp<tile::OperandOp>().getParam();
      result.count = gather.getRows().getType().getNumElements();
      result.slots = gather.getSlots();
      return result;
    }
    result.map = slices.getDefiningOp<tile::LoadOp>().getMap();
    result.rank = result.map.getDefiningOp<tile::MapOp>().getDims().size();
    return result;
  };
  for (auto [i, depth] : llvm::enumerate(products.front().getDepth())) {
    Term term{side(products.front().getLhs()[i]), {}, depth};
    for (tile::MmaOp product : products)
      term.rhs.push_back(side(product.getRhs()[i]));
    terms.push_back(term);
  }
}

GemmEmitter::GemmEmitter(tile::KernelOp kernel) : gemm(kernel), k(kernel) {
  tile::ScheduleAttr schedule = gemm.schedule;
  int64_t stages = schedule.getStages();
  lhsBytes = schedule.getM() * tile::kSwizzleBytes;
  rhsBytes = schedule.getN() * tile::kSwizzleBytes;
  lhsBase = k.sharedAddress();
  int64_t rightPlaces = gemm.hasLanes() ? gemm.slicesOfTile() : stages;
  rhsBase = k.i32add(lhsBase, stages * lhsBytes);
  stagingBase = k.i32add(rhsBase, rightPlaces * rhsBytes);
  barriers = k.i32add(stagingBase, schedule.getConsumers() * schedule.getBuffers() * tile::kBoxBytes);
  words = k.i32add(barriers, 16 * stages); // of split depths, which have no lanes
}

void GemmEmitter::emit() {
  constexpr int64_t kProducers = 128;
  int64_t stages = gemm.schedule.getStages();
  k.when(k.is(k.thread(), 0), [&] {
    for (int64_t i = 0; i < stages; ++i) {
      // One thread announces the bytes of TMA; the copies of gathered rows arrive thread by thread.
      k.initBarrier(k.i32add(barriers, 8 * i), gemm.gathers ? 1 + kProducers : 1);
      k.initBarrier(k.i32add(barriers, 8 * (stages + i)), gemm.hasLanes() ? 1 : gemm.schedule.getConsumers());
    }
    for (int64_t i = 0; gemm.hasLanes() && i < gemm.slicesOfTile(); ++i) {
      k.initBarrier(rightFull(k.i32(i)), 1);
      k.initBarrier(rightEmpty(k.i32(i)), gemm.schedule.getConsumers());
    }
    for (int64_t i = 0; gemm.hasLanes() && i < gemm.schedule.getConsumers(); ++i)
      k.initBarrier(turnOf(k.i32(i)), 1);
  });
  if (gemm.cutsDepth())
    skewed = isSkewed();
  k.publishBarriers();
  k.when(k.is(k.warpgroup(), 0), [&] { gemm.hasLanes() ? produceLanes() : produce(); }, [&] { consume(); });
  k.finish();
}

std::pair<Value, Value> GemmEmitter::next(Value stage, Value parity) {
  Value after = k.i32add(stage, 1);
  Value wraps = k.is(after, gemm.schedule.getStages());
  return {k.select(wraps, k.i32(0), after), k.select(wraps, k.bitXor(parity, k.i32(1)), parity)};
}

} // namespace moec::sm90
