#include "compiler/Target/Kernel/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace moec::kernel {

namespace {
int64_t byteWidth(Type element) {
  return isa<LLVM::LLVMPointerType>(element) ? 8 : element.getIntOrFloatBitWidth() / 8;
}
} // namespace

Type KernelBuilder::elementOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getElementType();
  return type;
}

int64_t KernelBuilder::lanesOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements();
  return 1;
}

//===--- Integers ---===//

Value KernelBuilder::i64(int64_t value) { return arith::ConstantOp::create(b, b.getI64IntegerAttr(value)); }
Value KernelBuilder::i32(int64_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); }
Value KernelBuilder::add(Value a, Value c) { return b.createOrFold<arith::AddIOp>(a, c); }
Value KernelBuilder::sub(Value a, Value c) { return b.createOrFold<arith::SubIOp>(a, c); }
Value KernelBuilder::mul(Value a, Value c) { return b.createOrFold<arith::MulIOp>(a, c); }
Value KernelBuilder::div(Value a, Value c) { return b.createOrFold<arith::DivUIOp>(a, c); }
Value KernelBuilder::rem(Value a, Value c) { return b.createOrFold<arith::RemUIOp>(a, c); }
Value KernelBuilder::min(Value a, Value c) { return b.createOrFold<arith::MinSIOp>(a, c); }
Value KernelBuilder::max(Value a, Value c) { return b.createOrFold<arith::MaxSIOp>(a, c); }
Value KernelBuilder::less(Value a, Value c) { return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::slt, a, c); }
Value KernelBuilder::equal(Value a, Value c) { return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::eq, a, c); }
Value KernelBuilder::both(Value a, Value c) { return b.createOrFold<arith::AndIOp>(a, c); }
Value KernelBuilder::select(Value condition, Value a, Value c) {
  return b.createOrFold<arith::SelectOp>(condition, a, c);
}
Value KernelBuilder::toI64(Value value) { return b.createOrFold<arith::ExtSIOp>(b.getI64Type(), value); }
Value KernelBuilder::toI32(Value value) { return b.createOrFold<arith::TruncIOp>(b.getI32Type(), value); }

//===--- Floats ---===//

Value KernelBuilder::constant(Type type, double value) {
  TypedAttr scalar;
  Type element = elementOf(type);
  if (auto floating = dyn_cast<FloatType>(element))
    scalar = b.getFloatAttr(floating, value);
  else
    scalar = b.getIntegerAttr(element, static_cast<int64_t>(value));
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, Attribute(scalar)));
  return arith::ConstantOp::create(b, scalar);
}

Value KernelBuilder::fadd(Value a, Value c) { return arith::AddFOp::create(b, a, c); }
Value KernelBuilder::fsub(Value a, Value c) { return arith::SubFOp::create(b, a, c); }
Value KernelBuilder::fmul(Value a, Value c) { return arith::MulFOp::create(b, a, c); }
Value KernelBuilder::fdiv(Value a, Value c) { return arith::DivFOp::create(b, a, c); }
Value KernelBuilder::fmax(Value a, Value c) {
  // nsz: the sign of a zero does not matter, and this saves three instructions on x86.
  return arith::MaximumFOp::create(b, a, c, arith::FastMathFlags::nsz);
}
Value KernelBuilder::fma(Value a, Value c, Value d) { return math::FmaOp::create(b, a, c, d); }
Value KernelBuilder::exp(Value a) { return math::ExpOp::create(b, a); }
Value KernelBuilder::log(Value a) { return math::LogOp::create(b, a); }

Value KernelBuilder::convert(Value a, Type element) {
  Type from = elementOf(a.getType());
  if (from == element)
    return a;
  Type type = isa<VectorType>(a.getType()) ? VectorType::get(lanesOf(a.getType()), element) : element;
  if (from.getIntOrFloatBitWidth() < element.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(b, type, a);
  return arith::TruncFOp::create(b, type, a);
}

Value KernelBuilder::splat(Value scalar, int64_t lanes) {
  if (lanes == 1)
    return scalar;
  return vector::BroadcastOp::create(b, VectorType::get(lanes, scalar.getType()), scalar);
}

namespace {
// One half is added to the other, so the order does not depend on how LLVM expands a reduction intrinsic.
Value foldLanes(ImplicitLocOpBuilder &b, Value vector, llvm::function_ref<Value(Value, Value)> join) {
  int64_t lanes = KernelBuilder::lanesOf(vector.getType());
  if (!isa<VectorType>(vector.getType()))
    return vector;
  for (; lanes > 1; lanes /= 2) {
    Value low = vector::ExtractStridedSliceOp::create(b, vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{lanes / 2},
                                                      ArrayRef<int64_t>{1});
    Value high = vector::ExtractStridedSliceOp::create(b, vector, ArrayRef<int64_t>{lanes / 2},
                                                       ArrayRef<int64_t>{lanes / 2}, ArrayRef<int64_t>{1});
    vector = join(low, high);
  }
  return vector::ExtractOp::create(b, vector, 0);
}
} // namespace

Value KernelBuilder::sumLanes(Value vector) {
  bool isFloat = isa<FloatType>(elementOf(vector.getType()));
  return foldLanes(b, vector, [&](Value x, Value y) { return isFloat ? fadd(x, y) : add(x, y); });
}
Value KernelBuilder::maxLanes(Value vector) {
  return foldLanes(b, vector, [&](Value x, Value y) { return fmax(x, y); });
}

Value KernelBuilder::iota(int64_t lanes) {
  if (lanes == 1)
    return i64(0);
  SmallVector<int64_t> steps(llvm::to_vector(llvm::seq<int64_t>(0, lanes)));
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(VectorType::get(lanes, b.getI64Type()), ArrayRef<int64_t>(steps)));
}

Value KernelBuilder::orderedKey(Value a) {
  int64_t lanes = lanesOf(a.getType());
  unsigned width = elementOf(a.getType()).getIntOrFloatBitWidth();
  Type bitsType = b.getIntegerType(width);
  auto shaped = [&](Type type) -> Type { return isa<VectorType>(a.getType()) ? VectorType::get(lanes, type) : type; };
  auto bitsConstant = [&](int64_t number) {
    return splat(arith::ConstantOp::create(b, b.getIntegerAttr(bitsType, number)), lanes);
  };
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, a, a);
  Value bits = arith::BitcastOp::create(b, shaped(bitsType), fadd(a, constant(a.getType(), 0))); // -0 + 0 is +0
  // Negative floats are ordered by descending magnitude, so all bits except the sign are flipped.
  Value sign = arith::ShRSIOp::create(b, bits, bitsConstant(width - 1));
  int64_t magnitude = width == 64 ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int32_t>::max();
  Value key = arith::XOrIOp::create(b, bits, arith::AndIOp::create(b, sign, bitsConstant(magnitude)));
  if (width < 64)
    key = arith::ExtSIOp::create(b, shaped(b.getI64Type()), key);
  return select(isNan, splat(i64(kNanKey), lanes), key);
}

Value KernelBuilder::selectionKey(Value a) {
  int64_t lanes = lanesOf(a.getType());
  unsigned width = elementOf(a.getType()).getIntOrFloatBitWidth();
  Type integer = b.getIntegerType(width),
       type = isa<VectorType>(a.getType()) ? VectorType::get(lanes, integer) : integer;
  auto number = [&](const APInt &value) {
    return splat(arith::ConstantOp::create(b, b.getIntegerAttr(integer, value)), lanes);
  };
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, a, a);
  Value bits = arith::BitcastOp::create(b, type, fadd(a, constant(a.getType(), 0))); // -0 + 0 is +0
  // All ones become 0 below. The select is not at the end, because LLVM would then repeat it at comparisons of keys,
  // and keep the float for it.
  bits = select(isNan, number(APInt::getAllOnes(width)), bits);
  // Positive floats get the sign bit, so that they are above negative ones. Negative floats are ordered by descending
  // magnitude, so all their bits are flipped.
  Value sign = arith::ShRSIOp::create(b, bits, number(APInt(width, width - 1)));
  Value flips = arith::OrIOp::create(b, sign, number(APInt::getSignMask(width)));
  return arith::XOrIOp::create(b, bits, flips);
}

Value KernelBuilder::fromSelectionKey(Value key, Type element) {
  unsigned width = element.getIntOrFloatBitWidth();
  auto number = [&](const APInt &value) -> Value {
    return arith::ConstantOp::create(b, b.getIntegerAttr(key.getType(), value));
  };
  Value positive = arith::XOrIOp::create(b, key, number(APInt::getSignMask(width)));
  Value negative = arith::XOrIOp::create(b, key, number(APInt::getAllOnes(width))); // of key 0: a NaN
  return arith::BitcastOp::create(b, element, select(less(key, number(APInt(width, 0))), positive, negative));
}

//===--- Memory ---===//

int64_t KernelBuilder::lanes(Type element) const { return std::max<int64_t>(1, vectorBytes / byteWidth(element)); }

unsigned KernelBuilder::alignmentOf(Type type) const {
  int64_t bytes = byteWidth(elementOf(type));
  return static_cast<unsigned>(vectorsAligned ? std::max(bytes, std::min(bytes * lanesOf(type), vectorBytes)) : bytes);
}

Type KernelBuilder::memoryType(Type element) {
  bool isFloat8 = isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8;
  return isFloat8 ? Type(IntegerType::get(element.getContext(), 8)) : element;
}

Value KernelBuilder::fromMemory(Value loaded, Type element) {
  if (elementOf(loaded.getType()) == element)
    return loaded;
  Type type = isa<VectorType>(loaded.getType()) ? VectorType::get(lanesOf(loaded.getType()), element) : element;
  return arith::BitcastOp::create(b, type, loaded);
}

Value KernelBuilder::toMemory(Value value) { return fromMemory(value, memoryType(elementOf(value.getType()))); }

Value KernelBuilder::at(Value pointer, Value offset, Type element) {
  if (matchPattern(offset, m_Zero()))
    return pointer;
  return LLVM::GEPOp::create(b, pointer.getType(), memoryType(element), pointer, ValueRange{offset},
                             LLVM::GEPNoWrapFlags::inbounds);
}

Value KernelBuilder::load(Type element, Value pointer, Value offset, int64_t lanes) {
  Type memory = memoryType(element), type = lanes == 1 ? memory : VectorType::get(lanes, memory);
  return fromMemory(LLVM::LoadOp::create(b, type, at(pointer, offset, element), alignmentOf(type)), element);
}

void KernelBuilder::store(Value value, Value pointer, Value offset) {
  value = toMemory(value);
  Type element = elementOf(value.getType());
  LLVM::StoreOp::create(b, value, at(pointer, offset, element), alignmentOf(value.getType()));
}

Value KernelBuilder::tailMask(int64_t lanes, Value count) {
  // 32-bit lanes compare in one instruction for f32; a constant count folds to a constant mask.
  SmallVector<int32_t> steps;
  for (int64_t i = 0; i < lanes; ++i)
    steps.push_back(static_cast<int32_t>(i));
  APInt known;
  auto maskType = VectorType::get(lanes, b.getI1Type());
  if (matchPattern(count, m_ConstantInt(&known))) {
    SmallVector<bool> bits;
    for (int64_t i = 0; i < lanes; ++i)
      bits.push_back(i < known.getSExtValue());
    return arith::ConstantOp::create(b, DenseElementsAttr::get(maskType, ArrayRef<bool>(bits)));
  }
  auto type = VectorType::get(lanes, b.getI32Type());
  Value index = arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef<int32_t>(steps)));
  Value bounded = toI32(min(max(count, i64(0)), i64(lanes)));
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, index, vector::BroadcastOp::create(b, type, bounded));
}

Value KernelBuilder::loadPart(Type element, Value pointer, Value offset, int64_t lanes, Value count) {
  auto type = VectorType::get(lanes, element);
  Value address = at(pointer, offset, element);
  Value zero = constant(type, 0);
  Value loaded = LLVM::MaskedLoadOp::create(b, type, address, tailMask(lanes, count), zero,
                                            static_cast<uint32_t>(byteWidth(element)));
  return lanes == 1 ? vector::ExtractOp::create(b, loaded, 0).getResult() : loaded;
}

void KernelBuilder::storePart(Value value, Value pointer, Value offset, Value count) {
  Type element = elementOf(value.getType());
  if (!isa<VectorType>(value.getType()))
    value = vector::BroadcastOp::create(b, VectorType::get(1, element), value);
  LLVM::MaskedStoreOp::create(b, value, at(pointer, offset, element), tailMask(lanesOf(value.getType()), count),
                              static_cast<uint32_t>(byteWidth(element)));
}

Value KernelBuilder::load(Type element, Value pointer, Value offset, Piece piece) {
  if (piece.isFull())
    return load(element, pointer, offset, piece.lanes);
  return loadPart(element, pointer, offset, piece.lanes, i64(piece.count));
}

void KernelBuilder::store(Value value, Value pointer, Value offset, Piece piece) {
  if (piece.isFull())
    return store(value, pointer, offset);
  storePart(value, pointer, offset, i64(piece.count));
}

void KernelBuilder::fillZero(Value pointer, Type element, int64_t count) {
  loopPieces(element, count, [&](Value i, Piece piece) {
    Type type = piece.lanes == 1 ? element : VectorType::get(piece.lanes, element);
    store(constant(type, 0), pointer, i, piece);
  });
}

//===--- Control ---===//

void KernelBuilder::loop(Value from, Value to, int64_t step, Body body) {
  auto loopOp = scf::ForOp::create(b, from, to, i64(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loopOp.getBody()->getTerminator());
  body(loopOp.getInductionVar());
}

SmallVector<Value> KernelBuilder::loop(Value from, Value to, int64_t step, ValueRange carried, CarryBody body) {
  if (carried.empty()) {
    loop(from, to, step, [&](Value i) { body(i, {}); });
    return {};
  }
  auto loopOp = scf::ForOp::create(b, from, to, i64(step), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loopOp.getBody());
  SmallVector<Value> next = body(loopOp.getInductionVar(), loopOp.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return SmallVector<Value>(loopOp.getResults());
}

void KernelBuilder::repeat(int64_t most, llvm::function_ref<Value()> goesOn, llvm::function_ref<void()> body) {
  Type integer = b.getI64Type();
  Location loc = b.getLoc();
  auto loopOp = scf::WhileOp::create(b, TypeRange(integer), ValueRange(i64(0)));
  OpBuilder::InsertionGuard guard(b);
  Value before = b.createBlock(&loopOp.getBefore(), {}, integer, loc)->getArgument(0);
  Value more = goesOn();
  scf::ConditionOp::create(b, both(less(before, i64(most)), more), before);
  Value done = b.createBlock(&loopOp.getAfter(), {}, integer, loc)->getArgument(0);
  body();
  scf::YieldOp::create(b, add(done, i64(1)));
}

void KernelBuilder::loopVectors(Type element, int64_t count, llvm::function_ref<void(Value, int64_t)> body) {
  int64_t width = lanes(element), full = count / width * width;
  if (full == width)
    body(i64(0), width);
  else if (full)
    loop(i64(0), i64(full), width, [&](Value i) { body(i, width); });
  if (count - full == 1 && width != 1)
    body(i64(full), 1);
  else if (count > full)
    loop(i64(full), i64(count), 1, [&](Value i) { body(i, 1); });
}

void KernelBuilder::loopPieces(int64_t width, int64_t count, llvm::function_ref<void(Value, Piece)> body) {
  int64_t full = count / width * width;
  if (full == width)
    body(i64(0), Piece{width, width});
  else if (full)
    loop(i64(0), i64(full), width, [&](Value i) { body(i, Piece{width, width}); });
  int64_t rest = count - full;
  if (rest == 1)
    body(i64(full), Piece{1, 1});
  else if (rest)
    body(i64(full), Piece{static_cast<int64_t>(llvm::PowerOf2Ceil(rest)), rest});
}

Value KernelBuilder::reduceVectors(Type element, int64_t count, Value init,
                                   llvm::function_ref<Value(Value, int64_t, Value)> body,
                                   llvm::function_ref<Value(Value, Value)> join,
                                   llvm::function_ref<Value(Value)> joinLanes) {
  // Four accumulators hide the latency of the addition; below that many vectors one is enough.
  constexpr int64_t kChains = 4;
  int64_t width = lanes(element), vectors = count / width, done = 0;
  Value total = init;
  if (vectors && width > 1) {
    Value start = splat(init, width);
    Value sum = start;
    if (vectors >= 2 * kChains) {
      int64_t end = vectors / kChains * kChains * width;
      SmallVector<Value> sums(kChains, start);
      sums = loop(i64(0), i64(end), kChains * width, sums, [&](Value i, ValueRange carried) {
        SmallVector<Value> next;
        for (int64_t chain = 0; chain < kChains; ++chain)
          next.push_back(body(add(i, i64(chain * width)), width, carried[chain]));
        return next;
      });
      sum = join(join(sums[0], sums[1]), join(sums[2], sums[3]));
      done = end;
    }
    if (done < vectors * width)
      sum = loop(i64(done), i64(vectors * width), width, ValueRange{sum},
                 [&](Value i, ValueRange carried) { return SmallVector<Value>{body(i, width, carried[0])}; })[0];
    total = joinLanes(sum);
    done = vectors * width;
  }
  if (done < count)
    total = loop(i64(done), i64(count), 1, ValueRange{total},
                 [&](Value i, ValueRange carried) { return SmallVector<Value>{body(i, 1, carried[0])}; })[0];
  return total;
}

void KernelBuilder::when(Value condition, llvm::function_ref<void()> then) {
  auto branch = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(branch.thenBlock()->getTerminator());
  then();
}

void KernelBuilder::when(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(b, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(branch.thenBlock()->getTerminator());
  then();
  b.setInsertionPoint(branch.elseBlock()->getTerminator());
  otherwise();
}

SmallVector<Value> KernelBuilder::choose(TypeRange types, Value condition,
                                         llvm::function_ref<SmallVector<Value>()> then,
                                         llvm::function_ref<SmallVector<Value>()> otherwise) {
  auto branch = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(branch.thenBlock());
  scf::YieldOp::create(b, then());
  b.setInsertionPointToEnd(branch.elseBlock());
  scf::YieldOp::create(b, otherwise());
  return SmallVector<Value>(branch.getResults());
}

} // namespace moec::kernel
