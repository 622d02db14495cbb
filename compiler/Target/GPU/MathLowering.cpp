#include "compiler/Target/GPU/MathLowering.h"

#include "dialects/Moe/IR/Moe.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace moec::gpu {

namespace {

/// Short names for arithmetic on scalars and vectors alike.
class Formula {
public:
  Formula(OpBuilder &builder, Location loc) : b(loc, builder) {}

  static Type like(Type type, Type element) {
    auto vector = dyn_cast<VectorType>(type);
    return vector ? Type(VectorType::get(vector.getShape(), element)) : element;
  }

  Value number(Type type, double value) {
    auto element = cast<FloatType>(getElementTypeOrSelf(type));
    return constant(type, b.getFloatAttr(element, value));
  }
  Value integer(Type type, int64_t value) {
    return constant(type, b.getIntegerAttr(getElementTypeOrSelf(type), value));
  }
  /// Integers of the width of `type`'s floats.
  Type bitsType(Type type) { return like(type, b.getIntegerType(getElementTypeOrSelf(type).getIntOrFloatBitWidth())); }
  Value bits(Value a) { return arith::BitcastOp::create(b, bitsType(a.getType()), a); }
  Value floats(Type type, Value a) { return arith::BitcastOp::create(b, type, a); }
  Value extend(Value a) { return arith::ExtFOp::create(b, like(a.getType(), b.getF64Type()), a); }
  Value narrow(Value a) { return arith::TruncFOp::create(b, like(a.getType(), b.getF32Type()), a); }

  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value add(Value x, double y) { return add(x, number(x.getType(), y)); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value mul(Value x, double y) { return mul(x, number(x.getType(), y)); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, x, y, z); }
  Value fma(Value x, double y, Value z) { return fma(x, number(x.getType(), y), z); }
  Value abs(Value x) { return math::AbsFOp::create(b, x); }
  Value withSign(Value x, Value sign) { return math::CopySignOp::create(b, x, sign); }
  Value floor(Value x) { return math::FloorOp::create(b, x); }
  Value less(Value x, double y) {
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, number(x.getType(), y));
  }
  Value greater(Value x, double y) {
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, number(x.getType(), y));
  }
  Value equal(Value x, double y) {
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, x, number(x.getType(), y));
  }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value select(Value condition, double x, Value y) { return select(condition, number(y.getType(), x), y); }

  /// coefficients[0] + coefficients[1] x + ..., by Horner.
  Value polynomial(Value x, ArrayRef<double> coefficients) {
    Value sum = number(x.getType(), coefficients.back());
    for (double coefficient : llvm::reverse(coefficients.drop_back()))
      sum = fma(sum, x, number(x.getType(), coefficient));
    return sum;
  }
  /// 2^n for whole n between -1022 and 1023 (f64) or -126 and 127 (f32).
  Value powerOfTwo(Value n) {
    bool isDouble = getElementTypeOrSelf(n.getType()).isF64();
    Type type = bitsType(n.getType());
    Value exponent = arith::FPToSIOp::create(b, type, n);
    Value biased = arith::AddIOp::create(b, exponent, integer(type, isDouble ? 1023 : 127));
    return floats(n.getType(), arith::ShLIOp::create(b, biased, integer(type, isDouble ? 52 : 23)));
  }

  ImplicitLocOpBuilder b;

private:
  Value constant(Type type, TypedAttr scalar) {
    if (auto vector = dyn_cast<VectorType>(type))
      return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, Attribute(scalar)));
    return arith::ConstantOp::create(b, scalar);
  }
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

//===--- f32 ---===//

constexpr double kLog2E = 0x1.715476p+0;

/// The hardware has 2^x. The multiplication gives the result a relative error of up to |x| 2^-24: at most 4e-6 where
/// the result is finite, and very little for the small |x| that dominate sums of exponentials. Splitting the
/// multiplication into two steps would be exact, but would take five times as many instructions.
Value exp32(Formula &f, Value x) { return math::Exp2Op::create(f.b, f.mul(x, kLog2E)); }

/// exp(-x) is infinite where the result is 0.
Value sigmoid32(Formula &f, Value x) {
  Value e = math::Exp2Op::create(f.b, f.mul(x, -kLog2E));
  return f.div(f.number(x.getType(), 1), f.add(e, 1));
}

//===--- f64 ---===//

constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;

/// Coefficients 1/n! of x^first, x^(first + step), ..., with alternating signs if `alternate`.
SmallVector<double> taylor(int first, int step, int last, bool alternate) {
  SmallVector<double> coefficients;
  double factorial = 1, sign = 1;
  for (int n = 0, next = first; n <= last; ++n) {
    if (n > 1)
      factorial *= n;
    if (n != next)
      continue;
    coefficients.push_back(sign / factorial);
    next += step;
    if (alternate)
      sign = -sign;
  }
  return coefficients;
}

Value exp64(Formula &f, Value x) {
  Type type = x.getType();
  Value n = f.floor(f.fma(x, 0x1.71547652b82fep+0, f.number(type, 0.5)));
  // Keeps 2^n in range for any x; results for x outside the range are replaced below.
  n = arith::MaxNumFOp::create(f.b, arith::MinNumFOp::create(f.b, n, f.number(type, 1024)), f.number(type, -1021));
  Value r = f.fma(n, -kLn2Low, f.fma(n, -kLn2High, x));
  Value result = f.polynomial(r, taylor(0, 1, 13, false));
  // 2^1024 is not representable, so the factor is applied in two halves.
  result = f.mul(f.mul(result, f.powerOfTwo(f.add(n, -1))), 2);
  result = f.select(f.less(x, -708), 0, result); // below 2^-1022
  return f.select(f.greater(x, 0x1.62e42fefa39efp+9), kInfinity, result);
}

/// Uses exp only of numbers <= 0, so it cannot overflow.
Value sigmoid64(Formula &f, Value x) {
  Value e = exp64(f, f.mul(f.abs(x), -1));
  return f.div(f.select(f.less(x, 0), e, f.number(x.getType(), 1)), f.add(e, 1));
}

/// log(m 2^e) = 2 atanh((m - 1) / (m + 1)) + e log(2) with m between sqrt(1/2) and sqrt(2).
Value log64(Formula &f, Value x) {
  Type type = x.getType(), bits = f.bitsType(type);
  Value whole = f.bits(x);
  // Moves the border between exponents to sqrt(1/2).
  Value offset = f.integer(bits, 0x3fe6a09e667f3bcd);
  Value above = arith::SubIOp::create(f.b, whole, offset);
  Value exponent = arith::ShRSIOp::create(f.b, above, f.integer(bits, 52));
  Value high = arith::ShLIOp::create(f.b, exponent, f.integer(bits, 52));
  Value m = f.floats(type, arith::SubIOp::create(f.b, whole, high));
  Value e = arith::SIToFPOp::create(f.b, type, exponent);
  Value s = f.div(f.add(m, -1), f.add(m, 1));
  SmallVector<double> coefficients;
  for (int k = 0; k <= 11; ++k)
    coefficients.push_back(2.0 / (2 * k + 1));
  Value square = f.mul(s, s);
  Value result = f.mul(s, f.polynomial(square, coefficients));
  result = f.fma(e, kLn2High, f.fma(e, kLn2Low, result));
  result = f.select(f.equal(x, kInfinity), kInfinity, result);
  result = f.select(f.less(x, 0), kNan, result);
  result = f.select(f.less(f.abs(x), 0x1p-1022), -kInfinity, result); // zero; subnormals count as zero
  return f.select(arith::CmpFOp::create(f.b, arith::CmpFPredicate::UNO, x, x), x, result);
}

/// sin(x + quarter pi/2). x is reduced by multiples of pi/2 in three parts: exact to 1e-13 for |x| < 1e6.
Value sine64(Formula &f, Value x, int64_t quarter) {
  Type type = x.getType(), bits = f.bitsType(type);
  constexpr double kHalfPi[] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69};
  Value n = f.floor(f.fma(x, 0x1.45f306dc9c883p-1, f.number(type, 0.5)));
  Value r = x;
  for (double part : kHalfPi)
    r = f.fma(n, -part, r);
  Value square = f.mul(r, r);
  Value sine = f.mul(r, f.polynomial(square, taylor(1, 2, 19, true)));
  Value cosine = f.polynomial(square, taylor(0, 2, 18, true));
  Value turns = arith::AddIOp::create(f.b, arith::FPToSIOp::create(f.b, bits, n), f.integer(bits, quarter));
  auto bitSet = [&](int64_t bit) {
    Value masked = arith::AndIOp::create(f.b, turns, f.integer(bits, bit));
    return arith::CmpIOp::create(f.b, arith::CmpIPredicate::ne, masked, f.integer(bits, 0));
  };
  Value result = f.select(bitSet(1), cosine, sine);
  result = f.select(bitSet(2), f.mul(result, -1), result);
  return f.select(f.less(f.abs(x), kInfinity), result, f.number(type, kNan));
}

/// The series near 0, where exp(x) - 1 would cancel.
Value expm164(Formula &f, Value x) {
  SmallVector<double> coefficients = taylor(1, 1, 15, false);
  Value near = f.mul(x, f.polynomial(x, coefficients));
  return f.select(f.less(f.abs(x), 0.4), near, f.add(exp64(f, x), -1));
}

/// log(u) plus a correction for the rounding of 1 + x to u.
Value log1p64(Formula &f, Value x) {
  Value u = f.add(x, 1);
  Value lost = f.div(f.sub(x, f.add(u, -1)), u);
  Value result = f.add(log64(f, u), lost);
  // If u is 0 or infinite, there is no correction.
  Value plain = f.select(f.equal(x, -1), -kInfinity, result);
  return f.select(f.equal(x, kInfinity), kInfinity, plain);
}

Value tanh64(Formula &f, Value x) {
  // Beyond 20 the result is 1 to the last bit.
  Value size = arith::MinimumFOp::create(f.b, f.abs(x), f.number(x.getType(), 20));
  Value grown = expm164(f, f.mul(size, 2));
  return f.withSign(f.div(grown, f.add(grown, 2)), x);
}

/// The series below 1; above, 1 - exp(-x^2) g(u) with u = (x - 2.5) / (x + 2.5), g fitted (Chebyshev) to 1e-17 between
/// 1 and 6. Beyond 6 the result is 1 to the last bit.
Value erf64(Formula &f, Value x) {
  static const double fitted[] = {
      0x1.afbb3f3b7343ap-3,  -0x1.7ca88dec217a4p-2,  0x1.01c11a735ce12p-2,   -0x1.001154371704cp-3,
      0x1.470ba1f66220cp-5,  -0x1.05bb2fe3d797cp-8,  -0x1.5a57167cd25c8p-9,  0x1.cb3b600ad87b6p-11,
      0x1.def25794251e9p-13, -0x1.0e460ac2287b2p-13, -0x1.1ea84db776574p-15, 0x1.38381b1459556p-16,
      0x1.f64be7b5a367bp-18, -0x1.32951befcce73p-19, -0x1.a36ff5774dd16p-20, 0x1.5d5e7634f4ca6p-24};
  SmallVector<double> series;
  double factorial = 1;
  for (int n = 0; n <= 19; ++n) {
    factorial *= std::max(n, 1);
    series.push_back(0x1.20dd750429b6dp+0 * (n % 2 ? -1 : 1) / (factorial * (2 * n + 1))); // 2 / sqrt(pi)
  }
  Value near = f.mul(x, f.polynomial(f.mul(x, x), series));
  Value size = arith::MinimumFOp::create(f.b, f.abs(x), f.number(x.getType(), 6));
  Value u = f.div(f.add(size, -2.5), f.add(size, 2.5));
  Value rest = f.mul(exp64(f, f.mul(f.mul(size, size), -1)), f.polynomial(u, fitted));
  Value far = f.withSign(f.sub(f.number(x.getType(), 1), rest), x);
  return f.select(f.less(f.abs(x), 1), near, far);
}

/// x^y = exp(y log x). A negative x has a power only if y is whole.
Value pow64(Formula &f, Value x, Value y) {
  Type type = x.getType();
  Value power = exp64(f, f.mul(y, log64(f, f.abs(x))));
  Value isWhole = arith::CmpFOp::create(f.b, arith::CmpFPredicate::OEQ, f.floor(y), y);
  Value half = f.mul(y, 0.5);
  Value isOdd = arith::CmpFOp::create(f.b, arith::CmpFPredicate::ONE, f.floor(half), half);
  Value ofNegative = f.select(isWhole, f.select(isOdd, f.mul(power, -1), power), f.number(type, kNan));
  Value result = f.select(f.less(x, 0), ofNegative, power);
  return f.select(f.equal(y, 0), 1, f.select(f.equal(x, 1), 1, result));
}

//===--- Patterns ---===//

using Unary = Value (*)(Formula &, Value);

/// One op, its formula for f32 (or, if there is none, for f64 after extension) and f64.
template <typename Op> struct Expand : OpRewritePattern<Op> {
  Expand(MLIRContext *context, Unary single, Unary twice)
      : OpRewritePattern<Op>(context), single(single), twice(twice) {}

  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    Type element = getElementTypeOrSelf(op.getType());
    Formula f(rewriter, op.getLoc());
    Value x = op.getOperand();
    if (element.isF32() && single)
      rewriter.replaceOp(op, single(f, x));
    else if (element.isF32() && twice)
      rewriter.replaceOp(op, f.narrow(twice(f, f.extend(x))));
    else if (element.isF64() && twice)
      rewriter.replaceOp(op, twice(f, x));
    else
      return failure();
    return success();
  }

  Unary single, twice;
};

/// For f64 only; f32 uses MLIR's own polynomials.
template <typename Op> struct ExpandDouble : OpRewritePattern<Op> {
  ExpandDouble(MLIRContext *context, Unary formula) : OpRewritePattern<Op>(context), formula(formula) {}

  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF64())
      return failure();
    Formula f(rewriter, op.getLoc());
    rewriter.replaceOp(op, formula(f, op.getOperand()));
    return success();
  }

  Unary formula;
};

struct ExpandPow : OpRewritePattern<math::PowFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::PowFOp op, PatternRewriter &rewriter) const override {
    Type element = getElementTypeOrSelf(op.getType());
    Formula f(rewriter, op.getLoc());
    if (element.isF64())
      rewriter.replaceOp(op, pow64(f, op.getLhs(), op.getRhs()));
    else if (element.isF32())
      rewriter.replaceOp(op, f.narrow(pow64(f, f.extend(op.getLhs()), f.extend(op.getRhs()))));
    else
      return failure();
    return success();
  }
};

/// `op` as one instruction on f32 x, lane by lane.
LogicalResult replaceByInstruction(Operation *op, Value x, StringRef intrinsic, PatternRewriter &rewriter) {
  if (!getElementTypeOrSelf(x.getType()).isF32())
    return failure();
  auto single = [&](Value lane) -> Value {
    return LLVM::CallIntrinsicOp::create(rewriter, op->getLoc(), rewriter.getF32Type(),
                                         rewriter.getStringAttr(intrinsic), lane)
        .getResult(0);
  };
  auto vector = dyn_cast<VectorType>(x.getType());
  if (!vector) {
    rewriter.replaceOp(op, single(x));
    return success();
  }
  SmallVector<Value> lanes;
  for (int64_t i = 0; i < vector.getNumElements(); ++i)
    lanes.push_back(single(vector::ExtractOp::create(rewriter, op->getLoc(), x, i)));
  rewriter.replaceOpWithNewOp<vector::FromElementsOp>(op, vector, lanes);
  return success();
}

template <typename Op> struct ToInstruction : OpRewritePattern<Op> {
  ToInstruction(MLIRContext *context, StringRef intrinsic) : OpRewritePattern<Op>(context), intrinsic(intrinsic) {}

  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    return replaceByInstruction(op, op.getOperand(), intrinsic, rewriter);
  }

  StringRef intrinsic;
};

/// 1 / x. Subnormal x count as zero, subnormal results are zero.
struct ToReciprocal : OpRewritePattern<arith::DivFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::DivFOp op, PatternRewriter &rewriter) const override {
    if (!matchPattern(op.getLhs(), m_OneFloat()))
      return failure();
    return replaceByInstruction(op, op.getRhs(), "llvm.nvvm.rcp.approx.ftz.f", rewriter);
  }
};

Value assembly(OpBuilder &b, Location loc, Type result, StringRef text, StringRef constraints, ValueRange operands) {
  return LLVM::InlineAsmOp::create(b, loc, TypeRange(result), operands, text, constraints, /*has_side_effects=*/false,
                                   /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None,
                                   LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT), ArrayAttr())
      ->getResult(0);
}

bool isFloat8(Type type) { return isa<Float8E4M3FNType>(getElementTypeOrSelf(type)); }
int64_t lanesOf(Type type) { return isa<VectorType>(type) ? cast<VectorType>(type).getNumElements() : 1; }
Value laneOf(OpBuilder &b, Location loc, Value value, int64_t lane) {
  return isa<VectorType>(value.getType()) ? vector::ExtractOp::create(b, loc, value, lane).getResult() : value;
}

/// f32 to f8 by the instruction, which takes two numbers, rounds to nearest, ties to even, and saturates at 448. Its
/// results are bytes, because LLVM has no such type.
struct NarrowToFloat8 : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::TruncFOp op, PatternRewriter &rewriter) const override {
    if (!isFloat8(op.getType()) || !getElementTypeOrSelf(op.getIn().getType()).isF32())
      return failure();
    Location loc = op.getLoc();
    int64_t lanes = lanesOf(op.getType());
    Type i8 = rewriter.getI8Type(), i16 = rewriter.getI16Type();
    SmallVector<Value> bytes;
    for (int64_t lane = 0; lane < lanes; lane += 2) {
      Value low = laneOf(rewriter, loc, op.getIn(), lane);
      Value high = lane + 1 < lanes ? laneOf(rewriter, loc, op.getIn(), lane + 1) : low;
      Value both = assembly(rewriter, loc, i16, "cvt.rn.satfinite.e4m3x2.f32 $0, $2, $1;", "=h,f,f", {low, high});
      Value pair = LLVM::BitcastOp::create(rewriter, loc, VectorType::get(2, i8), both);
      for (int64_t i = lane; i < std::min(lane + 2, lanes); ++i)
        bytes.push_back(vector::ExtractOp::create(rewriter, loc, pair, i - lane));
    }
    Value packed = bytes.front();
    if (auto vector = dyn_cast<VectorType>(op.getType()))
      packed = vector::FromElementsOp::create(rewriter, loc, VectorType::get(vector.getShape(), i8), bytes);
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), packed);
    return success();
  }
};

/// f8 to f32, by way of f16, which holds every f8.
struct WidenFloat8 : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::ExtFOp op, PatternRewriter &rewriter) const override {
    if (!isFloat8(op.getIn().getType()) || !getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    Location loc = op.getLoc();
    int64_t lanes = lanesOf(op.getType());
    Type i8 = rewriter.getI8Type(), i16 = rewriter.getI16Type(), i32 = rewriter.getI32Type();
    Value bytes = arith::BitcastOp::create(rewriter, loc, Formula::like(op.getType(), i8), op.getIn());
    SmallVector<Value> numbers;
    for (int64_t lane = 0; lane < lanes; lane += 2) {
      Value low = laneOf(rewriter, loc, bytes, lane);
      Value high = lane + 1 < lanes ? laneOf(rewriter, loc, bytes, lane + 1) : low;
      Value pair = vector::FromElementsOp::create(rewriter, loc, VectorType::get(2, i8), ValueRange{low, high});
      Value both = LLVM::BitcastOp::create(rewriter, loc, i16, pair);
      Value halves = assembly(rewriter, loc, i32, "cvt.rn.f16x2.e4m3x2 $0, $1;", "=r,h", both);
      halves = LLVM::BitcastOp::create(rewriter, loc, VectorType::get(2, rewriter.getF16Type()), halves);
      for (int64_t i = lane; i < std::min(lane + 2, lanes); ++i) {
        Value half = vector::ExtractOp::create(rewriter, loc, halves, i - lane);
        numbers.push_back(arith::ExtFOp::create(rewriter, loc, rewriter.getF32Type(), half));
      }
    }
    if (auto vector = dyn_cast<VectorType>(op.getType()))
      rewriter.replaceOpWithNewOp<vector::FromElementsOp>(op, vector, numbers);
    else
      rewriter.replaceOp(op, numbers.front());
    return success();
  }
};

struct LowerKernelMath : PassWrapper<LowerKernelMath, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerKernelMath)

  StringRef getArgument() const override { return "moec-gpu-lower-math"; }
  StringRef getDescription() const override { return "Expands math ops to arith and instructions of the GPU"; }

  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect, vector::VectorDialect, LLVM::LLVMDialect, ub::UBDialect>();
  }

  void runOnOperation() override {
    RewritePatternSet expansions(&getContext());
    populateMathExpansions(expansions);
    if (failed(applyPatternsGreedily(getOperation(), std::move(expansions))))
      return signalPassFailure();
    RewritePatternSet instructions(&getContext());
    instructions.add<ToInstruction<math::Exp2Op>>(&getContext(), "llvm.nvvm.ex2.approx.ftz.f32");
    instructions.add<ToInstruction<math::RsqrtOp>>(&getContext(), "llvm.nvvm.rsqrt.approx.f");
    instructions.add<ToReciprocal, NarrowToFloat8, WidenFloat8>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(instructions))))
      return signalPassFailure();
    // IEEE division takes a dozen instructions and a branch. The hardware's approximation has an error of at most 2 ulp
    // for divisors below 2^126.
    getOperation().walk([](arith::DivFOp op) {
      if (getElementTypeOrSelf(op.getType()).isF32())
        op.setFastmath(op.getFastmath() | arith::FastMathFlags::afn);
    });
    if (getOperation().walk([](Operation *op) { return check(op); }).wasInterrupted())
      signalPassFailure();
  }

  /// LLVM would end the process at a function that the GPU does not have.
  static WalkResult check(Operation *op) {
    if (!isa_and_present<math::MathDialect>(op->getDialect()) ||
        isa<math::FmaOp, math::FloorOp, math::CeilOp, math::RoundEvenOp, math::TruncOp, math::AbsFOp, math::AbsIOp,
            math::CopySignOp, math::SqrtOp, math::CountLeadingZerosOp, math::CountTrailingZerosOp, math::CtPopOp,
            math::IsFiniteOp, math::IsNaNOp, math::IsInfOp>(op))
      return WalkResult::advance();
    op->emitOpError("on ") << op->getResult(0).getType() << " has no expansion for GPUs";
    return WalkResult::interrupt();
  }
};

} // namespace

void populateMathExpansions(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<Expand<math::ExpOp>>(context, exp32, exp64);
  patterns.add<Expand<moe::SigmoidOp>>(context, sigmoid32, sigmoid64);
  Unary sine = [](Formula &f, Value x) { return sine64(f, x, 0); };
  Unary cosine = [](Formula &f, Value x) { return sine64(f, x, 1); };
  // sin and cos fill tables of large angles once, so f32 has no reduction of its own.
  patterns.add<Expand<math::SinOp>>(context, nullptr, sine);
  patterns.add<Expand<math::CosOp>>(context, nullptr, cosine);
  patterns.add<ExpandPow>(context);
  patterns.add<ExpandDouble<math::LogOp>>(context, log64);
  patterns.add<ExpandDouble<math::Log2Op>>(
      context, [](Formula &f, Value x) { return f.mul(log64(f, x), 0x1.71547652b82fep+0); });
  patterns.add<ExpandDouble<math::Log1pOp>>(context, log1p64);
  patterns.add<ExpandDouble<math::ExpM1Op>>(context, expm164);
  patterns.add<ExpandDouble<math::TanhOp>>(context, tanh64);
  patterns.add<ExpandDouble<math::ErfOp>>(context, erf64);
  patterns.add<ExpandDouble<math::Exp2Op>>(
      context, [](Formula &f, Value x) { return exp64(f, f.mul(x, 0x1.62e42fefa39efp-1)); });
  patterns.add<ExpandDouble<math::RsqrtOp>>(
      context, [](Formula &f, Value x) { return f.div(f.number(x.getType(), 1), math::SqrtOp::create(f.b, x)); });
  // These match f32 only, and are what CPUs use too.
  populateMathPolynomialApproximationPatterns(patterns, [](StringRef name) {
    static const StringRef names[] = {math::LogOp::getOperationName(),   math::Log2Op::getOperationName(),
                                      math::ExpM1Op::getOperationName(), math::Log1pOp::getOperationName(),
                                      math::TanhOp::getOperationName(),  math::ErfOp::getOperationName()};
    return llvm::is_contained(names, name);
  });
}

std::unique_ptr<Pass> createLowerKernelMath() { return std::make_unique<LowerKernelMath>(); }

} // namespace moec::gpu
