#include "compiler/Target/GPU/GpuBackend.h"

#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/KernelLowering.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace moec::gpu {

namespace {

class GpuBackend final : public Target {
public:
  explicit GpuBackend(GpuTarget target) : target(std::move(target)) {}

  std::string name() const override { return target.arch; }
  std::string kind() const override { return "cuda"; }
  int64_t rowAlign() const override { return target.rowAlign; }
  // What a stage of the tensor cores' template has room for, and columns that it works on at a time.
  unsigned tensorsOfEpilogue() const override { return 3; }
  int64_t columnsOfRowSums() const override { return 64; }
  // Copies of rows cost a product about 5 % of its time on an H200, which grows with its columns; writing and reading
  // the rows once more costs the same for any number of them. Both are alike at about 6000 columns.
  int64_t columnsToGatherOnce() const override { return 6000; }
  bool spreadsInLoads() const override { return true; }
  // A pass over memory less; up to here a block keeps a row's sums in registers, whatever else it holds.
  int64_t columnsToSumInRows() const override { return 8192; }
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

std::string gpuTargetNames() { return "sm_90a"; }

} // namespace moec::gpu
