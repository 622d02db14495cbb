// Backwards of the row ops, views and sums over rows.
#include "dialects/Moe/IR/MoeBuild.h"

using namespace mlir;

namespace moec::moe {

static Value sumRows(OpBuilder &builder, Location loc, Value value) {
  return RowReduceOp::create(builder, loc, withShape(value, {rows(value), 1}), Reduction::sum, value);
}

LogicalResult ReshapeOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                       SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = ReshapeOp::create(builder, getLoc(), getInput().getType(), resultGrads[0]);
  return success();
}

LogicalResult RowReduceOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                         SmallVectorImpl<Value> &operandGrads) {
  if (getEvery())
    return emitOpError("of parts of rows has no backward");
  // The maximum only shifts the exponents of a softmax, so it counts as a constant.
  if (getKind() == Reduction::sum)
    operandGrads[0] =
        buildMap(builder, getLoc(), getInput().getType(), resultGrads[0], [](Scalars &, ValueRange v) { return v[0]; });
  return success();
}

LogicalResult ColReduceOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                         SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] =
      buildMap(builder, getLoc(), getInput().getType(), resultGrads[0], [](Scalars &, ValueRange v) { return v[0]; });
  return success();
}

LogicalResult RmsNormOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool> needed,
                                       SmallVectorImpl<Value> &operandGrads) {
  // With r = rsqrt(mean(x^2) + eps): dx = r * (g s - x r^2 mean(g s x)), ds = sum over rows of g x r.
  Location loc = getLoc();
  Value x = getInput(), scale = getScale(), g = resultGrads[0];
  double eps = getEps().convertToDouble(), perColumn = 1.0 / cols(x);
  auto rsqrt = [&](Scalars &s, Value sum) { return s.rsqrt(s.add(s.mul(sum, perColumn), eps)); };
  // The op that also reads the gradient comes first: an op that reads x alone could get a kernel of its own (siblings,
  // in moe-form-dispatches).
  Value dot;
  if (needed[0]) {
    Value products = buildMap(builder, loc, x.getType(), {x, scale, g},
                              [](Scalars &s, ValueRange v) { return s.mul(s.mul(v[2], v[1]), v[0]); });
    dot = sumRows(builder, loc, products);
  }
  Value squares = buildMap(builder, loc, x.getType(), x, [](Scalars &s, ValueRange v) { return s.mul(v[0], v[0]); });
  Value sum = sumRows(builder, loc, squares);
  if (needed[0])
    operandGrads[0] = buildMap(builder, loc, x.getType(), {x, scale, g, sum, dot}, [&](Scalars &s, ValueRange v) {
      Value r = rsqrt(s, v[3]);
      Value mean = s.mul(s.mul(s.mul(r, r), v[4]), perColumn);
      return s.mul(r, s.sub(s.mul(v[2], v[1]), s.mul(v[0], mean)));
    });
  if (needed[1]) {
    Value products = buildMap(builder, loc, x.getType(), {x, g, sum},
                              [&](Scalars &s, ValueRange v) { return s.mul(s.mul(v[1], v[0]), rsqrt(s, v[2])); });
    operandGrads[1] = ColReduceOp::create(builder, loc, scale.getType(), products);
  }
  return success();
}

LogicalResult SoftmaxOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                       SmallVectorImpl<Value> &operandGrads) {
  Location loc = getLoc();
  Value y = getResult(), g = resultGrads[0];
  Value products =
      buildMap(builder, loc, y.getType(), {y, g}, [](Scalars &s, ValueRange v) { return s.mul(v[0], v[1]); });
  Value dot = sumRows(builder, loc, products);
  operandGrads[0] = buildMap(builder, loc, y.getType(), {y, g, dot},
                             [](Scalars &s, ValueRange v) { return s.mul(v[0], s.sub(v[1], v[2])); });
  return success();
}

LogicalResult LogSumExpOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                         SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = buildMap(builder, getLoc(), getInput().getType(), {getInput(), getResult(), resultGrads[0]},
                             [](Scalars &s, ValueRange v) { return s.mul(v[2], s.exp(s.sub(v[0], v[1]))); });
  return success();
}

LogicalResult TakeOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                    SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = PutOp::create(builder, getLoc(), getInput().getType(), resultGrads[0], getIds());
  return success();
}

LogicalResult PutOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                   SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = TakeOp::create(builder, getLoc(), getValues().getType(), resultGrads[0], getIds());
  return success();
}

LogicalResult RopeOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                    SmallVectorImpl<Value> &operandGrads) {
  // A rotation's adjoint is its inverse. The tables are constants.
  operandGrads[0] = RopeOp::create(builder, getLoc(), getInput().getType(), resultGrads[0], getCos(), getSin(),
                                   !getInverse(), getHeads());
  return success();
}

LogicalResult GatherRowsOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                          SmallVectorImpl<Value> &operandGrads) {
  if (!getSlotRow())
    return emitOpError("needs slot_row to be differentiated");
  operandGrads[0] = CombineRowsOp::create(builder, getLoc(), getInput().getType(), resultGrads[0], getSlotRow(),
                                          /*row_slot=*/Value(), /*weights=*/Value());
  return success();
}

LogicalResult CombineRowsOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool> needed,
                                           SmallVectorImpl<Value> &operandGrads) {
  Value g = resultGrads[0];
  if (needed[0]) {
    if (!getRowSlot())
      return emitOpError("needs row_slot to be differentiated");
    operandGrads[0] =
        SpreadRowsOp::create(builder, getLoc(), getRows().getType(), g, getRowSlot(), getWeights(), cols(getSlotRow()));
  }
  if (getWeights() && needed.back())
    operandGrads.back() = DotRowsOp::create(builder, getLoc(), getWeights().getType(), g, getRows(), getSlotRow());
  return success();
}

// The chosen entry counts as a constant.
LogicalResult ColumnKthOp::buildBackward(OpBuilder &, ValueRange, ArrayRef<bool>, SmallVectorImpl<Value> &) {
  return success();
}
LogicalResult SinkhornOp::buildBackward(OpBuilder &, ValueRange, ArrayRef<bool>, SmallVectorImpl<Value> &) {
  return success();
}

LogicalResult EmbedOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                     SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = EmbedGradOp::create(builder, getLoc(), getTable().getType(), resultGrads[0], getIds());
  return success();
}

} // namespace moec::moe
