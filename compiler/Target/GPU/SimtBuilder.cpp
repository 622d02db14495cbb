#include "compiler/Target/GPU/SimtBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace moec::gpu {

namespace {
constexpr unsigned kGlobal = 1, kShared = 3; // address spaces
constexpr int64_t kVectorBytes = 16;
constexpr llvm::StringLiteral kDeviceScope = "device";
constexpr llvm::StringLiteral kSharedSymbol = "moec_shared";

} // namespace

LLVM::GlobalOp sharedSymbol(ModuleOp module) {
  if (auto found = module.lookupSymbol<LLVM::GlobalOp>(kSharedSymbol))
    return found;
  OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), 0);
  auto global = LLVM::GlobalOp::create(b, module.getLoc(), type, /*isConstant=*/false, LLVM::Linkage::External,
                                       kSharedSymbol, Attribute(), /*alignment=*/1024, kShared);
  return global;
}

SimtBuilder::SimtBuilder(ModuleOp module, Location loc, StringRef symbol, unsigned numParams, int64_t threads,
                         const GpuTarget &target)
    : kernel::KernelBuilder(loc, kVectorBytes), target(target), threads(threads) {
  LLVM::GlobalOp memory = sharedSymbol(module);
  b.setInsertionPointToEnd(module.getBody());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext(), kGlobal);
  SmallVector<Type> types(numParams + 1, pointer);
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function = LLVM::LLVMFuncOp::create(b, symbol, type);
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                    b.getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1}));
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  for (unsigned i = 0; i < numParams; ++i)
    params.push_back(entry->getArgument(i));
  scratchBase = entry->getArgument(numParams);
  sharedBase = LLVM::AddressOfOp::create(b, memory);
  threadId = toI64(NVVM::ThreadIdXOp::create(b, b.getI32Type()));
  group = toI64(NVVM::BlockIdXOp::create(b, b.getI32Type()));
  laneId = rem(threadId, i64(kWarp));
  warpId = div(threadId, i64(kWarp));
}

void SimtBuilder::keepResident(int64_t blocks) {
  cast<LLVM::LLVMFuncOp>(params.front().getParentBlock()->getParentOp())
      ->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(static_cast<int32_t>(blocks)));
}

void SimtBuilder::finish() { LLVM::ReturnOp::create(b, ValueRange()); }

DictionaryAttr SimtBuilder::launch() {
  return b.getDictionaryAttr({b.getNamedAttr("threads", b.getI64IntegerAttr(threads)),
                              b.getNamedAttr("shared", b.getI64IntegerAttr(sharedUsed)),
                              b.getNamedAttr("maps", b.getArrayAttr({}))});
}

//===--- Memory ---===//

Value SimtBuilder::shared(int64_t bytes) {
  Value pointer = at(sharedBase, i64(sharedUsed), b.getI8Type());
  sharedUsed += llvm::alignTo(bytes, 16);
  return pointer;
}

Value SimtBuilder::counters() {
  scratchUsed = std::max(scratchUsed, kCounterBytes);
  return scratchBase;
}

Value SimtBuilder::workspace(int64_t bytes) {
  scratchUsed = std::max(scratchUsed, kCounterBytes);
  Value pointer = at(scratchBase, i64(scratchUsed), b.getI8Type());
  scratchUsed += llvm::alignTo(bytes, 256);
  return pointer;
}

Value SimtBuilder::loadAligned(Type element, Value pointer, Value offset, int64_t lanes, int64_t alignment) {
  Type memory = memoryType(element), type = lanes == 1 ? memory : VectorType::get(lanes, memory);
  return fromMemory(LLVM::LoadOp::create(b, type, at(pointer, offset, element), static_cast<unsigned>(alignment)),
                    element);
}

void SimtBuilder::storeAligned(Value value, Value pointer, Value offset, int64_t alignment) {
  value = toMemory(value);
  LLVM::StoreOp::create(b, value, at(pointer, offset, elementOf(value.getType())), static_cast<unsigned>(alignment));
}

Value SimtBuilder::atomicAdd(Value value, Value pointer, Value index) {
  return LLVM::AtomicRMWOp::create(b, LLVM::AtomicBinOp::add, at(pointer, index, value.getType()), value,
                                   LLVM::AtomicOrdering::monotonic, kDeviceScope);
}

//===--- Together ---===//

void SimtBuilder::barrier() { NVVM::Barrier0Op::create(b); }

Value SimtBuilder::shuffleXor(Value value, int64_t mask) {
  Type type = value.getType();
  if (type.getIntOrFloatBitWidth() == 64) {
    auto halves = VectorType::get(2, b.getI32Type());
    Value bits = LLVM::BitcastOp::create(b, halves, value);
    Value joined = LLVM::PoisonOp::create(b, halves);
    for (int64_t i : {0, 1}) {
      Value half = LLVM::ExtractElementOp::create(b, bits, i32(i));
      joined = LLVM::InsertElementOp::create(b, joined, shuffleXor(half, mask), i32(i));
    }
    return LLVM::BitcastOp::create(b, type, joined);
  }
  return NVVM::ShflOp::create(b, type, i32(-1), value, i32(mask), i32(kWarp - 1), NVVM::ShflKind::bfly, UnitAttr());
}

void SimtBuilder::syncWarp() { NVVM::SyncWarpOp::create(b, i32(-1)); }

SmallVector<Value> SimtBuilder::reduceGroup(ValueRange values, int64_t group, bool again,
                                            llvm::function_ref<Value(size_t, Value, Value)> joins) {
  SmallVector<Value> totals(values);
  auto overLanes = [&](int64_t lanes) {
    for (int64_t mask = lanes / 2; mask > 0; mask /= 2)
      for (auto [i, total] : llvm::enumerate(totals))
        total = joins(i, total, shuffleXor(total, mask));
  };
  overLanes(std::min(group, kWarp));
  int64_t warps = group / kWarp;
  if (warps <= 1)
    return totals;

  // One part per warp; values of one kind lie side by side.
  SmallVector<Value> parts;
  for (Value total : totals)
    parts.push_back(shared(warps * total.getType().getIntOrFloatBitWidth() / 8));
  if (again)
    barrier();
  when(equal(laneId, i64(0)), [&] {
    for (auto [part, total] : llvm::zip_equal(parts, totals))
      store(total, part, warpId);
  });
  barrier();
  // If there are few parts, every thread joins them in order. Otherwise lane i takes part i, and the lanes are joined.
  bool isMany = warps > 4 && llvm::isPowerOf2_64(warps);
  for (auto [i, total] : llvm::enumerate(totals)) {
    Type type = total.getType();
    if (isMany) {
      total = load(type, parts[i], rem(laneId, i64(warps)));
      continue;
    }
    total = load(type, parts[i], i64(0));
    for (int64_t warp = 1; warp < warps; ++warp)
      total = joins(i, total, load(type, parts[i], i64(warp)));
  }
  if (isMany)
    overLanes(warps);
  return totals;
}

Value SimtBuilder::reduce(Value value, llvm::function_ref<Value(Value, Value)> join, bool wholeBlock) {
  for (int64_t mask = kWarp / 2; mask > 0; mask /= 2)
    value = join(value, shuffleXor(value, mask));
  int64_t warps = threads / kWarp;
  if (!wholeBlock || warps == 1)
    return value;
  Type type = value.getType();
  Value parts = shared(warps * type.getIntOrFloatBitWidth() / 8);
  when(equal(laneId, i64(0)), [&] { store(value, parts, warpId); });
  barrier();
  Value total = load(type, parts, i64(0));
  for (int64_t i = 1; i < warps; ++i)
    total = join(total, load(type, parts, i64(i)));
  barrier(); // `parts` may be written again
  return total;
}

Value SimtBuilder::ballot(Value condition) {
  return NVVM::VoteSyncOp::create(b, b.getI32Type(), i32(-1), condition, NVVM::VoteSyncKind::ballot);
}

Value SimtBuilder::countLanes(Value mask) { return toI64(math::CtPopOp::create(b, mask)); }

Value SimtBuilder::lanesBefore(Value mask) {
  Value below = sub(arith::ShLIOp::create(b, i32(1), toI32(laneId)), i32(1));
  return countLanes(both(mask, below));
}

Value SimtBuilder::matchLanes(Value value) {
  return NVVM::MatchSyncOp::create(b, b.getI32Type(), i32(-1), value, NVVM::MatchSyncKind::any);
}

void SimtBuilder::fence() { LLVM::FenceOp::create(b, LLVM::AtomicOrdering::acq_rel, kDeviceScope); }

void SimtBuilder::whenLast(Value index, int64_t blocks, llvm::function_ref<void()> then) {
  Value arrived = shared(4), zero = i64(0);
  fence();
  barrier();
  when(equal(threadId, zero), [&] {
    Value before = atomicAdd(i32(1), counters(), index);
    store(before, arrived, zero);
    when(equal(before, i32(blocks - 1)), [&] { store(i32(0), counters(), index); });
  });
  barrier();
  when(equal(load(b.getI32Type(), arrived, zero), i32(blocks - 1)), [&] {
    fence();
    then();
  });
}

void SimtBuilder::gridBarrier(int64_t blocks) {
  if (blocks == 1)
    return barrier();
  Type i32Type = b.getI32Type();
  fence();
  barrier();
  when(equal(threadId, i64(0)), [&] {
    atomicAdd(i32(1), counters(), i64(0));
    auto wait = scf::WhileOp::create(b, TypeRange(), ValueRange());
    {
      OpBuilder::InsertionGuard guard(b);
      b.createBlock(&wait.getBefore());
      Value now = LLVM::LoadOp::create(b, i32Type, counters(), 4, /*isVolatile=*/false, /*isNonTemporal=*/false,
                                       /*isInvariant=*/false, /*isInvariantGroup=*/false, LLVM::AtomicOrdering::acquire,
                                       kDeviceScope);
      scf::ConditionOp::create(b, less(now, i32(blocks)), ValueRange());
      b.createBlock(&wait.getAfter());
      scf::YieldOp::create(b);
    }
    // When the last block leaves, all blocks have arrived.
    Value left = atomicAdd(i32(1), counters(), i64(1));
    when(equal(left, i32(blocks - 1)), [&] {
      store(i32(0), counters(), i64(0));
      store(i32(0), counters(), i64(1));
    });
  });
  barrier();
  fence();
}

} // namespace moec::gpu
