// The kernels of each distinct dispatch. Layers, parameters and functions that compute the same thing share kernels.
#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_KERNELTABLE_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_KERNELTABLE_H

#include "compiler/Target/Target.h"
#include "dialects/Plan/IR/Plan.h"
#include "llvm/ADT/StringMap.h"

namespace moec {

class KernelTable {
public:
  KernelTable(mlir::ModuleOp module, mlir::ModuleOp kernels, const Target &target)
      : module(module), kernels(kernels), target(target) {}

  using Kernels = llvm::SmallVector<plan::KernelOp, 1>;

  /// The kernels of `dispatch` in the order of their launches, emitted at its first use.
  mlir::FailureOr<Kernels> get(moe::DispatchOp dispatch);
  mlir::ModuleOp getModule() { return module; }

private:
  mlir::ModuleOp module, kernels;
  const Target &target;
  llvm::StringMap<Kernels> known;
};

} // namespace moec

#endif
