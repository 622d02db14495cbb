// Math ops of kernels: f32 as polynomials on vectors, f64 (and what is rare) as libm.
#ifndef MOEC_COMPILER_TARGET_CPU_MATHLOWERING_H
#define MOEC_COMPILER_TARGET_CPU_MATHLOWERING_H

#include "mlir/Pass/Pass.h"
#include <memory>

namespace moec::cpu {

/// A module pass. What it leaves has an LLVM intrinsic of its own.
std::unique_ptr<mlir::Pass> createLowerKernelMath();

} // namespace moec::cpu

#endif
