#include "compiler/Methods/TensorBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "runtime/base/Philox.h"

using namespace mlir;

namespace moec {

RankedTensorType TensorBuilder::type(int64_t rows, int64_t cols) const {
  return RankedTensorType::get({rows, cols}, element);
}

Value TensorBuilder::constant(double value, int64_t rows, int64_t cols) {
  return arith::ConstantOp::create(b, SplatElementsAttr::get(type(rows, cols), b.getFloatAttr(element, value)));
}

static SmallVector<Value> buildMap(TensorBuilder &t, ValueRange inputs, RankedTensorType type, unsigned numResults,
                                   bool position, TensorBuilder::Formulas formulas) {
  SmallVector<Type> types(numResults, type);
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
  return buildMap(*this, inputs, type(numRows, numCols), numResults, /*position=*/false, formulas);
}

SmallVector<Value> TensorBuilder::mapPosition(int64_t rows, int64_t cols, unsigned numResults, Formulas formulas) {
  return buildMap(*this, {}, type(rows, cols), numResults, /*position=*/true, formulas);
}

Value TensorBuilder::mapTo(Type to, ValueRange inputs, int64_t rows, int64_t cols, Formula formula) {
  auto one = [&](ScalarBuilder &s, Scalars x) { return SmallVector<Value>{formula(s, x)}; };
  return buildMap(*this, inputs, RankedTensorType::get({rows, cols}, to), 1, /*position=*/true, one).front();
}

namespace {

/// Words of rt::philox4x32 as i64 that stay below 2^32.
struct PhiloxScalars {
  ScalarBuilder &s;

  Value product(Value word, uint32_t factor) const { return s.mul(word, s.integer(factor)); }
  Value low(Value a) const { return arith::AndIOp::create(s.b, s.loc, a, s.integer(0xFFFFFFFF)); }
  Value high(Value a) const { return arith::ShRUIOp::create(s.b, s.loc, a, s.integer(32)); }
  Value exclusive(Value a, Value b) const { return arith::XOrIOp::create(s.b, s.loc, a, b); }
  Value exclusive(Value a, uint32_t key) const { return exclusive(a, s.integer(key)); }
};

} // namespace

// One counter serves two elements, an even and an odd one.
Value TensorBuilder::uniform(uint64_t seed, uint32_t stream, Value step, Value layer, Value firstRow, int64_t rows,
                             int64_t cols) {
  return mapTo(element, {step, layer, firstRow}, rows, cols, [&](ScalarBuilder &s, Scalars x) {
    PhiloxScalars philox{s};
    Value place = s.add(s.mul(s.add(x[2], x[3]), s.integer(cols)), x[4]);
    Value pair = arith::ShRUIOp::create(s.b, s.loc, place, s.integer(1));
    Value isOdd = s.equal(arith::AndIOp::create(s.b, s.loc, place, s.integer(1)), s.integer(1));
    std::array<Value, 4> words{philox.low(pair), philox.low(x[0]), s.integer(stream), philox.low(x[1])};
    words = rt::philox4x32(words, seed, philox);
    // 53 bits of one of the two 64-bit words: the product with 2^-53 is exact in f64.
    Value lowWord = s.select(isOdd, words[2], words[0]), highWord = s.select(isOdd, words[3], words[1]);
    Value word = arith::OrIOp::create(s.b, s.loc, lowWord, arith::ShLIOp::create(s.b, s.loc, highWord, s.integer(32)));
    ScalarBuilder wide(s.b, s.loc, s.b.getF64Type());
    Value top = arith::ShRUIOp::create(s.b, s.loc, word, s.integer(11));
    Value number = s.toElement(wide.mul(wide.toElement(top), wide.constant(0x1.0p-53)));
    // Rounding to f32 could make it 1.
    return element.isF64() ? number : s.min(number, s.constant(1.0 - 0x1.0p-24));
  });
}

Value TensorBuilder::detach(Value x) {
  Value same = map({x}, [](ScalarBuilder &, Scalars v) { return v[0]; });
  same.getDefiningOp()->setAttr("moe.stop_gradient", b.getUnitAttr());
  return same;
}

// The smallest of the n largest.
Value TensorBuilder::kthOfRow(Value x, int64_t n) {
  auto negate = [&](Value v) { return map({v}, [](ScalarBuilder &s, Scalars y) { return s.neg(y[0]); }); };
  Value ids = moe::TopKOp::create(b, RankedTensorType::get({rows(x), n}, b.getI32Type()), x);
  Value largest = negate(take(x, ids));
  return detach(negate(moe::RowReduceOp::create(b, type(rows(x), 1), moe::Reduction::max, largest)));
}

Value TensorBuilder::map(ValueRange inputs, Formula formula) {
  return mapMany(inputs, 1, [&](ScalarBuilder &s, Scalars x) { return SmallVector<Value>{formula(s, x)}; }).front();
}

Value TensorBuilder::fill(double value, int64_t rows, int64_t cols) {
  auto formula = [&](ScalarBuilder &s, Scalars) { return SmallVector<Value>{s.constant(value)}; };
  return buildMap(*this, {}, type(rows, cols), 1, /*position=*/false, formula).front();
}

Value TensorBuilder::diagonal(Value x) {
  auto formula = [](ScalarBuilder &s, Scalars v) { return s.select(s.equal(v[1], v[2]), v[0], s.constant(0.0)); };
  return sumCols(mapTo(element, {x}, rows(x), cols(x), formula));
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

Value TensorBuilder::matmulExactly(Value x, Value w, bool tb) {
  Value product = matmul(x, w, tb);
  product.getDefiningOp()->setAttr("moe.full_precision", b.getUnitAttr());
  return product;
}

Value TensorBuilder::transposeColumns(Value x, int64_t count) {
  Value ones = mapTo(element, {}, count, cols(x), [](ScalarBuilder &s, Scalars place) {
    return s.select(s.equal(place[0], place[1]), s.constant(1.0), s.constant(0.0));
  });
  return matmulExactly(ones, x, /*tb=*/true);
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

void TensorBuilder::write(moe::StateOp state, Value value, Value index) {
  moe::WriteOp::create(b, FlatSymbolRefAttr::get(state.getSymNameAttr()), index, value);
}
void TensorBuilder::accumulate(moe::StateOp state, Value value, Value index) {
  moe::AccumulateOp::create(b, FlatSymbolRefAttr::get(state.getSymNameAttr()), index, value);
}

//===--- Scalars
//------------------------------------------------------------------------------------------------------===//

Value ScalarBuilder::constant(double value) {
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(element, value));
}
Value ScalarBuilder::integer(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value)); }

template <typename Float, typename Integer> static Value createArith(OpBuilder &b, Location loc, Value x, Value y) {
  if (isa<FloatType>(x.getType()))
    return Float::create(b, loc, x, y);
  return Integer::create(b, loc, x, y);
}
Value ScalarBuilder::add(Value x, Value y) { return createArith<arith::AddFOp, arith::AddIOp>(b, loc, x, y); }
Value ScalarBuilder::sub(Value x, Value y) { return createArith<arith::SubFOp, arith::SubIOp>(b, loc, x, y); }
Value ScalarBuilder::mul(Value x, Value y) { return createArith<arith::MulFOp, arith::MulIOp>(b, loc, x, y); }
Value ScalarBuilder::div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
Value ScalarBuilder::neg(Value x) { return arith::NegFOp::create(b, loc, x); }
Value ScalarBuilder::exp(Value x) { return math::ExpOp::create(b, loc, x); }
Value ScalarBuilder::expm1(Value x) { return math::ExpM1Op::create(b, loc, x); }
Value ScalarBuilder::log(Value x) { return math::LogOp::create(b, loc, x); }
Value ScalarBuilder::sigmoid(Value x) { return moe::SigmoidOp::create(b, loc, x); }
Value ScalarBuilder::sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
Value ScalarBuilder::abs(Value x) { return math::AbsFOp::create(b, loc, x); }
Value ScalarBuilder::cos(Value x) { return math::CosOp::create(b, loc, x); }
Value ScalarBuilder::sin(Value x) { return math::SinOp::create(b, loc, x); }
Value ScalarBuilder::min(Value x, Value y) { return createArith<arith::MinimumFOp, arith::MinSIOp>(b, loc, x, y); }
Value ScalarBuilder::max(Value x, Value y) { return createArith<arith::MaximumFOp, arith::MaxSIOp>(b, loc, x, y); }
Value ScalarBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

Value ScalarBuilder::less(Value x, Value y) {
  if (isa<FloatType>(x.getType()))
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y);
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, y);
}

Value ScalarBuilder::quotient(Value x, Value y) { return arith::DivUIOp::create(b, loc, x, y); }
Value ScalarBuilder::rem(Value x, Value y) { return arith::RemUIOp::create(b, loc, x, y); }

Value ScalarBuilder::equal(Value x, Value y) { return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y); }
Value ScalarBuilder::both(Value x, Value y) { return arith::AndIOp::create(b, loc, x, y); }

Value ScalarBuilder::toInteger(Value whole, unsigned bits) {
  Type to = b.getIntegerType(bits);
  if (isa<FloatType>(whole.getType()))
    return arith::FPToSIOp::create(b, loc, to, whole);
  unsigned from = whole.getType().getIntOrFloatBitWidth();
  if (from == bits)
    return whole;
  if (from < bits)
    return arith::ExtSIOp::create(b, loc, to, whole);
  return arith::TruncIOp::create(b, loc, to, whole);
}

Value ScalarBuilder::isMultiple(Value whole, int64_t n) {
  Value number = arith::FPToSIOp::create(b, loc, b.getI64Type(), whole);
  Value divisor = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(n));
  Value zero = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0));
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, arith::RemSIOp::create(b, loc, number, divisor), zero);
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
