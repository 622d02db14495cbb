#include "compiler/Target/Kernel/Float8.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::kernel {

namespace {

/// Adding 1.5 * 2^(e + m - 3) to a number of exponent e, in a type with m bits of mantissa, leaves three bits of its
/// mantissa: the addition rounds to nearest, ties to even. Below 2^-6, e4m3 numbers are 2^-9 apart.
struct RoundToFloat8 : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op, PatternRewriter &rewriter) const override {
    constexpr int64_t kMantissa = 3, kLeastExponent = -6;
    auto narrowed = op.getIn().getDefiningOp<arith::TruncFOp>();
    if (!narrowed || !isa<Float8E4M3FNType>(getElementTypeOrSelf(narrowed.getType())) ||
        narrowed.getIn().getType() != op.getType())
      return failure();
    Location loc = op.getLoc();
    Type type = op.getType();
    auto element = cast<FloatType>(getElementTypeOrSelf(type));
    unsigned mantissa = element.getFPMantissaWidth() - 1, width = element.getWidth();
    int64_t bias = (int64_t(1) << (width - mantissa - 2)) - 1;
    auto vector = dyn_cast<VectorType>(type);
    Type scalar = rewriter.getIntegerType(width), integers = vector ? Type(vector.clone(scalar)) : scalar;
    auto number = [&](int64_t value) -> Value {
      auto attribute = rewriter.getIntegerAttr(scalar, value);
      if (vector)
        return arith::ConstantOp::create(rewriter, loc,
                                         DenseElementsAttr::get(cast<VectorType>(integers), Attribute(attribute)));
      return arith::ConstantOp::create(rewriter, loc, attribute);
    };
    Value value = narrowed.getIn();
    Value bits = arith::BitcastOp::create(rewriter, loc, integers, value);
    Value exponent = arith::AndIOp::create(rewriter, loc, bits, number((2 * bias + 1) << mantissa));
    exponent = arith::MaxSIOp::create(rewriter, loc, exponent, number((bias + kLeastExponent) << mantissa));
    int64_t lift = ((mantissa - kMantissa) << mantissa) + (int64_t(1) << (mantissa - 1));
    Value large =
        arith::BitcastOp::create(rewriter, loc, type, arith::AddIOp::create(rewriter, loc, exponent, number(lift)));
    Value rounded = arith::SubFOp::create(rewriter, loc, arith::AddFOp::create(rewriter, loc, value, large), large);
    rewriter.replaceOpWithNewOp<math::CopySignOp>(op, rounded, value); // a number that rounds to zero keeps its sign
    return success();
  }
};

} // namespace

void populateFloat8Rounding(RewritePatternSet &patterns) { patterns.add<RoundToFloat8>(patterns.getContext()); }

} // namespace moec::kernel
