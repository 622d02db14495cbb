// The loop around the functions: what a run does, from the declared cadences.
#ifndef MOEC_COMPILER_CONVERSION_EXPTOPLAN_BUILDPROGRAMS_H
#define MOEC_COMPILER_CONVERSION_EXPTOPLAN_BUILDPROGRAMS_H

#include "dialects/Exp/IR/Exp.h"
#include "dialects/Plan/IR/Plan.h"
#include "mlir/Pass/Pass.h"

namespace moec {

/// Module pass. Before: plan.funcs. After: also the programs init, train and evaluate, and the state that tells which
/// data set a row came from. `experiment` must outlive the pass.
std::unique_ptr<mlir::Pass> createBuildProgramsPass(exp::ExperimentOp experiment);

} // namespace moec

#endif
