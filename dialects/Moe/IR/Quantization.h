// The arithmetic of quantize_rows and quantize_columns, on scalars and vectors: in regions of maps and in kernels.
#ifndef MOEC_DIALECTS_MOE_IR_QUANTIZATION_H
#define MOEC_DIALECTS_MOE_IR_QUANTIZATION_H

#include "mlir/IR/Builders.h"

namespace moec::moe {

struct QuantizationScale {
  mlir::Value scale, inverse; // powers of two
};

/// The scale of numbers whose largest magnitude is `largest` (f32 or f64); NaN when that is not finite.
QuantizationScale buildQuantizationScale(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value largest);
/// `value`, of at most 448, as the nearest number that an f8E4M3FN can hold, in its own type: arith.truncf and
/// arith.extf, which targets lower.
mlir::Value buildRounding(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value);
/// The type that `value` was rounded to, so that nothing is lost when it is stored as that; null when it was not.
mlir::FloatType roundedTo(mlir::Value value);

} // namespace moec::moe

#endif
