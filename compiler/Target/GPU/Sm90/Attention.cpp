#include "compiler/Target/GPU/EmitKernel.h"

using namespace mlir;

namespace moec::sm90 {

bool coversAttention(moe::DispatchOp) { return false; }

FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp dispatch, ModuleOp, StringRef, const gpu::GpuTarget &) {
  return dispatch.emitOpError("has no tensor core template yet");
}
FailureOr<KernelInfo> emitAttentionGradKernel(moe::DispatchOp dispatch, ModuleOp, StringRef, const gpu::GpuTarget &) {
  return dispatch.emitOpError("has no tensor core template yet");
}

} // namespace moec::sm90
