// The fixed tree in which parts of a sum are added.
#ifndef MOEC_DIALECTS_DIST_TRANSFORMS_SUMTREE_H
#define MOEC_DIALECTS_DIST_TRANSFORMS_SUMTREE_H

#include "dialects/Dist/IR/Dist.h"

namespace moec::dist {

/// One map that adds `parts`, [rows, columns] each, of floats or integers. The tree over n parts adds the tree over the
/// first m, the largest power of two below n, and that over the rest: so a run of 2^k parts that starts at a multiple
/// of 2^k is a tree of its own, wherever it was summed.
mlir::Value addAsTree(mlir::OpBuilder &b, mlir::Location loc, mlir::ValueRange parts);

/// Shape [rows, columns] for a map over `elements` numbers: columns as in `type` where they divide, else the largest
/// number of at most 1024 that does.
mlir::RankedTensorType rowsOf(mlir::RankedTensorType type, int64_t elements);

} // namespace moec::dist

#endif
