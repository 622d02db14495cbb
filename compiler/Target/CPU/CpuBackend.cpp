#include "compiler/Target/CPU/CpuBackend.h"

#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/CPU/ObjectEmitter.h"

using namespace mlir;

namespace moec::cpu {

namespace {

class CpuBackend final : public Target {
public:
  explicit CpuBackend(CpuTarget target) : target(std::move(target)) {}

  std::string name() const override { return target.cpu; }
  std::string kind() const override { return "cpu"; }
  // The row tile, so that no kernel needs a masked row.
  int64_t rowAlign() const override { return target.tileRows; }
  FloatType narrowType(MLIRContext *) const override { return {}; }

  rt::Json describe() const override {
    rt::Json features = rt::Json::array();
    for (const std::string &feature : target.required)
      features.append(rt::Json::string(feature));
    rt::Json json = rt::Json::object();
    json.add("kind", rt::Json::string("cpu"));
    json.add("triple", rt::Json::string(target.triple));
    json.add("cpu", rt::Json::string(target.cpu));
    json.add("features", std::move(features));
    json.add("vector_bytes", rt::Json::integer(target.vectorBytes));
    return json;
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
    FailureOr<CodeBlob> blob = assembleKernels(kernels, target, options);
    if (failed(blob))
      return failure();
    return std::vector<CodeBlob>{std::move(*blob)};
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
