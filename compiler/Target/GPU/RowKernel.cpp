// Template "row": RowEmitter.h says how a row is computed. This file has the division among blocks and threads, and the
// sinks.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/RowEmitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::gpu {

using kernel::DispatchBody;
using kernel::RowSchedule;
using kernel::tensorColumns;

namespace {
// Threads on a multiprocessor if a block walks through the rows of a sum, with 64 registers each. About 500 sums of 256
// threads are then one wave.
constexpr int64_t kThreadsWithSums = 1024;

int64_t powerOf2Ceil(int64_t value) { return static_cast<int64_t>(llvm::PowerOf2Ceil(value)); }

/// Columns of 16 bytes of the widest elements that matter: small operands stay in L1, whatever their accesses.
int64_t vectorColumns(const DispatchBody &body) {
  int64_t most = 1, bytes = 1;
  for (const moe::DispatchParam &param : body.params)
    if (param.type)
      most = std::max(most, param.type.getNumElements());
  for (const moe::DispatchParam &param : body.params)
    if (param.type && param.type.getNumElements() * 4 >= most)
      bytes = std::max<int64_t>(bytes, param.type.getElementTypeBitWidth() / 8);
  return std::max<int64_t>(1, 16 / bytes);
}

/// The number of operands as large as the results, which is the number of a thread's streams of loads.
int64_t countStreams(const DispatchBody &body, int64_t elements) {
  int64_t streams = 0;
  for (const moe::DispatchParam &param : body.params)
    streams += param.type && param.isRead && param.type.getNumElements() >= elements;
  for (Operation &op : *moe::DispatchOp(body.dispatch).getBlock())
    if (auto combine = dyn_cast<moe::CombineRowsOp>(op))
      streams += kernel::tensorColumns(combine.getSlotRow()) - 1;
  return streams;
}

/// Whether `stop` holds for none of the ops from which `value` is computed, back to the results of whole-row ops.
bool isFreeOf(Value value, llvm::function_ref<bool(Operation *)> stop) {
  SmallVector<Value> pending{value};
  llvm::SmallDenseSet<Operation *> seen;
  while (!pending.empty()) {
    Operation *op = DispatchBody::stripViews(pending.pop_back_val()).getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    if (stop(op))
      return false;
    if (!looksAtRow(op))
      llvm::append_range(pending, op->getOperands());
  }
  return true;
}

/// Whether some thread may read elements of this state that another thread of the row writes.
bool isShared(const DispatchBody &body, const RowSchedule &schedule, unsigned param) {
  int64_t width = 0;
  for (const DispatchBody::Sink &sink : schedule.sinks)
    if (sink.param == param)
      width = schedule.columnsOf(sink.value);
  for (Operation &op : *moe::DispatchOp(body.dispatch).getBlock()) {
    if (moe::computesNothing(&op))
      continue;
    for (Value operand : op.getOperands()) {
      if (!isa<RankedTensorType>(operand.getType()) || body.paramOf(operand) != param)
        continue;
      bool elementwise = isa<moe::MapOp, moe::RowReduceOp>(op) && schedule.columnsOf(operand) == width && width > 1;
      if (!elementwise)
        return true;
    }
  }
  return false;
}
} // namespace

RowLayout RowLayout::choose(const DispatchBody &body, const RowSchedule &schedule) {
  RowLayout layout;
  layout.vector = vectorColumns(body);
  int64_t width = 1;
  bool together = false, oneWidth = true, inPlace = false;
  auto note = [&](Value value) {
    int64_t columns = schedule.columnsOf(value);
    oneWidth = oneWidth && (columns == 1 || width == 1 || columns == width);
    width = std::max(width, columns);
  };
  for (const DispatchBody::Sink &sink : schedule.sinks) {
    note(sink.value);
    inPlace |= isShared(body, schedule, sink.param);
  }
  for (const kernel::RowSum &sum : schedule.sums) {
    note(moe::ColReduceOp(sum.op).getInput());
    together = true; // all of a row is done by the same threads
  }
  for (Operation &op : *moe::DispatchOp(body.dispatch).getBlock())
    if (looksAtRow(&op)) {
      note(op.getOperand(0));
      together |= schedule.columnsOf(op.getOperand(0)) > 1;
    }

  // A thread holds its columns of every operand at once: the more operands, the fewer columns fit its registers. Sums
  // over rows stay in registers as well.
  int64_t streams = countStreams(body, schedule.rows * width);
  int64_t written = llvm::count_if(
      schedule.sinks, [&](const DispatchBody::Sink &sink) { return schedule.columnsOf(sink.value) == width; });
  bool crowded = together && (streams + written > 4 || !schedule.sums.empty());
  constexpr int64_t kBlock = 256;
  int64_t warpColumns = crowded ? 256 : 1024;
  // With many small updates in one kernel, a thread takes fewer columns at a time.
  constexpr int64_t kMostValues = 256;
  int64_t most = std::max<int64_t>(1, llvm::bit_floor<uint64_t>(kMostValues / std::max<int64_t>(1, streams + written)));
  layout.vector = std::min(layout.vector, most);
  int64_t lanes = layout.vector;
  while (width % lanes)
    lanes /= 2;
  if (width <= (together ? warpColumns : warpColumns / 4)) {
    // Each row has some lanes of a warp, so there are no barriers. A lane does two accesses, or one if there are many
    // operands, because two would take the registers of half of the warps.
    int64_t accesses = 2 * lanes <= most && !crowded ? 2 : 1;
    layout.group = std::min(SimtBuilder::kWarp, powerOf2Ceil(llvm::divideCeil(width, accesses * lanes)));
    int64_t rows = schedule.sums.empty() ? schedule.rows : schedule.rowsPerSum;
    layout.threads = std::clamp(powerOf2Ceil(rows * layout.group), SimtBuilder::kWarp, kBlock);
    return layout;
  }
  if (together) {
    // A block for each row, its columns in registers when they fit.
    constexpr int64_t kMostThreads = 1024;
    // If no wide value is stored, rows that do not fit are read once, and many small blocks overlap best. Otherwise
    // only few rows at a time are done, so that they stay in L2 for the second pass.
    int64_t threads = powerOf2Ceil(llvm::divideCeil(width, crowded ? 8 : 16));
    int64_t threadsOfLoop = crowded || written == 0 ? 256 : 512;
    layout.loopPieces = crowded ? 2 : 4;
    layout.threads = threads <= kMostThreads ? std::max<int64_t>(64, threads) : threadsOfLoop;
    layout.group = layout.threads;
    return layout;
  }
  // Columns are independent, so a thread has enough pieces to keep loads in flight, and long rows are cut.
  int64_t pieces = streams <= 2 ? 4 : 2;
  layout.threads = std::clamp<int64_t>(powerOf2Ceil(llvm::divideCeil(width, pieces * lanes)), 32, kBlock);
  // The last block of a row may have little to do: fewer threads may fit the width better.
  auto waste = [&](int64_t threads) { return llvm::alignTo(width, threads * lanes * pieces) - width; };
  for (int64_t threads = kBlock - SimtBuilder::kWarp; layout.threads == kBlock && threads >= kBlock / 2;
       threads -= SimtBuilder::kWarp)
    if (waste(threads) + width / 16 < waste(layout.threads)) {
      layout.threads = threads;
      break;
    }
  layout.group = layout.threads;
  int64_t columns = layout.threads * lanes * pieces;
  if (columns < width && oneWidth && !inPlace) {
    layout.chunks = llvm::divideCeil(width, columns);
    layout.chunkColumns = columns;
  }
  return layout;
}

//===--- Sinks ---===//

bool RowEmitter::sharesElements(unsigned param) const { return isShared(body, schedule, param); }

RowEmitter::Store RowEmitter::storeOf(const DispatchBody::Sink &sink, Value value, Value column, const Sites &sites) {
  int64_t columns = schedule.columnsOf(sink.value);
  Type storage = body.storageOf(sink.param);
  Value &base = sinkBases[sink.param];
  if (!base) {
    Hoist hoist(*this);
    base = k.at(k.param(sink.param), k.mul(row, k.i64(columns)), storage);
  }
  if (sink.accumulates) {
    Value old = loadColumns(sink.param, base, column, sites, columns, SimtBuilder::elementOf(value.getType()));
    value = isa<FloatType>(SimtBuilder::elementOf(value.getType())) ? k.fadd(old, value) : k.add(old, value);
  }
  return {convert(value, storage), base, column, alignment(sink.param, sites.multiple, sites.lanes, columns)};
}

void RowEmitter::storeAll(ArrayRef<Store> stores, Value condition) {
  if (rowExists)
    condition = condition ? k.both(condition, rowExists) : rowExists;
  auto emit = [&] {
    for (const Store &store : stores)
      k.storeAligned(store.value, store.base, store.column, store.alignment);
  };
  if (condition)
    k.when(condition, emit);
  else
    emit();
}

SmallVector<RowEmitter::SiteStores> RowEmitter::computeStores(ArrayRef<DispatchBody::Sink> sinks, Sites &sites) {
  SmallVector<Values> values;
  for (const DispatchBody::Sink &sink : sinks)
    values.push_back(evaluate(sink.value, sites));
  SmallVector<SiteStores> made;
  for (auto [site, column] : llvm::enumerate(sites.columns)) {
    SiteStores &here = made.emplace_back();
    here.condition = sites.exists[site];
    for (auto [sink, value] : llvm::zip_equal(sinks, values))
      here.stores.push_back(storeOf(sink, value[site], column, sites));
  }
  return made;
}

// A row that is too wide to keep is read again in each pass. Sinks that do not need the sums of the last pass can be
// stored during that pass, if no wide value is read after it, because a sink may be in the memory of an operand.
bool RowEmitter::mayStoreInLastPass(int64_t width) {
  if (!isLastLevel || columnsOf(width).inRegisters)
    return false;
  auto isOpen = [&](Operation *op) {
    return looksAtRow(op) && !replicated.contains(op->getResult(0)) && !sharedRows.contains(op->getResult(0));
  };
  auto readsWide = [&](Operation *op) {
    return !looksAtRow(op) && llvm::any_of(op->getOperands(), [&](Value operand) {
      return isa<RankedTensorType>(operand.getType()) && schedule.columnsOf(operand) > 1;
    });
  };
  return llvm::all_of(schedule.sinks, [&](const DispatchBody::Sink &sink) {
    int64_t columns = schedule.columnsOf(sink.value);
    if (columns == 1)
      return isFreeOf(sink.value, readsWide);
    return columns == width && !sharesElements(sink.param) && isFreeOf(sink.value, isOpen);
  });
}

/// Whether these sinks can be stored before the others are computed. They must be states, since another result may be
/// in the memory of an operand, and no other sink may be computed from these states.
bool RowEmitter::standApart(ArrayRef<DispatchBody::Sink> part) {
  llvm::SmallDenseSet<StringAttr> written;
  llvm::SmallDenseSet<unsigned> params;
  for (const DispatchBody::Sink &sink : part) {
    if (body.params[sink.param].kind != moe::DispatchParam::Kind::State)
      return false;
    written.insert(body.params[sink.param].state.getAttr());
    params.insert(sink.param);
  }
  auto reads = [&](Operation *op) {
    auto read = dyn_cast<moe::ReadOp>(op);
    return read && written.contains(read.getStateAttr().getAttr());
  };
  return llvm::all_of(schedule.sinks, [&](const DispatchBody::Sink &sink) {
    return params.contains(sink.param) || isFreeOf(sink.value, reads);
  });
}

// If one kernel updates many small parameters, their operands and results do not all fit the registers.
SmallVector<SmallVector<DispatchBody::Sink>> RowEmitter::inParts(ArrayRef<DispatchBody::Sink> sinks, int64_t width) {
  constexpr int64_t kMostRegisters = 160; // of 255
  Columns columns = columnsOf(width);
  auto registersOf = [&](Value value) {
    int64_t bits = cast<RankedTensorType>(value.getType()).getElementTypeBitWidth();
    return columns.lanes * columns.pieces * llvm::divideCeil(bits, 32);
  };
  SmallVector<SmallVector<DispatchBody::Sink>> parts(1);
  llvm::SmallDenseSet<Operation *> read;
  int64_t used = 0;
  for (const DispatchBody::Sink &sink : sinks) {
    int64_t more = registersOf(sink.value);
    isFreeOf(sink.value, [&](Operation *op) {
      if (isa<moe::ReadOp>(op) && schedule.columnsOf(op->getResult(0)) > 1 && read.insert(op).second)
        more += registersOf(op->getResult(0));
      return false;
    });
    if (used + more > kMostRegisters && !parts.back().empty() && standApart(parts.back())) {
      parts.emplace_back();
      used = 0;
    }
    parts.back().push_back(sink);
    used += more;
  }
  return parts;
}

// Everything that fits the registers is computed before the first store, so that states may be updated in place and
// loads overlap.
LogicalResult RowEmitter::emitSinks() {
  std::map<int64_t, SmallVector<DispatchBody::Sink>> byWidth;
  bool mustWait = false;
  for (const DispatchBody::Sink &sink : schedule.sinks) {
    byWidth[schedule.columnsOf(sink.value)].push_back(sink);
    mustWait |= sharesElements(sink.param);
  }
  SmallVector<SiteStores> groups;
  SmallVector<int64_t> loops;
  for (auto &[width, sinks] : byWidth) {
    if (width > 1 && wideAreStored)
      continue;
    if (width > 1 && !columnsOf(width).inRegisters) {
      loops.push_back(width);
      continue;
    }
    if (width > 1) {
      SmallVector<SmallVector<DispatchBody::Sink>> parts = inParts(sinks, width);
      for (ArrayRef<DispatchBody::Sink> part : parts) {
        SmallVector<SiteStores> made = computeStores(part, wholeRow(width));
        if (parts.size() == 1 || mustWait || !standApart(part)) {
          llvm::append_range(groups, made);
          continue;
        }
        for (const SiteStores &group : made)
          storeAll(group.stores, group.condition);
      }
      continue;
    }
    Sites only;
    only.columns = {k.i64(0)};
    only.exists = {Value()};
    llvm::append_range(groups, computeStores(sinks, only));
    Value first = layout.group > 1 ? k.equal(member, k.i64(0)) : Value();
    if (chunkFirst) {
      Value start = k.equal(chunkFirst, k.i64(0));
      first = first ? k.both(first, start) : start;
    }
    groups.back().condition = first;
  }
  if (mustWait && !loops.empty())
    return moe::DispatchOp(body.dispatch).emitOpError("updates a state in place whose row of ")
           << loops.front() << " columns is too wide to be kept while other columns of it are read";
  for (int64_t width : loops)
    overColumns(width, {}, [&](Sites &sites, ValueRange) {
      for (const SiteStores &group : computeStores(byWidth[width], sites))
        storeAll(group.stores, group.condition);
      return Values();
    });
  if (mustWait)
    syncGroup();
  for (const SiteStores &group : groups)
    storeAll(group.stores, group.condition);
  return success();
}

//===--- The template ---===//

// Otherwise, values that are needed after a sum over the row would be requested only then. Chains of loads (the weight
// of an expert, the logit of a target) take the longest.
void RowEmitter::loadEarly() {
  SmallVector<Value> scalarsOfRow;
  for (Operation &op : *moe::DispatchOp(body.dispatch).getBlock()) {
    if (auto rope = dyn_cast<moe::RopeOp>(op)) {
      Columns columns = columnsOf(schedule.columnsOf(rope.getResult()));
      if (columns.inRegisters && tensorColumns(rope.getCos()) % columns.lanes == 0)
        anglesOf(rope, wholeRow(schedule.columnsOf(rope.getResult()))); // LLVM knows equal loads
    } else if (isa<moe::GatherRowsOp, moe::EmbedOp, moe::SpreadRowsOp, moe::TakeOp>(op)) {
      if (schedule.columnsOf(op.getResult(0)) == 1 && isFreeOf(op.getResult(0), looksAtRow))
        scalarsOfRow.push_back(op.getResult(0));
    } else if (isa<moe::MapOp, moe::RowReduceOp, moe::ColReduceOp>(op)) {
      for (Value operand : op.getOperands()) {
        int64_t columns = schedule.columnsOf(operand);
        if (!body.paramOf(operand))
          continue;
        if (columns == 1)
          scalarsOfRow.push_back(operand);
        else if (columnsOf(columns).inRegisters)
          evaluate(operand, wholeRow(columns));
      }
    }
  }
  for (Value value : scalarsOfRow)
    scalar(value);
}

LogicalResult RowEmitter::emit() {
  int64_t perBlock = layout.rowsPerBlock();
  Value block = k.workgroup();
  if (layout.chunks > 1) {
    Value chunk = schedule.rows == 1 ? block : k.rem(block, k.i64(layout.chunks));
    chunkFirst = k.mul(chunk, k.i64(layout.chunkColumns));
    block = k.div(block, k.i64(layout.chunks));
  }
  member = layout.group == 1 ? k.i64(0) : perBlock == 1 ? k.thread() : k.rem(k.thread(), k.i64(layout.group));
  if (!schedule.sums.empty())
    return emitSummedRows(block);
  if (schedule.rows == 1) {
    row = k.i64(0);
  } else if (perBlock == 1) {
    row = block;
  } else {
    row = k.add(k.mul(block, k.i64(perBlock)), k.div(k.thread(), k.i64(layout.group)));
  }
  if (perBlock > 1 && schedule.rows % perBlock) {
    // Threads without a row repeat the last one, and store nothing.
    Value number = schedule.rows == 1 ? k.div(k.thread(), k.i64(layout.group)) : row;
    rowExists = k.less(number, k.i64(schedule.rows));
    row = k.min(row, k.i64(schedule.rows - 1));
  }
  Values none;
  return emitRow(none);
}

LogicalResult RowEmitter::emitRow(Values &sums) {
  // Whole-row ops by depth: ops that are ready at the same time are done together.
  llvm::DenseMap<Operation *, size_t> depth;
  SmallVector<SmallVector<Operation *>> levels;
  for (Operation &op : *moe::DispatchOp(body.dispatch).getBlock()) {
    size_t level = 0;
    for (Value operand : op.getOperands())
      if (Operation *producer = operand.getDefiningOp())
        level = std::max(level, depth.lookup(producer));
    if (looksAtRow(&op)) {
      if (levels.size() <= level)
        levels.resize(level + 1);
      levels[level++].push_back(&op);
    }
    depth[&op] = level;
  }
  hasSteps = !levels.empty();
  if (hasSteps)
    loadEarly();
  for (auto [number, ops] : llvm::enumerate(levels)) {
    isLastLevel = number + 1 == levels.size();
    emitLevel(ops);
  }
  addToSums(sums);
  return emitSinks();
}

FailureOr<KernelInfo> emitRowKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                    const GpuTarget &target) {
  if (coversSpread(dispatch))
    return emitSpreadKernel(dispatch, module, symbol, target);
  DispatchBody body(dispatch);
  FailureOr<RowSchedule> schedule = RowSchedule::create(body);
  if (failed(schedule))
    return failure();
  RowLayout layout = RowLayout::choose(body, *schedule);
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), layout.threads, target);
  if (!schedule->sums.empty())
    k.keepResident(std::max<int64_t>(1, kThreadsWithSums / layout.threads));
  if (failed(RowEmitter(k, body, *schedule, layout).emit()))
    return failure();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.flops = schedule->flops();
  info.bytes = body.bytes();
  info.grid = schedule->sums.empty() ? llvm::divideCeil(schedule->rows, layout.rowsPerBlock()) * layout.chunks
                                     : schedule->rows / schedule->rowsPerSum;
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
