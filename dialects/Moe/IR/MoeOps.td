// Everything of the moe dialect; the files are split by subject only.
include "dialects/Moe/IR/MoeStructureOps.td"
include "dialects/Moe/IR/MoeComputeOps.td"
include "dialects/Moe/IR/MoeRoutingOps.td"
