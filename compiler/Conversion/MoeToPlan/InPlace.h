// Which results of dispatches may take over the memory of an operand.
#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_INPLACE_H
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_INPLACE_H

#include "dialects/Moe/IR/Moe.h"
#include "llvm/ADT/DenseMap.h"

namespace moec {

/// Whether result `number` of `dispatch` may share memory with input `argument`: every element of the input is read
/// before the same element of the result is stored, and never after.
bool canOverwrite(moe::DispatchOp dispatch, unsigned number, mlir::BlockArgument argument);

/// The operand of a row kernel whose memory result `number` takes over, because nothing reads the operand afterwards;
/// -1: none. Values in `placed` must keep their memory.
int findOverwritten(moe::DispatchOp dispatch, unsigned number, const llvm::DenseMap<mlir::Value, mlir::Value> &placed);

} // namespace moec

#endif
