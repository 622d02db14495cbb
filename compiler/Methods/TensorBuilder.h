// Short names for building moe tensor IR: elementwise formulas, reductions, constants. Shapes are taken from the operands.
#ifndef MOEC_COMPILER_METHODS_TENSORBUILDER_H
#define MOEC_COMPILER_METHODS_TENSORBUILDER_H

#include "dialects/Moe/IR/Moe.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace moec {

class TensorBuilder {
public:
  using Value = mlir::Value;
  using Scalars = llvm::ArrayRef<Value>;
  using Formula = llvm::function_ref<Value(class ScalarBuilder &, Scalars)>;

  TensorBuilder(mlir::ImplicitLocOpBuilder &builder, mlir::Type element) : b(builder), element(element) {}

  mlir::ImplicitLocOpBuilder &b;
  mlir::Type element; // f32 or f64

  mlir::RankedTensorType type(int64_t rows, int64_t cols) const;
  Value constant(double value, int64_t rows = 1, int64_t cols = 1);
  /// Elementwise: result has the largest rows and columns among the operands; see moe.map for broadcasting.
  Value map(mlir::ValueRange inputs, Formula formula);
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value scale(Value x, double factor);
  Value toElement(Value integers); // i32/i64 -> element type
  Value sumRows(Value x, int64_t groups = 1); // [N, C] -> [groups, C]
  Value sumCols(Value x);                     // [N, C] -> [N, 1]
  Value sumAll(Value x);                      // -> [1, 1]
  Value softmax(Value x);
  Value logSumExp(Value x);
  Value take(Value x, Value ids);
  Value matmul(Value x, Value w, bool tb = false);
  Value reshape(Value x, int64_t rows, int64_t cols);
};

/// Scalar arithmetic inside a map.
class ScalarBuilder {
public:
  using Value = mlir::Value;
  ScalarBuilder(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type element) : b(builder), loc(loc), element(element) {}
  Value constant(double value);
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value neg(Value x);
  Value exp(Value x);
  Value log(Value x);
  Value sqrt(Value x);
  Value pow(Value x, double exponent); // exp(log(x) * exponent)
  Value cos(Value x);
  Value min(Value x, Value y);
  Value max(Value x, Value y);
  Value less(Value x, Value y); // i1
  Value select(Value condition, Value x, Value y);
  Value sigmoid(Value x);
  Value toElement(Value integer);

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type element;
};

} // namespace moec

#endif
