// The arithmetic of quantize_rows and quantize_columns, on scalars and vectors: in regions of maps and in kernels.
#ifndef MOEC_DIALECTS_MOE_IR_QUANTIZATION_H
#define MOEC_DIALECTS_MOE_IR_QUANTIZATION_H

#include "mlir/IR/Builders.h"

namespace moec::moe {

struct QuantizationScale {
  mlir::Value scale, inverse; // powers of two
};

/// The scale of numbers whose largest magnitude is `largest` (f32 or f64); NaN if that is not finite.
QuantizationScale buildQuantizationScale(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value largest);
/// The f8E4M3FN number that is nearest to `value` (of magnitude 448 at most), in the type of `value`. It consists of
/// arith.truncf and arith.extf, which targets lower.
mlir::Value buildRounding(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value);
/// The type that `value` was rounded to, in which it can be stored without loss; null if it was not rounded.
mlir::FloatType roundedTo(mlir::Value value);

} // namespace moec::moe

#endif
