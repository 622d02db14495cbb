// Finds keys of a spec that have no effect. There is no list of such keys: each key is set to its default and the model
// is built again; if the model is the same, the key has no effect.
#ifndef MOEC_COMPILER_DRIVER_IDLEKEYS_H
#define MOEC_COMPILER_DRIVER_IDLEKEYS_H

#include "dialects/Exp/IR/Exp.h"
#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringSet.h"

#include <functional>

namespace moec {

/// Warns (MOEC-S080) of keys that the spec gives, that differ from their defaults, and that have no effect on their
/// experiment. Use one object for all members of a sweep: a key that had an effect in one member is not tried again.
class IdleKeys {
public:
  /// `module` holds an experiment that has passed all checks.
  void report(mlir::ModuleOp module);

private:
  class Search;
  llvm::StringSet<> effective; // places of keys
};

/// examineModel, then IdleKeys: the checks that `check` and `train` add (spec::ReadOptions::examine).
std::function<llvm::LogicalResult(mlir::ModuleOp)> makeExaminer();

} // namespace moec

#endif
