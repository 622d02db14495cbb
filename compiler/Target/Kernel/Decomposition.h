// Code shared by the templates of moe.eigh and moe.qr on all targets: access to the matrices, and the arithmetic of
// Jacobi rotations. So targets differ in how threads share the work, not in the results.
#ifndef MOEC_COMPILER_TARGET_KERNEL_DECOMPOSITION_H
#define MOEC_COMPILER_TARGET_KERNEL_DECOMPOSITION_H

#include "compiler/Target/Kernel/Elementwise.h"

namespace moec::kernel {

/// The moe.eigh or moe.qr of a dispatch. Its operands must be in memory or constants, and only its results may leave
/// the dispatch; otherwise reports a diagnostic and returns null.
mlir::Operation *findDecomposition(const DispatchBody &body);

/// The matrices [count, height, width] that the op reads and writes. Rows and columns are those of matrix `number`.
class MatrixStack {
public:
  using Value = mlir::Value;
  using Piece = KernelBuilder::Piece;

  MatrixStack(KernelBuilder &k, const DispatchBody &body, mlir::Operation *op);

  mlir::Operation *const op;
  const int64_t count, height, width;
  const mlir::Type element;
  Value number;

  Value isEnabled();
  Value load(Value row, Value column);
  void store(Value row, Value column, Value value);
  /// Stores eigenvalue `place`, if eigenvalues are used.
  void storeValue(Value place, Value value);
  /// Copies `previous` to the result, except where both are the same memory.
  void keepPrevious(Value row, Value column, Piece piece);
  bool movesPrevious() const { return !elsewhere.empty(); }

private:
  void moveTo(Value row, Value column, Piece piece);

  KernelBuilder &k;
  Elementwise here;
  llvm::SmallVector<DispatchBody::Sink> sinks, elsewhere, values; // elsewhere: sinks that are not `previous` itself
};

//===--- Jacobi ---===//

constexpr int64_t kMostSweeps = 40; // 8 to 12 are usual; NaN ends them at once

/// Pairs need an even number of rows. If n is odd, a row of zeros is added; no row is ever rotated with it.
inline int64_t evenSize(int64_t n) { return (n + 1) / 2 * 2; }
/// Pair j of round `round`: in size - 1 rounds of size/2 disjoint pairs every row is paired with every other. (The last
/// row stays in its place of the schedule, the others rotate.)
std::pair<mlir::Value, mlir::Value> pairOf(KernelBuilder &k, mlir::Value round, mlir::Value j, int64_t size);
/// sin and tan(angle/2) of the rotation that makes a_pq zero, in matrices whose largest element is about 1; zeros when
/// a_pq is negligible beside that.
std::pair<mlir::Value, mlir::Value> rotationOf(KernelBuilder &k, mlir::Value app, mlir::Value aqq, mlir::Value apq);
/// (cos x - sin y, sin x + cos y), such that a small angle brings a small error.
std::pair<mlir::Value, mlir::Value> rotate(KernelBuilder &k, mlir::Value x, mlir::Value y, mlir::Value sine,
                                           mlir::Value tau);
/// 1 (an i64) when (a, i) comes before (b, j): larger first, then the lower number; a total order, NaN last.
mlir::Value comesBefore(KernelBuilder &k, mlir::Value a, mlir::Value i, mlir::Value b, mlir::Value j);

//===--- Sizes of numbers ---===//

/// A factor with which the squares of numbers up to `largest` neither overflow nor vanish, and its inverse.
std::pair<mlir::Value, mlir::Value> scalesOf(KernelBuilder &k, mlir::Value largest);
/// Distance of 1 from the next number.
double resolutionOf(mlir::Type element);
/// If projection leaves no larger part than this of a vector of `height` elements, the rest is only rounding.
double vanishingPart(mlir::Type element, int64_t height);

} // namespace moec::kernel

#endif
