// Rounding to f8E4M3FN with ordinary arithmetic, for machines without an instruction for it.
#ifndef MOEC_COMPILER_TARGET_KERNEL_FLOAT8_H
#define MOEC_COMPILER_TARGET_KERNEL_FLOAT8_H

#include "mlir/IR/PatternMatch.h"

namespace moec::kernel {

/// arith.extf of an arith.truncf to f8E4M3FN and back, for magnitudes of at most 448, becomes arithmetic on the f32 or
/// f64.
void populateFloat8Rounding(mlir::RewritePatternSet &patterns);

} // namespace moec::kernel

#endif
