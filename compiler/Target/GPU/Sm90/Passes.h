#ifndef MOEC_COMPILER_TARGET_GPU_SM90_PASSES_H
#define MOEC_COMPILER_TARGET_GPU_SM90_PASSES_H

#include "mlir/Pass/Pass.h"

namespace moec::sm90 {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Target/GPU/Sm90/Passes.h.inc"
} // namespace moec::sm90

#endif
