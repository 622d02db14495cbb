// moe dispatches -> plan instructions, buffers and kernels.
#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_MOETOPLAN_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_MOETOPLAN_H

#include "compiler/Target/CPU/EmitKernel.h"
#include "mlir/Pass/Pass.h"

namespace moec {

/// Name of the nested module that holds the kernels.
inline constexpr llvm::StringLiteral kernelModuleName = "kernels";

/// Module pass. Before: functions whose ops are moe.dispatch, moe.repeat and views. After: plan.state, plan.kernel,
/// plan.func with plan.alloc (no offsets yet), and a nested module with one kernel for each distinct dispatch.
std::unique_ptr<mlir::Pass> createMoeToPlanPass(cpu::CpuTarget target);

} // namespace moec

#endif
