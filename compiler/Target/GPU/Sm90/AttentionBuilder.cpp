#include "compiler/Target/GPU/Sm90/AttentionBuilder.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace moec::sm90 {

using Values = AttentionBuilder::Values;

//===--- Numbers ---===//

Value AttentionBuilder::value(Int x, Type type) {
  return x.value ? x.value : Value(arith::ConstantOp::create(b, b.getIntegerAttr(type, x.number)));
}
Value AttentionBuilder::compare(Predicate predicate, Int x, Int y) {
  Type type = x.value ? x.value.getType() : y.value.getType();
  return b.createOrFold<arith::CmpIOp>(predicate, value(x, type), value(y, type));
}

Value AttentionBuilder::opaque(Value x) { return inlineAsm("mov.b32 $0, $1;", "=r,r", {x}, b.getI32Type(), false); }

Value AttentionBuilder::log2Fast(Value x) {
  return inlineAsm("lg2.approx.ftz.f32 $0, $1;", "=f,f", {x}, b.getF32Type(), false);
}

Values AttentionBuilder::packBf16(Registers values) {
  Values packed;
  for (size_t i = 0; i < values.size(); i += 2)
    packed.push_back(packBf16(values[i], values[i + 1]));
  return packed;
}

Value AttentionBuilder::element(Value vector, int64_t index) {
  return LLVM::ExtractElementOp::create(b, vector, i32(index));
}

//===--- Threads and control ---===//

Values AttentionBuilder::choose(Value condition, llvm::function_ref<Values()> then,
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

Values AttentionBuilder::loop(Value count, Registers carried,
                              llvm::function_ref<Values(Value i, Registers carried)> body) {
  auto op = scf::ForOp::create(b, i32(0), count, i32(1), carried);
  OpBuilder::InsertionGuard guard(b);
  if (carried.empty()) {
    b.setInsertionPoint(op.getBody()->getTerminator());
    body(op.getInductionVar(), {});
    return {};
  }
  b.setInsertionPointToStart(op.getBody());
  scf::YieldOp::create(b, body(op.getInductionVar(), Values(op.getRegionIterArgs())));
  return Values(op.getResults());
}

Values AttentionBuilder::loopWhile(Registers carried,
                                   llvm::function_ref<std::pair<Value, Values>(Registers carried)> test,
                                   llvm::function_ref<Values(Registers)> body) {
  // The types of the results are known only after the test has been emitted.
  Block written;
  for (Value value : carried)
    written.addArgument(value.getType(), b.getLoc());
  OpBuilder::InsertionGuard guard(b);
  OpBuilder::InsertPoint place = b.saveInsertionPoint();
  b.setInsertionPointToStart(&written);
  auto [goOn, passed] = test(Values(written.getArguments()));
  scf::ConditionOp::create(b, goOn, passed);
  b.restoreInsertionPoint(place);
  auto op = scf::WhileOp::create(b, ValueRange(passed).getTypes(), carried);
  auto open = [&](Region &region, TypeRange types) {
    return b.createBlock(&region, {}, types, SmallVector<Location>(types.size(), b.getLoc()));
  };
  Block *before = open(op.getBefore(), ValueRange(carried).getTypes());
  for (auto [from, to] : llvm::zip(written.getArguments(), before->getArguments()))
    from.replaceAllUsesWith(to);
  before->getOperations().splice(before->end(), written.getOperations());
  Block *after = open(op.getAfter(), op.getResultTypes());
  scf::YieldOp::create(b, body(Values(after->getArguments())));
  return Values(op.getResults());
}

//===--- Memory ---===//

Value AttentionBuilder::operand(Value tileOperand) const {
  return param(tileOperand.getDefiningOp<tile::OperandOp>().getParam());
}

Value AttentionBuilder::loadAligned(Type type, Value pointer, int64_t alignment, bool isInvariant) {
  return LLVM::LoadOp::create(b, type, pointer, static_cast<unsigned>(alignment), /*isVolatile=*/false,
                              /*isNonTemporal=*/false, isInvariant);
}
Value AttentionBuilder::loadVolatile(Type type, Value pointer) {
  return LLVM::LoadOp::create(b, type, pointer, /*alignment=*/0, /*isVolatile=*/true);
}
void AttentionBuilder::storeWord(Value value, Value pointer) { LLVM::StoreOp::create(b, value, pointer); }
Value AttentionBuilder::draw(Value pointer, LLVM::AtomicOrdering ordering) {
  return LLVM::AtomicRMWOp::create(b, LLVM::AtomicBinOp::add, pointer, i32(1), ordering);
}
Value AttentionBuilder::loadAcquire(Value pointer) {
  return inlineAsm("ld.acquire.gpu.global.b32 $0, [$1];", "=r,l,~{memory}", {pointer}, b.getI32Type(), true);
}
void AttentionBuilder::storeRelease(Value value, Value pointer) {
  inlineAsm("st.release.gpu.global.b32 [$0], $1;", "l,r,~{memory}", {pointer, value}, Type(), true);
}
void AttentionBuilder::storeFour(Value pointer, Registers four) {
  Values inputs{pointer, four[0], four[1], four[2], four[3]};
  inlineAsm("st.relaxed.gpu.global.v4.f32 [$0], {$1, $2, $3, $4};", "l,f,f,f,f,~{memory}", inputs, Type(), true);
}
Values AttentionBuilder::loadFour(Value pointer) {
  return unpack(inlineAsm("ld.relaxed.gpu.global.v4.f32 {$0, $1, $2, $3}, [$4];", "=f,=f,=f,=f,l,~{memory}", {pointer},
                          accumulatorType(4), true),
                4);
}
void AttentionBuilder::addFour(Value pointer, Registers four) {
  Values inputs{pointer, four[0], four[1], four[2], four[3]};
  inlineAsm("red.relaxed.gpu.global.add.v4.f32 [$0], {$1, $2, $3, $4};", "l,f,f,f,f,~{memory}", inputs, Type(), true);
}
void AttentionBuilder::loadBytes(Value from, Value shared, Value barrier, int64_t bytes) {
  constexpr unsigned kCluster = 7; // address space
  Value to = LLVM::AddrSpaceCastOp::create(b, LLVM::LLVMPointerType::get(b.getContext(), kCluster), pointer(shared));
  NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(b, to, from, pointer(barrier), i32(bytes),
                                                   /*multicastMask=*/Value(), /*l2CacheHint=*/Value());
}

//===--- Products ---===//

namespace {
constexpr int64_t kUnit = 16; // of addresses in descriptors
constexpr int64_t kStep = 16, kPanelColumns = 64, kRowBytes = 128;

std::string repeated(StringRef text, size_t count) { return llvm::join(SmallVector<StringRef>(count, text), ","); }

/// "0,1,2": inputs that share their registers with these outputs.
std::string tied(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i)
    text += (i ? "," : "") + std::to_string(i);
  return text;
}

/// "{$4, $5}"
std::string operands(size_t first, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i)
    text += (i ? ", $" : "{$") + std::to_string(first + i);
  return text + "}";
}

std::string instruction(size_t accumulators) {
  return "wgmma.mma_async.sync.aligned.m64n" + std::to_string(2 * accumulators) + "k16.f32.bf16.bf16 " +
         operands(0, accumulators);
}

/// "add.s64 b, $9, 4;"
std::string offsetBy(StringRef name, size_t operand, int64_t offset) {
  return ("add.s64 " + name + ", $" + Twine(operand) + ", " + Twine(offset) + ";\n").str();
}
} // namespace

SmallVector<int64_t> AttentionBuilder::steps(int64_t depth, int64_t panelBytes) {
  SmallVector<int64_t> offsets;
  for (int64_t k = 0; k < depth; k += kStep)
    offsets.push_back((k / kPanelColumns * panelBytes + k % kPanelColumns * 2) / kUnit);
  return offsets;
}
SmallVector<int64_t> AttentionBuilder::stepsTransposed(int64_t depth) {
  SmallVector<int64_t> offsets;
  for (int64_t k = 0; k < depth; k += kStep)
    offsets.push_back(k * kRowBytes / kUnit);
  return offsets;
}

// One block of assembly from the fence to the commit, so that no copy of a register can come in between. The first step
// ignores the contents of the accumulators.
Values AttentionBuilder::multiplyTiles(int64_t columns, Value a, ArrayRef<int64_t> aSteps, Value c,
                                       ArrayRef<int64_t> cSteps, bool transposed) {
  size_t count = columns / 2;
  StringRef majors = transposed ? ", 1, 1, 1, 1;\n" : ", 1, 1, 0, 0;\n";
  std::string text = "{\n.reg .b64 a, b;\n.reg .pred p;\nwgmma.fence.sync.aligned;\nsetp.ne.b32 p, 0, 0;\n";
  for (size_t i = 0; i < aSteps.size(); ++i)
    text += offsetBy("a", count, aSteps[i]) + offsetBy("b", count + 1, cSteps[i]) + instruction(count) + ", a, b, " +
            (i ? "1" : "p") + majors.str();
  text += "wgmma.commit_group.sync.aligned;\n}";
  return unpack(inlineAsm(text, repeated("=f", count) + ",l,l,~{memory}", {a, c}, accumulatorType(count), true), count);
}

Values AttentionBuilder::multiplyRegisters(Registers a, Value c, ArrayRef<int64_t> cSteps, Registers accumulators) {
  size_t count = accumulators.size(), firstA = 2 * count;
  assert(a.size() == 4 * cSteps.size() && "four registers per step");
  std::string text = "{\n.reg .b64 b;\nwgmma.fence.sync.aligned;\n";
  for (size_t i = 0; i < cSteps.size(); ++i)
    text += offsetBy("b", firstA + a.size(), cSteps[i]) + instruction(count) + ", " + operands(firstA + 4 * i, 4) +
            ", b, 1, 1, 1, 1;\n";
  text += "wgmma.commit_group.sync.aligned;\n}";
  Values inputs(accumulators);
  inputs.append(a.begin(), a.end());
  inputs.push_back(c);
  std::string constraints = repeated("=f", count) + "," + tied(count) + "," + repeated("r", a.size()) + ",l,~{memory}";
  return unpack(inlineAsm(text, constraints, inputs, accumulatorType(count), true), count);
}

Values AttentionBuilder::awaitProducts(int64_t pending, Registers accumulators, Registers read) {
  size_t count = accumulators.size();
  Values inputs(accumulators);
  inputs.append(read.begin(), read.end());
  std::string constraints = repeated("=f", count) + "," + tied(count);
  if (!read.empty())
    constraints += "," + repeated("r", read.size());
  Value finished = inlineAsm("wgmma.wait_group.sync.aligned " + std::to_string(pending) + ";",
                             constraints + ",~{memory}", inputs, accumulatorType(count), true);
  return unpack(finished, count);
}

Values AttentionBuilder::unpack(Value structure, size_t count) {
  Values values;
  for (size_t i = 0; i < count; ++i)
    values.push_back(LLVM::ExtractValueOp::create(b, structure, static_cast<int64_t>(i)));
  return values;
}

} // namespace moec::sm90
