// One compilation: from a spec on disk to a plan file, phase by phase.
#ifndef MOEC_COMPILER_DRIVER_COMPILESESSION_H
#define MOEC_COMPILER_DRIVER_COMPILESESSION_H

#include "compiler/Pipelines/Phases.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <functional>
#include <string>
#include <vector>

namespace moec {

struct CompileOptions {
  std::string target = "native";
  std::string member;              // of a sweep; empty: the spec has none
  std::string like;                // target whose structure the plan takes over; empty: that of `target`
  bool reference = false;          // compute in f64
  bool oneRank = false;            // whatever the spec says of ranks
  bool apart = false;              // one kernel for each op, to compare fused ones with
  unsigned threads = 0;            // 0: all
  std::string dumpTo;              // folder for the IR after each phase; empty: none
  std::vector<std::string> inputs; // besides the files that load() reads: files that dumps must not replace
  bool timing = false;             // seconds per phase, on stderr
  AssembleOptions code;            // its `threads` is set from the above
};

/// A function that returns failure has reported every failure as a diagnostic of the context.
class CompileSession {
public:
  CompileSession(mlir::MLIRContext &context, CompileOptions options);

  /// Reads a spec (.json) or an experiment (.mlir).
  llvm::LogicalResult load(const std::string &path);
  /// The same with a module that was already read from `path`.
  llvm::LogicalResult load(const std::string &path, mlir::OwningOpRef<mlir::ModuleOp> module);
  /// Runs all phases up to and including `phase`.
  llvm::LogicalResult runTo(llvm::StringRef phase);
  /// Runs the remaining phases, emits the kernels, and returns the bytes of the plan file.
  llvm::FailureOr<std::string> buildPlan();
  llvm::LogicalResult writePlan(const std::string &path);

  mlir::ModuleOp module() { return *current; }
  exp::ExperimentOp experiment() { return declared; }
  /// The kernels as they stand in the plan phase; null before.
  mlir::ModuleOp kernels();
  /// Lowers the kernels in place to the llvm dialect, for `moec inspect`.
  llvm::LogicalResult lowerKernels();
  /// PTX of the kernels, or of `symbol` alone. Consumes the kernels; needs a GPU target.
  llvm::FailureOr<std::string> emitPtx(llvm::StringRef symbol);
  int64_t countKernels();

private:
  llvm::LogicalResult timed(llvm::StringRef what, llvm::function_ref<llvm::LogicalResult()> work);
  std::string dumpPath(size_t number, llvm::StringRef phase) const;
  llvm::LogicalResult checkDumps();
  void dump(llvm::StringRef phase);

  mlir::MLIRContext &context;
  CompileOptions options;
  std::string specPath;
  mlir::OwningOpRef<mlir::ModuleOp> source; // keeps `declared` alive
  mlir::OwningOpRef<mlir::ModuleOp> current;
  exp::ExperimentOp declared;
  std::unique_ptr<Target> target, like; // like: null unless it was asked for
  size_t done = 0;                      // phases that have run
};

/// Builds the model of an experiment as a compilation does, in milliseconds, divides it over ranks, and drops it.
/// Reports errors that only the model shows, such as patterns of optimizer groups that match no parameter.
llvm::LogicalResult examineModel(mlir::ModuleOp experiment);

} // namespace moec

#endif
