#include "compiler/Model/ModelBuilder.h"

#include "compiler/Model/ModelContext.h"

using namespace mlir;

namespace moec {

LogicalResult buildModel(exp::ExperimentOp experiment, ModuleOp module, const ModelOptions &options) {
  FailureOr<ModelMethods> methods = findMethods(experiment);
  if (failed(methods))
    return failure();
  ModelContext ctx(experiment, module, options, std::move(*methods));
  ctx.declareParameters();
  buildForwardFunctions(ctx);
  if (failed(buildUpdateFunction(ctx)))
    return failure();
  // This comes last, when every state that has to be zeroed is known.
  buildBeginFunctions(ctx);
  buildInitFunction(ctx);
  return failure(ctx.states.hasErrors);
}

} // namespace moec
