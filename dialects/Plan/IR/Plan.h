// The plan dialect: the instructions and memory of the runtime.
#ifndef MOEC_DIALECTS_PLAN_IR_PLAN_H
#define MOEC_DIALECTS_PLAN_IR_PLAN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Plan/IR/PlanDialect.h.inc"
#include "dialects/Plan/IR/PlanEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Plan/IR/PlanAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Plan/IR/PlanTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/Plan/IR/PlanOps.h.inc"

namespace moec::plan {
/// Every offset in a plan is a multiple of this many bytes.
constexpr int64_t alignment = 64;
inline int64_t alignUp(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
/// Bytes of a tensor with static shape and byte-sized elements.
int64_t tensorBytes(mlir::RankedTensorType type);
} // namespace moec::plan

#endif
