#include "compiler/Target/CPU/CpuBackend.h"

#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/CPU/ObjectEmitter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "runtime/plan/PlanFormat.h"
#include "llvm/Support/JSON.h"

using namespace mlir;

namespace moec::cpu {

namespace {

class CpuBackend final : public Target {
public:
  explicit CpuBackend(CpuTarget target) : target(std::move(target)) {}

  std::string name() const override { return target.cpu; }
  std::string kind() const override { return "cpu"; }
  // So that no kernel needs a masked row.
  int64_t rowAlign() const override { return target.tileRows; }
  FloatType narrowType(MLIRContext *) const override { return {}; }

  std::string describe() const override {
    llvm::json::Object json{{"kind", "cpu"},
                            {"triple", target.triple},
                            {"cpu", target.cpu},
                            {"features", llvm::json::Array(target.required)},
                            {"vector_bytes", target.vectorBytes}};
    return llvm::formatv("{0}", llvm::json::Value(std::move(json))).str();
  }

  FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, ModuleOp kernels,
                                                 StringRef symbol) const override {
    FailureOr<KernelInfo> kernel = cpu::emitKernel(dispatch, kernels, symbol, target);
    if (failed(kernel))
      return failure();
    return std::vector<KernelInfo>{std::move(*kernel)};
  }
  void buildKernelLowering(OpPassManager &pm) const override { buildKernelLoweringPipeline(pm, target); }

  FailureOr<std::vector<CodeBlob>> assemble(ModuleOp kernels, const AssembleOptions &options) const override {
    CodeBlob blob;
    blob.name = rt::kKernelsBlob;
    for (auto kernel : kernels.getOps<func::FuncOp>())
      blob.kernels.push_back({kernel.getSymName().str(), kernel.getSymName().str()});
    FailureOr<std::vector<char>> object = emitSharedObject(kernels, target, options.threads);
    if (failed(object))
      return failure();
    blob.bytes = std::move(*object);
    return std::vector<CodeBlob>{std::move(blob)};
  }

private:
  CpuTarget target;
};

} // namespace

std::unique_ptr<Target> createCpuBackend(const std::string &name) {
  CpuTarget target = CpuTarget::get(name);
  return target.triple.empty() ? nullptr : std::make_unique<CpuBackend>(std::move(target));
}

std::string cpuTargetNames() { return "native, x86-64-v4, x86-64-v3, x86-64"; }

} // namespace moec::cpu
