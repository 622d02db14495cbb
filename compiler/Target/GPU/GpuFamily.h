// A family of GPUs: machines that share tensor-core instructions, and with them templates. One folder beside this file
// each, behind this interface; GpuFamily.cpp lists them. docs/adding-a-gpu-family.md walks through one.
#ifndef MOEC_COMPILER_TARGET_GPU_GPUFAMILY_H
#define MOEC_COMPILER_TARGET_GPU_GPUFAMILY_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"

#include <optional>

namespace moec::gpu {

/// An `llvm.func` with this word in `passthrough` keeps its loops as they were written: LLVM neither rotates nor
/// unrolls them. For pipelines of asynchronous instructions.
constexpr llvm::StringLiteral kKeepLoops = "moec-keep-loops";

class GpuFamily {
public:
  virtual ~GpuFamily() = default;

  /// The machines of the family. Each points back to it.
  virtual llvm::ArrayRef<GpuTarget> machines() const = 0;

  /// Target::emitKernels by a template of the family. None where no such template fits the dispatch: the templates for
  /// any shape and element type (EmitKernel.h) take it.
  virtual std::optional<mlir::FailureOr<std::vector<KernelInfo>>>
  emit(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol, const GpuTarget &target) const = 0;

  /// Adds the passes from what `emit` makes to functions over scf, arith, math, vector, llvm and nvvm.
  virtual void addLowering(mlir::OpPassManager &pm) const = 0;
  /// Makes those passes known by name.
  virtual void registerPasses() const = 0;
};

llvm::ArrayRef<const GpuFamily *> families();

} // namespace moec::gpu

#endif
