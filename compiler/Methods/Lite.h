// LITE: larger steps and another mix of gradient and momentum along flat directions, in which the preconditioner sees
// little curvature. Muon and AdamW find flat directions in different ways; they share the schedules here.
#ifndef MOEC_COMPILER_METHODS_LITE_H
#define MOEC_COMPILER_METHODS_LITE_H

#include "compiler/Methods/MatrixBatch.h"
#include "compiler/Methods/Methods.h"
#include "compiler/Methods/MuonSupport.h"

namespace moec {

/// chi, chi_schedule, ramp, sharp_fraction, after a prefix ("lite." or nothing). At the defaults nothing is changed.
std::vector<exp::Field> getChiFields(const std::string &prefix, const char *chi);
/// All keys of "lite" in an optimizer that has it as an option; `ofBeta1` is the description of beta1.
std::vector<exp::Field> getLiteFields(const char *ofBeta1);

/// Whether any direction is flat: with sharp_fraction 1 none is.
bool hasFlat(exp::MethodAttr attr, const std::string &prefix);
/// chi of the step, [1, 1].
mlir::Value buildChi(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                     const OptimizerMethod::Update &update);
/// Share of the ramp done, in [0, 1]: 0 until the warm-up ends. [1, 1].
mlir::Value buildRamp(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                      const OptimizerMethod::Update &update);

/// A warning if the spec gives a `ramp` that does not end within the run.
std::vector<exp::Conflict> findRampConflicts(exp::MethodAttr attr, const std::string &prefix,
                                             exp::ExperimentOp experiment);

/// smooth, after a prefix.
exp::Field getSmoothField(const std::string &prefix);
/// The mask is 1 where v is at least high * mean(v), 0 below low * mean(v), and linear between. Afterwards both bounds,
/// which are states, move so that the shares of elements above them approach sharp_fraction and sharp_fraction +
/// smooth. v [rows, cols] holds the parameter's matrices; each has its own bounds and mean. If `moves` [1, 1] is given
/// and 0, the bounds stay. For sharp_fraction 0 and 1 the mask is 0 and 1, [1, 1], and there are no states.
mlir::Value buildSharpMask(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                           const ParameterTraits &traits, OptimizerStates &states, mlir::Value v,
                           mlir::Value moves = {});

/// The flat part of matrices: the part orthogonal to the singular directions of `momentum` above a threshold.
/// `orthogonal` is Newton-Schulz of the momentum. Declares, reads and adapts the threshold of each matrix.
class FlatProjector {
public:
  using Value = mlir::Value;
  FlatProjector(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update, OptimizerStates &states,
                const NewtonSchulz &ns, Value momentum, Value orthogonal);
  /// X - S S^T X, where S [fan-in, fan-out] has the sharp singular directions.
  Value apply(Value x);

private:
  TensorBuilder &b;
  MatrixBatch batch;
  const ParameterTraits &traits;
  Value sharp;
};

} // namespace moec

#endif
