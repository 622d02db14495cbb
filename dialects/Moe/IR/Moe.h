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

#include "dialects/Moe/IR/OpFacts.h"

#include "dialects/Moe/IR/MoeDialect.h.inc"
#include "dialects/Moe/IR/MoeEnums.h.inc"
#include "dialects/Moe/IR/MoeInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Moe/IR/MoeAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Moe/IR/MoeOps.h.inc"

namespace moec::moe {
/// The value under any number of moe.reshape; it is the one that has memory.
mlir::Value underReshapes(mlir::Value value);

/// The facts of an op; null for ops of other dialects and for ops that hold other ops (repeat, dispatch).
const OpFacts *factsOf(mlir::Operation *op);
// Questions about facts. The answer is false for null and for an op without facts.
bool isView(mlir::Operation *op);
bool isRowOp(mlir::Operation *op);
bool isProduct(mlir::Operation *op);
bool staysApart(mlir::Operation *op);
/// Whether the op stores a value in a state.
bool isSink(mlir::Operation *op);
/// Whether the op only moves values in or out of a kernel, or names them: state accesses, views, constants,
/// terminators.
bool computesNothing(mlir::Operation *op);

/// Unit attribute of a state that counts the micro-batches of a step, to tell them apart; never summed over ranks.
inline constexpr llvm::StringLiteral kMicroBatchIndex = "moe.micro_batch_index";

/// Kinds of dispatches (see Kernel). The others are mnemonics.
inline constexpr llvm::StringLiteral kRowKind = "row", kProductKind = "matmul";
/// The kind of a dispatch that computes the op; empty if no kernel does.
llvm::StringRef kernelKind(mlir::Operation *op);
/// FactsOpInterface::getPickedRows; none for null and for an op without facts.
std::optional<PickedRows> pickedRows(mlir::Operation *op);
} // namespace moec::moe

#endif
