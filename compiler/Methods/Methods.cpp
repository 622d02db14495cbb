#include "compiler/Methods/Methods.h"

namespace moec {

std::vector<exp::Conflict> ForcedMethod::findConflicts(exp::MethodAttr attr, mlir::Operation *,
                                                       exp::ExperimentOp experiment) const {
  auto moe = experiment.section<exp::MoeOp>();
  if (!moe || (moe.getTopKPerLayer().empty() && experiment.sections<exp::ChangeOp>().empty()))
    return {};
  return {{.field = "forced",
           .text = attr.getKind().str() +
                   " gives every token top_k experts in all layers; remove top_k_per_layer, here "
                   "and under changes, or debug",
           .other = moe,
           .otherField = "top_k_per_layer",
           .otherText = "the mixture is here"}};
}

mlir::Value keepLayerTopK(TensorBuilder &b, const RoutingValues &r, mlir::Value ids) {
  if (!r.layerTopK)
    return ids;
  return b.mapTo(b.b.getI32Type(), {ids, r.layerTopK}, TensorBuilder::rows(ids), TensorBuilder::cols(ids),
                 [](ScalarBuilder &s, TensorBuilder::Scalars x) {
                   return s.select(s.less(s.toElement(x[3]), x[1]), x[0], s.toInteger(s.integer(-1), 32));
                 });
}

void registerMethods(mlir::DialectRegistry &registry) {
  registry.addExtension(+[](mlir::MLIRContext *, exp::ExpDialect *dialect) { registerMethods(dialect->getMethods()); });
}

} // namespace moec
