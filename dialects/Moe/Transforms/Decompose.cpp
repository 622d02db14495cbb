// Expands ops that are short for a few maps and row reductions.
#include "dialects/Moe/IR/MoeBuild.h"
#include "dialects/Moe/IR/Quantization.h"
#include "dialects/Moe/Transforms/Passes.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEDECOMPOSE
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

Value reduceRows(OpBuilder &builder, Location loc, Reduction kind, Value value) {
  return RowReduceOp::create(builder, loc, withShape(value, {rows(value), 1}), kind, value);
}

void decompose(RmsNormOp op) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  Value x = op.getInput();
  double eps = op.getEps().convertToDouble(), perColumn = 1.0 / cols(x);
  Value squares = buildMap(builder, loc, x.getType(), x, [](Scalars &s, ValueRange v) { return s.mul(v[0], v[0]); });
  Value sum = reduceRows(builder, loc, Reduction::sum, squares);
  Value y = buildMap(builder, loc, x.getType(), {x, op.getScale(), sum}, [&](Scalars &s, ValueRange v) {
    return s.mul(s.mul(v[0], s.rsqrt(s.add(s.mul(v[2], perColumn), eps))), v[1]);
  });
  op.replaceAllUsesWith(y);
  op.erase();
}

// max(x), exp(x - max), sum of these.
struct Exponentials {
  Exponentials(OpBuilder &builder, Location loc, Value x) {
    max = reduceRows(builder, loc, Reduction::max, x);
    exp = buildMap(builder, loc, x.getType(), {x, max},
                   [](Scalars &s, ValueRange v) { return s.exp(s.sub(v[0], v[1])); });
    sum = reduceRows(builder, loc, Reduction::sum, exp);
  }
  Value max, exp, sum;
};

void decompose(SoftmaxOp op) {
  OpBuilder builder(op);
  Exponentials parts(builder, op.getLoc(), op.getInput());
  // One division per row, then multiplications, which the row template vectorises best.
  Value y = buildMap(builder, op.getLoc(), op.getType(), {parts.exp, parts.sum},
                     [](Scalars &s, ValueRange v) { return s.mul(v[0], s.div(s.constant(v[1].getType(), 1), v[1])); });
  op.replaceAllUsesWith(y);
  op.erase();
}

void decompose(LogSumExpOp op) {
  OpBuilder builder(op);
  Exponentials parts(builder, op.getLoc(), op.getInput());
  Value y = buildMap(builder, op.getLoc(), op.getType(), {parts.max, parts.sum},
                     [](Scalars &s, ValueRange v) { return s.add(v[0], s.log(v[1])); });
  op.replaceAllUsesWith(y);
  op.erase();
}

void decompose(QuantizeRowsOp op) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  Type column = op.getScale().getType();
  Value sizes = buildMap(builder, loc, op.getInputs().front().getType(), op.getInputs(), [](Scalars &s, ValueRange v) {
    Value largest = s.abs(v.front());
    for (Value other : v.drop_front())
      largest = s.maximum(largest, s.abs(other));
    return largest;
  });
  Value largest = reduceRows(builder, loc, Reduction::max, sizes);
  auto scales = MapOp::create(builder, loc, TypeRange{column, column}, ValueRange{largest},
                              [&](OpBuilder &b, Location at, ValueRange v) {
                                QuantizationScale made = buildQuantizationScale(b, at, v[0]);
                                return SmallVector<Value>{made.scale, made.inverse};
                              });
  for (auto [input, value] : llvm::zip_equal(op.getInputs(), op.getValues()))
    value.replaceAllUsesWith(MapOp::create(builder, loc, TypeRange{value.getType()},
                                           ValueRange{input, scales.getResult(1)},
                                           [&](OpBuilder &b, Location at, ValueRange v) {
                                             Value scaled = arith::MulFOp::create(b, at, v[0], v[1]);
                                             return SmallVector<Value>{buildRounding(b, at, scaled)};
                                           })
                                 .getResult(0));
  op.getScale().replaceAllUsesWith(scales.getResult(0));
  op.erase();
}

struct DecomposePass : impl::MoeDecomposeBase<DecomposePass> {
  using Base::Base;
  void runOnOperation() override {
    getOperation()->walk([](Operation *op) {
      if (auto norm = dyn_cast<RmsNormOp>(op))
        decompose(norm);
      else if (auto softmax = dyn_cast<SoftmaxOp>(op))
        decompose(softmax);
      else if (auto logSumExp = dyn_cast<LogSumExpOp>(op))
        decompose(logSumExp);
      else if (auto quantize = dyn_cast<QuantizeRowsOp>(op))
        decompose(quantize);
    });
  }
};

} // namespace
} // namespace moec::moe
