#include "compiler/Target/GPU/EmitKernel.h"

#include "compiler/Target/GPU/GpuFamily.h"

using namespace mlir;

namespace moec::gpu {

namespace {
/// Wraps a template that makes one kernel as a template that makes several.
template <FailureOr<KernelInfo> (*emit)(moe::DispatchOp, ModuleOp, StringRef, const GpuTarget &)>
FailureOr<std::vector<KernelInfo>> one(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                       const GpuTarget &target) {
  FailureOr<KernelInfo> kernel = emit(dispatch, kernels, symbol, target);
  if (failed(kernel))
    return failure();
  return std::vector<KernelInfo>{std::move(*kernel)};
}

/// A launch with more shared memory would fail, and its error would not name the dispatch.
LogicalResult checkSharedMemory(moe::DispatchOp dispatch, ArrayRef<KernelInfo> kernels, const GpuTarget &target) {
  for (const KernelInfo &kernel : kernels) {
    auto shared = kernel.launch ? kernel.launch.getAs<IntegerAttr>("shared") : IntegerAttr();
    if (shared && shared.getInt() > target.sharedBytes)
      return dispatch.emitOpError("of kind '")
             << dispatch.getKind() << "' needs " << shared.getInt() << " bytes of shared memory per block, and "
             << target.arch << " has " << target.sharedBytes;
  }
  return success();
}
} // namespace

FailureOr<std::vector<KernelInfo>> emitKernels(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                               const GpuTarget &target) {
  using Template = FailureOr<std::vector<KernelInfo>> (*)(moe::DispatchOp, ModuleOp, StringRef, const GpuTarget &);
  struct Entry {
    StringRef kind;
    Template emit;
  };
  static const Entry templates[] = {
      {moe::kRowKind, one<emitRowKernel>},
      {moe::kProductKind, one<emitMatmulKernel>},
      {"attention", one<emitAttentionKernel>},
      {"attention_grad", one<emitAttentionGradKernel>},
      {"col_reduce", one<emitReductionKernel>},
      {"embed_grad", one<emitEmbedGradKernel>},
      {"quantize_columns", one<emitQuantizationKernel>},
      {"permute", one<emitRoutingKernel>},
      {"limit_capacity", one<emitRoutingKernel>},
      {"count_ids", one<emitRoutingKernel>},
      {"column_kth", one<emitColumnKthKernel>},
      {"sinkhorn", one<emitSinkhornKernel>},
      {"eigh", one<emitDecompositionKernel>},
      {"qr", one<emitDecompositionKernel>},
  };
  std::optional<FailureOr<std::vector<KernelInfo>>> made;
  if (target.family)
    made = target.family->emit(dispatch, kernels, symbol, target);
  for (const Entry &entry : templates)
    if (!made && entry.kind == dispatch.getKind())
      made = entry.emit(dispatch, kernels, symbol, target);
  if (!made)
    return dispatch.emitOpError("has kind '") << dispatch.getKind() << "', for which there is no GPU template";
  if (failed(*made) || failed(checkSharedMemory(dispatch, **made, target)))
    return failure();
  return *made;
}

} // namespace moec::gpu
