// Names of tensor values in plans and tables.
#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_VALUENAMES_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_VALUENAMES_H

#include "dialects/Moe/IR/Moe.h"

namespace moec {

/// The section of the spec and the op that makes the value, "attention.matmul"; for a product the name of its weights,
/// "attention.q". `states` holds the plan.state ops.
std::string describeValue(mlir::Value value, mlir::SymbolTable &states);

} // namespace moec

#endif
