// The launch record of a tile.kernel (docs/plan-format.md, "Plans for GPUs").
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_LAUNCHRECORD_H
#define MOEC_COMPILER_TARGET_GPU_SM90_LAUNCHRECORD_H

#include "dialects/Tile/IR/Tile.h"

namespace moec::sm90 {

/// {threads, shared, maps}.
mlir::DictionaryAttr launchRecord(tile::KernelOp kernel);

} // namespace moec::sm90

#endif
