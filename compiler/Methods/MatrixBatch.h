// Algebra on many equal matrices at once, for methods that see a parameter as matrices: built from the grouped products
// that experts use, so it needs no kernel of its own.
#ifndef MOEC_COMPILER_METHODS_MATRIXBATCH_H
#define MOEC_COMPILER_METHODS_MATRIXBATCH_H

#include "compiler/Methods/TensorBuilder.h"

namespace moec {

/// `count` matrices lie one below the other: x [count * r, c] holds X_i [r, c] in rows i * r to i * r + r. Grouped
/// products want groups to start at multiples of `align` rows; where r is none, rows of zeros are put between on the
/// way.
class MatrixBatch {
public:
  using Value = mlir::Value;
  /// `inLoss`: what is built can be differentiated, and no product is narrowed.
  MatrixBatch(TensorBuilder &b, int64_t count, int64_t align, bool inLoss = false)
      : b(b), count(count), align(align), inLoss(inLoss) {}

  /// Factors of products stay as they are where others would be rounded to bf16 (moe-narrow-storage).
  MatrixBatch &keepWide() {
    wide = true;
    return *this;
  }
  /// Products cost nothing but their launch, and give undefined results, where `condition` [1, 1] is 0.
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
  /// X as [count, r, c], which decompositions take, and back.
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
  /// The smaller Gram matrix is used: X A with A = X^T X where X is tall. eps > 0, so that a matrix of zeros stays one.
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
  /// The products of groups of `rows` rows, which start at multiples of the aligned number.
  Value buildProduct(Value padded, Value y, int64_t rows, bool tb);
  /// Matrices of `from` rows as such of `to`: the rest is zeros, or cut off.
  Value resize(Value x, int64_t from, int64_t to);
  mlir::Operation *mark(mlir::Operation *product);

  TensorBuilder &b;
  int64_t count, align;
  bool inLoss, wide = false;
  Value enabled; // may be null
};

} // namespace moec

#endif
