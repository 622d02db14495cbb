// The memory that a dispatch reads and writes, in the order of its kernel's parameters. The code generators and the
// plan both use this list.
#ifndef MOEC_DIALECTS_MOE_ANALYSIS_DISPATCHPARAMS_H
#define MOEC_DIALECTS_MOE_ANALYSIS_DISPATCHPARAMS_H

#include "dialects/Moe/IR/Moe.h"

namespace moec::moe {

/// One pointer argument of a dispatch's kernel.
struct DispatchParam {
  /// Base and Index: the kernel needs the value of an index operand (moe.random_normal of a copy). The value is passed
  /// as the distance of two pointers: Base is any place in memory, and Index lies `value` bytes after it (stride 1 in
  /// the enclosing repeat). Neither is ever dereferenced.
  enum class Kind { Input, State, Result, Base, Index } kind;
  /// Input: position among the dispatch's operands. Result: position among its results. State: unused.
  unsigned index = 0;
  /// State: the symbol, and the block argument (of index type) that selects the copy, or null for the whole state.
  /// Index: the block argument.
  mlir::FlatSymbolRefAttr state;
  mlir::BlockArgument copy;
  /// The type that the pointer points to (a whole stacked state: [count, ...]; one copy, or one run of elements, where
  /// `copy` says which); null for Base and Index.
  mlir::RankedTensorType type;
  bool isRead = false;
  bool isWritten = false;
};

/// Tensor inputs in operand order, then states in order of first access (one entry for each symbol and copy), then
/// results, and, if a moe.random_normal names a copy, Base and one Index for each index operand that is used in this
/// way.
llvm::SmallVector<DispatchParam> collectDispatchParams(DispatchOp dispatch);

} // namespace moec::moe

#endif
