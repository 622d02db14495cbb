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
  bool apart = false;      // one kernel for each op, as far as it goes
  std::vector<std::string> lineKeys = {}; // what every line of the log has beside metrics
};

struct Phase {
  llvm::StringLiteral name;
  llvm::StringLiteral from, to; // dialects
  llvm::StringLiteral summary;
  /// Adds the passes that lead from the phase before to this one.
  void (*build)(mlir::OpPassManager &pm, const PhaseOptions &options);
};

/// In order. The first holds the module as read; the last is what the plan writer takes.
llvm::ArrayRef<Phase> phases();
const Phase *findPhase(llvm::StringRef name);

} // namespace moec

#endif
