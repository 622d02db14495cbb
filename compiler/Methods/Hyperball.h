// Steps that keep the Frobenius norm of every matrix.
#ifndef MOEC_COMPILER_METHODS_HYPERBALL_H
#define MOEC_COMPILER_METHODS_HYPERBALL_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// With R = ||W||_F: W' = W - lr R U / ||U||_F, then W = R W' / ||W'||_F, for each matrix of the parameter. U [rows of
/// all matrices, cols]; where it is zero W stays. Writes the parameter. R is measured at the first step and kept as the
/// state "radius": measured again at each step it would drift with the rounding, some 1e-6 in 1000 steps of f32.
void buildStepOnSphere(TensorBuilder &b, const OptimizerMethod::Update &update, OptimizerStates &states,
                       mlir::Value direction);

/// A matrix of zeros would stay one: OptimizerMethod::refuses, and the same for what a check can see.
std::string refuseZero(const ParameterTraits &traits);
std::vector<exp::Conflict> findZeroConflicts(exp::ExperimentOp experiment);

} // namespace moec

#endif
