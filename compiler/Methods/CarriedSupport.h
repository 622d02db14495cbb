// Code shared by methods that use a token's experts in the previous mixture.
#ifndef MOEC_COMPILER_METHODS_CARRIEDSUPPORT_H
#define MOEC_COMPILER_METHODS_CARRIEDSUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

/// A conflict of a model with fewer than two mixtures, for `what` ("loss", "measure") called `kind`.
inline std::vector<exp::Conflict> findSingleMixture(exp::ExperimentOp experiment, const std::string &kind,
                                                    const std::string &what) {
  auto moe = experiment.section<exp::MoeOp>();
  auto model = experiment.section<exp::ModelOp>();
  int64_t layers = 0;
  for (int64_t i = 0; moe && model && i < static_cast<int64_t>(model.getNumLayers()); ++i)
    layers += exp::isMoeLayer(moe, i);
  if (!moe || !model || layers >= 2)
    return {};
  return {{.field = "",
           .text = kind + " joins a mixture to the one before it, and the model has " + std::to_string(layers) +
                   "; give two layers with mixtures or more, or leave the " + what + " out",
           .other = model,
           .otherField = "num_layers",
           .otherText = "num_layers is " + std::to_string(model.getNumLayers())}};
}

} // namespace moec

#endif
