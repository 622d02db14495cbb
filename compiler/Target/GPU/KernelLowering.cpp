#include "compiler/Target/GPU/KernelLowering.h"

using namespace mlir;

namespace moec::gpu {

void buildKernelLoweringPipeline(OpPassManager &, const GpuTarget &) {}

FailureOr<std::vector<CodeBlob>> assembleKernels(ModuleOp kernels, const GpuTarget &, const AssembleOptions &) {
  return kernels.emitError("not yet");
}

} // namespace moec::gpu
