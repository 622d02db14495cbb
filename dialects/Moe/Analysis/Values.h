// Looks through casts and at constants.
#ifndef MOEC_DIALECTS_MOE_ANALYSIS_VALUES_H
#define MOEC_DIALECTS_MOE_ANALYSIS_VALUES_H

#include "dialects/Moe/IR/Moe.h"

namespace moec::moe {

/// The value itself, whatever type it has in memory.
mlir::Value underCasts(mlir::Value value);

/// Whether the value is a constant whose elements are all positive zeros. Does not look through reshapes.
bool isZero(mlir::Value value);

} // namespace moec::moe

#endif
