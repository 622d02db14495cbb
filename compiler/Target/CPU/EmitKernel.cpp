#include "compiler/Target/CPU/EmitKernel.h"

using namespace mlir;

namespace moec::cpu {

FailureOr<KernelInfo> emitKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                 const CpuTarget &target) {
  using Template = FailureOr<KernelInfo> (*)(moe::DispatchOp, ModuleOp, StringRef, const CpuTarget &);
  static const std::pair<StringRef, Template> templates[] = {
      {moe::kRowKind, emitRowKernel},
      {moe::kProductKind, emitMatmulKernel},
      {"attention", emitAttentionKernel},
      {"attention_grad", emitAttentionGradKernel},
      {"col_reduce", emitReductionKernel},
      {"embed_grad", emitReductionKernel},
      {"quantize_columns", emitQuantizationKernel},
      {"permute", emitRoutingKernel},
      {"limit_capacity", emitRoutingKernel},
      {"count_ids", emitRoutingKernel},
      {"column_kth", emitRoutingKernel},
      {"sinkhorn", emitSinkhornKernel},
      {"eigh", emitDecompositionKernel},
      {"qr", emitDecompositionKernel},
  };
  for (auto [kind, emit] : templates)
    if (kind == dispatch.getKind())
      return emit(dispatch, kernels, symbol, target);
  return dispatch.emitOpError("has kind '") << dispatch.getKind() << "', for which there is no CPU template";
}

} // namespace moec::cpu
