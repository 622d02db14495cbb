#ifndef MOEC_DIALECTS_PLAN_IR_PLANOPS_TD
#define MOEC_DIALECTS_PLAN_IR_PLANOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::moec::plan";
  let summary = "What the runtime does: memory, launches, and the experiment's loop";
  let description = [{
    The lowest dialect: one op for each instruction of docs/plan-format.md. `moec-moe-to-plan` makes it from `moe`,
    `moec-plan-place` gives it addresses, and it becomes the manifest of a plan file.

    Memory is one arena. `plan.state` declares memory that outlives a call, `plan.alloc` memory of one value inside a
    function, and `plan.slice` a part of either; its offset may depend on loop indices. Before `moec-plan-place` states
    and allocs have no offsets; after it each has one.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

def Plan_BufferType : TypeDef<Plan_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "A range of bytes of the arena";
  let parameters = (ins "int64_t":$bytes);
  let assemblyFormat = "`<` $bytes `>`";
  let genVerifyDecl = 1;
}

def Plan_RequestType : TypeDef<Plan_Dialect, "Request"> {
  let mnemonic = "request";
  let summary = "An exchange that was started and is waited for once";
}

//===--- Declarations ---------------------------------------------------------------------------------------------===//

// Kinds and roles have the words of `moe.state` (a test compares them) and of plan files.
def Plan_StateKind : I32EnumAttr<"StateKind", "what a state is for", [
    I32EnumAttrCase<"parameter", 0>, I32EnumAttrCase<"gradient", 1>, I32EnumAttrCase<"optimizer", 2>,
    I32EnumAttrCase<"balance", 3>, I32EnumAttrCase<"counter", 4>, I32EnumAttrCase<"metric", 5>,
    I32EnumAttrCase<"batch", 6>, I32EnumAttrCase<"output", 7>, I32EnumAttrCase<"constant", 8>,
    I32EnumAttrCase<"copy", 9>]> {
  let cppNamespace = "::moec::plan";
  let genSpecializedAttr = 0;
}
def Plan_StateKindAttr : EnumAttr<Plan_Dialect, Plan_StateKind, "kind"> {
  let assemblyFormat = "$value";
}
def Plan_StateRole : I32EnumAttr<"StateRole", "what the runtime itself does with a state", [
    I32EnumAttrCase<"step_counter", 0>, I32EnumAttrCase<"batch_tokens", 1>, I32EnumAttrCase<"batch_sources", 2>,
    I32EnumAttrCase<"generate_tokens", 3>, I32EnumAttrCase<"generate_position", 4>,
    I32EnumAttrCase<"generate_logits", 5>, I32EnumAttrCase<"token_losses", 6>, I32EnumAttrCase<"loss", 7>,
    I32EnumAttrCase<"total_loss", 8>, I32EnumAttrCase<"grad_norm", 9>, I32EnumAttrCase<"expert_tokens", 10>]> {
  let cppNamespace = "::moec::plan";
  let genSpecializedAttr = 0;
}
def Plan_StateRoleAttr : EnumAttr<Plan_Dialect, Plan_StateRole, "role"> {
  let assemblyFormat = "$value";
}

def Plan_StateOp : Plan_Op<"state", [Symbol]> {
  let summary = "Memory that outlives calls: `count` copies of a tensor, back to back";
  let description = [{
    The kind, `layers`, `named`, `logged`, `role` and `saved` are those of `moe.state`.

    Constraints: (C1) count >= 1; (C2) offset, when placed, is a multiple of 64; (C3) only parameter, optimizer, balance
    and counter states are saved; (C4) every metric is logged, and no other state is; (C5) a state has the kind that its
    role asks for; (C6) `divided` divides the number of elements of all copies together.

    `divided n along [axes]`: the elements of all copies are cut into n equal runs, and this rank has one of them. With
    `each`, the outermost dimension of each copy is cut, and the type is that of a run.
    ```mlir
    plan.state @"layers.{}.attention.q" parameter : tensor<128x128xf32> count 4 layers [0, 1] saved at 131072
    plan.state @metric.loss metric : tensor<1x1xf32> count 1 logged "loss" role loss at 393216
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Plan_StateKindAttr:$kind, TypeAttr:$type, I64Attr:$count,
                       OptionalAttr<DenseI64ArrayAttr>:$layers, OptionalAttr<StrAttr>:$logical_name,
                       OptionalAttr<StrAttr>:$log_name, OptionalAttr<Plan_StateRoleAttr>:$role, UnitAttr:$saved,
                       OptionalAttr<I64Attr>:$divided, OptionalAttr<StrArrayAttr>:$axes, UnitAttr:$each,
                       OptionalAttr<I64Attr>:$offset);
  let assemblyFormat = [{
    $sym_name `` $kind `:` $type `count` $count (`layers` $layers^)? (`named` $logical_name^)? (`logged` $log_name^)?
    (`role` `` $role^)? (`saved` $saved^)? (`divided` $divided^ `along` $axes (`each` $each^)?)?
    (`at` $offset^)? attr-dict
  }];
  // The other attributes are set afterwards.
  let builders = [OpBuilder<(ins "::mlir::StringRef":$sym_name, "StateKind":$kind, "::mlir::RankedTensorType":$type,
                                 "int64_t":$count)>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
    int64_t getCopyBytes();
    /// The bytes that this rank keeps.
    int64_t getBytes() { return getCopyBytes() * getCount() / (getEach() ? 1 : getDivided().value_or(1)); }
    /// The name that people and checkpoints use; {} stands for the layer.
    ::llvm::StringRef getName() { return getLogicalName().value_or(getSymName()); }
    /// Whether each copy has a name of its own, with its layer in it. Otherwise all copies together are one named
    /// tensor.
    bool hasCopyNames() { return getName().contains("{}"); }
  }];
}

def Plan_KernelOp : Plan_Op<"kernel", [Symbol]> {
  let summary = "A kernel of the plan: its symbol in the object code and its launch record";
  let description = [{
    `summary` lists the ops that were fused into the kernel. `note` says why the next op was not fused. `launch` says
    how a GPU starts the kernel.

    Constraints: (C1) grid >= 1 and params >= 0.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$params, I64Attr:$grid, I64Attr:$scratch, I64Attr:$flops,
                       I64Attr:$bytes,
                       StrAttr:$summary, OptionalAttr<StrAttr>:$note, OptionalAttr<DictionaryAttr>:$launch);
  let assemblyFormat = [{
    $sym_name `params` $params `grid` $grid `scratch` $scratch `flops` $flops `bytes` $bytes $summary (`note` $note^)?
    (`launch` $launch^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Plan_MeshOp : Plan_Op<"mesh", [Symbol]> {
  let summary = "The ranks that run the plan, as a grid with named axes; the last counts fastest";
  let description = [{
    Absent: one rank. `batches` names the axis along which ranks take micro-batches of their own.

    Constraints: (C1) as many sizes as axes, at least one, each at least 1; (C2) `batches` is one of the axes; (C3)
    no two axes have one name.
    ```mlir
    plan.mesh @mesh ["data"] sizes [4] batches "data"
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$axes, DenseI64ArrayAttr:$sizes,
                       OptionalAttr<StrAttr>:$batches);
  let assemblyFormat = "$sym_name $axes `sizes` $sizes (`batches` $batches^)? attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static constexpr ::llvm::StringLiteral symbol = "mesh";
    /// Where an axis stands in the list; -1 when it is none.
    int64_t indexOf(::mlir::StringAttr axis);
    /// Ranks along these axes; 0 when one of them is none, or named twice.
    int64_t sizeAlong(::mlir::ArrayAttr axes);
  }];
}

//===--- Functions ------------------------------------------------------------------------------------------------===//

def Plan_FuncOp : Plan_Op<"func", [Symbol, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "A list of instructions that a program calls";
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
}

def Plan_AddressOp : Plan_Op<"address", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "All copies of a state";
  let arguments = (ins FlatSymbolRefAttr:$state);
  let results = (outs Plan_BufferType:$result);
  let assemblyFormat = "$state attr-dict `:` qualified(type($result))";
}

def Plan_AllocOp : Plan_Op<"alloc"> {
  let summary = "Memory of one function";
  let description = [{
    The buffer lives from its first to its last use. Inside a `plan.repeat` it lives within one iteration. If an inner
    repeat uses it, it lives during all of that repeat. `moec-plan-place` sets `offset`, `first` and `last` (positions
    in the function).

    Constraints: (C1) the buffer holds exactly the tensor.
  }];
  let arguments = (ins StrAttr:$name, TypeAttr:$type, OptionalAttr<I64Attr>:$offset, OptionalAttr<I64Attr>:$first,
                       OptionalAttr<I64Attr>:$last);
  let results = (outs Plan_BufferType:$result);
  let assemblyFormat = [{
    $name `:` $type (`at` $offset^)? (`from` $first^)? (`to` $last^)? attr-dict `->` qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Plan_SliceOp : Plan_Op<"slice", [Pure]> {
  let summary = "A part of a buffer, as many bytes as its type says, starting at offset + stride * index";
  let description = "(C1) offset and size lie inside the source. The runtime checks every index before it starts.";
  let arguments = (ins Plan_BufferType:$source, Optional<Index>:$index, I64Attr:$offset, I64Attr:$stride);
  let results = (outs Plan_BufferType:$result);
  let assemblyFormat = [{
    $source (`[` $index^ `]`)? `offset` $offset `stride` $stride attr-dict `:` qualified(type($source)) `->`
    qualified(type($result))
  }];
  let hasVerifier = 1;
}

def Plan_LaunchOp : Plan_Op<"launch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs all workgroups of a kernel";
  let description = [{
    `writes` lists the positions of operands that the kernel writes.

    Constraints: (C1) as many operands as the kernel has params; (C2) `writes` are positions of operands.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Plan_BufferType>:$operands, DenseI64ArrayAttr:$writes);
  let assemblyFormat = "$kernel `(` $operands `)` `writes` $writes attr-dict (`:` qualified(type($operands))^)?";
}

def Plan_FillOp : Plan_Op<"fill"> {
  let summary = "Sets a buffer to zero";
  let arguments = (ins Plan_BufferType:$dst);
  let assemblyFormat = "$dst attr-dict `:` qualified(type($dst))";
}

def Plan_CopyOp : Plan_Op<"copy"> {
  let summary = "Copies a buffer";
  let description = "(C1) both sides have the same size.";
  let arguments = (ins Plan_BufferType:$dst, Plan_BufferType:$src);
  let assemblyFormat = "$dst `,` $src attr-dict `:` qualified(type($dst)) `,` qualified(type($src))";
  let hasVerifier = 1;
}

def Plan_CoordinateOp : Plan_Op<"coordinate", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The place of this rank along axes of the mesh, the last counting fastest; an index for slices";
  let description = "(C1) the mesh has the axes.";
  let arguments = (ins StrArrayAttr:$axes);
  let results = (outs Index:$result);
  let assemblyFormat = "$axes attr-dict `:` type($result)";
}

def Plan_Exchange : I32EnumAttr<"Exchange", "what ranks exchange", [
    I32EnumAttrCase<"all_gather", 0>, I32EnumAttrCase<"all_to_all", 1>, I32EnumAttrCase<"rows", 2>]> {
  let cppNamespace = "::moec::plan";
  let genSpecializedAttr = 0;
}
def Plan_ExchangeAttr : EnumAttr<Plan_Dialect, Plan_Exchange, "exchange"> {
  let assemblyFormat = "$value";
}

def Plan_StartOp : Plan_Op<"start", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Starts an exchange among the ranks along `axes`";
  let description = [{
    `all_gather`: the source of each rank goes to all, and arrives in the order of the ranks. `all_to_all`: part r of
    the source goes to rank r, and part s of the destination comes from rank s. `rows`: the source is rows of
    `row_bytes` bytes, the first of which go to rank 0, the next to rank 1, and so on; the first of `counts` says how
    many go to each rank, the second how many come from each (i32, added up by as many equal runs as there are ranks);
    rows arrive in the order of the ranks. Until it was waited for, the source
    keeps its value and nobody touches the destination.

    Constraints: (C1) the mesh has the axes; (C2) all_gather: the destination has the source's bytes once for each rank;
    all_to_all: both have the same bytes, a multiple of the number of ranks; rows: two counts, of 4 bytes times a
    multiple of the number of ranks, and whole rows; (C3) exactly one `plan.wait` follows, in the same block.
    ```mlir
    %r = plan.start all_gather along ["data"] %all, %mine : !plan.buffer<128>, !plan.buffer<64>
    plan.wait %r
    ```
  }];
  let arguments = (ins Plan_ExchangeAttr:$exchange, StrArrayAttr:$axes, Plan_BufferType:$dst, Plan_BufferType:$src,
                       Variadic<Plan_BufferType>:$counts, OptionalAttr<I64Attr>:$row_bytes);
  let results = (outs Plan_RequestType:$request);
  let assemblyFormat = [{
    `` $exchange `along` $axes $dst `,` $src (`counts` $counts^ `row_bytes` $row_bytes)? attr-dict
    `:` qualified(type($dst)) `,` qualified(type($src)) (`,` qualified(type($counts))^)?
  }];
  let hasVerifier = 1;
}

def Plan_WaitOp : Plan_Op<"wait"> {
  let summary = "Waits until an exchange is done";
  let arguments = (ins Plan_RequestType:$request);
  let assemblyFormat = "$request attr-dict";
}

def Plan_RepeatOp : Plan_Op<"repeat", [NoTerminator, SingleBlock]> {
  let summary = "Runs its body `count` times, index 0..count-1, or downwards";
  let description = "(C1) count >= 1. In a program the body holds program instructions and has no index.";
  let arguments = (ins I64Attr:$count, UnitAttr:$reverse);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$count (`reverse` $reverse^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

//===--- Programs -------------------------------------------------------------------------------------------------===//

def Plan_ProgramOp : Plan_Op<"program", [NoTerminator, SingleBlock]> {
  let summary = "The instructions that the runtime executes for one purpose: init, restore or train";
  let description = "A program is not a symbol: only the runtime starts it, and `init` is also the name of a function.";
  let arguments = (ins StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name attr-dict-with-keyword $body";
}
def Plan_StepsOp : Plan_Op<"steps", [NoTerminator, SingleBlock]> {
  let summary = "The training loop, which ends when the step counter reaches `count`";
  let arguments = (ins I64Attr:$count);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$count attr-dict-with-keyword $body";
}
def Plan_CallOp : Plan_Op<"call", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a function of the plan";
  let arguments = (ins FlatSymbolRefAttr:$callee);
  let assemblyFormat = "$callee attr-dict";
}
def Plan_NextBatchOp : Plan_Op<"next_batch"> {
  let summary = "Fills the batch with the next training samples";
  let assemblyFormat = "attr-dict";
}
def Plan_LogOp : Plan_Op<"log"> {
  let summary = "Writes the step's metrics at every n-th step, the first and the last";
  let arguments = (ins I64Attr:$every);
  let assemblyFormat = "`every` $every attr-dict";
}
def Plan_EveryOp : Plan_Op<"every", [NoTerminator, SingleBlock]> {
  let summary = "Runs its body at every n-th step and at the last";
  let arguments = (ins I64Attr:$steps);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$steps attr-dict-with-keyword $body";
}
def Plan_EvaluateOp : Plan_Op<"evaluate"> {
  let summary = "Evaluates on the validation data and writes the loss";
  let assemblyFormat = "attr-dict";
}
def Plan_SaveOp : Plan_Op<"save"> {
  let summary = "Writes a checkpoint";
  let assemblyFormat = "attr-dict";
}

#endif
