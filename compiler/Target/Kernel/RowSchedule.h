// The work of a "row" dispatch on one row, as a list of stages: loops over columns, each of which runs as many ops as
// can share it, and serial ops between them. This is only the analysis; RowKernel.cpp emits the code.
//
// Terms. A computed value is "wide" (more than one column) or a scalar (one column; lives in a register). An op of a
// loop stage makes one vector of columns of its result from the same columns of its operands. Values that cross stages
// need memory: their sink's, or a row of scratch. A "sum" (moe.col_reduce) adds up neighbouring rows; it is a result of
// the kernel that nothing inside reads.
#ifndef MOEC_COMPILER_TARGET_KERNEL_ROWSCHEDULE_H
#define MOEC_COMPILER_TARGET_KERNEL_ROWSCHEDULE_H

#include "compiler/Target/Kernel/DispatchBody.h"
#include "llvm/ADT/MapVector.h"

namespace moec::kernel {

struct RowItem {
  mlir::Operation *op = nullptr; // null: `copied` goes to its sinks unchanged
  mlir::Value copied;
};

struct RowStage {
  bool isLoop;
  int64_t width; // columns of a loop
  llvm::SmallVector<RowItem> items;
};

struct RowSink {
  unsigned param;
  bool accumulates;
};

/// A value computed (or copied) by the body.
struct RowValue {
  unsigned stage = 0;
  bool needsMemory = false;
  /// The parameter that serves as the memory of this value, if it needs memory and a sink can be used; otherwise it
  /// gets a row of scratch.
  std::optional<unsigned> home;
  llvm::SmallVector<RowSink> direct;   // stored as soon as computed
  llvm::SmallVector<RowSink> deferred; // stored at the end of the row, since later stages still read the old contents
};

/// A sum over rows, and where it goes.
struct RowSum {
  moe::ColReduceOp op;
  std::optional<unsigned> param;
};

class RowSchedule {
public:
  /// Fails with a diagnostic if the body is not a sequence of row ops.
  static mlir::FailureOr<RowSchedule> create(DispatchBody &body);

  /// Rows through which the kernel walks. Bodies of only elementwise maps on one shape are flattened to one row.
  int64_t rows = 1;
  bool flat = false;
  /// Whether columns may be divided among workgroups: there is one loop width, no reduction, and no work at the end of
  /// a row.
  bool splitsColumns = false;
  llvm::SmallVector<RowStage> stages;
  llvm::MapVector<mlir::Value, RowValue> values; // keys without views
  llvm::SmallVector<DispatchBody::Sink> sinks;   // of rows
  llvm::SmallVector<RowSum> sums;
  int64_t rowsPerSum = 1; // neighbours, which one workgroup walks
  /// Rough work of one row, in elements.
  int64_t rowCost = 1;

  /// Shapes as the kernel sees them (flattened or not). Operands may have fewer rows than the kernel.
  int64_t rowsOf(mlir::Value value) const;
  int64_t columnsOf(mlir::Value value) const;
  /// Floating-point operations of all rows.
  double flops() const;

private:
  struct Access {
    unsigned param, stage;
    bool elementwise;
  };
  mlir::LogicalResult checkBody(DispatchBody &body, llvm::SmallVectorImpl<mlir::Operation *> &ops);
  mlir::LogicalResult place(DispatchBody &body, mlir::Operation *op);
  mlir::LogicalResult addSum(moe::ColReduceOp op);
  mlir::LogicalResult splitSinks(DispatchBody &body);
  unsigned append(unsigned earliest, bool isLoop, int64_t width, RowItem item, mlir::ValueRange results);
  void placeSinks();

  llvm::SmallVector<Access> accesses;
};

/// The constant that every element of `value` has, looking through views; null if it is not a splat constant.
mlir::TypedAttr splatOf(mlir::Value value);
/// Rows and columns of a tensor; a stack [E, R, C] counts as [E * R, C].
int64_t tensorRows(mlir::Value value);
int64_t tensorColumns(mlir::Value value);
/// Ops that make their row column by column, and so join loops (moe.row_reduce and moe.col_reduce only read column by
/// column).
bool isLoopOp(mlir::Operation *op);

} // namespace moec::kernel

#endif
