// A kernel of the CPU ABI, `void kernel(ptr args, i64 workgroup, ptr scratch)` (docs/plan-format.md), under
// construction.
#ifndef MOEC_COMPILER_TARGET_CPU_CPUKERNELBUILDER_H
#define MOEC_COMPILER_TARGET_CPU_CPUKERNELBUILDER_H

#include "compiler/Target/CPU/CpuTarget.h"
#include "compiler/Target/Kernel/KernelBuilder.h"
#include "mlir/IR/BuiltinOps.h"

namespace moec::cpu {

using namespace kernel; // KernelBuilder below is the CPU's

class KernelBuilder : public kernel::KernelBuilder {
public:
  /// Opens a kernel function named `symbol` with `numParams` pointers in `module` and puts the builder at its start.
  KernelBuilder(mlir::ModuleOp module, mlir::Location loc, llvm::StringRef symbol, unsigned numParams,
                const CpuTarget &target);
  /// Adds the return. Afterwards nothing may be built.
  void finish();

  const CpuTarget &target;

  /// `bytes` of the worker's scratch, 64-byte aligned; the plan announces the total.
  Value scratch(int64_t bytes);
  int64_t scratchBytes() const { return scratchUsed; }

private:
  Value scratchBase;
  int64_t scratchUsed = 0;
};

} // namespace moec::cpu

#endif
