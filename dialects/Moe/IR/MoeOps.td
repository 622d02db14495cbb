// Everything of the moe dialect; the two files are split by subject only.
include "dialects/Moe/IR/MoeStructureOps.td"
include "dialects/Moe/IR/MoeComputeOps.td"
