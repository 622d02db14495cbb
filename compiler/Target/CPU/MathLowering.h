// Math ops of kernels: f32 as polynomials on vectors, f64 (and rare functions) as calls of libm.
#ifndef MOEC_COMPILER_TARGET_CPU_MATHLOWERING_H
#define MOEC_COMPILER_TARGET_CPU_MATHLOWERING_H

#include "mlir/Pass/Pass.h"
#include <memory>

namespace moec::cpu {

/// A module pass. The math ops that it leaves have LLVM intrinsics of their own.
std::unique_ptr<mlir::Pass> createLowerKernelMath();

} // namespace moec::cpu

#endif
