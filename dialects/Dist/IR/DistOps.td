#ifndef MOEC_DIALECTS_DIST_IR_DISTOPS_TD
#define MOEC_DIALECTS_DIST_IR_DISTOPS_TD

include "dialects/Moe/IR/MoeInterfaces.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Dist_Dialect : Dialect {
  let name = "dist";
  let cppNamespace = "::moec::dist";
  let summary = "What ranks hold, and what they exchange";
  let description = [{
    A program of `moe` describes a whole step. `dist-partition` divides it over ranks: every rank runs the same
    functions, and the ops of this dialect say where numbers cross from rank to rank. Ranks form a mesh with named axes
    (`dist.mesh`). A collective names the axes along which it runs: its group are the ranks that differ in these axes
    alone.

    A tensor of type `tensor<4x8xf32, #dist.partial<["data"]>>` is a part of a sum: the number that is meant is the sum
    of what the ranks along `data` hold. No op of `moe` takes such a tensor, so a part cannot pass for the whole by
    mistake. `dist.sum` is the only op that makes a whole tensor of it.

    Libraries only move bytes. `dist.sum` is turned into exchanges and a `moe.map` that adds the parts as a fixed tree
    (`dist-lower-sums`), so the result depends on the parts alone, not on who sums when.
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class Dist_Op<string mnemonic, list<Trait> traits = []> : Op<Dist_Dialect, mnemonic, traits>;

def Dist_PartialAttr : AttrDef<Dist_Dialect, "Partial"> {
  let mnemonic = "partial";
  let summary = "Encoding of a tensor that is one part of a sum over ranks";
  let description = "(partial_c1) at least one axis, each named once.";
  let parameters = (ins ArrayRefParameter<"::mlir::StringAttr">:$axes);
  let assemblyFormat = "`<` `[` $axes `]` `>`";
  let genVerifyDecl = 1;
}

def Dist_MeshOp : Dist_Op<"mesh", [Symbol]> {
  let summary = "The ranks of a run, as a grid with named axes";
  let description = [{
    Ranks are numbered in row-major order: the last axis counts fastest. The module has one mesh, called `@mesh`.
    `batches` names the axis along which ranks take micro-batches of their own.

    Constraints: (C1) as many sizes as axes, at least one; (C2) sizes are at least 1; (C3) each axis has a name of its
    own; (C4) `batches` is one of them.
    ```mlir
    dist.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$axes, DenseI64ArrayAttr:$sizes,
                       OptionalAttr<StrAttr>:$batches);
  let assemblyFormat = "$sym_name $axes `sizes` $sizes (`batches` $batches^)? attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static constexpr ::llvm::StringLiteral symbol = "mesh";
    /// Ranks along these axes; 0 when one of them is not an axis of the mesh, or named twice.
    int64_t sizeAlong(::mlir::ArrayAttr axes);
    int64_t size();
  }];
}

// An op whose group of ranks are those along `axes`. Its verifier finds the mesh.
class Dist_Collective<string mnemonic, list<Trait> traits = []>
    : Dist_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<SymbolUserOpInterface>], traits)>;

def Dist_CoordinateOp : Dist_Collective<"coordinate", [Pure, Moe_Facts<"apart", "whole", "wide">]> {
  let summary = "Where this rank stands along the axes, the last counting fastest: 0 to the number of ranks - 1";
  let description = [{
    It indexes the copies of a state, as the index of a repeat does. The plan keeps it as a stride of operands, so all
    ranks run one plan.

    Constraints: (C1) the mesh has the axes.
    ```mlir
    %c = dist.coordinate ["data"] : index
    %first = moe.read @first_micro_batch[%c] : tensor<1x1xi64>
    ```
  }];
  let arguments = (ins StrArrayAttr:$axes);
  let results = (outs Index:$result);
  let assemblyFormat = "$axes attr-dict `:` type($result)";
}

def Dist_SumOp : Dist_Collective<"sum", [Pure, Moe_Facts<"expanded", "aligned", "wide">]> {
  let summary = "The sum of the parts that the ranks hold; every rank gets all of it";
  let description = [{
    The sum is a binary tree over the ranks in order: the first half of them (the largest power of two below their
    number) is summed by itself, then the rest, then both are added. `dist-lower-sums` writes it as exchanges and
    additions.

    Constraints: (C1) the operand is partial along exactly these axes; (C2) the result is the same tensor, whole; (C3)
    the mesh has the axes.
    ```mlir
    %g = moe.read @grad.head : tensor<64x256xf32, #dist.partial<["data"]>>
    %s = dist.sum %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<64x256xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Dist_SumPartOp : Dist_Collective<"sum_part", [Pure, Moe_Facts<"expanded", "whole", "wide">]> {
  let summary = "This rank's run of the sum of the parts that the ranks hold";
  let description = [{
    What `dist.sum` returns, cut into as many equal runs of elements as the group has ranks: rank r gets run r. It costs
    one exchange where the whole sum takes two.

    Constraints: (C1) the operand is partial along exactly these axes; (C2) the result has the elements of one run, of
    the operand's type; (C3) the mesh has the axes.
    ```mlir
    %g = moe.read @grad.head : tensor<64x256xf32, #dist.partial<["data"]>>
    %s = dist.sum_part %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<32x256xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Dist_AllSumOp : Dist_Collective<"all_sum", [Pure, AllTypesMatch<["input", "result"]>, differentiable,
    Moe_Facts<"expanded", "aligned", "wide">]> {
  let summary = "The sum of what the ranks have, as a part of a computation that goes on: every rank gets all of it";
  let description = [{
    The same tree as `dist.sum`. Where the tokens of a micro-batch are divided, what one rank adds up over its tokens is
    a part of the number that a loss means. The adjoint of a sum is the identity: a change of a part changes the sum as
    much.

    Constraints: (C1) the mesh has the axes.
    ```mlir
    %s = dist.all_sum %x along ["expert"] : tensor<1x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input)";
}

def Dist_ShareOp : Dist_Collective<"share", [Pure, AllTypesMatch<["input", "result"]>, differentiable,
    Moe_Facts<"expanded", "aligned", "likeInput">]> {
  let summary = "The same value, used by ops of which each rank computes a part";
  let description = [{
    The adjoint of `dist.all_sum`. It computes nothing, but its own adjoint is a sum over the ranks: each of them has a
    part of the gradient of a value that all of them have.

    Constraints: (C1) the mesh has the axes.
    ```mlir
    %y = dist.share %x along ["expert"] : tensor<1x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input)";
}

def Dist_SameOp : Dist_Collective<"same", [Pure, AllTypesMatch<["input", "result"]>, differentiable,
    Moe_Facts<"expanded", "aligned", "likeInput">]> {
  let summary = "The same value, used by ops that every rank computes as a whole";
  let description = [{
    The gradient of a weight is added up over the ranks. Where every rank computes the same from a weight, each of them
    has the whole gradient, so the adjoint divides it by the number of ranks.

    Constraints: (C1) the mesh has the axes.
    ```mlir
    %y = dist.same %w along ["expert"] : tensor<64x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input)";
}

def Dist_ExchangeRowsOp : Dist_Collective<"exchange_rows", [Pure, differentiable,
    Moe_Facts<"apart", "whole", "likeInput">]> {
  let summary = "Sends rows to the ranks that want them, and receives those that this rank wants";
  let description = [{
    The first rows of `rows` go to rank 0 of the group, the next ones to rank 1, and so on; how many, `sends` says:
    the elements of `sends` are cut into one run for each rank, and a run is added up. `receives` says the same of the
    rows that arrive, which lie in the order of the ranks they come from. Rows of the result after the last one that
    arrived are undefined. The adjoint sends the rows back.

    Constraints: (C1) both have rows of one width and type; (C2) the ranks of the group divide the elements of `sends`
    and those of `receives`; (C3) the mesh has the axes.
    ```mlir
    %y = dist.exchange_rows %x sends %s receives %r along ["expert"]
        : tensor<8x4xf32>, tensor<1x6xi32>, tensor<2x3xi32> -> tensor<16x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$rows, AnyRankedTensor:$sends, AnyRankedTensor:$receives, StrArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $rows `sends` $sends `receives` $receives `along` $axes attr-dict
    `:` type($rows) `,` type($sends) `,` type($receives) `->` type($result)
  }];
}

def Dist_AllToAllOp : Dist_Collective<"all_to_all", [Pure, Moe_Facts<"apart", "whole", "likeInput">]> {
  let summary = "Sends part r of the operand to rank r; result s is what rank s sent here";
  let description = [{
    The operand is cut into as many equal parts of consecutive elements as the group has ranks.

    Constraints: (C1) one result per rank of the group, all of one type, or one result that holds them one after
    another; (C2) together they have the elements of the operand, of its element type; (C3) the mesh has the axes.
    ```mlir
    %0, %1 = dist.all_to_all %x along ["data"] : tensor<64x4xf32> -> tensor<32x4xf32>, tensor<32x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input) `->` type($results)";
}

def Dist_AllGatherOp : Dist_Collective<"all_gather", [Pure, Moe_Facts<"apart", "whole", "likeInput">]> {
  let summary = "Gives every rank what all ranks of the group have";
  let description = [{
    Either one result per rank, in the order of the ranks, or one result that holds them one after another.

    Constraints: (C1) one result per rank, of the operand's type; (C2) or one result with as many elements as all
    operands together, of the same element type; (C3) the mesh has the axes.
    ```mlir
    %0, %1 = dist.all_gather %x along ["data"] : tensor<1x4xf32> -> tensor<1x4xf32>, tensor<1x4xf32>
    %all = dist.all_gather %x along ["data"] : tensor<1x4xf32> -> tensor<2x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, StrArrayAttr:$axes);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = "$input `along` $axes attr-dict `:` type($input) `->` type($results)";
}

def Dist_GatherIntoOp : Dist_Collective<"gather_into", [MemoryEffects<[MemWrite]>, Moe_StateAccessOpInterface,
    Moe_Facts<"apart", "whole", "wide">]> {
  let summary = "Replaces a state by what the ranks of the group have, one after another";
  let description = [{
    An all-gather whose bytes arrive in the state: nothing is copied afterwards.

    Constraints: (C1) the state has as many elements as all operands together, of the same element type; (C2) the mesh
    has the axes.
    ```mlir
    dist.mesh @mesh ["data"] sizes [2]
    moe.state @grad.head gradient : tensor<64x256xf32>
    func.func @update(%part: tensor<32x256xf32>) {
      dist.gather_into @grad.head, %part along ["data"] : tensor<32x256xf32>
      return
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$state, AnyRankedTensor:$value, StrArrayAttr:$axes);
  let assemblyFormat = "$state `,` $value `along` $axes attr-dict `:` type($value)";
  let extraClassDeclaration = [{
    ::mlir::Value getIndex() { return {}; }
    ::mlir::Value getStored() { return getValue(); }
  }];
}

#endif
