#ifndef MOEC_DIALECTS_MOE_IR_MOESTRUCTUREOPS_TD
#define MOEC_DIALECTS_MOE_IR_MOESTRUCTUREOPS_TD

include "dialects/Moe/IR/MoeBase.td"
include "dialects/Moe/IR/MoeInterfaces.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/RegionKindInterface.td"

def Moe_StateKind : I32EnumAttr<"StateKind", "what a state is for", [
    I32EnumAttrCase<"parameter", 0>, I32EnumAttrCase<"gradient", 1>, I32EnumAttrCase<"optimizer", 2>,
    I32EnumAttrCase<"balance", 3>, I32EnumAttrCase<"counter", 4>, I32EnumAttrCase<"metric", 5>,
    I32EnumAttrCase<"batch", 6>, I32EnumAttrCase<"output", 7>, I32EnumAttrCase<"constant", 8>,
    I32EnumAttrCase<"copy", 9>]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_StateKindAttr : EnumAttr<Moe_Dialect, Moe_StateKind, "kind"> {
  let assemblyFormat = "$value";
}

// The runtime finds the states that it uses itself by their role; runtime/plan/Plan.h describes each role.
def Moe_StateRole : I32EnumAttr<"StateRole", "what the runtime itself does with a state", [
    I32EnumAttrCase<"step_counter", 0>, I32EnumAttrCase<"batch_tokens", 1>, I32EnumAttrCase<"batch_sources", 2>,
    I32EnumAttrCase<"generate_tokens", 3>, I32EnumAttrCase<"generate_position", 4>,
    I32EnumAttrCase<"generate_logits", 5>, I32EnumAttrCase<"token_losses", 6>, I32EnumAttrCase<"loss", 7>,
    I32EnumAttrCase<"total_loss", 8>, I32EnumAttrCase<"grad_norm", 9>, I32EnumAttrCase<"expert_tokens", 10>]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_StateRoleAttr : EnumAttr<Moe_Dialect, Moe_StateRole, "role"> {
  let assemblyFormat = "$value";
}

def Moe_StateOp : Moe_Op<"state", [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Declares memory that outlives one function call";
  let description = [{
    A state has a kind and a tensor type. With `count` it has that many copies back to back, one for each layer of a
    segment. Checkpoints and people use its logical name, which is `named`, or the symbol if `named` is absent.
    `layers` = [first, step] gives copy i the name with `<first + step*i>` in place of `{}`. Parameters name their
    gradient state. A `balance` state holds what balancing methods and measures keep from step to step, such as a bias
    for each expert. A `copy` holds a parameter a second time, in the narrower type that products read (see
    `moe-narrow-storage`), or the scales of such a copy (see `moe-quantize-experts`).

    Passes and the runtime read attributes, never names. `saved`: the state goes into checkpoints. `logged`: the log has
    the metric under this key. `role`: the runtime itself uses the state, as the batch, the step counter, and so on.

    Constraints: (C1) a parameter names a gradient state of the same shape and count, or none if it is frozen; (C2)
    `count` >= 1; (C3) only parameter, optimizer, balance and counter states are saved, since a run makes the others
    again; (C4) every metric is logged, and no other state is; (C5) a state has the kind and the element type that its
    role asks for, and the step counter is saved; (C6) a logical name is not empty, and has one `{}` at most, with
    `layers` to fill it; (C7) `divided` is at least 2 and divides the number of elements of all copies together.

    `divided n along [axes]`: the elements of all copies, in their order, are cut into n equal runs. Each rank along
    these axes keeps one run. Such a state is read and written without an index, as `[rows, columns]` of one run. With
    `each`, every copy is cut into n runs of its outermost dimension instead, and the type is that of one run: ranks own
    some of the experts of each layer.

    ```mlir
    moe.state @"layers.{}.attention.q" parameter : tensor<128x128xf32> count 4 layers [0, 1]
        gradient @"grad.layers.{}.attention.q" saved
    moe.state @"grad.layers.{}.attention.q" gradient : tensor<128x128xf32> count 4
    moe.state @"layers.{}.ffn.up#2" parameter : tensor<128x64xf32> count 4 layers [1, 2] named "layers.{}.ffn.up" saved
    moe.state @metric.loss metric : tensor<1x1xf32> logged "loss" role loss
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Moe_StateKindAttr:$kind, TypeAttr:$type,
                       OptionalAttr<I64Attr>:$count, OptionalAttr<DenseI64ArrayAttr>:$layers,
                       OptionalAttr<FlatSymbolRefAttr>:$gradient, OptionalAttr<StrAttr>:$logical_name,
                       OptionalAttr<StrAttr>:$log_name, OptionalAttr<Moe_StateRoleAttr>:$role, UnitAttr:$saved,
                       OptionalAttr<I64Attr>:$divided, OptionalAttr<StrArrayAttr>:$axes, UnitAttr:$each);
  let assemblyFormat = [{
    $sym_name `` $kind `:` $type (`count` $count^)? (`layers` $layers^)? (`gradient` $gradient^)?
    (`named` $logical_name^)? (`logged` $log_name^)? (`role` `` $role^)? (`saved` $saved^)?
    (`divided` $divided^ `along` $axes (`each` $each^)?)? attr-dict
  }];
  // The other attributes are set afterwards.
  let builders = [OpBuilder<(ins "::mlir::StringAttr":$sym_name, "StateKindAttr":$kind, "::mlir::TypeAttr":$type,
                                 "::mlir::IntegerAttr":$count, "::mlir::DenseI64ArrayAttr":$layers,
                                 "::mlir::FlatSymbolRefAttr":$gradient)>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The name that people and checkpoints use; {} stands for the layer.
    ::llvm::StringRef getName() { return getLogicalName().value_or(getSymName()); }
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
    int64_t getCopies() { return getCount().value_or(1); }
    /// Of all copies, over all ranks.
    int64_t getTotalElements() { return getTensorType().getNumElements() * getCopies(); }
    /// Bytes of one copy.
    int64_t getCopyBytes();
  }];
}

class Moe_StateAccess<string mnemonic, list<Trait> traits = []>
    : Moe_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<SymbolUserOpInterface>, Moe_StateAccessOpInterface,
                                    Moe_Facts<"access", "whole", "wide">], traits)>;

def Moe_ReadOp : Moe_StateAccess<"read", [MemoryEffects<[MemRead]>,
    DeclareOpInterfaceMethods<Moe_DifferentiableOpInterface, ["buildBackward"]>]> {
  let summary = "The value of a state, or of one copy of a stacked state";
  let description = [{
    With an index the result has the state's type. Without one a state of count L reads as `[L, ...]`. With `of n` the
    elements of all copies are cut into n equal runs, and the index says which of them is read. The backward of
    reading a parameter adds to its gradient state. Of a state that ranks hold in parts (`dist.partial`), the read has
    that type too; what is written or added to it is this rank's part.
    ```mlir
    %w = moe.read @"layers.{}.attention.q"[%layer] : tensor<128x128xf32>
    %run = moe.read @head[%rank] of 8 : tensor<8x256xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$state, Optional<Index>:$index, OptionalAttr<I64Attr>:$runs);
  let results = (outs Moe_StateTensor:$result);
  let assemblyFormat = "$state (`[` $index^ `]`)? (`of` $runs^)? attr-dict `:` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::FlatSymbolRefAttr":$state, "::mlir::Value":$index),
                            [{ build($_builder, $_state, result, state, index, /*runs=*/::mlir::IntegerAttr()); }]>];
}

def Moe_WriteOp : Moe_StateAccess<"write", [MemoryEffects<[MemWrite]>]> {
  let summary = "Replaces the value of a state or of one copy of it";
  let arguments = (ins FlatSymbolRefAttr:$state, Optional<Index>:$index, Moe_AnyTensor:$value);
  let assemblyFormat = "$state (`[` $index^ `]`)? `,` $value attr-dict `:` type($value)";
  let extraClassDeclaration = "::mlir::Value getStored() { return getValue(); }";
}

def Moe_AccumulateOp : Moe_StateAccess<"accumulate", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "Adds to a state or to one copy of it: state = state + value";
  let arguments = (ins FlatSymbolRefAttr:$state, Optional<Index>:$index, Moe_AnyTensor:$value);
  let assemblyFormat = "$state (`[` $index^ `]`)? `,` $value attr-dict `:` type($value)";
  let extraClassDeclaration = [{
    ::mlir::Value getStored() { return getValue(); }
    bool accumulates() { return true; }
  }];
}

def Moe_LossOp : Moe_Op<"loss", [MemoryEffects<[MemWrite]>]> {
  let summary = "The scalar to minimise";
  let description = [{
    `moe-differentiate` seeds the gradient of `total` with `scale` (1 / micro_batches, see docs/architecture.md) and
    removes the op. The op claims to write memory, so that its operands are not removed as dead code before that pass.
  }];
  let arguments = (ins Moe_Matrix:$total, F64Attr:$scale);
  let assemblyFormat = "$total `scale` $scale attr-dict `:` type($total)";
  let hasVerifier = 1;
}

def Moe_YieldOp : Moe_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "Hands values to the enclosing moe op";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ (void)$_state; }]>];
}

def Moe_RepeatOp : Moe_Op<"repeat", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "Runs its body once for each layer of a segment";
  let description = [{
    This is the only loop of the dialect; it keeps the size of the IR independent of depth. The body's arguments are the
    index (0..count-1, or downwards with `reverse`), the carried values, and slice `index` of each stacked operand. The
    body yields the next carried values, then one slice of each stacked result. The results are the last carried values,
    then the stacked results `[count, ...]`. A slice of a `[count, R, C]` tensor is `[R, C]`. `carry`, `stacked` and
    `->` (the types of the stacked results) are left out when empty.

    Constraints: (C1) carried types agree between operands, arguments, yield and results; (C2) stacked types are
    `[count] + slice`; (C3) count >= 1.
    ```mlir
    %y, %saved = moe.repeat %l of 4 carry(%x = %x0 : tensor<8x4xf32>) stacked(%s = %all : tensor<4x8x1xf32>)
        -> (tensor<4x8x4xf32>) {
      ...
      moe.yield %next, %x : tensor<8x4xf32>, tensor<8x4xf32>
    }
    %z = moe.repeat reverse %l of 4 carry(%x = %y : tensor<8x4xf32>) { ... }
    ```
  }];
  let arguments = (ins Variadic<Moe_AnyTensor>:$inputs, I64Attr:$carried, I64Attr:$count, UnitAttr:$reverse);
  let results = (outs Variadic<Moe_AnyTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let skipDefaultBuilders = 1;
  let builders = [OpBuilder<(ins "::mlir::ValueRange":$inits, "::mlir::ValueRange":$stacked,
                                 "::mlir::TypeRange":$outTypes, "int64_t":$count, CArg<"bool", "false">:$reverse)>];
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    ::mlir::OperandRange getInits() { return getInputs().take_front(getCarried()); }
    ::mlir::OperandRange getStacked() { return getInputs().drop_front(getCarried()); }
    ::mlir::ResultRange getFinals() { return getResults().take_front(getCarried()); }
    ::mlir::ResultRange getOuts() { return getResults().drop_front(getCarried()); }
    ::mlir::Value getIndexArgument() { return getBlock()->getArgument(0); }
    ::mlir::Block::BlockArgListType getCarryArguments() { return getBlock()->getArguments().slice(1, getCarried()); }
    ::mlir::Block::BlockArgListType getSliceArguments() {
      return getBlock()->getArguments().drop_front(1 + getCarried());
    }
    YieldOp getYield();
  }];
}

def Moe_DispatchOp : Moe_Op<"dispatch", [SingleBlock, IsolatedFromAbove, RecursiveMemoryEffects]> {
  let summary = "A group of ops that becomes one kernel launch";
  let description = [{
    `moe-form-dispatches` makes it, and the code generators read it. `kind` names the template that can emit the body
    (see docs/codegen-cpu.md): `row`, `matmul`, or the mnemonic of a single op. Operands are tensors and at most one
    index per enclosing repeat; block arguments mirror them. The body reads and writes states through `moe.read`,
    `moe.write` and `moe.accumulate`. `note "..."`, after the kind, says why the first op that could have followed was
    not fused.

    Constraints: (C1) block arguments mirror the operands; (C2) the body yields the results; (C3) an index into a state
    is a block argument; (C4) if an op of the body leaves rows out (PartialOpInterface: a product of groups), the kernel
    writes no state in these rows, and the yielded values are undefined there too.
    ```mlir
    %h = moe.dispatch "matmul" (%a = %x, %l = %layer) : (tensor<8x4xf32>, index) -> tensor<8x16xf32> {
      %w = moe.read @"layers.{}.up"[%l] : tensor<4x16xf32>
      %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x16xf32> -> tensor<8x16xf32>
      moe.yield %p : tensor<8x16xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<AnyTypeOf<[Moe_AnyTensor, Index]>>:$inputs, StrAttr:$kind, OptionalAttr<StrAttr>:$note);
  let results = (outs Variadic<Moe_AnyTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    YieldOp getYield();
    ::mlir::LogicalResult verifyLeftRows();
  }];
}

#endif
