// The rules of the exp dialect.
#include "dialects/Exp/IR/Exp.h"

using namespace mlir;
using namespace moec::exp;

LogicalResult MethodAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, llvm::StringRef category,
                                 llvm::StringRef kind, DictionaryAttr fields) {
  return success();
}
#define EMPTY(T) LogicalResult T::verify() { return success(); }
EMPTY(ModelOp) EMPTY(AttentionOp) EMPTY(FfnOp) EMPTY(MoeOp) EMPTY(RouterOp) EMPTY(LossOp) EMPTY(OptimizerOp) EMPTY(GroupOp)
EMPTY(DataOp) EMPTY(DatasetOp) EMPTY(BatchOp) EMPTY(DurationOp) EMPTY(PrecisionOp) EMPTY(MemoryOp) EMPTY(EvaluateOp)
EMPTY(CheckpointOp) EMPTY(MetricsOp)
LogicalResult ExperimentOp::verifyRegions() { return success(); }
LogicalResult moec::exp::checkAll(ExperimentOp experiment) { return success(); }
