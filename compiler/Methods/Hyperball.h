// Steps that keep the Frobenius norm of every matrix.
#ifndef MOEC_COMPILER_METHODS_HYPERBALL_H
#define MOEC_COMPILER_METHODS_HYPERBALL_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// With R = ||W||_F: W' = W - lr R U / ||U||_F, then W = R W' / ||W'||_F, for each matrix of the parameter. U is [rows
/// of all matrices, cols]; if it is zero, W does not change. Writes the parameter. R is measured at the first step and
/// kept as the state "radius". If it were measured again at each step, it would drift by rounding, by some 1e-6 in 1000
/// steps of f32.
void buildStepOnSphere(TensorBuilder &b, const OptimizerMethod::Update &update, OptimizerStates &states,
                       mlir::Value direction);

/// OptimizerMethod::refuses for a matrix of zeros, which could never change; and the same for settings that a check can
/// see.
std::string refuseZero(const ParameterTraits &traits);
std::vector<exp::Conflict> findZeroConflicts(exp::ExperimentOp experiment);

} // namespace moec

#endif
