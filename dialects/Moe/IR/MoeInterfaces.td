#ifndef MOEC_DIALECTS_MOE_IR_MOEINTERFACES_TD
#define MOEC_DIALECTS_MOE_IR_MOEINTERFACES_TD

include "mlir/IR/OpBase.td"

def Moe_DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op that knows its own backward. `moe-differentiate` calls `buildBackward` once for each op, from the last to the
    first, with the gradient of each result (null if the loss does not depend on the result). The op adds IR at the
    builder's point and sets the gradient of each operand (null: none, for ids or constants). `needed` tells which
    operands' gradients have a use; others may be left null. It may use its own operands and results: the pass sees to
    it that they are saved or recomputed.
  }];
  let methods = [
    InterfaceMethod<[{Builds the vector-Jacobian product. `resultGrads` has one entry per result,
      `operandGrads` has one null entry per operand, to be filled.}],
      "::mlir::LogicalResult", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$resultGrads, "::llvm::ArrayRef<bool>":$needed,
           "::llvm::SmallVectorImpl<::mlir::Value> &":$operandGrads)>,
  ];
}

defvar differentiable = DeclareOpInterfaceMethods<Moe_DifferentiableOpInterface, ["buildBackward"]>;

def Moe_FactsOpInterface : OpInterface<"FactsOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op whose facts passes and targets may ask: which kernel computes it, how rows of its operands relate to those of
    its results, how results lie in memory, and the other facts of OpFacts.h. An op declares its facts with `Moe_Facts`.
    There is no default: an op without facts cannot be in a kernel, and a pass that meets one reports an error.
  }];
  let methods = [
    StaticInterfaceMethod<"The facts that hold for every op of this name.", "const ::moec::moe::OpFacts &",
      "getFacts", (ins), [{ return ConcreteOp::facts; }]>,
    InterfaceMethod<"How rows of operand `index` relate to those of the results.", "::moec::moe::Rows",
      "getOperandRows", (ins "unsigned":$index), [{}], [{ return ConcreteOp::facts.rows; }]>,
    InterfaceMethod<"How result `index` lies in memory where storage is narrow.", "::moec::moe::Storage",
      "getStorage", (ins "unsigned":$index), [{}], [{ return ConcreteOp::facts.storage; }]>,
    InterfaceMethod<"Whether a tensor core reads operand `index`, so that it may lie in memory in a narrow type.",
      "bool", "isFactor", (ins "unsigned":$index), [{}], [{ return false; }]>,
    InterfaceMethod<"Whether the op decides which rows meet which expert.", "bool", "isDecision", (ins), [{}],
      [{ return ConcreteOp::facts.isDecision; }]>,
    InterfaceMethod<[{Which rows of an operand the result consists of, so that loads of products can pick these rows
      themselves. None if the result does not consist of rows of an operand.}],
      "::std::optional<::moec::moe::PickedRows>", "getPickedRows", (ins), [{}], [{ return ::std::nullopt; }]>,
  ];
}

// Puts `facts`, initializers of OpFacts, into an op's class.
class Moe_HasFacts<string facts> : NativeOpTrait<"HasFacts", [],
    "static constexpr ::moec::moe::OpFacts facts = {" # facts # "};"> {
  let cppNamespace = "::moec::moe";
}

// The facts of an op, in the words of OpFacts.h. `others` are designated initializers, in the order of the struct;
// `methods` are those of FactsOpInterface whose answer the op computes itself (OpFacts.cpp).
class Moe_Facts<string kernel, string rows, string storage, string others = "", list<string> methods = []>
    : TraitList<[
        DeclareOpInterfaceMethods<Moe_FactsOpInterface, methods>,
        Moe_HasFacts<".kernel = ::moec::moe::Kernel::" # kernel # ", .rows = ::moec::moe::Rows::" # rows #
                     ", .storage = ::moec::moe::Storage::" # storage #
                     !if(!empty(others), "", ", " # others)>]>;

// Facts of an op of the row template.
class Moe_RowFacts<string rows, string storage, string others = "", list<string> methods = []>
    : Moe_Facts<"row", rows, storage, ".sinks = Sinks::any, .takesConstants = true, .joinsReaders = true" #
                !if(!empty(others), "", ", " # others), methods>;

def Moe_StateAccessOpInterface : OpInterface<"StateAccessOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = "An op that reads or writes a state, or one copy of it.";
  let methods = [
    InterfaceMethod<"The state.", "::mlir::FlatSymbolRefAttr", "getStateAttr">,
    InterfaceMethod<"Which copy; null for the whole state.", "::mlir::Value", "getIndex">,
    InterfaceMethod<"The value that is stored; null for a read.", "::mlir::Value", "getStored", (ins), [{}],
      [{ return {}; }]>,
    InterfaceMethod<"Whether what is stored is added to what is there.", "bool", "accumulates", (ins), [{}],
      [{ return false; }]>,
  ];
}

def Moe_PartialOpInterface : OpInterface<"PartialOpInterface"> {
  let cppNamespace = "::moec::moe";
  let description = [{
    An op whose results need not exist in every row. A product of groups computes the rows of its groups and leaves the
    other rows undefined. A value that is computed from it row by row is undefined in these rows too, so the kernel of
    that value may skip them. An op without this interface (a state write, for example) has to happen for all its rows,
    so it cannot be part of a kernel that leaves some out.
  }];
  let methods = [
    InterfaceMethod<"Whether a kernel of this op may leave out the rows of its results that belong to no group.",
      "bool", "leavesRows", (ins), [{}], [{ return false; }]>,
    InterfaceMethod<[{Whether no result is needed in the rows that the operands for which `isLeft` holds do not have:
      each of them is undefined there as well, or nobody reads it.}],
      "bool", "isLeftWith", (ins "::llvm::function_ref<bool(::mlir::Value)>":$isLeft), [{}],
      [{ return ::llvm::any_of($_op->getOperands(), isLeft); }]>,
  ];
}

#endif
