// Routing of one MoE layer, and what goes with it: losses and measures of routers, balancing after a step. Internal to
// compiler/Model.
#ifndef MOEC_COMPILER_MODEL_ROUTER_H
#define MOEC_COMPILER_MODEL_ROUTER_H

#include "compiler/Model/ModelContext.h"

namespace moec {

/// h [N, D], what the layer's experts read: sets all of RoutingValues but what the experts make.
RoutingValues buildRouting(ModelContext &ctx, const LayerScope &layer, mlir::Value h);

/// Counts choices, adds the losses of the layer to their sums and measures to their metrics, and replaces what is
/// carried from layer to layer.
void buildLayerTerms(ModelContext &ctx, const LayerScope &layer, RoutingValues &r, LayerTerms terms);

} // namespace moec

#endif
