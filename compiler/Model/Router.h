// Routing of one MoE layer, losses and measures of routers, and balancing after a step. Internal to compiler/Model.
#ifndef MOEC_COMPILER_MODEL_ROUTER_H
#define MOEC_COMPILER_MODEL_ROUTER_H

#include "compiler/Model/ModelContext.h"

namespace moec {

/// Random numbers of a layer in training.
class LayerNoise : public NoiseSource {
public:
  LayerNoise(ModelContext &ctx, const LayerScope &layer) : ctx(ctx), layer(layer) {}
  mlir::Value uniform(TensorBuilder &b, llvm::StringRef name, int64_t rows, int64_t cols, bool perToken) override;

private:
  ModelContext &ctx;
  const LayerScope &layer;
};

/// h [N, D] is the input of the layer's experts. Sets all of LayerValues except the experts' activations.
LayerValues buildRouting(ModelContext &ctx, const LayerScope &layer, mlir::Value h);

/// Counts choices, adds the losses of the layer to their sums and its measures to their metrics, and replaces the
/// values that are carried from layer to layer.
void buildLayerTerms(ModelContext &ctx, const LayerScope &layer, LayerValues &r, LayerTerms terms);

} // namespace moec

#endif
