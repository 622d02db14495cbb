// A family of GPUs: machines that share tensor-core instructions, and so templates. Each family is one folder beside
// this file and implements this interface; GpuFamily.cpp lists them. docs/adding-a-gpu-family.md describes how to add
// one.
#ifndef MOEC_COMPILER_TARGET_GPU_GPUFAMILY_H
#define MOEC_COMPILER_TARGET_GPU_GPUFAMILY_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Target.h"

#include <optional>

namespace moec::gpu {

/// LLVM neither rotates nor unrolls the loops of an `llvm.func` that has this word in `passthrough`. For pipelines of
/// asynchronous instructions.
constexpr llvm::StringLiteral kKeepLoops = "moec-keep-loops";

class GpuFamily {
public:
  virtual ~GpuFamily() = default;

  /// The machines of the family. Each points back to it.
  virtual llvm::ArrayRef<GpuTarget> machines() const = 0;

  /// Target::emitKernels with a template of the family. None if no such template fits the dispatch; then the templates
  /// for any shape and element type (EmitKernel.h) take it.
  virtual std::optional<mlir::FailureOr<std::vector<KernelInfo>>>
  emit(moe::DispatchOp dispatch, mlir::ModuleOp kernels, llvm::StringRef symbol, const GpuTarget &target) const = 0;

  /// Adds the passes that turn the results of `emit` into functions over scf, arith, math, vector, llvm and nvvm.
  virtual void addLowering(mlir::OpPassManager &pm) const = 0;
  /// Registers these passes by name.
  virtual void registerPasses() const = 0;
};

llvm::ArrayRef<const GpuFamily *> families();

} // namespace moec::gpu

#endif
