#include "compiler/Methods/MatrixBatch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {

/// An i32 matrix from the row and column of each element.
static Value buildIds(TensorBuilder &b, int64_t rows, int64_t cols,
                      function_ref<Value(OpBuilder &, Location, Value row, Value col)> formula) {
  auto type = RankedTensorType::get({rows, cols}, b.b.getI32Type());
  auto body = [&](OpBuilder &builder, Location loc, ValueRange place) {
    Value id = formula(builder, loc, place[0], place[1]);
    return SmallVector<Value>{arith::TruncIOp::create(builder, loc, builder.getI32Type(), id)};
  };
  return moe::MapOp::create(b.b, TypeRange{type}, ValueRange(), body, /*position=*/true)->getResult(0);
}

static Value constant(OpBuilder &b, Location loc, int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
}

/// `value` if the condition, a scalar, is not 0; otherwise 0.
static Value buildIfEnabled(OpBuilder &builder, Location loc, Value condition, Value value) {
  Value zero = arith::ConstantOp::create(builder, loc, builder.getFloatAttr(condition.getType(), 0));
  Value on = arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::ONE, condition, zero);
  return arith::SelectOp::create(builder, loc, on, value, constant(builder, loc, 0));
}

// Groups without rows cost nothing. In this way products are switched off.
static Value buildOffsets(TensorBuilder &b, int64_t columns, int64_t factor, int64_t addend, Value enabled) {
  auto type = RankedTensorType::get({1, columns}, b.b.getI32Type());
  auto body = [&](OpBuilder &builder, Location loc, ValueRange scalars) {
    Value value = arith::MulIOp::create(builder, loc, scalars.back(), constant(builder, loc, factor));
    value = arith::AddIOp::create(builder, loc, value, constant(builder, loc, addend));
    if (enabled)
      value = buildIfEnabled(builder, loc, scalars.front(), value);
    return SmallVector<Value>{arith::TruncIOp::create(builder, loc, builder.getI32Type(), value)};
  };
  ValueRange inputs = enabled ? ValueRange(enabled) : ValueRange();
  return moe::MapOp::create(b.b, TypeRange{type}, inputs, body, /*position=*/true)->getResult(0);
}

MatrixBatch::Groups MatrixBatch::buildGroups(int64_t stride, int64_t rows) {
  return {buildOffsets(b, count + 1, stride, 0, enabled), buildOffsets(b, count, 0, rows, enabled)};
}

/// For matrices of `to` rows that take their rows from matrices of `from` rows: the row numbers; -1: no such row.
static Value buildRowIds(TensorBuilder &b, int64_t count, int64_t from, int64_t to) {
  return buildIds(b, count * to, 1, [&](OpBuilder &builder, Location loc, Value row, Value) -> Value {
    Value size = constant(builder, loc, to);
    Value matrix = arith::DivSIOp::create(builder, loc, row, size);
    Value within = arith::RemSIOp::create(builder, loc, row, size);
    Value start = arith::MulIOp::create(builder, loc, matrix, constant(builder, loc, from));
    Value place = arith::AddIOp::create(builder, loc, start, within);
    if (to < from)
      return place;
    Value filled = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, within, constant(builder, loc, from));
    return arith::SelectOp::create(builder, loc, filled, place, constant(builder, loc, -1));
  });
}

Value MatrixBatch::resize(Value x, int64_t from, int64_t to) {
  if (from == to)
    return x;
  Value back = inLoss ? buildRowIds(b, count, to, from) : Value();
  return moe::GatherRowsOp::create(b.b, b.type(count * to, TensorBuilder::cols(x)), x, buildRowIds(b, count, from, to),
                                   back);
}

Value MatrixBatch::asStack(Value x) const {
  auto type = RankedTensorType::get({count, rowsOf(x), colsOf(x)}, b.element);
  return x.getType() == type ? x : moe::ReshapeOp::create(b.b, type, x).getResult();
}

Value MatrixBatch::asRows(Value x) const {
  auto type = cast<RankedTensorType>(x.getType());
  return b.reshape(x, count * type.getDimSize(1), type.getDimSize(2));
}

Operation *MatrixBatch::mark(Operation *product) {
  if (inLoss)
    product->setAttr("moe.full_precision", b.b.getUnitAttr());
  if (wide)
    product->setAttr("moe.wide_factors", b.b.getUnitAttr());
  return product;
}

Value MatrixBatch::buildProduct(Value padded, Value y, int64_t rows, bool tb) {
  int64_t stride = aligned(rows), cols = tb ? rowsOf(y) : colsOf(y);
  Groups groups = buildGroups(stride, rows);
  Operation *product = mark(moe::GroupedMatmulOp::create(b.b, b.type(count * stride, cols), padded, asStack(y),
                                                         groups.offsets, groups.counts, tb, /*scales=*/ValueRange(),
                                                         /*all_rows=*/!enabled));
  return resize(product->getResult(0), stride, rows);
}

Value MatrixBatch::multiply(Value x, Value y, bool tb) {
  int64_t rows = rowsOf(x);
  return buildProduct(resize(x, rows, aligned(rows)), y, rows, tb);
}

Value MatrixBatch::multiplyShared(Value x, Value y) {
  int64_t rows = TensorBuilder::rows(x), stride = aligned(rows);
  Value source = buildIds(b, count * stride, 1, [&](OpBuilder &builder, Location loc, Value row, Value) -> Value {
    Value within = arith::RemSIOp::create(builder, loc, row, constant(builder, loc, stride));
    Value filled = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, within, constant(builder, loc, rows));
    return arith::SelectOp::create(builder, loc, filled, within, constant(builder, loc, -1));
  });
  Value back = buildIds(b, rows, count, [&](OpBuilder &builder, Location loc, Value row, Value matrix) -> Value {
    Value start = arith::MulIOp::create(builder, loc, matrix, constant(builder, loc, stride));
    return arith::AddIOp::create(builder, loc, start, row);
  });
  Value copies = moe::GatherRowsOp::create(b.b, b.type(count * stride, TensorBuilder::cols(x)), x, source,
                                           inLoss ? back : Value());
  return buildProduct(copies, y, rows, /*tb=*/false);
}

Value MatrixBatch::outer(Value x, Value y) {
  int64_t rows = rowsOf(x), stride = aligned(rows), k = TensorBuilder::cols(x), n = TensorBuilder::cols(y);
  Groups groups = buildGroups(stride, rows);
  auto type = RankedTensorType::get({count, k, n}, b.element);
  Operation *product = mark(moe::GroupedOuterOp::create(b.b, type, resize(x, rows, stride), resize(y, rows, stride),
                                                        groups.offsets, groups.counts));
  return b.reshape(product->getResult(0), count * k, n);
}

Value MatrixBatch::sums(Value x) {
  Value ofRows = TensorBuilder::cols(x) > 1 ? b.sumCols(x) : x;
  return rowsOf(x) > 1 ? b.sumRows(ofRows, count) : ofRows;
}

Value MatrixBatch::norms(Value x) {
  return b.map({sums(b.mul(x, x))}, [](ScalarBuilder &s, TensorBuilder::Scalars v) { return s.sqrt(v[0]); });
}

Value MatrixBatch::newtonSchulz(Value x, ArrayRef<Quintic> steps, double eps) {
  int64_t rows = rowsOf(x), stride = aligned(rows);
  bool tall = rows > TensorBuilder::cols(x);
  Value unit = b.map({x, norms(x)}, [&](ScalarBuilder &s, TensorBuilder::Scalars v) {
    return s.div(v[0], s.add(v[1], s.constant(eps)));
  });
  Value y = resize(unit, rows, stride);
  for (const Quintic &step : steps) {
    Value gram = tall ? outer(y, y) : multiply(y, y, /*tb=*/true);
    Value square = multiply(gram, gram);
    Value factor = b.map({gram, square}, [&](ScalarBuilder &s, TensorBuilder::Scalars v) {
      return s.add(s.mul(s.constant(step.b), v[0]), s.mul(s.constant(step.c), v[1]));
    });
    Value change = tall ? multiply(y, factor) : multiply(factor, y);
    y = b.map({y, change},
              [&](ScalarBuilder &s, TensorBuilder::Scalars v) { return s.add(s.mul(s.constant(step.a), v[0]), v[1]); });
  }
  return resize(y, stride, rows);
}

} // namespace moec
