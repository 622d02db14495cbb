#include "compiler/Target/GPU/EmitKernel.h"

using namespace mlir;

namespace moec::sm90 {

bool coversMatmul(moe::DispatchOp) { return false; }

FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp dispatch, ModuleOp, StringRef, const gpu::GpuTarget &) {
  return dispatch.emitOpError("has no tensor core template yet");
}

} // namespace moec::sm90
