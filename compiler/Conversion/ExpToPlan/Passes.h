#ifndef MOEC_COMPILER_CONVERSION_EXPTOPLAN_PASSES_H
#define MOEC_COMPILER_CONVERSION_EXPTOPLAN_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moec {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Conversion/ExpToPlan/Passes.h.inc"
} // namespace moec

#endif
