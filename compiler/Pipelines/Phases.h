// The phases of a compilation: one table that `moec inspect`, `moec compile --dump-to`, the docs page and the pipeline
// tests read.
#ifndef MOEC_COMPILER_PIPELINES_PHASES_H
#define MOEC_COMPILER_PIPELINES_PHASES_H

#include "compiler/Target/Target.h"
#include "dialects/Exp/IR/Exp.h"
#include "mlir/Pass/PassManager.h"

namespace moec {

struct PhaseOptions {
  exp::ExperimentOp experiment; // as declared; outlives the pipeline
  const Target *target;         // whose kernels are made
  const Target *structure; // whose structure the plan has: row alignment, grouping (the same unless --like is given)
  bool reference = false;  // f64 in the place of every float
  bool apart = false;      // one kernel for each op where that is possible
  std::vector<std::string> lineKeys = {}; // keys that every line of the log has besides metrics
};

struct Phase {
  llvm::StringLiteral name;
  llvm::StringLiteral from, to; // dialects
  llvm::StringLiteral summary;
  /// Adds the passes that lead from the previous phase to this one.
  void (*build)(mlir::OpPassManager &pm, const PhaseOptions &options);
};

/// All phases, in order. After the first, the module is as it was read; after the last, the plan writer takes it.
llvm::ArrayRef<Phase> phases();
const Phase *findPhase(llvm::StringRef name);

} // namespace moec

#endif
