// exp -> moe: the model, its losses, the optimizer and the initialisation as moe functions over states
// (docs/architecture.md).
#ifndef MOEC_COMPILER_MODEL_MODELBUILDER_H
#define MOEC_COMPILER_MODEL_MODELBUILDER_H

#include "dialects/Exp/IR/Exp.h"
#include "mlir/IR/BuiltinOps.h"

namespace moec {

struct ModelOptions {
  int64_t rowAlign = 8;                   // rows that the groups of experts are padded to: the row tile of the target
  bool wide = false;                      // everything in f64, whatever the experiment says
  std::vector<std::string> lineKeys = {}; // keys that every line of the log has besides metrics
};

/// Declares the states of `experiment` in `module` and builds its functions there. Reports errors at their place in the
/// spec.
llvm::LogicalResult buildModel(exp::ExperimentOp experiment, mlir::ModuleOp module, const ModelOptions &options = {});

/// The ways in which a prediction may depend on later tokens of its sequence, one sentence each; none: the model is
/// causal.
std::vector<std::string> describeFuture(exp::ExperimentOp experiment);

} // namespace moec

#endif
