#include "compiler/Target/GPU/EmitKernel.h"

using namespace mlir;

namespace moec::gpu {

FailureOr<KernelInfo> emitRowKernel(moe::DispatchOp dispatch, ModuleOp, StringRef, const GpuTarget &) {
  return dispatch.emitOpError("has no GPU template yet");
}

} // namespace moec::gpu
