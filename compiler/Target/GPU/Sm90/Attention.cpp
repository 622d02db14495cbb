#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

using namespace mlir;

namespace moec::sm90 {

bool coversAttention(moe::DispatchOp dispatch) { return AttentionDispatch::read(dispatch).has_value(); }

FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                          const gpu::GpuTarget &target) {
  return emitForward(*AttentionDispatch::read(dispatch), kernels, symbol, target);
}

FailureOr<std::vector<KernelInfo>> emitAttentionGradKernels(moe::DispatchOp dispatch, ModuleOp kernels,
                                                            StringRef symbol, const gpu::GpuTarget &target) {
  AttentionDispatch read = *AttentionDispatch::read(dispatch);
  FailureOr<KernelInfo> queries = emitQueryGradient(read, kernels, (symbol + "_dq").str(), target);
  if (failed(queries))
    return failure();
  FailureOr<KernelInfo> keys = emitKeyGradients(read, kernels, (symbol + "_dkv").str(), target);
  if (failed(keys))
    return failure();
  return std::vector<KernelInfo>{std::move(*queries), std::move(*keys)};
}

} // namespace moec::sm90
