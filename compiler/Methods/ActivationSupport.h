// The activations of one token's experts, which losses and measures compare.
#ifndef MOEC_COMPILER_METHODS_ACTIVATIONSUPPORT_H
#define MOEC_COMPILER_METHODS_ACTIVATIONSUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// The activations of tokens 0, every, 2 * every, ... of the micro-batch, as unit vectors. Zero experts, empty slots
/// and dropped ones have none.
struct TokenActivations {
  mlir::Value units;   // [R, I] rows of length 1; 0 where the activation is 0
  mlir::Value slotRow; // i32 [N / every, S] as LayerValues::slotRow, and
  mlir::Value rowSlot; // i32 [R, 1]
  mlir::Value pairs;   // [N / every, 1]: ordered pairs c (c - 1) of the c experts of a token
};
TokenActivations buildTokenActivations(TensorBuilder &b, const LayerValues &r, int64_t every);

/// Mean over tokens of the mean cosine over pairs of a token's experts, [1, 1]; a token without a pair counts as 0.
mlir::Value buildMeanCosine(TensorBuilder &b, const TokenActivations &activations);

/// The same of a function of the cosine, pair by pair.
mlir::Value buildMeanOfCosines(TensorBuilder &b, const TokenActivations &activations,
                               llvm::function_ref<mlir::Value(ScalarBuilder &, mlir::Value)> function);

/// A warning if a layer has one expert per token at some step, so that there is nothing to compare. `what` is "loss" or
/// "measure", and `kind` its name.
std::vector<exp::Conflict> findSingleExperts(exp::ExperimentOp experiment, const std::string &kind,
                                             const std::string &what);

} // namespace moec

#endif
