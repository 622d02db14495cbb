// Evaluates the maps of a dispatch at one piece of one row, before (prologue) or after (epilogue) the root op of a
// template.
#ifndef MOEC_COMPILER_TARGET_KERNEL_ELEMENTWISE_H
#define MOEC_COMPILER_TARGET_KERNEL_ELEMENTWISE_H

#include "compiler/Target/Kernel/DispatchBody.h"

namespace moec::kernel {

class Elementwise {
public:
  using Value = mlir::Value;
  using Piece = KernelBuilder::Piece;

  Elementwise(KernelBuilder &k, const DispatchBody &body) : k(k), body(body) {}

  /// Forgets all values and moves to `piece` at `column` of `row`, in values of `rows` rows.
  void moveTo(int64_t rows, Value row, Value column, Piece piece);
  /// The root op's result here.
  void bind(Value value, Value here) { known[value] = here; }
  /// An input, a state, a constant, or a map of these, at this place.
  Value get(Value value);
  /// Stores these sinks here, after all their values were computed, so that states may be updated in place.
  void store(llvm::ArrayRef<DispatchBody::Sink> sinks);

private:
  Value evaluate(Value value, int64_t rows, Value row, Value column, Piece piece);

  KernelBuilder &k;
  const DispatchBody &body;
  llvm::DenseMap<Value, Value> known;
  int64_t rows = 1;
  Value row, column;
  Piece piece{1, 1};
};

/// Whether a [1, 1] operand is another number than 0 (an i1).
mlir::Value isSet(KernelBuilder &k, Elementwise &here, mlir::Value flag);
/// Whether `value` is `root`'s result or computed from it by maps.
bool dependsOn(mlir::Value value, mlir::Operation *root);
/// The one op of the body whose template the dispatch's kind names. If there is none, reports a diagnostic and returns
/// null.
mlir::Operation *findRoot(const DispatchBody &body);
/// Fails with a diagnostic if the body holds anything except reads, views, constants, maps, sinks and `root`.
mlir::LogicalResult checkRootBody(const DispatchBody &body, mlir::Operation *root, bool allowMaps);
/// Fails if an operand of `root` is neither in memory nor a constant, or if a value other than its results leaves the
/// dispatch.
mlir::LogicalResult checkRootOperands(const DispatchBody &body, mlir::Operation *root);

} // namespace moec::kernel

#endif
