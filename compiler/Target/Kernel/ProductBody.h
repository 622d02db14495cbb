// The analysis of a "matmul" dispatch: its products, their operands, and the maps and sinks after them. Shared by the
// targets' templates.
#ifndef MOEC_COMPILER_TARGET_KERNEL_PRODUCTBODY_H
#define MOEC_COMPILER_TARGET_KERNEL_PRODUCTBODY_H

#include "compiler/Target/Kernel/DispatchBody.h"

namespace moec::kernel {

// A matrix [rows, columns] in memory. With `rowMap` (a parameter of row numbers, each divided by `slots`) its rows are
// those rows of the parameter; row number -1 is a row of zeros.
struct Factor {
  unsigned param = 0;
  std::optional<unsigned> rowMap;
  int64_t slots = 1;
  int64_t rows = 0, columns = 0;
};

struct Product {
  mlir::Value value;
  Factor a, b;
  bool ta = false, tb = false;
  int64_t depth = 0; // for grouped_outer the largest possible
  /// Parameters that hold a scale for each row, and for each column of each group; both or none.
  std::optional<unsigned> rowScale, columnScale;
};

/// Sums of each `every` columns of `of`, handed out as parameter `param`, [rows, columns / every].
struct RowSums {
  mlir::Value of;
  int64_t every = 0;
  unsigned param = 0;
};

/// None: plain products. Rows: grouped_matmul. Depth: grouped_outer.
enum class Grouping { None, Rows, Depth };

class ProductBody {
public:
  explicit ProductBody(moe::DispatchOp dispatch) : dispatch(dispatch), body(dispatch) {}

  /// Fails with a diagnostic if the body has anything except products of one shape, maps of that shape, sums of parts
  /// of their rows, and sinks.
  mlir::LogicalResult analyse();
  /// Rows of the results and of maps on them.
  int64_t resultRows() const { return rows * (grouping == Grouping::Depth ? experts : 1); }
  double flops() const;
  double bytes() const;
  /// `sum`, a product's sums from (row, column) on, times its scales, if it has any. `count`: lanes that exist; null:
  /// all.
  mlir::Value scaled(KernelBuilder &k, const Product &product, mlir::Value sum, mlir::Value group, mlir::Value row,
                     mlir::Value column, mlir::Value count = {}) const;

  moe::DispatchOp dispatch;
  DispatchBody body;
  llvm::SmallVector<Product> products;
  llvm::SmallVector<moe::MapOp> maps;
  llvm::SmallVector<DispatchBody::Sink> sinks; // of products and maps
  llvm::SmallVector<RowSums> rowSums;
  mlir::Type element; // of the products
  Grouping grouping = Grouping::None;
  int64_t experts = 1, rows = 0, columns = 0; // rows: of one expert for Grouping::Depth
  unsigned offsets = 0, counts = 0;           // parameters

private:
  mlir::LogicalResult addProduct(mlir::Operation *op);
  mlir::LogicalResult addFactor(mlir::Value value, Factor &factor);
  mlir::LogicalResult checkEpilogue();
};

} // namespace moec::kernel

#endif
