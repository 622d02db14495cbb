// The pure ops of the interpreter. They run for all threads, masked or not: nobody reads what idle threads compute.
#include "test/numerics/SimtInterpreter.h"

#include "dialects/Moe/IR/Moe.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "test/numerics/Float8.h"
#include "llvm/ADT/bit.h"
#include <cmath>
#include <cstring>

using namespace mlir;

namespace moec::test {

namespace {
template <typename T> T decode(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <typename T> uint64_t encode(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

unsigned widthOf(Type element) { return isa<IndexType>(element) ? 64 : element.getIntOrFloatBitWidth(); }
uint64_t truncate(uint64_t bits, unsigned width) { return width == 64 ? bits : bits & ((uint64_t(1) << width) - 1); }
int64_t extend(uint64_t bits, unsigned width) { return int64_t(bits << (64 - width)) >> (64 - width); }

double toDouble(uint64_t bits, Type element) {
  if (element.isF32())
    return decode<float>(bits);
  if (element.isBF16())
    return decode<float>(bits << 16);
  if (isa<Float8E4M3FNType>(element))
    return float8ToDouble(uint8_t(bits));
  return decode<double>(bits);
}
uint64_t fromDouble(double value, Type element) {
  if (element.isF32())
    return encode(static_cast<float>(value));
  if (isa<Float8E4M3FNType>(element))
    return doubleToFloat8(value);
  if (!element.isBF16())
    return encode(value);
  auto bits = uint32_t(encode(static_cast<float>(value)));
  if (std::isnan(value))
    return 0x7FC0;
  return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16; // to nearest, ties to even
}

template <typename T> T maximum(T a, T b) { return std::isnan(a) || std::isnan(b) ? T(NAN) : std::max(a, b); }
template <typename T> T minimum(T a, T b) { return std::isnan(a) || std::isnan(b) ? T(NAN) : std::min(a, b); }

/// The float ops, by number of operands; null when `op` is none.
template <typename T> T (*unaryOf(Operation *op))(T) {
  if (isa<arith::NegFOp>(op))
    return [](T a) { return -a; };
  if (isa<math::ExpOp>(op))
    return [](T a) { return std::exp(a); };
  if (isa<math::Exp2Op>(op))
    return [](T a) { return std::exp2(a); };
  if (isa<moe::SigmoidOp>(op))
    return [](T a) { return 1 / (1 + std::exp(-a)); };
  if (isa<math::ExpM1Op>(op))
    return [](T a) { return std::expm1(a); };
  if (isa<math::LogOp>(op))
    return [](T a) { return std::log(a); };
  if (isa<math::Log2Op>(op))
    return [](T a) { return std::log2(a); };
  if (isa<math::Log1pOp>(op))
    return [](T a) { return std::log1p(a); };
  if (isa<math::SqrtOp>(op))
    return [](T a) { return std::sqrt(a); };
  if (isa<math::RsqrtOp>(op))
    return [](T a) { return 1 / std::sqrt(a); };
  if (isa<math::SinOp>(op))
    return [](T a) { return std::sin(a); };
  if (isa<math::CosOp>(op))
    return [](T a) { return std::cos(a); };
  if (isa<math::TanhOp>(op))
    return [](T a) { return std::tanh(a); };
  if (isa<math::ErfOp>(op))
    return [](T a) { return std::erf(a); };
  if (isa<math::AbsFOp>(op))
    return [](T a) { return std::fabs(a); };
  if (isa<math::FloorOp>(op))
    return [](T a) { return std::floor(a); };
  if (isa<math::CeilOp>(op))
    return [](T a) { return std::ceil(a); };
  return nullptr;
}
template <typename T> T (*binaryOf(Operation *op))(T, T) {
  if (isa<arith::AddFOp>(op))
    return [](T a, T b) { return a + b; };
  if (isa<arith::SubFOp>(op))
    return [](T a, T b) { return a - b; };
  if (isa<arith::MulFOp>(op))
    return [](T a, T b) { return a * b; };
  if (isa<arith::DivFOp>(op))
    return [](T a, T b) { return a / b; };
  if (isa<arith::RemFOp>(op))
    return [](T a, T b) { return std::fmod(a, b); };
  if (isa<arith::MaximumFOp>(op))
    return maximum<T>;
  if (isa<arith::MinimumFOp>(op))
    return minimum<T>;
  if (isa<arith::MaxNumFOp>(op))
    return [](T a, T b) { return std::fmax(a, b); };
  if (isa<arith::MinNumFOp>(op))
    return [](T a, T b) { return std::fmin(a, b); };
  if (isa<math::PowFOp>(op))
    return [](T a, T b) { return std::pow(a, b); };
  if (isa<math::CopySignOp>(op))
    return [](T a, T b) { return std::copysign(a, b); };
  return nullptr;
}

/// Two integers of `width` bits, unsigned (a, b) and signed (x, y).
struct Integers {
  Integers(uint64_t a, uint64_t b, unsigned width)
      : a(a), b(b), x(extend(a, width)), y(extend(b, width)), width(width) {}
  uint64_t a, b;
  int64_t x, y;
  unsigned width;
};

/// The integer ops of two operands; the caller truncates the result. Null when `op` is none.
uint64_t (*integerOf(Operation *op))(Integers) {
  if (isa<arith::AddIOp, LLVM::AddOp>(op))
    return [](Integers n) -> uint64_t { return n.a + n.b; };
  if (isa<arith::SubIOp, LLVM::SubOp>(op))
    return [](Integers n) -> uint64_t { return n.a - n.b; };
  if (isa<arith::MulIOp, LLVM::MulOp>(op))
    return [](Integers n) -> uint64_t { return n.a * n.b; };
  if (isa<arith::AndIOp, LLVM::AndOp>(op))
    return [](Integers n) -> uint64_t { return n.a & n.b; };
  if (isa<arith::OrIOp, LLVM::OrOp>(op))
    return [](Integers n) -> uint64_t { return n.a | n.b; };
  if (isa<arith::XOrIOp, LLVM::XOrOp>(op))
    return [](Integers n) -> uint64_t { return n.a ^ n.b; };
  if (isa<arith::ShLIOp, LLVM::ShlOp>(op))
    return [](Integers n) -> uint64_t { return n.b >= n.width ? 0 : n.a << n.b; };
  if (isa<arith::ShRUIOp, LLVM::LShrOp>(op))
    return [](Integers n) -> uint64_t { return n.b >= n.width ? 0 : n.a >> n.b; };
  if (isa<arith::ShRSIOp, LLVM::AShrOp>(op))
    return [](Integers n) -> uint64_t { return n.x >> std::min<uint64_t>(n.b, n.width - 1); };
  if (isa<arith::DivUIOp>(op))
    return [](Integers n) -> uint64_t { return n.b ? n.a / n.b : 0; };
  if (isa<arith::RemUIOp>(op))
    return [](Integers n) -> uint64_t { return n.b ? n.a % n.b : 0; };
  if (isa<arith::DivSIOp>(op))
    return [](Integers n) -> uint64_t { return n.y ? n.x / n.y : 0; };
  if (isa<arith::RemSIOp>(op))
    return [](Integers n) -> uint64_t { return n.y ? n.x % n.y : 0; };
  if (isa<arith::CeilDivUIOp>(op))
    return [](Integers n) -> uint64_t { return n.b ? llvm::divideCeil(n.a, n.b) : 0; };
  if (isa<arith::CeilDivSIOp>(op))
    return [](Integers n) -> uint64_t { return n.y ? llvm::divideCeilSigned(n.x, n.y) : 0; };
  if (isa<arith::FloorDivSIOp>(op))
    return [](Integers n) -> uint64_t { return n.y ? llvm::divideFloorSigned(n.x, n.y) : 0; };
  if (isa<arith::MinSIOp>(op))
    return [](Integers n) -> uint64_t { return std::min(n.x, n.y); };
  if (isa<arith::MaxSIOp>(op))
    return [](Integers n) -> uint64_t { return std::max(n.x, n.y); };
  if (isa<arith::MinUIOp>(op))
    return [](Integers n) -> uint64_t { return std::min(n.a, n.b); };
  if (isa<arith::MaxUIOp>(op))
    return [](Integers n) -> uint64_t { return std::max(n.a, n.b); };
  return nullptr;
}

bool compare(arith::CmpIPredicate predicate, Integers n) {
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return n.a == n.b;
  case arith::CmpIPredicate::ne:
    return n.a != n.b;
  case arith::CmpIPredicate::slt:
    return n.x < n.y;
  case arith::CmpIPredicate::sle:
    return n.x <= n.y;
  case arith::CmpIPredicate::sgt:
    return n.x > n.y;
  case arith::CmpIPredicate::sge:
    return n.x >= n.y;
  case arith::CmpIPredicate::ult:
    return n.a < n.b;
  case arith::CmpIPredicate::ule:
    return n.a <= n.b;
  case arith::CmpIPredicate::ugt:
    return n.a > n.b;
  case arith::CmpIPredicate::uge:
    return n.a >= n.b;
  }
  llvm_unreachable("all predicates have a case");
}
} // namespace

bool SimtInterpreter::runArithmetic(Operation *op) {
  return op->getNumResults() == 1 && (runConstant(op) || runFloat(op) || runInteger(op) || runConversion(op));
}

bool SimtInterpreter::runConstant(Operation *op) {
  Attribute value;
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    value = constant.getValue();
  else if (auto constant = dyn_cast<LLVM::ConstantOp>(op))
    value = constant.getValue();
  else if (isa<LLVM::PoisonOp, LLVM::UndefOp, LLVM::ZeroOp, ub::PoisonOp>(op)) {
    Slot &result = slot(op->getResult(0));
    result.bits.assign(result.bits.size(), 0);
    return true;
  } else {
    return false;
  }
  Slot &result = slot(op->getResult(0));
  auto put = [&](int64_t lane, Attribute element) {
    APInt bits = isa<FloatAttr>(element) ? cast<FloatAttr>(element).getValue().bitcastToAPInt()
                                         : cast<IntegerAttr>(element).getValue();
    std::fill_n(result.bits.begin() + lane * threads, threads, bits.getZExtValue());
  };
  if (auto elements = dyn_cast<DenseElementsAttr>(value)) {
    int64_t lane = 0;
    for (Attribute element : elements.getValues<Attribute>())
      put(lane++, element);
  } else {
    put(0, value);
  }
  return true;
}

bool SimtInterpreter::runFloat(Operation *op) {
  auto run = [&](auto zero) {
    using T = decltype(zero);
    auto each = [&](auto function) {
      Slot &result = slot(op->getResult(0));
      for (size_t i = 0; i < result.bits.size(); ++i)
        result.bits[i] = encode<T>(function(i));
    };
    if (op->getNumOperands() == 1) {
      if (auto f = unaryOf<T>(op)) {
        const Slot &a = slot(op->getOperand(0));
        return each([&](size_t i) { return f(decode<T>(a.bits[i])); }), true;
      }
    } else if (op->getNumOperands() == 2) {
      if (auto f = binaryOf<T>(op)) {
        const Slot &a = slot(op->getOperand(0)), &b = slot(op->getOperand(1));
        return each([&](size_t i) { return f(decode<T>(a.bits[i]), decode<T>(b.bits[i])); }), true;
      }
    } else if (isa<math::FmaOp, vector::FMAOp, LLVM::FMAOp>(op)) {
      const Slot &a = slot(op->getOperand(0)), &b = slot(op->getOperand(1)), &c = slot(op->getOperand(2));
      return each([&](size_t i) { return std::fma(decode<T>(a.bits[i]), decode<T>(b.bits[i]), decode<T>(c.bits[i])); }),
             true;
    }
    return false;
  };
  if (op->getNumOperands() == 0)
    return false;
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  return element.isF32() ? run(float(0)) : element.isF64() ? run(double(0)) : false;
}

bool SimtInterpreter::runInteger(Operation *op) {
  if (op->getNumOperands() != 2)
    return false;
  Type element = getElementTypeOrSelf(op->getOperand(0).getType());
  const auto is = [&](auto... ops) { return (... || ops); };
  if (auto cmp = dyn_cast<arith::CmpFOp>(op)) {
    const Slot &a = slot(cmp.getLhs()), &b = slot(cmp.getRhs());
    Slot &result = slot(cmp.getResult());
    for (size_t i = 0; i < result.bits.size(); ++i)
      result.bits[i] = arith::applyCmpPredicate(cmp.getPredicate(), APFloat(toDouble(a.bits[i], element)),
                                                APFloat(toDouble(b.bits[i], element)));
    return true;
  }
  if (!is(isa<IntegerType>(element), isa<IndexType>(element)))
    return false;
  unsigned width = widthOf(element);
  const Slot &a = slot(op->getOperand(0)), &b = slot(op->getOperand(1));
  if (auto cmp = dyn_cast<arith::CmpIOp>(op)) {
    Slot &result = slot(cmp.getResult());
    for (size_t i = 0; i < result.bits.size(); ++i)
      result.bits[i] = compare(cmp.getPredicate(), {truncate(a.bits[i], width), truncate(b.bits[i], width), width});
    return true;
  }
  auto f = integerOf(op);
  if (!f)
    return false;
  Slot &result = slot(op->getResult(0));
  for (size_t i = 0; i < result.bits.size(); ++i)
    result.bits[i] = truncate(f({a.bits[i], b.bits[i], width}), width);
  return true;
}

bool SimtInterpreter::runConversion(Operation *op) {
  if (isa<arith::SelectOp, LLVM::SelectOp>(op)) {
    const Slot &condition = slot(op->getOperand(0)), &a = slot(op->getOperand(1)), &b = slot(op->getOperand(2));
    Slot &result = slot(op->getResult(0));
    for (size_t i = 0; i < result.bits.size(); ++i) {
      bool first = condition.bits[condition.lanes == 1 ? i % threads : i] & 1;
      result.bits[i] = first ? a.bits[i] : b.bits[i];
    }
    return true;
  }
  if (op->getNumOperands() != 1)
    return false;
  if (isa<arith::BitcastOp, LLVM::BitcastOp, vector::BitCastOp>(op)) {
    const Slot &from = slot(op->getOperand(0));
    Slot &to = slot(op->getResult(0));
    int64_t fromBits = widthOf(from.element), toBits = widthOf(to.element);
    for (int64_t t = 0; t < threads; ++t)
      for (int64_t lane = 0; lane < to.lanes; ++lane) {
        uint64_t bits = 0;
        for (int64_t bit = lane * toBits; bit < (lane + 1) * toBits; bit += std::min(fromBits, toBits)) {
          uint64_t part = from.bits[bit / fromBits * threads + t] >> (bit % fromBits);
          bits |= truncate(part, std::min(fromBits, toBits)) << (bit - lane * toBits);
        }
        to.bits[lane * threads + t] = bits;
      }
    return true;
  }
  using Convert = llvm::function_ref<uint64_t(uint64_t)>;
  Type from = getElementTypeOrSelf(op->getOperand(0).getType()), to = getElementTypeOrSelf(op->getResult(0).getType());
  auto each = [&](Convert convert) {
    const Slot &source = slot(op->getOperand(0));
    Slot &result = slot(op->getResult(0));
    for (size_t i = 0; i < result.bits.size(); ++i)
      result.bits[i] = convert(source.bits[i]);
    return true;
  };
  auto integerBits = [&](auto number) { return truncate(uint64_t(number), widthOf(to)); };
  if (isa<arith::ExtSIOp, arith::IndexCastOp, LLVM::SExtOp>(op))
    return each([&](uint64_t bits) { return integerBits(extend(bits, widthOf(from))); });
  if (isa<arith::ExtUIOp, arith::TruncIOp, arith::IndexCastUIOp, LLVM::ZExtOp, LLVM::TruncOp>(op))
    return each([&](uint64_t bits) { return integerBits(bits); });
  if (isa<arith::SIToFPOp>(op))
    return each([&](uint64_t bits) { return fromDouble(double(extend(bits, widthOf(from))), to); });
  if (isa<arith::UIToFPOp>(op))
    return each([&](uint64_t bits) { return fromDouble(double(bits), to); });
  if (isa<arith::FPToSIOp>(op))
    return each([&](uint64_t bits) { return integerBits(int64_t(toDouble(bits, from))); });
  if (isa<arith::FPToUIOp>(op))
    return each([&](uint64_t bits) { return integerBits(uint64_t(toDouble(bits, from))); });
  if (isa<arith::ExtFOp, arith::TruncFOp>(op))
    return each([&](uint64_t bits) { return fromDouble(toDouble(bits, from), to); });
  if (isa<math::CtPopOp>(op))
    return each([&](uint64_t bits) { return uint64_t(llvm::popcount(bits)); });
  if (isa<math::CountLeadingZerosOp>(op))
    return each([&](uint64_t bits) { return uint64_t(llvm::countl_zero(bits)) - (64 - widthOf(from)); });
  if (isa<math::CountTrailingZerosOp>(op))
    return each([&](uint64_t bits) { return bits ? uint64_t(llvm::countr_zero(bits)) : uint64_t(widthOf(from)); });
  if (isa<math::AbsIOp>(op))
    return each([&](uint64_t bits) { return integerBits(std::abs(extend(bits, widthOf(from)))); });
  return false;
}

} // namespace moec::test
