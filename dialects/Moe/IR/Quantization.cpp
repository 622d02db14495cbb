#include "dialects/Moe/IR/Quantization.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::moe {

namespace {
Type likeWith(Type type, Type element) {
  auto vector = dyn_cast<VectorType>(type);
  return vector ? Type(VectorType::get(vector.getShape(), element)) : element;
}
} // namespace

// With largest = m * 2^e, 1 <= m < 2, the scale is 2^(e - 8), or 2^(e - 7) if m is more than 1.75 (448 = 1.75 * 2^8).
// To get this, the code adds to the bits of `largest` one less than a quarter of the mantissa's range: the sum carries
// into the exponent exactly if m is more than 1.75.
QuantizationScale buildQuantizationScale(OpBuilder &builder, Location loc, Value largest) {
  constexpr int64_t kLargestExponent = 8, kLeastExponent = -100;
  Type type = largest.getType();
  auto element = cast<FloatType>(getElementTypeOrSelf(type));
  unsigned mantissa = element.getFPMantissaWidth() - 1, width = element.getWidth();
  int64_t bias = (int64_t(1) << (width - mantissa - 2)) - 1;
  Type integers = likeWith(type, builder.getIntegerType(width));
  auto number = [&](int64_t value) -> Value {
    auto scalar = builder.getIntegerAttr(getElementTypeOrSelf(integers), value);
    if (auto vector = dyn_cast<VectorType>(integers))
      return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vector, Attribute(scalar)));
    return arith::ConstantOp::create(builder, loc, scalar);
  };
  auto exponent = [&](int64_t power) { return number((bias + power) << mantissa); };
  Value bits = arith::BitcastOp::create(builder, loc, integers, largest);
  bits = arith::AddIOp::create(builder, loc, bits, number((int64_t(1) << (mantissa - 2)) - 1));
  bits = arith::AndIOp::create(builder, loc, bits, number(((int64_t(2) * bias + 1) << mantissa)));
  bits = arith::SubIOp::create(builder, loc, bits, number(kLargestExponent << mantissa));
  bits = arith::MaxSIOp::create(builder, loc, bits, exponent(kLeastExponent));
  Value inverse = arith::SubIOp::create(builder, loc, number((2 * bias) << mantissa), bits);
  // Zero, or NaN if `largest` is infinite or NaN. Without it, a scale made from such bits would be a number.
  Value nothing = arith::SubFOp::create(builder, loc, largest, largest);
  auto finish = [&](Value made) -> Value {
    return arith::AddFOp::create(builder, loc, arith::BitcastOp::create(builder, loc, type, made), nothing);
  };
  return {finish(bits), finish(inverse)};
}

Value buildRounding(OpBuilder &builder, Location loc, Value value) {
  Type narrow = likeWith(value.getType(), builder.getType<Float8E4M3FNType>());
  Value rounded = arith::TruncFOp::create(builder, loc, narrow, value);
  return arith::ExtFOp::create(builder, loc, value.getType(), rounded);
}

FloatType roundedTo(Value value) {
  auto extension = value.getDefiningOp<arith::ExtFOp>();
  return extension ? cast<FloatType>(getElementTypeOrSelf(extension.getIn().getType())) : FloatType();
}

} // namespace moec::moe
