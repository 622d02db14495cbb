#include "test/numerics/SimtInterpreter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <cstring>
#include <stdexcept>

using namespace mlir;

namespace moec::test {

/// Who touched a byte of shared memory last, and when. -1: nobody, -2: several.
struct SimtInterpreter::SharedByte {
  int32_t writer = -1, writeBlockEpoch = -1, writeWarpEpoch = -1;
  int32_t reader = -1, readerWarp = -1, readBlockEpoch = -1, readWarpEpoch = -1;
};

namespace {
int64_t bytesOf(Type element) {
  return isa<LLVM::LLVMPointerType>(element) ? 8 : llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
}
bool anyOf(const std::vector<uint8_t> &mask) {
  return llvm::any_of(mask, [](uint8_t active) { return active; });
}
} // namespace

SimtInterpreter::SimtInterpreter(ModuleOp module, const std::string &symbol, int64_t threads, int64_t sharedBytes)
    : function(module.lookupSymbol(symbol)), threads(threads), sharedBytes(sharedBytes) {
  if (!function)
    throw std::runtime_error("no kernel '" + symbol + "'");
}
SimtInterpreter::~SimtInterpreter() = default;

void SimtInterpreter::fail(Operation *op, const std::string &what) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  op->print(stream, OpPrintingFlags().skipRegions().useLocalScope());
  throw std::runtime_error(what + " at: " + text);
}

void SimtInterpreter::addMemory(void *begin, size_t bytes) {
  auto first = reinterpret_cast<uint64_t>(begin);
  memory.emplace_back(first, first + bytes);
}

SimtInterpreter::Slot &SimtInterpreter::slot(Value value) {
  std::unique_ptr<Slot> &found = slots[value];
  if (!found) {
    found = std::make_unique<Slot>();
    found->element = value.getType();
    if (auto vector = dyn_cast<VectorType>(value.getType())) {
      found->element = vector.getElementType();
      found->lanes = vector.getNumElements();
    }
    found->bits.assign(found->lanes * threads, 0);
  }
  return *found;
}

void SimtInterpreter::copy(Value from, Value to, const Mask &active) {
  const Slot &source = slot(from);
  Slot &target = slot(to);
  for (int64_t lane = 0; lane < source.lanes; ++lane)
    for (int64_t t = 0; t < threads; ++t)
      if (active[t])
        target.bits[lane * threads + t] = source.bits[lane * threads + t];
}

//===--- Control ---===//

void SimtInterpreter::run(const std::vector<void *> &arguments, int64_t block, int64_t grid) {
  blockId = block;
  gridSize = grid;
  blockEpoch = 0;
  warpEpoch.assign(llvm::divideCeil(threads, kWarp), 0);
  shared.assign(llvm::divideCeil(sharedBytes, 8) + 1, ~uint64_t(0)); // NaN, so that nobody reads what nobody wrote
  shadow.assign(sharedBytes, SharedByte());
  Block &entry = function->getRegion(0).front();
  if (entry.getNumArguments() != arguments.size())
    fail(function, "the kernel has " + std::to_string(entry.getNumArguments()) + " arguments, not " +
                       std::to_string(arguments.size()));
  for (auto [argument, pointer] : llvm::zip_equal(entry.getArguments(), arguments))
    slot(argument).bits.assign(threads, reinterpret_cast<uint64_t>(pointer));
  if (!llvm::hasSingleElement(function->getRegion(0)))
    fail(function, "only structured control flow can be interpreted");
  runBlock(entry, Mask(threads, 1));
}

void SimtInterpreter::runBlock(Block &block, const Mask &active) {
  for (Operation &op : block)
    runOp(&op, active);
}

void SimtInterpreter::runOp(Operation *op, const Mask &active) {
  if (runArithmetic(op) || runVectorOp(op) || runMemory(op, active) || runTogether(op, active) ||
      runControl(op, active))
    return;
  fail(op, "the interpreter does not know this op");
}

bool SimtInterpreter::runControl(Operation *op, const Mask &active) {
  if (isa<scf::YieldOp, scf::ConditionOp, LLVM::ReturnOp>(op))
    return true; // their parents read the operands
  if (auto branch = dyn_cast<scf::IfOp>(op)) {
    const Slot &condition = slot(branch.getCondition());
    for (bool then : {true, false}) {
      Mask taken(threads);
      for (int64_t t = 0; t < threads; ++t)
        taken[t] = active[t] && bool(condition.bits[t] & 1) == then;
      Region &region = then ? branch.getThenRegion() : branch.getElseRegion();
      if (region.empty() || !anyOf(taken))
        continue;
      runBlock(region.front(), taken);
      for (auto [result, value] : llvm::zip_equal(op->getResults(), region.front().getTerminator()->getOperands()))
        copy(value, result, taken);
    }
    return true;
  }
  if (auto loop = dyn_cast<scf::ForOp>(op)) {
    copy(loop.getLowerBound(), loop.getInductionVar(), active);
    for (auto [init, argument] : llvm::zip_equal(loop.getInitArgs(), loop.getRegionIterArgs()))
      copy(init, argument, active);
    Slot &index = slot(loop.getInductionVar());
    const Slot &bound = slot(loop.getUpperBound()), &step = slot(loop.getStep());
    while (true) {
      Mask running(threads);
      for (int64_t t = 0; t < threads; ++t)
        running[t] = active[t] && int64_t(index.bits[t]) < int64_t(bound.bits[t]);
      if (!anyOf(running))
        break;
      runBlock(*loop.getBody(), running);
      Operation *yield = loop.getBody()->getTerminator();
      // All yields are read before any argument changes: they may be permuted arguments.
      std::vector<Slot> next;
      for (Value value : yield->getOperands())
        next.push_back(slot(value));
      for (auto [value, argument] : llvm::zip_equal(next, loop.getRegionIterArgs())) {
        Slot &target = slot(argument);
        for (int64_t lane = 0; lane < target.lanes; ++lane)
          for (int64_t t = 0; t < threads; ++t)
            if (running[t])
              target.bits[lane * threads + t] = value.bits[lane * threads + t];
      }
      for (int64_t t = 0; t < threads; ++t)
        if (running[t])
          index.bits[t] += step.bits[t];
    }
    for (auto [argument, result] : llvm::zip_equal(loop.getRegionIterArgs(), loop.getResults()))
      copy(argument, result, active);
    return true;
  }
  if (auto loop = dyn_cast<scf::WhileOp>(op)) {
    for (auto [init, argument] : llvm::zip_equal(loop.getInits(), loop.getBeforeArguments()))
      copy(init, argument, active);
    Mask running = active;
    while (true) {
      runBlock(*loop.getBeforeBody(), running);
      scf::ConditionOp condition = loop.getConditionOp();
      for (auto [value, argument, result] :
           llvm::zip_equal(condition.getArgs(), loop.getAfterArguments(), loop.getResults())) {
        copy(value, argument, running);
        copy(value, result, running);
      }
      const Slot &goesOn = slot(condition.getCondition());
      for (int64_t t = 0; t < threads; ++t)
        running[t] = running[t] && (goesOn.bits[t] & 1);
      if (!anyOf(running))
        return true;
      runBlock(*loop.getAfterBody(), running);
      for (auto [value, argument] : llvm::zip_equal(loop.getYieldOp().getOperands(), loop.getBeforeArguments()))
        copy(value, argument, running);
    }
  }
  return false;
}

//===--- Memory ---===//

void SimtInterpreter::checkAccess(Operation *op, uint64_t address, int64_t bytes, int64_t alignment) const {
  if (address % alignment)
    fail(op, "an access is not aligned to " + std::to_string(alignment) + " bytes");
  auto holds = [&](uint64_t first, uint64_t end) { return address >= first && address + bytes <= end; };
  auto base = reinterpret_cast<uint64_t>(shared.data());
  if (holds(base, base + sharedBytes) ||
      llvm::any_of(memory, [&](auto range) { return holds(range.first, range.second); }))
    return;
  fail(op, "an access outside memory");
}

void SimtInterpreter::noteShared(Operation *op, uint64_t address, int64_t bytes, int64_t thread, bool isWrite) {
  auto base = reinterpret_cast<uint64_t>(shared.data());
  if (address < base || address >= base + sharedBytes)
    return;
  int64_t warp = thread / kWarp;
  auto race = [&](const char *how, int64_t other) {
    fail(op, "a race in shared memory: thread " + std::to_string(thread) + how + std::to_string(other) +
                 " without a barrier between them,");
  };
  for (uint64_t i = address - base; i < address - base + bytes; ++i) {
    SharedByte &byte = shadow[i];
    bool after = byte.writer / kWarp == warp && byte.writeWarpEpoch < warpEpoch[warp];
    if (byte.writer >= 0 && byte.writer != thread && byte.writeBlockEpoch == blockEpoch && !after)
      race(isWrite ? " overwrites what was written by " : " reads what was written by ", byte.writer);
    if (isWrite) {
      bool afterReads = byte.readerWarp == warp && byte.readWarpEpoch < warpEpoch[warp];
      if (byte.reader != -1 && byte.reader != thread && byte.readBlockEpoch == blockEpoch && !afterReads)
        race(" overwrites what was read by ", byte.reader);
      byte.writer = thread;
      byte.writeBlockEpoch = blockEpoch;
      byte.writeWarpEpoch = warpEpoch[warp];
      byte.reader = byte.readerWarp = -1;
      continue;
    }
    bool fresh = byte.reader == -1 || byte.readBlockEpoch != blockEpoch;
    byte.reader = fresh || byte.reader == thread ? thread : -2;
    byte.readerWarp = fresh || byte.readerWarp == warp ? warp : -2;
    byte.readBlockEpoch = blockEpoch;
    byte.readWarpEpoch = warpEpoch[warp];
  }
}

void SimtInterpreter::load(Operation *op, Value pointer, Value result, int64_t alignment, const Mask &active) {
  const Slot &from = slot(pointer);
  Slot &to = slot(result);
  int64_t bytes = bytesOf(to.element);
  for (int64_t t = 0; t < threads; ++t) {
    if (!active[t])
      continue;
    uint64_t address = from.bits[t];
    checkAccess(op, address, bytes * to.lanes, alignment);
    noteShared(op, address, bytes * to.lanes, t, /*isWrite=*/false);
    for (int64_t lane = 0; lane < to.lanes; ++lane) {
      uint64_t value = 0;
      std::memcpy(&value, reinterpret_cast<const char *>(address) + lane * bytes, bytes);
      to.bits[lane * threads + t] = value;
    }
  }
}

void SimtInterpreter::store(Operation *op, Value pointer, Value value, int64_t alignment, const Mask &active) {
  const Slot &to = slot(pointer), &from = slot(value);
  int64_t bytes = bytesOf(from.element);
  for (int64_t t = 0; t < threads; ++t) {
    if (!active[t])
      continue;
    uint64_t address = to.bits[t];
    checkAccess(op, address, bytes * from.lanes, alignment);
    noteShared(op, address, bytes * from.lanes, t, /*isWrite=*/true);
    for (int64_t lane = 0; lane < from.lanes; ++lane)
      std::memcpy(reinterpret_cast<char *>(address) + lane * bytes, &from.bits[lane * threads + t], bytes);
  }
}

// Threads in order. No races: that is what atomics are for.
void SimtInterpreter::atomic(Operation *op, const Mask &active) {
  const Slot &pointer = slot(op->getOperand(0));
  auto exchange = dyn_cast<LLVM::AtomicCmpXchgOp>(op);
  if (exchange)
    fail(op, "compare and exchange is not interpreted");
  auto update = cast<LLVM::AtomicRMWOp>(op);
  const Slot &value = slot(update.getVal());
  Slot &result = slot(update.getRes());
  int64_t bytes = bytesOf(value.element);
  for (int64_t t = 0; t < threads; ++t) {
    if (!active[t])
      continue;
    checkAccess(op, pointer.bits[t], bytes, bytes);
    auto *place = reinterpret_cast<char *>(pointer.bits[t]);
    uint64_t old = 0, next;
    std::memcpy(&old, place, bytes);
    uint64_t given = value.bits[t];
    auto wide = [&](uint64_t bits) { return bytes == 4 ? int64_t(int32_t(bits)) : int64_t(bits); };
    switch (update.getBinOp()) {
    case LLVM::AtomicBinOp::add:
      next = old + given;
      break;
    case LLVM::AtomicBinOp::sub:
      next = old - given;
      break;
    case LLVM::AtomicBinOp::xchg:
      next = given;
      break;
    case LLVM::AtomicBinOp::_or:
      next = old | given;
      break;
    case LLVM::AtomicBinOp::_and:
      next = old & given;
      break;
    case LLVM::AtomicBinOp::max:
      next = std::max(wide(old), wide(given));
      break;
    case LLVM::AtomicBinOp::min:
      next = std::min(wide(old), wide(given));
      break;
    case LLVM::AtomicBinOp::umax:
      next = std::max(old, given);
      break;
    case LLVM::AtomicBinOp::umin:
      next = std::min(old, given);
      break;
    case LLVM::AtomicBinOp::uinc_wrap:
      next = old >= given ? 0 : old + 1;
      break;
    default:
      fail(op, "this atomic is not interpreted");
    }
    std::memcpy(place, &next, bytes);
    result.bits[t] = old;
  }
}

void SimtInterpreter::address(Operation *op) {
  auto gep = cast<LLVM::GEPOp>(op);
  DataLayout layout = DataLayout::closest(op);
  const Slot &base = slot(gep.getBase());
  Slot &result = slot(gep.getResult());
  result.bits = base.bits;
  Type type = gep.getElemType();
  bool first = true;
  for (auto index : gep.getIndices()) {
    if (!first) {
      auto array = dyn_cast<LLVM::LLVMArrayType>(type);
      if (!array)
        fail(op, "only arrays are indexed");
      type = array.getElementType();
    }
    first = false;
    int64_t size = layout.getTypeSize(type);
    if (auto attribute = dyn_cast<IntegerAttr>(index)) {
      for (uint64_t &address : result.bits)
        address += attribute.getInt() * size;
      continue;
    }
    const Slot &value = slot(cast<Value>(index));
    bool narrow = value.element.isInteger(32);
    for (int64_t t = 0; t < threads; ++t)
      result.bits[t] += (narrow ? int64_t(int32_t(value.bits[t])) : int64_t(value.bits[t])) * size;
  }
}

bool SimtInterpreter::runMemory(Operation *op, const Mask &active) {
  auto alignmentOf = [&](std::optional<uint64_t> given, Type type) -> int64_t {
    if (given)
      return *given;
    if (auto vector = dyn_cast<VectorType>(type))
      return llvm::PowerOf2Ceil(vector.getNumElements() * bytesOf(vector.getElementType()));
    return bytesOf(type);
  };
  if (auto read = dyn_cast<LLVM::LoadOp>(op))
    return load(op, read.getAddr(), read.getRes(), alignmentOf(read.getAlignment(), read.getRes().getType()), active),
           true;
  if (auto write = dyn_cast<LLVM::StoreOp>(op))
    return store(op, write.getAddr(), write.getValue(), alignmentOf(write.getAlignment(), write.getValue().getType()),
                 active),
           true;
  if (isa<LLVM::AtomicRMWOp, LLVM::AtomicCmpXchgOp>(op))
    return atomic(op, active), true;
  if (isa<LLVM::GEPOp>(op))
    return address(op), true;
  if (auto global = dyn_cast<LLVM::AddressOfOp>(op)) {
    slot(global.getResult()).bits.assign(threads, reinterpret_cast<uint64_t>(shared.data()));
    return true;
  }
  if (isa<LLVM::AddrSpaceCastOp, LLVM::PtrToIntOp, LLVM::IntToPtrOp>(op)) {
    slot(op->getResult(0)).bits = slot(op->getOperand(0)).bits;
    return true;
  }
  return false;
}

//===--- Vectors ---===//

bool SimtInterpreter::runVectorOp(Operation *op) {
  if (op->getNumResults() != 1)
    return false;
  // Lane `from` of operand `number` becomes lane `to` of the result.
  auto take = [&](unsigned number, int64_t from, int64_t to) {
    const Slot &source = slot(op->getOperand(number));
    Slot &target = slot(op->getResult(0));
    std::copy_n(source.bits.begin() + from * threads, threads, target.bits.begin() + to * threads);
  };
  auto lanes = [&](Value value) { return slot(value).lanes; };
  Value result = op->getResult(0);
  auto constantLane = [&](Value index) -> std::optional<int64_t> {
    const Slot &value = slot(index);
    if (llvm::all_of(value.bits, [&](uint64_t bits) { return bits == value.bits[0]; }))
      return value.bits[0];
    return std::nullopt;
  };
  if (isa<vector::BroadcastOp>(op)) {
    for (int64_t i = 0; i < lanes(result); ++i)
      take(0, lanes(op->getOperand(0)) == 1 ? 0 : i, i);
  } else if (auto extract = dyn_cast<vector::ExtractOp>(op)) {
    if (extract.getStaticPosition().size() != 1 || extract.getDynamicPosition().size())
      fail(op, "only constant positions are interpreted");
    take(0, extract.getStaticPosition()[0], 0);
  } else if (auto insert = dyn_cast<vector::InsertOp>(op)) {
    if (insert.getStaticPosition().size() != 1 || insert.getDynamicPosition().size())
      fail(op, "only constant positions are interpreted");
    for (int64_t i = 0; i < lanes(result); ++i)
      take(1, i, i);
    take(0, 0, insert.getStaticPosition()[0]);
  } else if (auto slice = dyn_cast<vector::ExtractStridedSliceOp>(op)) {
    int64_t offset = cast<IntegerAttr>(slice.getOffsets()[0]).getInt();
    for (int64_t i = 0; i < lanes(result); ++i)
      take(0, offset + i, i);
  } else if (auto slice = dyn_cast<vector::InsertStridedSliceOp>(op)) {
    int64_t offset = cast<IntegerAttr>(slice.getOffsets()[0]).getInt();
    for (int64_t i = 0; i < lanes(result); ++i)
      take(1, i, i);
    for (int64_t i = 0; i < lanes(op->getOperand(0)); ++i)
      take(0, i, offset + i);
  } else if (isa<vector::FromElementsOp>(op)) {
    for (int64_t i = 0; i < lanes(result); ++i)
      take(i, 0, i);
  } else if (auto mixed = dyn_cast<vector::ShuffleOp>(op)) {
    int64_t first = lanes(op->getOperand(0));
    for (auto [i, from] : llvm::enumerate(mixed.getMask()))
      from < first ? take(0, from, i) : take(1, from - first, i);
  } else if (isa<LLVM::ExtractElementOp>(op)) {
    auto lane = constantLane(op->getOperand(1));
    if (!lane)
      fail(op, "only one position for all threads is interpreted");
    take(0, *lane, 0);
  } else if (isa<LLVM::InsertElementOp>(op)) {
    auto lane = constantLane(op->getOperand(2));
    if (!lane)
      fail(op, "only one position for all threads is interpreted");
    for (int64_t i = 0; i < lanes(result); ++i)
      take(0, i, i);
    take(1, 0, *lane);
  } else {
    return false;
  }
  return true;
}

//===--- Together ---===//

void SimtInterpreter::shuffle(Operation *op, const Mask &active) {
  auto shuffle = cast<NVVM::ShflOp>(op);
  if (shuffle.getReturnValueAndIsValid())
    fail(op, "shuffles that say whether they are valid are not interpreted");
  const Slot &value = slot(shuffle.getVal()), &offset = slot(shuffle.getOffset()),
             &clamp = slot(shuffle.getMaskAndClamp()), &members = slot(shuffle.getThreadMask());
  std::vector<uint64_t> result(threads);
  for (int64_t t = 0; t < threads; ++t) {
    if (!active[t])
      continue;
    int64_t lane = t % kWarp, first = t - lane;
    int64_t segment = (clamp.bits[t] >> 8) & 31, bound = clamp.bits[t] & 31;
    int64_t least = lane & segment, most = least | (bound & ~segment), by = offset.bits[t] & 31, from = lane;
    switch (shuffle.getKind()) {
    case NVVM::ShflKind::bfly:
      from = lane ^ by;
      break;
    case NVVM::ShflKind::idx:
      from = least | (by & ~segment);
      break;
    case NVVM::ShflKind::up:
      from = lane - by;
      break;
    case NVVM::ShflKind::down:
      from = lane + by;
      break;
    }
    bool valid = shuffle.getKind() == NVVM::ShflKind::up ? from >= bound : from <= most;
    if (!valid)
      from = lane;
    if (first + from >= threads || !active[first + from] || !((members.bits[t] >> from) & 1))
      fail(op, "a shuffle reads lane " + std::to_string(from) + ", which takes no part,");
    result[t] = value.bits[first + from];
  }
  slot(shuffle.getRes()).bits = result;
}

void SimtInterpreter::vote(Operation *op, const Mask &active) {
  auto vote = cast<NVVM::VoteSyncOp>(op);
  const Slot &predicate = slot(vote.getPred());
  Slot &result = slot(vote.getRes());
  for (int64_t first = 0; first < threads; first += kWarp) {
    uint64_t yes = 0, all = 0;
    for (int64_t t = first; t < std::min(first + kWarp, threads); ++t) {
      all |= uint64_t(active[t]) << (t - first);
      yes |= uint64_t(active[t] && (predicate.bits[t] & 1)) << (t - first);
    }
    uint64_t answer = vote.getKind() == NVVM::VoteSyncKind::any   ? yes != 0
                      : vote.getKind() == NVVM::VoteSyncKind::all ? yes == all
                                                                  : yes;
    if (vote.getKind() == NVVM::VoteSyncKind::uni)
      fail(op, "this vote is not interpreted");
    for (int64_t t = first; t < std::min(first + kWarp, threads); ++t)
      result.bits[t] = answer;
  }
}

void SimtInterpreter::match(Operation *op, const Mask &active) {
  auto match = cast<NVVM::MatchSyncOp>(op);
  if (match.getKind() != NVVM::MatchSyncKind::any)
    fail(op, "this match is not interpreted");
  const Slot &value = slot(match.getVal());
  Slot &result = slot(match.getRes());
  for (int64_t t = 0; t < threads; ++t) {
    int64_t first = t - t % kWarp;
    uint64_t same = 0;
    for (int64_t other = first; other < std::min(first + kWarp, threads); ++other)
      same |= uint64_t(active[other] && value.bits[other] == value.bits[t]) << (other - first);
    result.bits[t] = same;
  }
}

bool SimtInterpreter::runTogether(Operation *op, const Mask &active) {
  auto fill = [&](auto number) {
    Slot &result = slot(op->getResult(0));
    for (int64_t t = 0; t < threads; ++t)
      result.bits[t] = number(t);
  };
  if (isa<NVVM::ThreadIdXOp>(op))
    fill([](int64_t t) { return t; });
  else if (isa<NVVM::LaneIdOp>(op))
    fill([](int64_t t) { return t % kWarp; });
  else if (isa<NVVM::BlockIdXOp>(op))
    fill([&](int64_t) { return blockId; });
  else if (isa<NVVM::GridDimXOp>(op))
    fill([&](int64_t) { return gridSize; });
  else if (isa<NVVM::BlockDimXOp>(op))
    fill([&](int64_t) { return threads; });
  else if (isa<NVVM::Barrier0Op, NVVM::BarrierOp>(op)) {
    if (!llvm::all_of(active, [](uint8_t is) { return is; }))
      fail(op, "not all threads of the block reach a barrier");
    ++blockEpoch;
  } else if (isa<NVVM::SyncWarpOp>(op)) {
    for (int64_t t = 0; t < threads; t += kWarp)
      if (active[t])
        ++warpEpoch[t / kWarp];
  } else if (isa<NVVM::ShflOp>(op))
    shuffle(op, active);
  else if (isa<NVVM::VoteSyncOp>(op))
    vote(op, active);
  else if (isa<NVVM::MatchSyncOp>(op))
    match(op, active);
  else
    return isa<LLVM::FenceOp>(op) || op->getName().getStringRef() == "nvvm.memory.barrier";
  return true;
}

} // namespace moec::test
