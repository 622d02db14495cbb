// Algebra on many matrices of one shape at once, for methods that treat a parameter as matrices. It uses the grouped
// products of experts, so it needs no kernel of its own.
#ifndef MOEC_COMPILER_METHODS_MATRIXBATCH_H
#define MOEC_COMPILER_METHODS_MATRIXBATCH_H

#include "compiler/Methods/TensorBuilder.h"

namespace moec {

/// `count` matrices lie one below the other: x [count * r, c] holds X_i [r, c] in rows i * r to i * r + r. Grouped
/// products need groups that start at multiples of `align` rows. If r is no such multiple, rows of zeros are inserted.
class MatrixBatch {
public:
  using Value = mlir::Value;
  /// `inLoss`: the result can be differentiated, and no product is narrowed.
  MatrixBatch(TensorBuilder &b, int64_t count, int64_t align, bool inLoss = false)
      : b(b), count(count), align(align), inLoss(inLoss) {}

  /// Operands of products stay in f32; otherwise they may be rounded to bf16 (moe-narrow-storage).
  MatrixBatch &keepWide() {
    wide = true;
    return *this;
  }
  /// If `condition` [1, 1] is 0, products cost only their launch, and their results are undefined.
  MatrixBatch onlyIf(Value condition) const {
    MatrixBatch copy = *this;
    copy.enabled = condition;
    return copy;
  }

  /// X_i Y_i: [count * r, k] and [count * k, n] or [count, k, n] -> [count * r, n]. `tb`: X_i Y_i^T, with y
  /// [count * n, k].
  Value multiply(Value x, Value y, bool tb = false);
  /// X Y_i with one X for all: [r, k] and [count * k, n] -> [count * r, n].
  Value multiplyShared(Value x, Value y);
  /// X_i^T Y_i: [count * r, k] and [count * r, n] -> [count * k, n].
  Value outer(Value x, Value y);
  /// X as [count, r, c], the shape for decompositions, and back.
  Value asStack(Value x) const;
  Value asRows(Value x) const;
  /// Sums over all elements of each matrix: [count * r, c] -> [count, 1].
  Value sums(Value x);
  /// Frobenius norms: [count * r, c] -> [count, 1].
  Value norms(Value x);

  /// One step takes X to a X + (b A + c A^2) X, A = X X^T.
  struct Quintic {
    double a, b, c;
  };
  /// Newton-Schulz: brings the singular values of X_i / (||X_i||_F + eps) near 1 and leaves singular vectors alone.
  /// The smaller Gram matrix is used: X A with A = X^T X if X is tall. eps > 0, so that a matrix of zeros stays zero.
  Value newtonSchulz(Value x, llvm::ArrayRef<Quintic> steps, double eps);

private:
  struct Groups {
    Value offsets, counts;
  };
  Groups buildGroups(int64_t stride, int64_t rows);
  static bool isStack(Value x) { return llvm::cast<mlir::RankedTensorType>(x.getType()).getRank() == 3; }
  int64_t rowsOf(Value x) const { return isStack(x) ? TensorBuilder::cols(x) : TensorBuilder::rows(x) / count; }
  static int64_t colsOf(Value x) { return llvm::cast<mlir::RankedTensorType>(x.getType()).getShape().back(); }
  int64_t aligned(int64_t rows) const { return (rows + align - 1) / align * align; }
  /// The products of groups of `rows` rows each, where groups start at multiples of `rows` rounded up to `align`.
  Value buildProduct(Value padded, Value y, int64_t rows, bool tb);
  /// Turns matrices of `from` rows into matrices of `to` rows: adds rows of zeros, or cuts rows off.
  Value resize(Value x, int64_t from, int64_t to);
  mlir::Operation *mark(mlir::Operation *product);

  TensorBuilder &b;
  int64_t count, align;
  bool inLoss, wide = false;
  Value enabled; // may be null
};

} // namespace moec

#endif
