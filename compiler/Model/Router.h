// Routing of one MoE layer, and what goes with it: losses and measures of routers, balancing after a step. Internal to
// compiler/Model.
#ifndef MOEC_COMPILER_MODEL_ROUTER_H
#define MOEC_COMPILER_MODEL_ROUTER_H

#include "compiler/Model/ModelContext.h"

namespace moec {

/// Numbers of a layer in training.
class LayerNoise : public NoiseSource {
public:
  LayerNoise(ModelContext &ctx, const LayerScope &layer) : ctx(ctx), layer(layer) {}
  mlir::Value uniform(TensorBuilder &b, llvm::StringRef name, int64_t rows, int64_t cols, bool perToken) override;

private:
  ModelContext &ctx;
  const LayerScope &layer;
};

/// h [N, D], what the layer's experts read: sets all of LayerValues but what the experts make.
LayerValues buildRouting(ModelContext &ctx, const LayerScope &layer, mlir::Value h);

/// Counts choices, adds the losses of the layer to their sums and measures to their metrics, and replaces what is
/// carried from layer to layer.
void buildLayerTerms(ModelContext &ctx, const LayerScope &layer, LayerValues &r, LayerTerms terms);

} // namespace moec

#endif
