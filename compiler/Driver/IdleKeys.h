// Keys that a spec gives and that change nothing. There is no list of them: each is set back to its default, the model
// is built again, and a model that is the same says it.
#ifndef MOEC_COMPILER_DRIVER_IDLEKEYS_H
#define MOEC_COMPILER_DRIVER_IDLEKEYS_H

#include "dialects/Exp/IR/Exp.h"
#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringSet.h"

#include <functional>

namespace moec {

/// Warns (MOEC-S080) of keys that were written, differ from their defaults, and have no effect on the experiment that
/// they stand in. Of the members of a sweep, look at all with one object: what had an effect in one is not tried again.
class IdleKeys {
public:
  /// The experiment has been examined and found to be right.
  void report(mlir::ModuleOp module);

private:
  class Search;
  llvm::StringSet<> effective; // places of keys
};

/// examineModel, then IdleKeys: what `check` and `train` hold experiments to (spec::ReadOptions::examine).
std::function<llvm::LogicalResult(mlir::ModuleOp)> makeExaminer();

} // namespace moec

#endif
