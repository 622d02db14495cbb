// What a tensor value is called in plans and tables.
#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_VALUENAMES_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_VALUENAMES_H

#include "dialects/Moe/IR/Moe.h"

namespace moec {

/// The section of the spec and the op that gives the value its meaning, "attention.matmul"; for a product its weights,
/// "attention.q". `states` holds the plan.state ops.
std::string describeValue(mlir::Value value, mlir::SymbolTable &states);

} // namespace moec

#endif
