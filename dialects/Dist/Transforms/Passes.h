#ifndef MOEC_DIALECTS_DIST_TRANSFORMS_PASSES_H
#define MOEC_DIALECTS_DIST_TRANSFORMS_PASSES_H

#include "dialects/Dist/IR/Dist.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moec::dist {
#define GEN_PASS_DECL
#include "dialects/Dist/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "dialects/Dist/Transforms/Passes.h.inc"
} // namespace moec::dist

#endif
