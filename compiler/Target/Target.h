// The interface of a target: it makes the kernels of dispatches and their machine code. A target is one folder beside
// this file; All/Targets.cpp lists them.
#ifndef MOEC_COMPILER_TARGET_TARGET_H
#define MOEC_COMPILER_TARGET_TARGET_H

#include "dialects/Moe/Analysis/DispatchParams.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "runtime/base/Json.h"

#include <string>
#include <vector>

namespace moec {

/// The facts about a kernel that the plan holds. The kernel's parameters are those of moe::collectDispatchParams, in
/// that order.
struct KernelInfo {
  std::string symbol;
  int64_t grid = 1;         // workgroups; they never write the same bytes
  int64_t scratchBytes = 0; // CPU: of a worker; GPU: of the device, counters included
  double flops = 0;         // of one launch, worst case
  double bytes = 0;         // read + written once
  /// GPU: {threads, shared, maps}, the launch record of docs/plan-format.md; null on CPUs.
  mlir::DictionaryAttr launch;
};

/// A piece of machine code, and the kernels in it.
struct CodeBlob {
  struct Kernel {
    std::string symbol; // as emitKernel was told
    std::string entry;  // what the code calls it; kernels of equal code may share one
  };

  std::string name; // in the plan
  std::vector<char> bytes;
  std::vector<Kernel> kernels;
};

/// The form of the code that assemble makes. Automatic: machine code if this machine can make it, otherwise text that
/// the driver assembles.
enum class CodeForm { Automatic, Text, Binary };

struct AssembleOptions {
  unsigned threads = 1;
  bool useCache = true; // of compiled kernels: kernel::KernelCache::defaultFolder()
  // For GPUs alone:
  bool verbose = false;       // registers of each kernel, on stderr
  bool strictKernels = false; // spilled registers are an error
  CodeForm form = CodeForm::Automatic;
};

class Target {
public:
  virtual ~Target() = default;

  /// As in --target: "x86-64-v4", "sm_90a".
  virtual std::string name() const = 0;
  /// "cpu" or "cuda": which driver of the runtime runs the plan.
  virtual std::string kind() const = 0;
  /// The plan's "target" section.
  virtual rt::Json describe() const = 0;
  /// Groups of rows of one expert start at multiples of this.
  virtual int64_t rowAlign() const = 0;
  /// How many tensors of its own shape a product's epilogue may read; 0: any number (see moe-form-dispatches).
  virtual unsigned tensorsOfEpilogue() const { return 0; }
  /// Columns of which a product's kernel may make sums of rows; 0: it does not (see moe-form-dispatches).
  virtual int64_t columnsOfRowSums() const { return 0; }
  /// If the products that multiply gathered rows have this many columns or more together, the rows are gathered once,
  /// before the products. With fewer columns, each product gathers in its loads. 0: products always gather in their
  /// loads (see moe-form-dispatches).
  virtual int64_t columnsToGatherOnce() const { return 0; }
  /// Whether products read rows that are spread to experts through the map of rows, like gathered rows and under the
  /// same condition (see moe-form-dispatches). The products of every target can do this.
  virtual bool spreadsInLoads() const { return false; }
  /// The most columns with which a sum over rows begins in the row kernel that has the rows anyway; 0: never (see
  /// moe-form-dispatches). The row kernels of every target can do this, for plans with the structure of another target.
  virtual int64_t columnsToSumInRows() const { return 0; }
  /// The element type that tensors of a `compute: bf16` experiment have in memory; null if the target has no type
  /// narrower than f32.
  virtual mlir::FloatType narrowType(mlir::MLIRContext *context) const = 0;

  /// Emits the kernels of `dispatch` into `kernels`: at least one, launched in this order, each with all parameters of
  /// the dispatch. One is called `symbol`; the names of several start with it. A kernel may leave data for the next
  /// kernel of the dispatch in the workspace of the scratch area. Fails with a diagnostic at the dispatch if there is
  /// no template.
  virtual mlir::FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, mlir::ModuleOp kernels,
                                                               llvm::StringRef symbol) const = 0;
  /// Adds the passes from what emitKernels makes to the llvm dialect (`moec inspect --to=llvm`).
  virtual void buildKernelLowering(mlir::OpPassManager &pm) const = 0;
  /// Lowers `kernels` (consumed) to machine code. Reports failures through diagnostics.
  virtual mlir::FailureOr<std::vector<CodeBlob>> assemble(mlir::ModuleOp kernels,
                                                          const AssembleOptions &options) const = 0;
};

} // namespace moec

#endif
