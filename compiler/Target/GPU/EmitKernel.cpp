#include "compiler/Target/GPU/EmitKernel.h"

using namespace mlir;

namespace moec::gpu {

FailureOr<KernelInfo> emitKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                 const GpuTarget &target) {
  using Template = FailureOr<KernelInfo> (*)(moe::DispatchOp, ModuleOp, StringRef, const GpuTarget &);
  struct Entry {
    StringRef kind;
    Template emit;                            // for any shape
    bool (*coversFast)(moe::DispatchOp) = {}; // tensor cores
    Template emitFast = {};
  };
  static const Entry templates[] = {
      {"row", emitRowKernel},
      {"matmul", emitMatmulKernel, sm90::coversMatmul, sm90::emitMatmulKernel},
      {"attention", emitAttentionKernel, sm90::coversAttention, sm90::emitAttentionKernel},
      {"attention_grad", emitAttentionGradKernel, sm90::coversAttention, sm90::emitAttentionGradKernel},
      {"col_reduce", emitReductionKernel},
      {"embed_grad", emitReductionKernel},
      {"permute", emitRoutingKernel},
      {"limit_capacity", emitRoutingKernel},
      {"count_ids", emitRoutingKernel},
  };
  for (const Entry &entry : templates)
    if (entry.kind == dispatch.getKind()) {
      bool fast = target.hasTensorCores && entry.coversFast && entry.coversFast(dispatch);
      return (fast ? entry.emitFast : entry.emit)(dispatch, kernels, symbol, target);
    }
  return dispatch.emitOpError("has kind '") << dispatch.getKind() << "', for which there is no GPU template";
}

} // namespace moec::gpu
