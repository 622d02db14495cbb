// The dist dialect: what ranks hold, and what they exchange.
#ifndef MOEC_DIALECTS_DIST_IR_DIST_H
#define MOEC_DIALECTS_DIST_IR_DIST_H

#include "dialects/Moe/IR/Moe.h"

#include "dialects/Dist/IR/DistDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Dist/IR/DistAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Dist/IR/DistOps.h.inc"

namespace moec::dist {
/// The mesh of the module that holds `op`; null when nothing is divided.
MeshOp findMesh(mlir::Operation *op);
/// The axes along which a tensor type is a part of a sum; null for a whole tensor.
PartialAttr partialOf(mlir::Type type);
/// The same tensor, whole.
mlir::RankedTensorType wholeType(mlir::RankedTensorType type);
} // namespace moec::dist

#endif
