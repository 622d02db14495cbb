#include "compiler/Target/GPU/GpuBackend.h"

#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/GpuFamily.h"
#include "compiler/Target/GPU/KernelLowering.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace moec::gpu {

namespace {

class GpuBackend final : public Target {
public:
  explicit GpuBackend(GpuTarget target) : target(std::move(target)) {}

  std::string name() const override { return target.arch; }
  std::string kind() const override { return "cuda"; }
  int64_t rowAlign() const override { return target.structure.rowAlign; }
  unsigned tensorsOfEpilogue() const override { return target.structure.tensorsOfEpilogue; }
  int64_t columnsOfRowSums() const override { return target.structure.columnsOfRowSums; }
  int64_t columnsToGatherOnce() const override { return target.structure.columnsToGatherOnce; }
  bool spreadsInLoads() const override { return target.structure.spreadsInLoads; }
  int64_t columnsToSumInRows() const override { return target.structure.columnsToSumInRows; }
  FloatType narrowType(MLIRContext *context) const override { return BFloat16Type::get(context); }

  rt::Json describe() const override {
    rt::Json capability = rt::Json::array();
    capability.append(rt::Json::integer(target.computeMajor));
    capability.append(rt::Json::integer(target.computeMinor));
    rt::Json json = rt::Json::object();
    json.add("kind", rt::Json::string("cuda"));
    json.add("arch", rt::Json::string(target.arch));
    json.add("compute_capability", std::move(capability));
    json.add("shared_bytes", rt::Json::integer(target.sharedBytes));
    return json;
  }

  FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, ModuleOp kernels,
                                                 StringRef symbol) const override {
    return gpu::emitKernels(dispatch, kernels, symbol, target);
  }
  void buildKernelLowering(OpPassManager &pm) const override { buildKernelLoweringPipeline(pm, target); }
  FailureOr<std::vector<CodeBlob>> assemble(ModuleOp kernels, const AssembleOptions &options) const override {
    return assembleKernels(kernels, target, options);
  }

private:
  GpuTarget target;
};

} // namespace

std::unique_ptr<Target> createGpuBackend(const std::string &name) {
  GpuTarget target = GpuTarget::get(name);
  return target.arch.empty() ? nullptr : std::make_unique<GpuBackend>(std::move(target));
}

std::string gpuTargetNames() {
  std::vector<std::string> names;
  for (const GpuFamily *family : families())
    for (const GpuTarget &machine : family->machines())
      names.push_back(machine.arch);
  return llvm::join(names, ", ");
}

void registerGpuPasses() {
  for (const GpuFamily *family : families())
    family->registerPasses();
}

} // namespace moec::gpu
