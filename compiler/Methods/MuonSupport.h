// Code shared by the optimizers that make a momentum orthogonal: keys, coefficients, momentum, refused parameters.
#ifndef MOEC_COMPILER_METHODS_MUONSUPPORT_H
#define MOEC_COMPILER_METHODS_MUONSUPPORT_H

#include "compiler/Methods/MatrixBatch.h"
#include "compiler/Methods/Methods.h"

namespace moec {

/// Polynomials of Newton-Schulz steps: the words of `ns.coefficients`.
enum class Polynomials { Keller, Polar5, PolarExpress };

/// momentum, nesterov, ns.steps, ns.coefficients (`fallback` is its default).
std::vector<exp::Field> getMuonFields(Polynomials fallback);
Polynomials getPolynomials(exp::MethodAttr attr);

/// The values of `ns.*`: the steps, and the eps that the source of the coefficients adds to the norm of its own
/// momentum. Some sources sum gradients, while buildMomentum takes their mean; then our momentum is `share` times
/// theirs.
struct NewtonSchulz {
  llvm::SmallVector<MatrixBatch::Quintic> steps;
  double eps, share;
};
/// `sumsGradients`: the source of the method sums gradients, m = momentum m + g.
NewtonSchulz getNewtonSchulz(exp::MethodAttr attr, bool sumsGradients = false);

/// Writes the next value of the momentum, m' = beta m + (1 - beta) g, and returns the matrices to be made orthogonal:
/// m', or with nesterov beta m' + (1 - beta) g. [rows of all matrices, cols].
mlir::Value buildMomentum(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                          OptimizerStates &states);

/// OptimizerMethod::refuses of a method for the matrices inside layers.
std::string refuseOutsideLayers(const ParameterTraits &traits);

} // namespace moec

#endif
