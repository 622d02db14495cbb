// The moe dialect: tensor programs of an experiment on logical shapes.
#ifndef MOEC_DIALECTS_MOE_IR_MOE_H
#define MOEC_DIALECTS_MOE_IR_MOE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Moe/IR/MoeDialect.h.inc"
#include "dialects/Moe/IR/MoeEnums.h.inc"
#include "dialects/Moe/IR/MoeInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Moe/IR/MoeAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Moe/IR/MoeOps.h.inc"

namespace moec::moe {
/// The value behind any number of moe.reshape: the one that has memory.
mlir::Value underReshapes(mlir::Value value);
} // namespace moec::moe

#endif
