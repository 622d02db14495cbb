// The update of one parameter, as far as it computes row by row.
#ifndef MOEC_DIALECTS_DIST_TRANSFORMS_ROWUPDATE_H
#define MOEC_DIALECTS_DIST_TRANSFORMS_ROWUPDATE_H

#include "dialects/Dist/IR/Dist.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/SetVector.h"

namespace moec::dist {

/// A constant of one number, seen through reshapes; null for other values.
mlir::arith::ConstantOp splatConstant(mlir::Value value);

/// The ops that compute the update of one parameter row by row, from its gradient to the new values: all that is
/// connected by values with as many rows.
class RowUpdate {
public:
  /// `gradient`: the sum over ranks, or the state as it was read.
  RowUpdate(mlir::Value gradient, int64_t ranks) : gradient(gradient), ranks(ranks) {}

  /// Whether all of it may be divided by rows.
  bool find();
  /// Each rank computes one run of the rows. `divided`: states of which it keeps its run alone; of others it reads run
  /// `rank` (an index), and writes are put together along `axes`.
  void takeRuns(const llvm::SmallDenseSet<llvm::StringRef> &divided, mlir::Value rank, mlir::ArrayAttr axes);
  /// The states have become the runs of this rank, by their dimension before the last two: types follow, and sums over
  /// all rows are completed along `axes`.
  void followStates(mlir::ArrayAttr axes);

  llvm::SetVector<mlir::Value> values; // of the rows
  llvm::SmallVector<moe::ReadOp> reads;
  llvm::SmallVector<moe::WriteOp> writes;
  llvm::SmallVector<moe::ColReduceOp> columnSums;

private:
  bool isRows(mlir::Value value) const;
  bool isWholeState(mlir::Value value) const;
  bool add(mlir::Value value);
  bool addMap(moe::MapOp map);
  bool visitUsers(mlir::Value value);

  mlir::Value gradient;
  int64_t ranks, rows = 0, elements = 0;
};

} // namespace moec::dist

#endif
