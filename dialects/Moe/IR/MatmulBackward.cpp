#include "dialects/Moe/IR/MoeVerify.h"

using namespace mlir;

namespace moec::moe {
LogicalResult MatmulOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult GroupedMatmulOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult AttentionOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
LogicalResult ReadOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
} // namespace moec::moe
