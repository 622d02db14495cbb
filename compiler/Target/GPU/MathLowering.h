// Math on GPUs: expansions to arith and the few functions that the hardware has, so that no kernel needs a device
// library.
#ifndef MOEC_COMPILER_TARGET_GPU_MATHLOWERING_H
#define MOEC_COMPILER_TARGET_GPU_MATHLOWERING_H

#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

namespace moec::gpu {

/// Rewrites math ops on f32 and f64 (scalars and vectors) to arith, math.fma, math.floor, math.absf, math.copysign,
/// math.sqrt, f32 math.exp2 and f32 math.rsqrt. docs/numerics.md has the accuracy of each.
void populateMathExpansions(mlir::RewritePatternSet &patterns);

/// The expansions, then instructions for f32 exp2 and rsqrt. Fails on math that has no expansion.
std::unique_ptr<mlir::Pass> createLowerKernelMath();

} // namespace moec::gpu

#endif
