// Code shared by the optimizers that divide by a root of mean squares.
#ifndef MOEC_COMPILER_METHODS_ADAMSUPPORT_H
#define MOEC_COMPILER_METHODS_ADAMSUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// betas, eps.
std::vector<exp::Field> getAdamFields(const char *betas = "[0.9, 0.95]");
exp::Field getDecayField(const char *fallback = "0.1");

/// 1 - beta^t for both betas, [1, 1] each.
llvm::SmallVector<mlir::Value> buildBiasCorrections(TensorBuilder &b, exp::MethodAttr attr, mlir::Value step);

/// A state with all its copies as a matrix of any shape, for work on single elements and their sum. Rows too wide for
/// the registers of a block are cut into shorter ones.
mlir::Value readElements(TensorBuilder &b, moe::StateOp state);

/// The root to which eps is added: sqrt(v / (1 - beta2^t)), as in PyTorch's AdamW, or sqrt(v), as in code that corrects
/// the rate instead.
enum class EpsPlace { CorrectedRoot, Root };
/// The root that a step is divided by; `correction` is 1 - beta2^t.
mlir::Value buildAdamRoot(ScalarBuilder &s, mlir::Value v, mlir::Value correction, double eps, EpsPlace place);

/// The next moments of a gradient g, and (m / (1 - beta1^t)) / root. All [rows, cols].
struct AdamMoments {
  mlir::Value m, v, direction;
};
AdamMoments buildAdam(TensorBuilder &b, exp::MethodAttr attr, mlir::Value g, mlir::Value m, mlir::Value v,
                      mlir::Value step, EpsPlace place);
/// The same for the parameter's clipped gradient; declares and writes the moments.
AdamMoments buildAdam(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                      OptimizerStates &states, EpsPlace place = EpsPlace::CorrectedRoot);

} // namespace moec

#endif
