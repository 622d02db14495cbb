// Short ways to write tensor and scalar expressions in C++. Used by backwards, passes and the methods' own code.
#ifndef MOEC_DIALECTS_MOE_IR_MOEBUILD_H
#define MOEC_DIALECTS_MOE_IR_MOEBUILD_H

#include "dialects/Moe/IR/MoeVerify.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace moec::moe {

/// Scalar floats at one insertion point.
class Scalars {
public:
  Scalars(mlir::OpBuilder &builder, mlir::Location loc) : b(builder), loc(loc) {}

  mlir::Value constant(mlir::Type type, double value) {
    return mlir::arith::ConstantOp::create(b, loc, b.getFloatAttr(type, value));
  }
  mlir::Value add(mlir::Value x, mlir::Value y) { return mlir::arith::AddFOp::create(b, loc, x, y); }
  mlir::Value sub(mlir::Value x, mlir::Value y) { return mlir::arith::SubFOp::create(b, loc, x, y); }
  mlir::Value mul(mlir::Value x, mlir::Value y) { return mlir::arith::MulFOp::create(b, loc, x, y); }
  mlir::Value mul(mlir::Value x, double y) { return mul(x, constant(x.getType(), y)); }
  mlir::Value add(mlir::Value x, double y) { return add(x, constant(x.getType(), y)); }
  mlir::Value div(mlir::Value x, mlir::Value y) { return mlir::arith::DivFOp::create(b, loc, x, y); }
  mlir::Value neg(mlir::Value x) { return mlir::arith::NegFOp::create(b, loc, x); }
  mlir::Value abs(mlir::Value x) { return mlir::math::AbsFOp::create(b, loc, x); }
  mlir::Value maximum(mlir::Value x, mlir::Value y) { return mlir::arith::MaximumFOp::create(b, loc, x, y); }
  mlir::Value exp(mlir::Value x) { return mlir::math::ExpOp::create(b, loc, x); }
  mlir::Value log(mlir::Value x) { return mlir::math::LogOp::create(b, loc, x); }
  mlir::Value rsqrt(mlir::Value x) { return mlir::math::RsqrtOp::create(b, loc, x); }
  mlir::Value greater(mlir::Value x, mlir::Value y) {
    return mlir::arith::CmpFOp::create(b, loc, mlir::arith::CmpFPredicate::OGT, x, y);
  }
  mlir::Value select(mlir::Value condition, mlir::Value x, mlir::Value y) {
    return mlir::arith::SelectOp::create(b, loc, condition, x, y);
  }

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
};

/// The type of `like` with another shape.
inline mlir::RankedTensorType withShape(mlir::Value like, llvm::ArrayRef<int64_t> shape) {
  return mlir::RankedTensorType::get(shape, elementType(like));
}

/// A map with one result. `body` gets the scalars of the inputs.
mlir::Value buildMap(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type resultType, mlir::ValueRange inputs,
                     llvm::function_ref<mlir::Value(Scalars &, mlir::ValueRange)> body);

/// A tensor of one value, of any rank.
mlir::Value buildSplat(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type, double value);

/// x + y, of any rank.
mlir::Value buildSum(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value y);

/// Erases pure ops without a use, last first. The block has a terminator.
void eraseDeadOps(mlir::Block &block);

} // namespace moec::moe

#endif
