// Passes over moe; Passes.td describes each.
#ifndef MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_H
#define MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moec::moe {

/// Which values the backward computes again instead of keeping.
enum class RematPolicy { none, selective, full };

#define GEN_PASS_DECL
#include "dialects/Moe/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "dialects/Moe/Transforms/Passes.h.inc"

} // namespace moec::moe

#endif
