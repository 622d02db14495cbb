// The register tile of every matrix product on a CPU, and the packing of its right operand.
//
//   C [rows, columns] += A [rows, depth] * panel [depth, columns]
//
// rows x vectors accumulators live in registers during the loop over depth. An element of A is broadcast from memory; a
// row of the panel takes `vectors` loads. A panel is contiguous (row k at k * columns()) and padded to whole vectors,
// so the mainloop does not depend on the layout of B.
#ifndef MOEC_COMPILER_TARGET_CPU_MICROTILE_H
#define MOEC_COMPILER_TARGET_CPU_MICROTILE_H

#include "compiler/Target/CPU/CpuKernelBuilder.h"

namespace moec::cpu {

class MicroTile {
public:
  /// Steps of depth in one iteration of the mainloop.
  static constexpr int64_t kUnroll = 4;

  using Value = mlir::Value;
  /// Pointers to elements (0..rows-1, k) of A.
  using LeftAt = llvm::function_ref<llvm::SmallVector<Value>(Value k)>;

  /// The target's tile, made smaller if the result has fewer rows or columns.
  MicroTile(KernelBuilder &kb, mlir::Type element, int64_t resultRows, int64_t resultColumns);

  int64_t rows() const { return numRows; }
  int64_t vectors() const { return numVectors; }
  int64_t lanes() const { return numLanes; }
  int64_t columns() const { return numVectors * numLanes; }
  int64_t elementBytes() const { return element.getIntOrFloatBitWidth() / 8; }
  mlir::Type elementType() const { return element; }

  llvm::SmallVector<Value> zeros() const;
  /// Accumulators from / to `tile`, whose row r starts at element r * stride.
  llvm::SmallVector<Value> load(Value tile, int64_t stride) const;
  void store(mlir::ValueRange accumulators, Value tile, int64_t stride) const;
  /// The mainloop: accumulators + A * panel over 0 <= k < depth, in the order of k. `wholeSteps`: depth is known to be
  /// a multiple of kUnroll.
  llvm::SmallVector<Value> multiply(mlir::ValueRange accumulators, Value depth, LeftAt leftAt, Value panel,
                                    bool wholeSteps = false) const;
  /// The same with row r of A at rows + r * stride.
  llvm::SmallVector<Value> multiply(mlir::ValueRange accumulators, Value depth, Value rows, int64_t stride, Value panel,
                                    bool wholeSteps = false) const;

  /// panel[k, j] = source(k)[j] for k < depth; only columns j < `valid` of the source exist (null: all do), the others
  /// become 0.
  void packRows(Value panel, Value depth, llvm::function_ref<Value(Value k)> source, Value valid) const;
  /// panel[k, j] = source[j * stride + k] for k < depth. Columns j >= `valid` (null: none; else >= 1) repeat column
  /// valid-1: finite, never stored.
  void packColumns(Value panel, Value depth, Value source, int64_t stride, Value valid) const;

private:
  void step(llvm::SmallVectorImpl<Value> &accumulators, Value k, LeftAt leftAt, Value panel) const;

  KernelBuilder &kb;
  mlir::Type element;
  int64_t numRows, numVectors, numLanes;
};

/// Transposes `vectors` (as many as each has lanes).
void transpose(KernelBuilder &kb, llvm::SmallVectorImpl<mlir::Value> &vectors);

} // namespace moec::cpu

#endif
