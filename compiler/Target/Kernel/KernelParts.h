// From kernels in the llvm dialect to machine code: one LLVM module for each kernel, compiled in parallel or taken from
// the cache. Shared by all targets.
#ifndef MOEC_COMPILER_TARGET_KERNEL_KERNELPARTS_H
#define MOEC_COMPILER_TARGET_KERNEL_KERNELPARTS_H

#include "compiler/Target/Kernel/KernelCache.h"
#include "compiler/Target/Target.h"
#include "llvm/IR/Module.h"

#include <functional>
#include <memory>

namespace moec::kernel {

/// Kernels of equal code. Each part has a module of its own, so that the bytes of a plan do not depend on how parts are
/// distributed among threads, and kernels that did not change need not be compiled again.
struct KernelPart {
  explicit KernelPart(mlir::Location loc) : loc(loc) {}

  mlir::Location loc;                    // of the first kernel
  std::vector<CodeBlob::Kernel> kernels; // never empty; all have one entry
  std::string key;                       // in the cache
  bool wasCached = false;
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module; // null once it is compiled
  CompiledKernel compiled;
  std::string error;
};

/// Cuts `kernels` (llvm dialect) into parts, in the order of the kernels. `machine` is a text with everything besides
/// the IR on which the code depends: target, versions. The name of an entry is "<symbol without number>_<hash>". Fails
/// with a diagnostic.
mlir::FailureOr<std::vector<std::unique_ptr<KernelPart>>> cutKernels(mlir::ModuleOp kernels, llvm::StringRef machine);

/// Fills `compiled` of all parts on `threads` threads: from the cache, or by `compile`, which may set `error` instead.
/// Stores newly compiled parts in the cache and trims it. Fails with a diagnostic.
mlir::LogicalResult compileParts(llvm::ArrayRef<std::unique_ptr<KernelPart>> parts, unsigned threads,
                                 const KernelCache &cache, llvm::function_ref<void(KernelPart &)> compile);

} // namespace moec::kernel

#endif
