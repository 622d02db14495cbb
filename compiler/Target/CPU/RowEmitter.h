// Emits the stages of a RowSchedule for one row. RowKernel.cpp has the loops over columns, RowOps.cpp the serial ops.
#ifndef MOEC_COMPILER_TARGET_CPU_ROWEMITTER_H
#define MOEC_COMPILER_TARGET_CPU_ROWEMITTER_H

#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include <functional>

namespace moec::cpu {

class RowEmitter {
public:
  using Value = mlir::Value;
  using Piece = KernelBuilder::Piece;

  RowEmitter(KernelBuilder &k, DispatchBody &body, RowSchedule &schedule) : k(k), body(body), schedule(schedule) {}

  /// One whole row.
  void emitRow(Value rowIndex);
  /// Rows `first` to `end`, which make whole sums over rows; each row is added to the memory of its sum.
  void emitSummedRows(Value first, Value end);
  /// Columns first .. first + count - 1 of the only row (RowSchedule::splitsColumns); the rest of the row, which does
  /// not fill a vector, is done if `isLast` holds.
  void emitColumns(Value first, int64_t count, Value isLast);

private:
  /// The result of an operand as a function: the code before the loop is already emitted; a call gives the vector at a
  /// column.
  using Source = std::function<Value(Value column, Piece piece)>;

  //===--- Values of this row; call at the top level of the row only (results are cached) ---===//
  Value rowPointer(Value value);
  Value scalar(Value value);
  /// Computes the rowPointer or scalar of each row operand of a serial op.
  void prepare(mlir::ValueRange operands);
  /// Element `column` of a row value; after prepare, at any level.
  Value element(Value value, Value column);
  Value paramPointer(Value value) const { return k.param(*body.paramOf(value)); }

  //===--- Loops ---===//
  void emitLoop(const RowStage &stage);
  int64_t laneCount(const RowStage &stage) const;
  Source sourceOf(mlir::Operation *op);
  Source gather(Value table, Value rowNumber, int64_t width, Value weight);
  Source combine(moe::CombineRowsOp op);
  /// Runs all items at one column; returns the new accumulators of the stage's reductions.
  llvm::SmallVector<Value> emitPiece(const RowStage &stage, Value column, Piece piece, mlir::ValueRange accumulators);
  Value neutral(moe::RowReduceOp op, mlir::Type type);
  Value join(moe::RowReduceOp op, Value a, Value b);
  void storeSinks(Value value, Value computed, Value column, Piece piece);
  void storeTo(const RowSink &sink, Value value, Value pointer, Value column, Piece piece);

  //===--- Serial ops ---===//
  void emitSerial(mlir::Operation *op);
  void emitTopK(moe::TopKOp op);
  void emitTake(moe::TakeOp op);
  void emitPut(moe::PutOp op);
  void emitRope(moe::RopeOp op);
  void emitDotRows(moe::DotRowsOp op);
  void emitRandomNormal(moe::RandomNormalOp op);
  /// Keeps `value` as element `column` of a serial op's result: in its row, or as the scalar.
  void setElement(Value result, Value column, Value value);
  void emitDeferred();

  KernelBuilder &k;
  DispatchBody &body;
  RowSchedule &schedule;
  Value row;
  llvm::DenseMap<Value, Value> pointers, scalars, scratchRows;
  llvm::DenseMap<Value, Value> sinkPointers; // keyed by the parameter's pointer
  llvm::DenseMap<mlir::Operation *, Value> sumPointers;
  llvm::DenseMap<mlir::Operation *, Source> sources;
  // Bounds of column loops: whole rows when `chunk` is 0.
  int64_t chunk = 0;
  Value chunkFirst, chunkIsLast;
};

} // namespace moec::cpu

#endif
