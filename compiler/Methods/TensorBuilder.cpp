#include "compiler/Methods/TensorBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec {

RankedTensorType TensorBuilder::type(int64_t rows, int64_t cols) const {
  return RankedTensorType::get({rows, cols}, element);
}

Value TensorBuilder::constant(double value, int64_t rows, int64_t cols) {
  return arith::ConstantOp::create(b, SplatElementsAttr::get(type(rows, cols), b.getFloatAttr(element, value)));
}

static SmallVector<Value> buildMap(TensorBuilder &t, ValueRange inputs, int64_t rows, int64_t cols, unsigned numResults,
                                   bool position, TensorBuilder::Formulas formulas) {
  SmallVector<Type> types(numResults, t.type(rows, cols));
  auto body = [&](OpBuilder &builder, Location loc, ValueRange scalars) {
    ScalarBuilder s(builder, loc, t.element);
    return formulas(s, SmallVector<Value>(scalars));
  };
  return llvm::to_vector(ValueRange(moe::MapOp::create(t.b, types, inputs, body, position)->getResults()));
}

SmallVector<Value> TensorBuilder::mapMany(ValueRange inputs, unsigned numResults, Formulas formulas) {
  int64_t numRows = 1, numCols = 1;
  for (Value input : inputs) {
    numRows = std::max(numRows, rows(input));
    numCols = std::max(numCols, cols(input));
  }
  return buildMap(*this, inputs, numRows, numCols, numResults, /*position=*/false, formulas);
}

SmallVector<Value> TensorBuilder::mapPosition(int64_t rows, int64_t cols, unsigned numResults, Formulas formulas) {
  return buildMap(*this, {}, rows, cols, numResults, /*position=*/true, formulas);
}

Value TensorBuilder::map(ValueRange inputs, Formula formula) {
  return mapMany(inputs, 1, [&](ScalarBuilder &s, Scalars x) { return SmallVector<Value>{formula(s, x)}; }).front();
}

Value TensorBuilder::fill(double value, int64_t rows, int64_t cols) {
  auto formula = [&](ScalarBuilder &s, Scalars) { return SmallVector<Value>{s.constant(value)}; };
  return buildMap(*this, {}, rows, cols, 1, /*position=*/false, formula).front();
}

Value TensorBuilder::add(Value x, Value y) {
  return map({x, y}, [](ScalarBuilder &s, Scalars v) { return s.add(v[0], v[1]); });
}
Value TensorBuilder::sub(Value x, Value y) {
  return map({x, y}, [](ScalarBuilder &s, Scalars v) { return s.sub(v[0], v[1]); });
}
Value TensorBuilder::mul(Value x, Value y) {
  return map({x, y}, [](ScalarBuilder &s, Scalars v) { return s.mul(v[0], v[1]); });
}
Value TensorBuilder::div(Value x, Value y) {
  return map({x, y}, [](ScalarBuilder &s, Scalars v) { return s.div(v[0], v[1]); });
}
Value TensorBuilder::scale(Value x, double factor) {
  if (factor == 1.0)
    return x;
  return map({x}, [&](ScalarBuilder &s, Scalars v) { return s.mul(v[0], s.constant(factor)); });
}
Value TensorBuilder::toElement(Value integers) {
  return map({integers}, [](ScalarBuilder &s, Scalars v) { return s.toElement(v[0]); });
}

Value TensorBuilder::sumRows(Value x, int64_t groups) { return moe::ColReduceOp::create(b, type(groups, cols(x)), x); }
Value TensorBuilder::sumCols(Value x) { return moe::RowReduceOp::create(b, type(rows(x), 1), moe::Reduction::sum, x); }
Value TensorBuilder::sumAll(Value x) {
  if (cols(x) > 1)
    x = sumCols(x);
  return rows(x) > 1 ? sumRows(x) : x;
}

Value TensorBuilder::softmax(Value x) { return moe::SoftmaxOp::create(b, x.getType(), x); }
Value TensorBuilder::logSumExp(Value x) { return moe::LogSumExpOp::create(b, type(rows(x), 1), x); }
Value TensorBuilder::take(Value x, Value ids) { return moe::TakeOp::create(b, type(rows(x), cols(ids)), x, ids); }
Value TensorBuilder::matmul(Value x, Value w, bool tb) {
  return moe::MatmulOp::create(b, type(rows(x), tb ? rows(w) : cols(w)), x, w, /*ta=*/false, tb);
}

Value TensorBuilder::reshape(Value x, int64_t rows, int64_t cols) {
  auto from = cast<RankedTensorType>(x.getType());
  auto to = RankedTensorType::get({rows, cols}, from.getElementType());
  return from == to ? x : moe::ReshapeOp::create(b, to, x).getResult();
}

//===--- States
//-------------------------------------------------------------------------------------------------------===//

static RankedTensorType getWholeType(moe::StateOp state) {
  RankedTensorType type = state.getTensorType();
  if (!state.getCount())
    return type;
  SmallVector<int64_t> shape{state.getCopies()};
  llvm::append_range(shape, type.getShape());
  return RankedTensorType::get(shape, type.getElementType());
}

Value TensorBuilder::read(moe::StateOp state, Value index) {
  Type type = index ? state.getTensorType() : getWholeType(state);
  return moe::ReadOp::create(b, type, FlatSymbolRefAttr::get(state.getSymNameAttr()), index);
}

Value TensorBuilder::readRows(moe::StateOp state) {
  RankedTensorType type = getWholeType(state);
  int64_t cols = type.getShape().back();
  return reshape(read(state), type.getNumElements() / cols, cols);
}

void TensorBuilder::writeRows(moe::StateOp state, Value value) {
  RankedTensorType type = getWholeType(state);
  if (value.getType() != type)
    value = moe::ReshapeOp::create(b, type, value);
  moe::WriteOp::create(b, FlatSymbolRefAttr::get(state.getSymNameAttr()), /*index=*/Value(), value);
}

//===--- Scalars
//------------------------------------------------------------------------------------------------------===//

Value ScalarBuilder::constant(double value) {
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(element, value));
}
Value ScalarBuilder::add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
Value ScalarBuilder::sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
Value ScalarBuilder::mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
Value ScalarBuilder::div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
Value ScalarBuilder::neg(Value x) { return arith::NegFOp::create(b, loc, x); }
Value ScalarBuilder::exp(Value x) { return math::ExpOp::create(b, loc, x); }
Value ScalarBuilder::expm1(Value x) { return math::ExpM1Op::create(b, loc, x); }
Value ScalarBuilder::log(Value x) { return math::LogOp::create(b, loc, x); }
Value ScalarBuilder::sigmoid(Value x) { return moe::SigmoidOp::create(b, loc, x); }
Value ScalarBuilder::sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
Value ScalarBuilder::cos(Value x) { return math::CosOp::create(b, loc, x); }
Value ScalarBuilder::sin(Value x) { return math::SinOp::create(b, loc, x); }
Value ScalarBuilder::min(Value x, Value y) { return arith::MinimumFOp::create(b, loc, x, y); }
Value ScalarBuilder::max(Value x, Value y) { return arith::MaximumFOp::create(b, loc, x, y); }
Value ScalarBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

Value ScalarBuilder::less(Value x, Value y) {
  if (isa<FloatType>(x.getType()))
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y);
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, y);
}

Value ScalarBuilder::toElement(Value number) {
  Type from = number.getType();
  if (from == element)
    return number;
  if (from.isInteger())
    return arith::SIToFPOp::create(b, loc, element, number);
  if (from.getIntOrFloatBitWidth() < element.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(b, loc, element, number);
  return arith::TruncFOp::create(b, loc, element, number);
}

} // namespace moec
