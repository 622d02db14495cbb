#include "compiler/Target/GPU/Sm90/Sm90Builder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr unsigned kGlobal = 1, kShared = 3, kCluster = 7; // address spaces
constexpr int64_t kMapBytes = 128, kMapAlignment = 64;
constexpr int64_t kWaitTicks = 10'000'000; // of one try of a barrier; the instruction is repeated
constexpr llvm::StringLiteral kSharedSymbol = "moec_shared";

/// The block's dynamic shared memory: one symbol for all kernels of a module.
LLVM::GlobalOp sharedSymbol(ModuleOp module) {
  if (auto found = module.lookupSymbol<LLVM::GlobalOp>(kSharedSymbol))
    return found;
  OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), 0);
  return LLVM::GlobalOp::create(b, module.getLoc(), type, /*isConstant=*/false, LLVM::Linkage::External, kSharedSymbol,
                                Attribute(), /*alignment=*/1024, kShared);
}

std::string repeat(StringRef text, size_t count) {
  SmallVector<StringRef> parts(count, text);
  return llvm::join(parts, ",");
}

/// "0,1,2": inputs that share registers with the outputs.
std::string tied(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i)
    text += (i ? "," : "") + std::to_string(i);
  return text;
}

/// "{$4, $5}"
std::string registers(size_t first, size_t count) {
  std::string text = "{";
  for (size_t i = 0; i < count; ++i)
    text += (i ? ", $" : "$") + std::to_string(first + i);
  return text + "}";
}
} // namespace

Sm90Builder::Sm90Builder(ModuleOp module, Location loc, StringRef symbol, unsigned numParams, ArrayRef<TensorMap> maps,
                         int64_t threads)
    : b(loc, loc.getContext()), numParams(numParams), threads(threads), maps(maps) {
  LLVM::GlobalOp memory = sharedSymbol(module);
  b.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> types(numParams + 1, LLVM::LLVMPointerType::get(b.getContext(), kGlobal));
  types.append(maps.size(), LLVM::LLVMPointerType::get(b.getContext()));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function = LLVM::LLVMFuncOp::create(b, symbol, type);
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  // setmaxnreg needs to know what a thread starts with: both are needed.
  function->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                    b.getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1}));
  function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
  auto bytes = LLVM::LLVMArrayType::get(b.getI8Type(), kMapBytes);
  for (size_t i = numParams + 1; i < types.size(); ++i) {
    function.setArgAttr(i, LLVM::LLVMDialect::getByValAttrName(), TypeAttr::get(bytes));
    function.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(kMapAlignment));
    function.setArgAttr(i, NVVM::NVVMDialect::getGridConstantAttrName(), b.getUnitAttr());
  }
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  arguments.assign(entry->args_begin(), entry->args_end());
  sharedBase = LLVM::PtrToIntOp::create(b, b.getI32Type(), LLVM::AddressOfOp::create(b, memory));
}

void Sm90Builder::finish() { LLVM::ReturnOp::create(b, ValueRange()); }

DictionaryAttr Sm90Builder::launch(int64_t sharedBytes) {
  SmallVector<Attribute> records;
  for (const TensorMap &map : maps)
    records.push_back(b.getDictionaryAttr(
        {b.getNamedAttr("param", b.getI64IntegerAttr(map.param)), b.getNamedAttr("offset", b.getI64IntegerAttr(0)),
         b.getNamedAttr("dtype", b.getStringAttr("bf16")), b.getNamedAttr("dims", b.getI64ArrayAttr(map.dims)),
         b.getNamedAttr("strides", b.getI64ArrayAttr(map.strides)), b.getNamedAttr("box", b.getI64ArrayAttr(map.box)),
         b.getNamedAttr("swizzle", b.getI64IntegerAttr(128))}));
  return b.getDictionaryAttr({b.getNamedAttr("threads", b.getI64IntegerAttr(threads)),
                              b.getNamedAttr("shared", b.getI64IntegerAttr(sharedBytes)),
                              b.getNamedAttr("maps", b.getArrayAttr(records))});
}

//===--- Numbers ---===//

Value Sm90Builder::i32(int64_t value) { return arith::ConstantIntOp::create(b, value, 32); }
Value Sm90Builder::i64(int64_t value) { return arith::ConstantIntOp::create(b, value, 64); }
Value Sm90Builder::f32(double value) { return arith::ConstantOp::create(b, b.getFloatAttr(b.getF32Type(), value)); }

Value Sm90Builder::value(Int x, Type type) {
  if (x.value)
    return x.value;
  return arith::ConstantOp::create(b, b.getIntegerAttr(type ? type : b.getI32Type(), x.number));
}

Value Sm90Builder::widen(Value x) { return b.createOrFold<arith::ExtUIOp>(b.getI64Type(), x); }

Value Sm90Builder::fma(Value x, Value y, Value z) { return LLVM::FMAOp::create(b, x, y, z); }

Value Sm90Builder::exp2(Value x) {
  return assembly("ex2.approx.ftz.f32 $0, $1;", "=f,f", {x}, 1, b.getF32Type(), /*sideEffects=*/false)[0];
}
Value Sm90Builder::log2(Value x) {
  return assembly("lg2.approx.ftz.f32 $0, $1;", "=f,f", {x}, 1, b.getF32Type(), /*sideEffects=*/false)[0];
}
Value Sm90Builder::reciprocal(Value x) { return NVVM::RcpApproxFtzF32Op::create(b, b.getF32Type(), x); }

Value Sm90Builder::packBf16(Value low, Value high) {
  return assembly("cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", {low, high}, 1, b.getI32Type(), /*sideEffects=*/false)[0];
}

Sm90Builder::Values Sm90Builder::packBf16(ArrayRef<Value> values) {
  Values packed;
  for (size_t i = 0; i < values.size(); i += 2)
    packed.push_back(packBf16(values[i], values[i + 1]));
  return packed;
}

std::pair<Value, Value> Sm90Builder::unpackBf16(Value pair) {
  auto cast = [&](Value bits) -> Value { return arith::BitcastOp::create(b, b.getF32Type(), bits); };
  return {cast(shiftLeft(pair, 16)), cast(bitAnd(pair, -65536))};
}

//===--- Threads ---===//

Value Sm90Builder::thread() { return NVVM::ThreadIdXOp::create(b, b.getI32Type()); }
Value Sm90Builder::block() { return NVVM::BlockIdXOp::create(b, b.getI32Type()); }
Value Sm90Builder::blocks() { return NVVM::GridDimXOp::create(b, b.getI32Type()); }

Value Sm90Builder::firstLane(Value x) {
  return NVVM::ShflOp::create(b, x.getType(), i32(-1), x, i32(0), i32(31), NVVM::ShflKind::idx, UnitAttr());
}
Value Sm90Builder::shuffleXor(Value x, int64_t mask) {
  return NVVM::ShflOp::create(b, x.getType(), i32(-1), x, i32(mask), i32(31), NVVM::ShflKind::bfly, UnitAttr());
}

void Sm90Builder::syncBlock() { NVVM::Barrier0Op::create(b); }
void Sm90Builder::syncNamed(Value id, int64_t threads) {
  NVVM::BarrierOp::create(b, TypeRange(), id, i32(threads), NVVM::BarrierReductionAttr(), Value());
}
void Sm90Builder::setRegisters(int64_t count, bool increase) {
  NVVM::SetMaxRegisterOp::create(
      b, count, increase ? NVVM::SetMaxRegisterAction::increase : NVVM::SetMaxRegisterAction::decrease);
}

//===--- Control ---===//

void Sm90Builder::when(Value condition, llvm::function_ref<void()> then) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(op.thenYield());
  then();
}

void Sm90Builder::ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(op.thenYield());
  then();
  b.setInsertionPoint(op.elseYield());
  otherwise();
}

Sm90Builder::Values Sm90Builder::choose(Value condition, llvm::function_ref<Values()> then,
                                        llvm::function_ref<Values()> otherwise) {
  auto region = [&](llvm::function_ref<Values()> body) {
    return [&, body](OpBuilder &nested, Location) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(nested.getInsertionBlock(), nested.getInsertionPoint());
      scf::YieldOp::create(b, body());
    };
  };
  return Values(scf::IfOp::create(b, condition, region(then), region(otherwise)).getResults());
}

Sm90Builder::Values Sm90Builder::loop(Int count, ArrayRef<Value> carried,
                                      llvm::function_ref<Values(Value i, ArrayRef<Value> carried)> body) {
  auto op = scf::ForOp::create(b, i32(0), value(count), i32(1), carried);
  OpBuilder::InsertionGuard guard(b);
  if (carried.empty()) {
    b.setInsertionPoint(op.getBody()->getTerminator());
    body(op.getInductionVar(), {});
    return {};
  }
  b.setInsertionPointToStart(op.getBody());
  Values arguments(op.getRegionIterArgs().begin(), op.getRegionIterArgs().end());
  scf::YieldOp::create(b, body(op.getInductionVar(), arguments));
  return Values(op.getResults());
}

Sm90Builder::Values Sm90Builder::loopWhile(ArrayRef<Value> carried,
                                           llvm::function_ref<std::pair<Value, Values>(ArrayRef<Value> carried)> test,
                                           llvm::function_ref<Values(ArrayRef<Value>)> body) {
  // The results' types are known once the test is written.
  Block before;
  Values arguments;
  for (Value value : carried)
    arguments.push_back(before.addArgument(value.getType(), b.getLoc()));
  std::pair<Value, Values> tested;
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&before);
    tested = test(arguments);
    scf::ConditionOp::create(b, tested.first, tested.second);
  }
  auto op = scf::WhileOp::create(b, ValueRange(tested.second).getTypes(), carried);
  OpBuilder::InsertionGuard guard(b);
  Block *first = b.createBlock(&op.getBefore(), {}, ValueRange(carried).getTypes(),
                               SmallVector<Location>(carried.size(), b.getLoc()));
  for (auto [from, to] : llvm::zip(before.getArguments(), first->getArguments()))
    from.replaceAllUsesWith(to);
  first->getOperations().splice(first->end(), before.getOperations());
  Block *second =
      b.createBlock(&op.getAfter(), {}, op.getResultTypes(), SmallVector<Location>(tested.second.size(), b.getLoc()));
  scf::YieldOp::create(b, body(Values(second->args_begin(), second->args_end())));
  return Values(op.getResults());
}

//===--- Memory ---===//

Value Sm90Builder::shared() { return sharedBase; }

Value Sm90Builder::sharedPointer(Value address) {
  return LLVM::IntToPtrOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kShared), address);
}

Value Sm90Builder::at(Value pointer, Value index, Type element) {
  return LLVM::GEPOp::create(b, pointer.getType(), element, pointer, ValueRange(index));
}

Value Sm90Builder::load(Type type, Value pointer, int64_t alignment) {
  return LLVM::LoadOp::create(b, type, pointer, static_cast<unsigned>(alignment));
}
Value Sm90Builder::loadConstant(Type type, Value pointer, int64_t alignment) {
  return LLVM::LoadOp::create(b, type, pointer, static_cast<unsigned>(alignment), /*isVolatile=*/false,
                              /*isNonTemporal=*/false, /*isInvariant=*/true);
}
Value Sm90Builder::loadVolatile(Type type, Value pointer) {
  return LLVM::LoadOp::create(b, type, pointer, /*alignment=*/0, /*isVolatile=*/true);
}

Value Sm90Builder::element(Value vector, int64_t index) {
  return LLVM::ExtractElementOp::create(b, vector, i32(index));
}

void Sm90Builder::store(Value value, Value pointer) { LLVM::StoreOp::create(b, value, pointer); }

Value Sm90Builder::fetchAdd(Value pointer, Value x, bool acquireRelease) {
  return LLVM::AtomicRMWOp::create(b, LLVM::AtomicBinOp::add, pointer, x,
                                   acquireRelease ? LLVM::AtomicOrdering::acq_rel : LLVM::AtomicOrdering::monotonic);
}

//===--- Barriers ---===//

void Sm90Builder::initBarrier(Value address, int64_t arrivals) {
  NVVM::MBarrierInitOp::create(b, sharedPointer(address), i32(arrivals), Value());
}
void Sm90Builder::fenceBarriers() { NVVM::FenceMbarrierInitOp::create(b); }
void Sm90Builder::waitBarrier(Value address, Value parity) {
  NVVM::MBarrierTryWaitParityOp::create(b, sharedPointer(address), parity, i32(kWaitTicks));
}
void Sm90Builder::arrive(Value address) { NVVM::MBarrierArriveOp::create(b, TypeRange(), sharedPointer(address)); }
void Sm90Builder::arriveExpecting(Value address, int64_t bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(b, TypeRange(), sharedPointer(address), i32(bytes), NVVM::MemScopeKind::CTA,
                                         /*relaxed=*/false, Value());
}

//===--- Bulk copies ---===//

void Sm90Builder::copyIn(Value map, Value to, Value barrier, ArrayRef<Value> coordinates) {
  Value cluster =
      LLVM::AddrSpaceCastOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kCluster), sharedPointer(to));
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      b, cluster, map, coordinates, sharedPointer(barrier), /*im2colOffsets=*/ValueRange(), /*multicastMask=*/Value(),
      /*l2CacheHint=*/Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/false, NVVM::CTAGroupKindAttr(), Value());
}

void Sm90Builder::copyInFlat(Value from, Value to, Value barrier, int64_t bytes) {
  Value cluster =
      LLVM::AddrSpaceCastOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kCluster), sharedPointer(to));
  NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(b, cluster, from, sharedPointer(barrier), i32(bytes),
                                                   /*multicastMask=*/Value(), /*l2CacheHint=*/Value());
}

void Sm90Builder::copyOut(Value map, Value from, ArrayRef<Value> coordinates) {
  NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, map, sharedPointer(from), coordinates,
                                                     /*l2CacheHint=*/Value(), NVVM::TMAStoreMode::TILE, Value());
}

void Sm90Builder::commitCopies() { NVVM::CpAsyncBulkCommitGroupOp::create(b); }
void Sm90Builder::waitCopies(bool written) {
  NVVM::CpAsyncBulkWaitGroupOp::create(b, 0, written ? UnitAttr() : b.getUnitAttr());
}
void Sm90Builder::fenceAsync() {
  NVVM::FenceProxyOp::create(b, NVVM::ProxyKind::async_shared,
                             NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

//===--- Products ---===//

namespace {
// Bits of a descriptor: 128-byte swizzle; 1024 bytes from 8 rows to the next 8; and in units of 16 bytes.
constexpr int64_t kSwizzled = (int64_t(1) << 62) | (int64_t(64) << 32);
constexpr int64_t kUnit = 16, kDepth = 16, kPanelColumns = 64;
} // namespace

Value Sm90Builder::descriptor(Value address) {
  return add(widen(bitAnd(shiftRight(address, 4), 0x3FFF)), kSwizzled | (1 << 16));
}
Value Sm90Builder::descriptorTransposed(Value address, int64_t panelBytes) {
  return add(widen(bitAnd(shiftRight(address, 4), 0x3FFF)), kSwizzled | ((panelBytes / kUnit) << 16));
}
Value Sm90Builder::advance(Value descriptor, Value bytes) { return add(descriptor, widen(shiftRight(bytes, 4))); }

SmallVector<int64_t> Sm90Builder::steps(int64_t depth, int64_t panelBytes) {
  SmallVector<int64_t> offsets;
  for (int64_t k = 0; k < depth; k += kDepth)
    offsets.push_back((k / kPanelColumns * panelBytes + k % kPanelColumns * 2) / kUnit);
  return offsets;
}
SmallVector<int64_t> Sm90Builder::stepsTransposed(int64_t depth) {
  SmallVector<int64_t> offsets;
  for (int64_t k = 0; k < depth; k += kDepth)
    offsets.push_back(k * kPanelColumns * 2 / kUnit);
  return offsets;
}

Sm90Builder::Values Sm90Builder::multiply(int64_t columns, Value aTile, ArrayRef<int64_t> aSteps, Value bTile,
                                          ArrayRef<int64_t> bSteps) {
  size_t count = columns / 2;
  std::string a = "$" + std::to_string(count), bName = "$" + std::to_string(count + 1);
  std::string text = "{\n.reg .b64 a, b;\n.reg .pred p;\nwgmma.fence.sync.aligned;\nsetp.ne.b32 p, 0, 0;\n";
  for (auto [i, offsets] : llvm::enumerate(llvm::zip(aSteps, bSteps))) {
    auto [aStep, bStep] = offsets;
    text += "add.s64 a, " + a + ", " + std::to_string(aStep) + ";\nadd.s64 b, " + bName + ", " + std::to_string(bStep) +
            ";\nwgmma.mma_async.sync.aligned.m64n" + std::to_string(columns) + "k16.f32.bf16.bf16 " +
            registers(0, count) + ", a, b, " + (i ? "1" : "p") + ", 1, 1, 0, 0;\n";
  }
  text += "wgmma.commit_group.sync.aligned;\n}";
  return assembly(text, repeat("=f", count) + ",l,l,~{memory}", {aTile, bTile}, count, b.getF32Type(), true);
}

Sm90Builder::Values Sm90Builder::multiplyRegisters(ArrayRef<Value> a, Value bTile, ArrayRef<int64_t> bSteps,
                                                   ArrayRef<Value> accumulators) {
  size_t count = accumulators.size(), firstA = 2 * count;
  assert(a.size() == 4 * bSteps.size() && "four registers for each step");
  std::string bName = "$" + std::to_string(firstA + a.size());
  std::string text = "{\n.reg .b64 b;\nwgmma.fence.sync.aligned;\n";
  for (auto [i, step] : llvm::enumerate(bSteps))
    text += "add.s64 b, " + bName + ", " + std::to_string(step) + ";\nwgmma.mma_async.sync.aligned.m64n" +
            std::to_string(2 * count) + "k16.f32.bf16.bf16 " + registers(0, count) + ", " +
            registers(firstA + 4 * i, 4) + ", b, 1, 1, 1, 1;\n";
  text += "wgmma.commit_group.sync.aligned;\n}";
  Values operands(accumulators);
  operands.append(a.begin(), a.end());
  operands.push_back(bTile);
  return assembly(text, repeat("=f", count) + "," + tied(count) + "," + repeat("r", a.size()) + ",l,~{memory}",
                  operands, count, b.getF32Type(), true);
}

Sm90Builder::Values Sm90Builder::wait(int64_t pending, ArrayRef<Value> accumulators, ArrayRef<Value> reading) {
  size_t count = accumulators.size();
  Values operands(accumulators);
  operands.append(reading.begin(), reading.end());
  std::string constraints = repeat("=f", count) + "," + tied(count);
  if (!reading.empty())
    constraints += "," + repeat("r", reading.size());
  return assembly("wgmma.wait_group.sync.aligned " + std::to_string(pending) + ";", constraints + ",~{memory}",
                  operands, count, b.getF32Type(), true);
}

void Sm90Builder::storeMatrix(Value address, ArrayRef<Value> registers) {
  NVVM::StMatrixOp::create(b, sharedPointer(address), registers, NVVM::MMALayout::row,
                           NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8), NVVM::LdStMatrixEltType::B16);
}

Sm90Builder::Values Sm90Builder::assembly(const std::string &text, const std::string &constraints,
                                          ArrayRef<Value> operands, int64_t results, Type resultType,
                                          bool sideEffects) {
  Type type = resultType;
  if (results > 1)
    type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(results, resultType));
  auto dialect = LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT);
  auto op = LLVM::InlineAsmOp::create(b, type, operands, text, constraints, sideEffects, /*is_align_stack=*/false,
                                      LLVM::tailcallkind::TailCallKind::None, dialect, ArrayAttr());
  if (results == 1)
    return {op.getRes()};
  Values values;
  for (int64_t i = 0; i < results; ++i)
    values.push_back(LLVM::ExtractValueOp::create(b, op.getRes(), i));
  return values;
}

} // namespace moec::sm90
