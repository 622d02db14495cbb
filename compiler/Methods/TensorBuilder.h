// Short names for building moe tensor IR: elementwise formulas, reductions, constants. Shapes are taken from the
// operands.
#ifndef MOEC_COMPILER_METHODS_TENSORBUILDER_H
#define MOEC_COMPILER_METHODS_TENSORBUILDER_H

#include "dialects/Moe/IR/Moe.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace moec {

class ScalarBuilder;

class TensorBuilder {
public:
  using Value = mlir::Value;
  using Scalars = llvm::ArrayRef<Value>;
  using Formula = llvm::function_ref<Value(ScalarBuilder &, Scalars)>;
  using Formulas = llvm::function_ref<llvm::SmallVector<Value>(ScalarBuilder &, Scalars)>;

  TensorBuilder(mlir::ImplicitLocOpBuilder &builder, mlir::Type element) : b(builder), element(element) {}

  mlir::ImplicitLocOpBuilder &b;
  mlir::Type element; // f32 or f64

  mlir::RankedTensorType type(int64_t rows, int64_t cols) const;
  static int64_t rows(Value x) { return llvm::cast<mlir::RankedTensorType>(x.getType()).getDimSize(0); }
  static int64_t cols(Value x) { return llvm::cast<mlir::RankedTensorType>(x.getType()).getDimSize(1); }

  Value constant(double value, int64_t rows = 1, int64_t cols = 1);
  /// Elementwise: the result has the most rows and the most columns among the operands; see moe.map for broadcasting.
  Value map(mlir::ValueRange inputs, Formula formula);
  /// The same with several results of element type.
  llvm::SmallVector<Value> mapMany(mlir::ValueRange inputs, unsigned numResults, Formulas formulas);
  /// Elementwise, from row and column alone: these are the scalars, as i64.
  llvm::SmallVector<Value> mapPosition(int64_t rows, int64_t cols, unsigned numResults, Formulas formulas);
  /// One result of another element type (an integer one, for ids), with row and column, as i64, as the last scalars.
  Value mapTo(mlir::Type element, mlir::ValueRange inputs, int64_t rows, int64_t cols, Formula formula);
  /// Philox4x32-10 (Salmon et al. 2011), uniform in [0, 1). Element i = (firstRow + row) * cols + column depends on
  /// (seed, stream, step, layer, i) alone. step, firstRow, layer: i64 [1, 1].
  Value uniform(uint64_t seed, uint32_t stream, Value step, Value layer, Value firstRow, int64_t rows, int64_t cols);
  /// The same value, through which no gradient flows.
  Value detach(Value x);
  /// n-th largest entry of each row, [N, 1], 1 <= n <= C. No gradient.
  Value kthOfRow(Value x, int64_t n);
  /// A tensor that a kernel fills with one value.
  Value fill(double value, int64_t rows, int64_t cols);
  /// The diagonal of a square matrix, [N, 1]; reshaped, it is a row.
  Value diagonal(Value x);
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value scale(Value x, double factor);
  Value toElement(Value integers);            // i32/i64 -> element type
  Value sumRows(Value x, int64_t groups = 1); // [N, C] -> [groups, C]
  Value sumCols(Value x);                     // [N, C] -> [N, 1]
  Value sumAll(Value x);                      // -> [1, 1]
  Value softmax(Value x);
  Value logSumExp(Value x);
  Value take(Value x, Value ids);
  Value matmul(Value x, Value w, bool tb = false);
  /// The same, but its result stays in the element type, whatever the precision of the experiment is.
  Value matmulExactly(Value x, Value w, bool tb = false);
  /// The first `rows` columns of x [C, N] as rows, [rows, C]. It is a product with a matrix of ones and zeros, so it is
  /// exact.
  Value transposeColumns(Value x, int64_t rows);
  Value reshape(Value x, int64_t rows, int64_t cols);

  /// One copy of a state (`index`), or a state without copies.
  Value read(moe::StateOp state, Value index = {});
  /// A state with all its copies as one matrix: the last dimension is the columns, all others are rows.
  Value readRows(moe::StateOp state);
  void writeRows(moe::StateOp state, Value value);
  /// Of one copy, or of a state without copies.
  void write(moe::StateOp state, Value value, Value index = {});
  void accumulate(moe::StateOp state, Value value, Value index = {});
};

/// Scalar arithmetic inside a map.
class ScalarBuilder {
public:
  using Value = mlir::Value;
  ScalarBuilder(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type element)
      : b(builder), loc(loc), element(element) {}
  Value constant(double value);
  Value integer(int64_t value); // i64
  // add .. less take floats or integers.
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value neg(Value x);
  Value exp(Value x);
  Value expm1(Value x); // exp(x) - 1 without cancellation near 0
  Value log(Value x);
  Value sqrt(Value x);
  Value abs(Value x);
  Value cos(Value x);
  Value sin(Value x);
  Value min(Value x, Value y); // of floats or integers, as max
  Value max(Value x, Value y);
  Value quotient(Value x, Value y); // non-negative integers, as is
  Value rem(Value x, Value y);
  Value less(Value x, Value y);  // i1
  Value equal(Value x, Value y); // i1, integers
  Value both(Value x, Value y);  // i1
  Value select(Value condition, Value x, Value y);
  Value isMultiple(Value whole, int64_t n); // i1; of a float that is a whole number
  Value sigmoid(Value x);
  Value toElement(Value number);               // from an integer or another float type
  Value toInteger(Value whole, unsigned bits); // from an integer, or a float that is a whole number

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type element;
};

} // namespace moec

#endif
