#ifndef MOEC_DIALECTS_MOE_IR_MOEINTERFACES_TD
#define MOEC_DIALECTS_MOE_IR_MOEINTERFACES_TD

include "mlir/IR/OpBase.td"

def Moe_DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op that knows its own backward. `moe-differentiate` calls `buildBackward` once for each op, from the last to the
    first, with the gradient of each result (null when nothing flows there). The op adds IR at the builder's point and
    sets the gradient of each operand (null: none, for ids or constants). `needed` tells which operands' gradients have
    a use; others may be left null. It may use its own operands and results: the pass sees to it that they are saved or
    recomputed.
  }];
  let methods = [
    InterfaceMethod<[{Builds the vector-Jacobian product. `resultGrads` has one entry per result,
      `operandGrads` has one null entry per operand, to be filled.}],
      "::mlir::LogicalResult", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$resultGrads, "::llvm::ArrayRef<bool>":$needed,
           "::llvm::SmallVectorImpl<::mlir::Value> &":$operandGrads)>,
  ];
}

def Moe_RowOpInterface : OpInterface<"RowOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op whose results' row i depends only on row i of its row-aligned operands (or on row i * r / rows of an operand
    with r rows), and on any part of its whole operands. Chains of such ops with one number of rows become one kernel
    that keeps a row in cache.
  }];
  let methods = [
    InterfaceMethod<"Number of rows of the results.", "int64_t", "getNumRows", (ins)>,
    InterfaceMethod<[{Whether operand `index` is read by row; else it is read as a whole and must exist before the
      kernel starts.}],
      "bool", "isRowAligned", (ins "unsigned":$index), [{}], [{ return true; }]>,
  ];
}

def Moe_PartialOpInterface : OpInterface<"PartialOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op whose results need not exist in every row. A product of groups computes the rows of its groups and leaves the
    others undefined. Whatever is computed from it row by row is undefined there too, so its kernel may skip these rows.
    An op without this interface (a state write, for example) has to happen for all its rows, so it cannot be part of a
    kernel that leaves some out.
  }];
  let methods = [
    InterfaceMethod<"Whether a kernel of this op may leave rows of its results out: the rows that no group has.",
      "bool", "leavesRows", (ins), [{}], [{ return false; }]>,
    InterfaceMethod<[{Whether no result is needed in the rows that the operands for which `isLeft` holds do not have:
      each of them is undefined there as well, or nobody reads it.}],
      "bool", "isLeftWith", (ins "::llvm::function_ref<bool(::mlir::Value)>":$isLeft), [{}],
      [{ return ::llvm::any_of($_op->getOperands(), isLeft); }]>,
  ];
}

#endif
