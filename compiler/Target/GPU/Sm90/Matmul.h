// From a "matmul" dispatch to a tile.kernel: the products of the dispatch, and the schedule for them.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_MATMUL_H
#define MOEC_COMPILER_TARGET_GPU_SM90_MATMUL_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Kernel/DispatchBody.h"
#include "dialects/Tile/IR/Tile.h"

namespace moec::sm90 {

enum class Grouping { None, Rows, Depth };

/// A matrix or stack of matrices in memory. With `rowMap` its rows are those rows of the parameter, numbers divided by
/// `slots`.
struct MatmulFactor {
  unsigned param = 0;
  std::optional<unsigned> rowMap;
  int64_t rowMapCount = 0, slots = 1;
  int64_t experts = 1, rows = 0, columns = 0; // as in memory; of a gathered factor: of the parameter
  bool operator==(const MatmulFactor &) const = default;
};

/// lhs x rhs of one depth; `ta` and `tb` as in moe.matmul.
struct MatmulTerm {
  MatmulFactor lhs, rhs;
  bool ta = false, tb = false;
  int64_t depth = 0;
};

/// A sum of terms, and the value of the dispatch that holds it.
struct MatmulSum {
  mlir::Value value;
  llvm::SmallVector<MatmulTerm> terms;
  /// Parameters that hold a scale for each row, and for each column of each group; both or none.
  std::optional<unsigned> rowScale, columnScale;
};

/// The analysis of a dispatch that the template covers.
class MatmulProblem {
public:
  /// None if the template does not cover the dispatch; no diagnostic.
  static std::optional<MatmulProblem> create(moe::DispatchOp dispatch);

  kernel::DispatchBody body;
  Grouping grouping = Grouping::None;
  int64_t experts = 1, rows = 0, columns = 0; // rows: of one expert for Grouping::Depth
  bool transposed = false;                    // the dispatch's result is the transpose of [rows, columns]
  unsigned offsets = 0;                       // parameter
  mlir::Type element;                         // of all factors in memory: bf16 or f8E4M3FN
  llvm::SmallVector<MatmulSum> sums;
  llvm::SmallVector<moe::MapOp> maps; // the epilogue, in order
  llvm::SmallVector<kernel::DispatchBody::Sink> sinks;
  llvm::SmallVector<kernel::DispatchBody::Sink> rowSums; // value: the terms, summed 64 columns at a time

  double flops() const;
  /// Elements of a factor in `bytes`.
  int64_t elementsIn(int64_t bytes) const { return bytes * 8 / element.getIntOrFloatBitWidth(); }

private:
  explicit MatmulProblem(moe::DispatchOp dispatch) : body(dispatch) {}
  bool addProduct(mlir::Operation *op);
  bool addFactor(mlir::Value value, MatmulFactor &factor);
  bool joinSum(moe::MapOp map);
  bool gatherOnTheLeft();
  bool checkTerms() const;
  bool checkEpilogue();
};

/// The schedule for a problem: the table of the template.
tile::ScheduleAttr chooseSchedule(const MatmulProblem &problem, const gpu::GpuTarget &target,
                                  mlir::MLIRContext *context);

} // namespace moec::sm90

#endif
