// The tile dialect: declarations of tensor-core kernels.
#ifndef MOEC_DIALECTS_TILE_IR_TILE_H
#define MOEC_DIALECTS_TILE_IR_TILE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Tile/IR/TileDialect.h.inc"
#include "dialects/Tile/IR/TileEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Tile/IR/TileAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Tile/IR/TileInterfaces.h.inc"
#include "dialects/Tile/IR/TileTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/Tile/IR/TileOps.h.inc"

namespace moec::tile {
constexpr int64_t kMaxSharedBytes = 232448; // of a block of sm_90
constexpr int64_t kBoxBytes = 64 * 64 * 2;  // of one store by TMA, and of a block of 64 MN-major rows
constexpr int64_t kBoxRows = 64;            // of a store
constexpr int64_t kSwizzleBytes = 128;
constexpr int64_t kChunkColumns = 64; // that an epilogue works on at a time
/// Columns of a store's box: a row of it fills the swizzle.
inline int64_t boxColumns(mlir::Type element) { return 8 * kSwizzleBytes / element.getIntOrFloatBitWidth(); }

/// Boxes for 64 columns of the results that do not take the place of a fetched matrix: one box for each such result in
/// bf16, two for each in f32.
int64_t boxesBesideFetches(KernelOp kernel);

/// The kernel's tensor maps, in the order of its last parameters.
inline auto mapsOf(KernelOp kernel) { return kernel.getBlock()->getOps<MapOp>(); }
} // namespace moec::tile

#endif
