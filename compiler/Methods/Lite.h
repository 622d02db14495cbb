// LITE: larger steps and another gradient mix along flat directions, those in which the preconditioner sees little
// curvature. Muon and AdamW differ in how they tell which directions are flat; they share the schedules here.
#ifndef MOEC_COMPILER_METHODS_LITE_H
#define MOEC_COMPILER_METHODS_LITE_H

#include "compiler/Methods/MatrixBatch.h"
#include "compiler/Methods/Methods.h"
#include "compiler/Methods/MuonSupport.h"

namespace moec {

/// chi, chi_schedule, ramp, sharp_fraction, after a prefix ("lite." or nothing). At the defaults nothing is changed.
std::vector<exp::Field> getChiFields(const std::string &prefix, const char *chi);
/// All keys of "lite" in an optimizer that has it as an option; `ofBeta1` says what beta1 weighs.
std::vector<exp::Field> getLiteFields(const char *ofBeta1);

/// Whether any direction is flat: with sharp_fraction 1 none is.
bool hasFlat(exp::MethodAttr attr, const std::string &prefix);
/// chi of the step, [1, 1].
mlir::Value buildChi(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                     const OptimizerMethod::Update &update);
/// Share of the ramp done, in [0, 1]: 0 until the warm-up ends. [1, 1].
mlir::Value buildRamp(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                      const OptimizerMethod::Update &update);

/// A warning where `ramp` was given and what rises over it has not risen when the run ends.
std::vector<exp::Conflict> findRampConflicts(exp::MethodAttr attr, const std::string &prefix,
                                             exp::ExperimentOp experiment);

/// smooth, after a prefix.
exp::Field getSmoothField(const std::string &prefix);
/// 1 where v is at least high * mean(v), 0 below low * mean(v), linear between. Then moves both bounds, which it keeps
/// as states, towards the shares sharp_fraction and sharp_fraction + smooth of elements above them. v [rows, cols]
/// holds the parameter's matrices, each with bounds and a mean of its own. Where `moves` [1, 1] is given and 0, bounds
/// stay. For sharp_fraction 0 and 1 the mask is 0 and 1, [1, 1], and nothing is kept.
mlir::Value buildSharpMask(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                           const ParameterTraits &traits, OptimizerStates &states, mlir::Value v,
                           mlir::Value moves = {});

/// The flat part of matrices: what is orthogonal to the singular directions of `momentum` above a threshold.
/// `orthogonal` is Newton-Schulz of the momentum. Declares, reads and adapts the threshold of each matrix.
class FlatProjector {
public:
  using Value = mlir::Value;
  FlatProjector(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update, OptimizerStates &states,
                const NewtonSchulz &ns, Value momentum, Value orthogonal);
  /// X - S S^T X, S [fan-in, fan-out] having the sharp singular directions.
  Value apply(Value x);

private:
  TensorBuilder &b;
  MatrixBatch batch;
  const ParameterTraits &traits;
  Value sharp;
};

} // namespace moec

#endif
