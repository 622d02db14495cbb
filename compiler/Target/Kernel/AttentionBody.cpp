#include "compiler/Target/Kernel/AttentionBody.h"

using namespace mlir;

namespace moec::kernel {

FailureOr<AttentionParams> findAttentionParams(const DispatchBody &body, Operation *op) {
  moe::DispatchOp dispatch = body.dispatch;
  AttentionParams params;
  for (Operation &inner : *dispatch.getBlock())
    if (&inner != op && !moe::computesNothing(&inner))
      return dispatch.emitOpError("has no template: '") << inner.getName() << "' beside '" << op->getName() << "'";
  for (Value operand : op->getOperands()) {
    std::optional<unsigned> param = body.paramOf(operand);
    if (!param)
      return dispatch.emitOpError("computes an operand of '") << op->getName() << "' inside the dispatch";
    params.inputs.push_back(*param);
  }
  params.results.resize(op->getNumResults());
  for (const DispatchBody::Sink &sink : body.sinks()) {
    if (sink.value.getDefiningOp() != op)
      return dispatch.emitOpError("hands out a value that '") << op->getName() << "' does not compute";
    if (sink.accumulates)
      return dispatch.emitOpError("adds to a state what '") << op->getName() << "' computes, which has no template";
    params.results[cast<OpResult>(sink.value).getResultNumber()].push_back(sink.param);
  }
  return params;
}

} // namespace moec::kernel
