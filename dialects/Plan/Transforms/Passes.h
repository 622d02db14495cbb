#ifndef MOEC_DIALECTS_PLAN_TRANSFORMS_PASSES_H
#define MOEC_DIALECTS_PLAN_TRANSFORMS_PASSES_H

#include "dialects/Plan/IR/Plan.h"
#include "mlir/Pass/Pass.h"

namespace moec::plan {
#define GEN_PASS_DECL
#include "dialects/Plan/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "dialects/Plan/Transforms/Passes.h.inc"
} // namespace moec::plan

#endif
