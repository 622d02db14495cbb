#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_PASSES_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moec {

/// Name of the nested module that holds the kernels.
inline constexpr llvm::StringLiteral kernelModuleName = "kernels";

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Conversion/MoeToPlan/Passes.h.inc"
} // namespace moec

#endif
