#ifndef MOEC_DIALECTS_TILE_IR_TILEOPS_TD
#define MOEC_DIALECTS_TILE_IR_TILEOPS_TD

include "dialects/Tile/IR/TileKernelOps.td"
include "dialects/Tile/IR/TileAttentionOps.td"
include "dialects/Tile/IR/TileGemmOps.td"

#endif
