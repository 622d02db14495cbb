// Questions about the formula of a moe.map, which passes ask before they move the map.
#ifndef MOEC_DIALECTS_MOE_ANALYSIS_MAPFORM_H
#define MOEC_DIALECTS_MOE_ANALYSIS_MAPFORM_H

#include "dialects/Moe/IR/Moe.h"

namespace moec::moe {

/// Whether the map is the sum of its inputs, each once and of the result's own shape.
bool isSum(MapOp map);
/// The map of `value` if it is a sum in `block` that nobody else reads.
MapOp getInnerSum(mlir::Value value, mlir::Block *block);
/// How many inputs have the map's own shape.
unsigned countFullInputs(MapOp map);

} // namespace moec::moe

#endif
