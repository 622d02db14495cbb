// Runs the ops that methods are made of on plain numbers, so that tests can check formulas without kernels.
#ifndef MOEC_TEST_UNIT_COMPILER_EVALUATOR_H
#define MOEC_TEST_UNIT_COMPILER_EVALUATOR_H

#include "dialects/Moe/IR/Moe.h"

#include <algorithm>
#include <map>
#include <vector>

namespace moec::test {

/// A matrix, row by row; integers are held as doubles too.
struct Matrix {
  int64_t rows = 1, cols = 1;
  std::vector<double> values;
  double at(int64_t row, int64_t col) const { return values[row * cols + col]; }
};

class Evaluator {
public:
  std::map<std::string, Matrix> states; // by symbol; copies are not told apart
  /// Runs every op of the block in order. Fails the test at an op that it does not know.
  void run(mlir::Block &block);
  void set(mlir::Value value, Matrix matrix) { values[value.getAsOpaquePointer()] = std::move(matrix); }
  const Matrix &get(mlir::Value value) const { return values.at(value.getAsOpaquePointer()); }

private:
  void visit(mlir::Operation &op);
  /// Ops for which the loops of runtime/kernels are the rule.
  void visitByLoops(mlir::Operation &op);
  void visitMap(moe::MapOp op);
  /// `most`, or what `given` (may be null) holds, if that is in least .. most.
  int64_t boundOf(mlir::Value given, int64_t least, int64_t most) const {
    return given ? std::clamp(static_cast<int64_t>(get(given).at(0, 0)), least, most) : most;
  }
  std::map<const void *, Matrix> values;
};

} // namespace moec::test

#endif
