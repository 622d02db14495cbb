// The memory of the values inside a dispatch, and the evaluation of its maps on vectors.
#ifndef MOEC_COMPILER_TARGET_KERNEL_DISPATCHBODY_H
#define MOEC_COMPILER_TARGET_KERNEL_DISPATCHBODY_H

#include "compiler/Target/Kernel/KernelBuilder.h"
#include "dialects/Moe/Analysis/DispatchParams.h"
#include <optional>

namespace moec::kernel {

class DispatchBody {
public:
  explicit DispatchBody(moe::DispatchOp dispatch) : dispatch(dispatch), params(moe::collectDispatchParams(dispatch)) {}

  unsigned numParams() const { return params.size(); }
  /// The value of which `value` is a view. A moe.cast counts as a view too: a value may have another type in memory
  /// than in computations. Code that loads or stores converts between storageOf() and the value's own type.
  static mlir::Value stripViews(mlir::Value value);
  /// The parameter that holds an input or a state read by the body (or a view of one); none for computed values.
  std::optional<unsigned> paramOf(mlir::Value value) const;
  /// The parameter of a read, write or accumulate.
  unsigned paramOfAccess(mlir::Operation *op) const;
  unsigned paramOfResult(unsigned index) const;
  /// Element type of a parameter in memory.
  mlir::Type storageOf(unsigned param) const { return params[param].type.getElementType(); }

  /// Bytes of all parameters, each read and written once.
  double bytes() const;

  /// Where a value leaves the kernel.
  struct Sink {
    mlir::Value value; // without views
    unsigned param;
    bool accumulates;
  };
  /// State writes in program order, then the dispatch's results.
  llvm::SmallVector<Sink> sinks() const;

  moe::DispatchOp dispatch;
  llvm::SmallVector<moe::DispatchParam> params;
};

/// The results of `map` on `lanes` lanes (1: scalars) of one row. Operands are given by operand number. `row` and
/// `column` are those of lane 0.
llvm::SmallVector<mlir::Value> emitMap(KernelBuilder &kb, moe::MapOp map, int64_t lanes, mlir::Value row,
                                       mlir::Value column, llvm::function_ref<mlir::Value(unsigned)> operand);

} // namespace moec::kernel

#endif
