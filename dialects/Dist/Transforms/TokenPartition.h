// Divides the tokens of a micro-batch, and the experts, over the ranks of one axis.
#ifndef MOEC_DIALECTS_DIST_TRANSFORMS_TOKENPARTITION_H
#define MOEC_DIALECTS_DIST_TRANSFORMS_TOKENPARTITION_H

#include "dialects/Dist/IR/Dist.h"
#include "mlir/IR/BuiltinOps.h"

namespace moec::dist {

/// The mesh has `axis`. Fails with MOEC-S084 at the first op that has no rule for divided rows.
llvm::LogicalResult partitionTokens(mlir::ModuleOp module, llvm::StringRef axis);

} // namespace moec::dist

#endif
