#include "compiler/Target/GPU/Sm90/PipelineBuilder.h"

#include "compiler/Target/GPU/GpuFamily.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr unsigned kGlobal = 1, kShared = 3, kCluster = 7; // address spaces
constexpr int64_t kMapBytes = 128;
} // namespace

PipelineBuilder::PipelineBuilder(tile::KernelOp kernel) : kernel::KernelBuilder(kernel.getLoc(), 16) {
  LLVM::GlobalOp memory = gpu::sharedSymbol(kernel->getParentOfType<ModuleOp>());
  b.setInsertionPoint(kernel);
  Type global = LLVM::LLVMPointerType::get(b.getContext(), kGlobal);
  Type generic = LLVM::LLVMPointerType::get(b.getContext());
  unsigned numParams = kernel.getParams();
  SmallVector<tile::MapOp> declared(tile::mapsOf(kernel));
  SmallVector<Type> types(numParams + 1, global);
  types.append(declared.size(), generic);
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function = LLVM::LLVMFuncOp::create(b, (kernel.getSymName() + ".lowered").str(), type);
  int64_t threads = kernel.getSchedule().getThreads();
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                    b.getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1}));
  function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
  function.setPassthroughAttr(b.getArrayAttr(b.getStringAttr(gpu::kKeepLoops)));
  for (unsigned i = 0; i < declared.size(); ++i) {
    unsigned argument = numParams + 1 + i;
    function.setArgAttr(argument, LLVM::LLVMDialect::getByValAttrName(),
                        TypeAttr::get(LLVM::LLVMArrayType::get(b.getI8Type(), kMapBytes)));
    function.setArgAttr(argument, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(64));
    function.setArgAttr(argument, NVVM::NVVMDialect::getGridConstantAttrName(), b.getUnitAttr());
  }
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  for (unsigned i = 0; i < numParams; ++i)
    params.push_back(entry->getArgument(i));
  scratchBase = entry->getArgument(numParams);
  for (auto [i, map] : llvm::enumerate(declared))
    maps[map.getResult()] = entry->getArgument(numParams + 1 + i);
  Type index = b.getI32Type();
  sharedBase = LLVM::PtrToIntOp::create(b, index, LLVM::AddressOfOp::create(b, memory));
  threadId = NVVM::ThreadIdXOp::create(b, index);
  blockId = NVVM::BlockIdXOp::create(b, index);
  numBlocks = NVVM::GridDimXOp::create(b, index);
  warpgroupId = shuffleFrom(shiftRight(threadId, 7), i32(0));
  group = wide(blockId);
}

void PipelineBuilder::finish() { LLVM::ReturnOp::create(b, ValueRange()); }

//===--- i32 ---===//

Value PipelineBuilder::bitAnd(Value a, int64_t mask) { return b.createOrFold<arith::AndIOp>(a, i32(mask)); }
Value PipelineBuilder::bitXor(Value a, Value c) { return b.createOrFold<arith::XOrIOp>(a, c); }
Value PipelineBuilder::shiftLeft(Value a, int64_t bits) { return b.createOrFold<arith::ShLIOp>(a, i32(bits)); }
Value PipelineBuilder::shiftRight(Value a, int64_t bits) { return b.createOrFold<arith::ShRUIOp>(a, i32(bits)); }
Value PipelineBuilder::compare(arith::CmpIPredicate predicate, Value a, Value c) {
  return b.createOrFold<arith::CmpIOp>(predicate, a, c);
}
Value PipelineBuilder::wide(Value value) { return b.createOrFold<arith::ExtUIOp>(b.getI64Type(), value); }

PipelineBuilder::Values PipelineBuilder::loop32(Value from, Value to, Value step, ValueRange carried, CarryBody body) {
  auto loopOp = scf::ForOp::create(b, from, to, step, carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loopOp.getBody());
  Values next = body(loopOp.getInductionVar(), loopOp.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return Values(loopOp.getResults());
}

PipelineBuilder::Values PipelineBuilder::choose(TypeRange types, Value condition, llvm::function_ref<Values()> then,
                                                llvm::function_ref<Values()> otherwise) {
  auto branch = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, then());
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, otherwise());
  return Values(branch.getResults());
}

//===--- Barriers ---===//

Value PipelineBuilder::pointer(Value sharedAddress) {
  return LLVM::IntToPtrOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kShared), sharedAddress);
}

void PipelineBuilder::initBarrier(Value address, int64_t count) {
  NVVM::MBarrierInitOp::create(b, pointer(address), i32(count), Value());
}

void PipelineBuilder::publishBarriers() {
  NVVM::FenceMbarrierInitOp::create(b);
  NVVM::Barrier0Op::create(b);
}

void PipelineBuilder::wait(Value barrier, Value parity) {
  constexpr int64_t kTicks = 10000000; // of one try; the op repeats until it succeeds
  NVVM::MBarrierTryWaitParityOp::create(b, pointer(barrier), parity, i32(kTicks));
}

// The default scope gives the plain arrive; scope `cluster` would add a fence of the whole device to each stage.
void PipelineBuilder::arrive(Value barrier) { NVVM::MBarrierArriveOp::create(b, Type(), pointer(barrier), Value()); }

void PipelineBuilder::expect(Value barrier, Value bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(b, Type(), pointer(barrier), bytes, NVVM::MemScopeKind::CTA,
                                         /*relaxed=*/false, Value());
}

void PipelineBuilder::arriveWhenCopied(Value barrier) {
  NVVM::CpAsyncMBarrierArriveOp::create(b, pointer(barrier), /*noinc=*/true);
}

void PipelineBuilder::sync(Value id, int64_t threads) {
  NVVM::BarrierOp::create(b, Type(), id, i32(threads), NVVM::BarrierReductionAttr(), Value());
}

void PipelineBuilder::fenceAsync() {
  NVVM::FenceProxyOp::create(b, NVVM::ProxyKind::async_shared,
                             NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

void PipelineBuilder::fenceDevice() { inlineAsm("fence.acq_rel.gpu;", "~{memory}", {}, Type(), true); }

void PipelineBuilder::setRegisters(int64_t count, bool increase) {
  NVVM::SetMaxRegisterOp::create(b, static_cast<uint32_t>(count),
                                 increase ? NVVM::SetMaxRegisterAction::increase
                                          : NVVM::SetMaxRegisterAction::decrease);
}

//===--- Copies ---===//

void PipelineBuilder::loadBox(Value map, Value shared, Value barrier, ValueRange coordinates) {
  Value target =
      LLVM::AddrSpaceCastOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kCluster), pointer(shared));
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, target, map, coordinates, pointer(barrier), ValueRange(),
                                                         Value(), Value(), NVVM::TMALoadMode::TILE,
                                                         /*isCTAOnly=*/false, NVVM::CTAGroupKindAttr(), Value());
}

void PipelineBuilder::storeBox(Value map, Value shared, ValueRange coordinates, bool leavesCache) {
  constexpr int64_t kEvictFirst = 0x12F0000000000000; // the result of createpolicy.fractional for evict_first
  NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, map, pointer(shared), coordinates,
                                                     leavesCache ? i64(kEvictFirst) : Value(), NVVM::TMAStoreMode::TILE,
                                                     Value());
}

void PipelineBuilder::addBox(Value map, Value shared, ValueRange coordinates) {
  NVVM::CpAsyncBulkTensorReduceOp::create(b, map, pointer(shared), NVVM::TMAReduxKind::ADD, NVVM::TMAStoreMode::TILE,
                                          coordinates, Value());
}

void PipelineBuilder::commitStores() { NVVM::CpAsyncBulkCommitGroupOp::create(b); }

void PipelineBuilder::waitStores(int64_t pending, bool readOnly) {
  NVVM::CpAsyncBulkWaitGroupOp::create(b, static_cast<uint32_t>(pending), readOnly ? b.getUnitAttr() : UnitAttr());
}

void PipelineBuilder::copy16(Value shared, Value global, Value bytes) {
  NVVM::CpAsyncOp::create(b, pointer(shared), global, 16u, NVVM::LoadCacheModifierKind::CG, bytes);
}

Value PipelineBuilder::loadInvariant(Type element, Value pointer, Value offset) {
  return LLVM::LoadOp::create(b, element, at(pointer, offset, element), /*alignment=*/0, /*isVolatile=*/false,
                              /*isNonTemporal=*/false, /*isInvariant=*/true);
}

//===--- Tensor cores ---===//

Type PipelineBuilder::accumulatorType(int64_t count) {
  return LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(count, b.getF32Type()));
}

// Fields count 16 bytes: address (14 bits), distance of blocks of 64 MN-major rows, distance of groups of 8 rows (1024
// bytes), and 128-byte swizzle as 1 in the top bits.
Value PipelineBuilder::descriptor(Value address, int64_t blockStride) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62, kGroupStride = uint64_t(1024 / 16) << 32;
  uint64_t fields = kSwizzle128 | kGroupStride | (blockStride ? blockStride / 16 : 1) << 16;
  return b.createOrFold<arith::OrIOp>(wide(bitAnd(shiftRight(address, 4), 0x3FFF)), i64(static_cast<int64_t>(fields)));
}

Value PipelineBuilder::multiply(Value accumulators, int64_t columns, Operand a, Operand c, Type element) {
  bool isFp8 = element.getIntOrFloatBitWidth() == 8;
  int64_t depth = isFp8 ? 32 : 16; // of one instruction; 32 bytes
  auto shape = NVVM::MMAShapeAttr::get(b.getContext(), 64, static_cast<int>(columns), static_cast<int>(depth));
  auto type = isFp8 ? NVVM::WGMMATypes::e4m3 : NVVM::WGMMATypes::bf16;
  auto layoutA = a.major == tile::Major::k ? NVVM::MMALayout::row : NVVM::MMALayout::col;
  auto layoutB = c.major == tile::Major::k ? NVVM::MMALayout::col : NVVM::MMALayout::row;
  NVVM::WgmmaFenceAlignedOp::create(b);
  for (int64_t slice = 0; slice < tile::kSwizzleBytes / 32; ++slice)
    accumulators = NVVM::WgmmaMmaAsyncOp::create(
        b, accumulators.getType(), accumulators, add(a.descriptor, i64(slice * a.step())),
        add(c.descriptor, i64(slice * c.step())), shape, type, type, NVVM::WGMMATypes::f32, NVVM::WGMMAScaleOut::one,
        NVVM::WGMMAScaleIn::one, NVVM::WGMMAScaleIn::one, layoutA, layoutB, NVVM::MMAIntOverflowAttr());
  NVVM::WgmmaGroupSyncAlignedOp::create(b);
  return accumulators;
}

void PipelineBuilder::waitProducts(int64_t pending) {
  NVVM::WgmmaWaitGroupSyncOp::create(b, static_cast<uint64_t>(pending));
}

PipelineBuilder::Values PipelineBuilder::finishProducts(Value accumulators) {
  auto type = cast<LLVM::LLVMStructType>(accumulators.getType());
  size_t count = type.getBody().size();
  std::string outputs, ties;
  Values registers;
  for (size_t i = 0; i < count; ++i) {
    registers.push_back(LLVM::ExtractValueOp::create(b, accumulators, ArrayRef<int64_t>{static_cast<int64_t>(i)}));
    outputs += "=f,";
    ties += std::to_string(i) + ",";
  }
  Value done = inlineAsm("wgmma.wait_group.sync.aligned 0;", outputs + ties + "~{memory}", registers, type, true);
  for (size_t i = 0; i < count; ++i)
    registers[i] = LLVM::ExtractValueOp::create(b, done, ArrayRef<int64_t>{static_cast<int64_t>(i)});
  return registers;
}

//===--- Registers ---===//

Value PipelineBuilder::packBf16(Value low, Value high) {
  return inlineAsm("cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", {low, high}, b.getI32Type(), false);
}

std::pair<Value, Value> PipelineBuilder::unpackBf16(Value packed) {
  Value low = LLVM::BitcastOp::create(b, b.getF32Type(), shiftLeft(packed, 16));
  Value high = LLVM::BitcastOp::create(b, b.getF32Type(), bitAnd(packed, 0xFFFF0000));
  return {low, high};
}

Value PipelineBuilder::exp2Fast(Value a) {
  return inlineAsm("ex2.approx.ftz.f32 $0, $1;", "=f,f", {a}, b.getF32Type(), false);
}

Value PipelineBuilder::reciprocalFast(Value a) { return NVVM::RcpApproxFtzF32Op::create(b, b.getF32Type(), a); }

Value PipelineBuilder::shuffleFrom(Value value, Value lane) {
  return NVVM::ShflOp::create(b, value.getType(), i32(-1), value, lane, i32(31), NVVM::ShflKind::idx, UnitAttr());
}

void PipelineBuilder::syncWarp() { NVVM::SyncWarpOp::create(b, i32(-1)); }

Value PipelineBuilder::shuffleXor(Value value, int64_t mask) {
  return NVVM::ShflOp::create(b, value.getType(), i32(-1), value, i32(mask), i32(31), NVVM::ShflKind::bfly, UnitAttr());
}

void PipelineBuilder::storeMatrix(Value address, ValueRange packed, bool transposed) {
  NVVM::StMatrixOp::create(b, pointer(address), packed, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
                           NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8), NVVM::LdStMatrixEltType::B16);
}

PipelineBuilder::Values PipelineBuilder::loadMatrix(Value address) {
  auto four = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  Value packed =
      NVVM::LdMatrixOp::create(b, four, pointer(address), 4, NVVM::MMALayout::row,
                               NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8), NVVM::LdStMatrixEltType::B16);
  Values values;
  for (int64_t i = 0; i < 4; ++i)
    values.push_back(LLVM::ExtractValueOp::create(b, packed, i));
  return values;
}

void PipelineBuilder::storeSingle(Value address, Value value) { LLVM::StoreOp::create(b, value, pointer(address), 4u); }

void PipelineBuilder::storePair(Value address, Value first, Value second) {
  Value pair = LLVM::PoisonOp::create(b, VectorType::get(2, first.getType()));
  pair = LLVM::InsertElementOp::create(b, pair, first, i32(0));
  pair = LLVM::InsertElementOp::create(b, pair, second, i32(1));
  LLVM::StoreOp::create(b, pair, pointer(address), 8u);
}

Value PipelineBuilder::inlineAsm(StringRef text, StringRef constraints, ValueRange operands, Type result,
                                 bool hasSideEffects) {
  auto op = LLVM::InlineAsmOp::create(b, result ? TypeRange(result) : TypeRange(), operands, text, constraints,
                                      hasSideEffects, /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None,
                                      LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT), ArrayAttr());
  return result ? op->getResult(0) : Value();
}

} // namespace moec::sm90
