#include "dialects/Moe/IR/MoeVerify.h"

using namespace mlir;

namespace moec::moe {
LogicalResult ReshapeOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult RowReduceOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult RmsNormOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult SoftmaxOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult LogSumExpOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult TakeOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult PutOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult RopeOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult GatherRowsOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult CombineRowsOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult EmbedOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult ColReduceOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
} // namespace moec::moe
