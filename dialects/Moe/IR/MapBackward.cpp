#include "dialects/Moe/IR/MoeVerify.h"

using namespace mlir;

namespace moec::moe {
LogicalResult MapOp::buildBackward(OpBuilder &, ValueRange, SmallVectorImpl<Value> &) { return emitOpError("has no backward yet"); }
} // namespace moec::moe
