// Backwards of matrix products, attention and state reads.
#include "dialects/Moe/IR/MoeBuild.h"

using namespace mlir;

namespace moec::moe {

LogicalResult MatmulOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool> needed,
                                      SmallVectorImpl<Value> &operandGrads) {
  // With A and B as they are multiplied: dA = g B^T, dB = A^T g. Where an operand is stored transposed so is its
  // gradient.
  Value a = getA(), b = getB(), g = resultGrads[0];
  bool ta = getTa(), tb = getTb();
  auto product = [&](Type type, Value x, Value y, bool tx, bool ty) -> Value {
    return MatmulOp::create(builder, getLoc(), type, x, y, tx, ty);
  };
  if (needed[0])
    operandGrads[0] = ta ? product(a.getType(), b, g, tb, true) : product(a.getType(), g, b, false, !tb);
  if (needed[1])
    operandGrads[1] = tb ? product(b.getType(), g, a, true, ta) : product(b.getType(), a, g, !ta, false);
  return success();
}

LogicalResult GroupedMatmulOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool> needed,
                                             SmallVectorImpl<Value> &operandGrads) {
  if (!getScales().empty())
    return emitOpError("is of quantised operands; quantise after differentiation");
  Value a = getA(), w = getW(), g = resultGrads[0];
  if (needed[0]) {
    auto grad = GroupedMatmulOp::create(builder, getLoc(), a.getType(), g, w, getOffsets(), getCounts(), !getTb(),
                                        /*scales=*/ValueRange(), getAllRows());
    if (Attribute precision = (*this)->getAttr("moe.full_precision"))
      grad->setAttr("moe.full_precision", precision);
    operandGrads[0] = grad;
  }
  if (needed[1])
    operandGrads[1] = GroupedOuterOp::create(builder, getLoc(), w.getType(), getTb() ? g : a, getTb() ? a : g,
                                             getOffsets(), getCounts());
  return success();
}

LogicalResult AttentionOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                         SmallVectorImpl<Value> &operandGrads) {
  if (resultGrads[1])
    return emitOpError("has no backward for lse");
  auto grad =
      AttentionGradOp::create(builder, getLoc(), TypeRange{getQ().getType(), getK().getType(), getV().getType()},
                              ValueRange{getQ(), getK(), getV(), getResult(), getLse(), resultGrads[0]});
  grad.setHeadsAttr(getHeadsAttr());
  grad.setKvHeadsAttr(getKvHeadsAttr());
  grad.setSeqLenAttr(getSeqLenAttr());
  if (getWindow())
    grad.setWindowAttr(getWindowAttr());
  llvm::copy(grad.getResults(), operandGrads.begin());
  return success();
}

LogicalResult ReadOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                    SmallVectorImpl<Value> &) {
  auto state = SymbolTable::lookupNearestSymbolFrom<StateOp>(*this, getStateAttr());
  if (state.getGradientAttr())
    AccumulateOp::create(builder, getLoc(), state.getGradientAttr(), getIndex(), resultGrads[0]);
  return success();
}

} // namespace moec::moe
