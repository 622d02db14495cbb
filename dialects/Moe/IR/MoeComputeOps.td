#ifndef MOEC_DIALECTS_MOE_IR_MOECOMPUTEOPS_TD
#define MOEC_DIALECTS_MOE_IR_MOECOMPUTEOPS_TD

include "dialects/Moe/IR/MoeBase.td"
include "dialects/Moe/IR/MoeInterfaces.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

// Traits shared by families.
defvar leavesRows = DeclareOpInterfaceMethods<Moe_PartialOpInterface, ["leavesRows"]>;
defvar isLeftWith = DeclareOpInterfaceMethods<Moe_PartialOpInterface, ["isLeftWith"]>;
defvar productFacts = Moe_Facts<"product", "whole", "narrow", ".sinks = Sinks::any, .takesEpilogue = true",
    ["getOperandRows", "isFactor", "getStorage"]>;

//===--- Views ----------------------------------------------------------------------------------------------------===//

def Moe_ReshapeOp : Moe_Op<"reshape", [Pure, differentiable, Moe_PartialOpInterface,
    Moe_Facts<"view", "whole", "likeInput", ".isCheap = true">]> {
  let summary = "The same elements in the same order under another shape";
  let description = "Never moves data. (C1) both shapes have the same number of elements.";
  let arguments = (ins Moe_AnyTensor:$input);
  let results = (outs Moe_AnyTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Moe_CastOp : Moe_Op<"cast", [Pure, SameOperandsAndResultShape, Moe_PartialOpInterface,
    Moe_Facts<"view", "aligned", "likeInput">]> {
  let summary = "The same numbers in another floating-point type";
  let description = [{
    Stands at the border of a dispatch, between the type that a tensor has in memory and the type that the kernel
    computes with: after an input or a `moe.read`, before a `moe.yield` or a `moe.write`. `moe-narrow-storage` makes it.
    Templates treat it as a view and convert when they load and store. Rounds to nearest, ties to even.

    Constraints: (C1) the element types differ.
  }];
  let arguments = (ins Moe_AnyTensor:$input);
  let results = (outs Moe_AnyTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

//===--- Row ops --------------------------------------------------------------------------------------------------===//

def Moe_MapOp : Moe_Op<"map", [Pure, SingleBlock, IsolatedFromAbove, differentiable, isLeftWith,
    Moe_RowFacts<"aligned", "elementwise", ".isCheap = true", ["isDecision"]>]> {
  let summary = "Elementwise computation, as a region of scalar arith and math";
  let description = [{
    All results have the same shape [rows, columns]. An operand of shape [r, c] is read at row `row * r / rows`, where r
    divides rows. So with r = 1 one row serves all rows, and with r = rows each row is read for itself. The operand is
    read at column `column` if c = columns, and at column 0 if c = 1. The region's arguments are the scalars, followed
    by row and column as i64 if `position` is set. The body may hold arith and math ops on scalars, and `moe.sigmoid`.
    The canonicalizer drops operands and results without a use, merges equal operands, and moves constants of one number
    inside. The backward is derived from the region (see MapBackward.cpp for the scalar rules).

    Where an operand is undefined (a row that a `moe.grouped_matmul` leaves out), every result computed from it is
    undefined too. A `select` on another condition is the exception: it is undefined only where the value that it
    selects is undefined. `partial` says that nobody reads the results in rows that belong to no group (moe-join-maps),
    so a kernel that leaves those rows out may compute this map.

    Constraints: (C1) r divides rows, and c is 1 or columns; (C2) the body yields one scalar per result, of that
    result's element type; (C3) the body holds only arith and math ops and `moe.sigmoid`.
    ```mlir
    %y = moe.map(%a, %b) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%x: f32, %s: f32):
      %p = arith.mulf %x, %s : f32
      moe.yield %p : f32
    }
    ```
  }];
  let arguments = (ins Variadic<Moe_MapTensor>:$inputs, UnitAttr:$position, UnitAttr:$partial);
  let results = (outs Variadic<Moe_MapTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`position` $position^)? (`partial` $partial^)? `(` $inputs `)` attr-dict `:` functional-type($inputs, results)
    $body
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  // `body` gets the scalars of the inputs (then row and column when `position`) and returns one scalar per result.
  let skipDefaultBuilders = 1; // with two flags, a lambda would convert to one of them
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$resultTypes, "::mlir::ValueRange":$inputs,
    "::llvm::function_ref<::llvm::SmallVector<::mlir::Value>(::mlir::OpBuilder &, ::mlir::Location, "
    "::mlir::ValueRange)>":$body,
    CArg<"bool", "false">:$position)>];
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    YieldOp getYield();
    ::mlir::RankedTensorType getShapeType() { return ::llvm::cast<::mlir::RankedTensorType>(getResult(0).getType()); }
  }];
}

def Moe_SigmoidOp : Moe_Op<"sigmoid", [Pure, SameOperandsAndResultType]> {
  let summary = "1 / (1 + exp(-x)) of a scalar, inside a map";
  let description = [{
    Neither the value nor its derivative s (1 - s) becomes infinite or NaN for large |x|. Written out in arith and math
    it would be a choice between two forms, whose derivative has three divisions. As one op, each target can compute it
    in its own way: CPUs in a stable form, GPUs with two instructions of the special-function unit. Kernels also compute
    it on vectors.
    ```mlir
    %s = moe.sigmoid %x : f32
    ```
  }];
  let arguments = (ins AnyTypeOf<[AnyFloat, VectorOfNonZeroRankOf<[AnyFloat]>]>:$x);
  let results = (outs AnyTypeOf<[AnyFloat, VectorOfNonZeroRankOf<[AnyFloat]>]>:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Moe_Reduction : I32EnumAttr<"Reduction", "how a row is reduced",
    [I32EnumAttrCase<"sum", 0>, I32EnumAttrCase<"max", 1>]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_ReductionAttr : EnumAttr<Moe_Dialect, Moe_Reduction, "reduction"> { let assemblyFormat = "$value"; }

def Moe_RowReduceOp : Moe_Op<"row_reduce", [Pure, differentiable, Moe_PartialOpInterface,
    Moe_RowFacts<"aligned", "wide", ".isCheap = true">]> {
  let summary = "Sum or maximum of each row: [N, C] -> [N, 1]";
  let description = [{
    The order of additions is fixed for each target and shape. `max` has no gradient: it counts as a constant, as in a
    stable softmax.

    With `every` n the result holds the sum of every n adjacent columns: [N, C] -> [N, C / n]. No block of a product's
    kernel has a whole row, but the kernel can make these sums of its results (`moe-form-dispatches`). Row kernels
    refuse `every`, and it has no backward.
  }];
  let arguments = (ins Moe_ReductionAttr:$kind, Moe_Matrix:$input, OptionalAttr<I64Attr>:$every);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "`` $kind $input (`every` $every^)? attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "Reduction":$kind, "::mlir::Value":$input), [{
    build($_builder, $_state, result, kind, input, ::mlir::IntegerAttr());
  }]>];
}

def Moe_RmsNormOp : Moe_Op<"rms_norm", [Pure, differentiable, AllTypesMatch<["input", "result"]>,
    Moe_Facts<"expanded", "aligned", "elementwise", ".isCheap = true">]> {
  let summary = "y = x * rsqrt(mean(x^2) + eps) * scale, by row";
  let description = [{
    x [N, C], scale [1, C]. Zhang and Sennrich 2019. `moe-decompose` expands it into `map` and `row_reduce`, so it fuses
    with its neighbours.
  }];
  let arguments = (ins Moe_Matrix:$input, Moe_Matrix:$scale, F64Attr:$eps);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$input `,` $scale attr-dict `:` type($input) `,` type($scale)";
  let hasVerifier = 1;
}

def Moe_SoftmaxOp : Moe_Op<"softmax", [Pure, differentiable, AllTypesMatch<["input", "result"]>,
    Moe_Facts<"expanded", "aligned", "elementwise", ".isCheap = true">]> {
  let summary = "exp(x - max) / sum, by row";
  let arguments = (ins Moe_Matrix:$input);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Moe_LogSumExpOp : Moe_Op<"log_sum_exp", [Pure, differentiable,
    Moe_Facts<"expanded", "aligned", "wide", ".isCheap = true">]> {
  let summary = "log(sum(exp(x))) of each row, stable: [N, C] -> [N, 1]";
  let arguments = (ins Moe_Matrix:$input);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_TopKOp : Moe_Op<"top_k", [Pure, Moe_RowFacts<"aligned", "wide", ".isBusy = true, .isDecision = true">]> {
  let summary = "Columns of the K largest entries of each row, largest first; ties go to the lowest column";
  let description = [{
    [N, E] -> i32 [N, K]. NaN counts as smaller than every number. The op has no gradient: the choice counts as a
    constant.

    Constraints: (C1) 1 <= K <= E.
  }];
  let arguments = (ins Moe_Matrix:$scores);
  let results = (outs Moe_Ids:$ids);
  let assemblyFormat = "$scores attr-dict `:` type($scores) `->` type($ids)";
  let hasVerifier = 1;
}

def Moe_TakeOp : Moe_Op<"take", [Pure, differentiable, Moe_RowFacts<"aligned", "wide", ".isCheap = true">]> {
  let summary = "Picks columns by id, by row: result[n, k] = input[n, ids[n, k]]";
  let description = "An id of -1 gives 0.";
  let arguments = (ins Moe_Matrix:$input, Moe_Ids:$ids);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$input `,` $ids attr-dict `:` type($input) `,` type($ids) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_PutOp : Moe_Op<"put", [Pure, differentiable, Moe_RowFacts<"aligned", "wide", ".isCheap = true">]> {
  let summary = "Adds values into a row of zeros by id: result[n, ids[n, k]] += values[n, k]";
  let description = "The adjoint of `take`. Additions run over k in order; an id of -1 is skipped.";
  let arguments = (ins Moe_Matrix:$values, Moe_Ids:$ids);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$values `,` $ids attr-dict `:` type($values) `,` type($ids) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_RopeOp : Moe_Op<"rope", [Pure, differentiable, AllTypesMatch<["input", "result"]>,
    AllTypesMatch<["cos", "sin"]>, Moe_RowFacts<"aligned", "elementwise", "", ["getOperandRows"]>]> {
  let summary = "Rotary position embedding of heads lying side by side";
  let description = [{
    x [N, H*dh] has H heads side by side in each row. A token takes `heads` consecutive rows (1 if absent), so row n is
    at position (n / heads) mod S. cos and sin [S, dh/2] are whole operands. For pair i of a head: (a, b) = (x[i], x[i +
    dh/2]) -> (a cos - b sin, b cos + a sin). `inverse` uses -sin; that is the backward. Su et al. 2021, in the
    half-split layout of GPT-NeoX and Llama.

    Constraints: (C1) dh = 2 * columns of cos divides the columns of x; (C2) heads * S divides N.
  }];
  let arguments = (ins Moe_Matrix:$input, Moe_Matrix:$cos, Moe_Matrix:$sin, UnitAttr:$inverse,
                       DefaultValuedAttr<I64Attr, "1">:$heads);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    (`inverse` $inverse^)? $input `,` $cos `,` $sin (`heads` $heads^)? attr-dict `:` type($input) `,` type($cos)
  }];
  let hasVerifier = 1;
}

def Moe_GatherRowsOp : Moe_Op<"gather_rows", [Pure, differentiable,
    Moe_RowFacts<"permuted", "likeInput", ".isCheap = true", ["getOperandRows", "getPickedRows"]>]> {
  let summary = "result[r] = input[rows[r]]; a row number of -1 gives zeros";
  let description = [{
    input [N, D] is a whole operand, rows i32 [R, 1]. `slot_row` i32 [N, K] (from `moe.permute`) holds the rows of the
    result that each input row went to. The backward needs it, so it is given if the op will be differentiated:
    dinput[n] = sum over k of dresult[slot_row[n, k]].
  }];
  let arguments = (ins Moe_Matrix:$input, Moe_Ids:$rows, Optional<Moe_Ids>:$slot_row);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $rows (`slot_row` $slot_row^ `:` type($slot_row))? attr-dict `:` type($input) `,` type($rows) `->`
    type($result)
  }];
  let hasVerifier = 1;
}

def Moe_CombineRowsOp : Moe_Op<"combine_rows", [Pure, AttrSizedOperandSegments, differentiable,
    Moe_RowFacts<"permuted", "narrowWithInput", "", ["getOperandRows"]>]> {
  let summary = "result[n] = sum over k of weights[n, k] * rows[slot_row[n, k]]";
  let description = [{
    rows [R, D] is a whole operand. slot_row i32 [N, K] names the row of each slot; -1 is a dropped slot and adds
    nothing. weights are [N, K]; without them every weight is 1. The sum is a segmented gather-sum in the order of k,
    never an atomic add. `row_slot` i32 [R, 1] (n*K + k, or -1 for padding) is given if the op will be differentiated.
  }];
  let arguments = (ins Moe_Matrix:$rows, Moe_Ids:$slot_row, Optional<Moe_Ids>:$row_slot, Optional<Moe_Matrix>:$weights);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    $rows `,` $slot_row (`row_slot` $row_slot^ `:` type($row_slot))? (`weights` $weights^ `:` type($weights))? attr-dict
    `:` type($rows) `,` type($slot_row) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Moe_SpreadRowsOp : Moe_Op<"spread_rows", [Pure,
    Moe_RowFacts<"permuted", "narrowWithInput", "", ["getOperandRows", "getPickedRows"]>]> {
  let summary = "The adjoint of combine_rows in its rows: result[r] = weights[n, k] * input[n]";
  let description = [{
    n and k are those of row r: n*K + k = row_slot[r], with `top_k` = K. A row_slot of -1 gives zeros. input [N, D] and
    weights [N, K] are whole operands (without weights every weight is 1); row_slot is i32 [R, 1].
  }];
  let arguments = (ins Moe_Matrix:$input, Moe_Ids:$row_slot, Optional<Moe_Matrix>:$weights, I64Attr:$top_k);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $row_slot (`weights` $weights^ `:` type($weights))? `top_k` $top_k attr-dict `:` type($input) `,`
    type($row_slot) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Moe_DotRowsOp : Moe_Op<"dot_rows", [Pure, Moe_RowFacts<"permuted", "wide", "", ["getOperandRows"]>]> {
  let summary = "The adjoint of combine_rows in its weights: result[n, k] = dot(input[n], rows[slot_row[n, k]])";
  let description = "input [N, D] is row-aligned, rows [R, D] whole, slot_row i32 [N, K]; -1 gives 0.";
  let arguments = (ins Moe_Matrix:$input, Moe_Matrix:$rows, Moe_Ids:$slot_row);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $rows `,` $slot_row attr-dict `:` type($input) `,` type($rows) `,` type($slot_row) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Moe_EmbedOp : Moe_Op<"embed", [Pure, differentiable,
    Moe_RowFacts<"permuted", "narrow", "", ["getOperandRows"]>]> {
  let summary = "result[n] = table[ids[n]]";
  let description = "table [V, D] is a whole operand; ids i32 [N, 1] are in range, which the data reader checks.";
  let arguments = (ins Moe_Matrix:$table, Moe_Ids:$ids);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$table `,` $ids attr-dict `:` type($table) `,` type($ids) `->` type($result)";
  let hasVerifier = 1;
}

//===--- Reductions over rows -------------------------------------------------------------------------------------===//

def Moe_ColReduceOp : Moe_Op<"col_reduce", [Pure, differentiable,
    Moe_Facts<"own", "reduced", "wide", ".sinks = Sinks::any, .takesEpilogue = true, .takesTerms = true">]> {
  let summary = "Sums over rows: [N, C] -> [G, C], G equal groups of consecutive rows";
  let description = [{
    The order of additions is a function of the shapes alone: row by row on CPUs; on GPUs as docs/codegen-gpu.md says.
    (C1) G divides N.

    A dispatch of kind "row" may end with this op. Its kernel then adds up groups of rows that it holds anyway, and a
    second `col_reduce` adds up these few sums (see moe-form-dispatches).
  }];
  let arguments = (ins Moe_Matrix:$input);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_ColumnKthOp : Moe_Op<"column_kth", [Pure, differentiable,
    Moe_Facts<"own", "reduced", "wide", ".sinks = Sinks::write, .takesConstants = true, .isDecision = true",
              ["getOperandRows"]>]> {
  let summary = "The n-th largest entry of each column: [N, E] -> [G, E], G equal groups of consecutive rows";
  let description = [{
    result[g, e] is the n-th largest of input[r, e] over the N/G rows r of group g. Equal entries count one by one. NaN
    counts as smaller than every number; -0 equals +0, and a zero comes out as +0. The result is exact: it does not
    depend on the order of evaluation. The op has no gradient: its result counts as a constant.

    If entries are equal, more than n of them may be larger than or equal to the result. `row` i32 [G, E] decides
    between them: it is the row, within its group, of the n-th entry, if among equal entries the earlier row comes
    first. So exactly n entries are larger, or equal and in no later row.

    `rank` i64 [1, 1] is given if the rank is known only at run time. The op then takes the rank-th entry, and n is the
    largest rank allowed. A rank below 1 counts as 1, and a rank above n as n.

    Constraints: (C1) G divides N; (C2) 1 <= n <= N/G; (C3) the result has the input's columns and element type; (C4)
    row has the shape of the result; (C5) rank is [1, 1].
    ```mlir
    %t, %r = moe.column_kth %scores n 3 : tensor<8x4xf32> -> tensor<2x4xf32>, tensor<2x4xi32>
    %u = moe.column_kth %scores n 3 rank %i : tensor<8x4xf32>, tensor<1x1xi64> -> tensor<2x4xf32>
    ```
  }];
  let arguments = (ins Moe_Matrix:$input, I64Attr:$n, Optional<Moe_Counts>:$rank);
  let results = (outs Moe_Matrix:$result, Optional<Moe_Ids>:$row);
  let assemblyFormat = [{
    $input `n` $n (`rank` $rank^)? attr-dict `:` type($input) (`,` type($rank)^)? `->` type($result) (`,` type($row)^)?
  }];
  let hasVerifier = 1;
  // Without `row`.
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input, "int64_t":$n)>];
}

def Moe_EmbedGradOp : Moe_Op<"embed_grad", [Pure,
    Moe_Facts<"own", "reduced", "wide", ".sinks = Sinks::any, .takesEpilogue = true">]> {
  let summary = "The adjoint of embed: result[v] = sum of grad[n] over n with ids[n] = v, in order of n";
  let arguments = (ins Moe_Matrix:$grad, Moe_Ids:$ids);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "$grad `,` $ids attr-dict `:` type($grad) `,` type($ids) `->` type($result)";
  let hasVerifier = 1;
}

//===--- Matrix products ------------------------------------------------------------------------------------------===//

def Moe_MatmulOp : Moe_Op<"matmul", [Pure, differentiable, productFacts]> {
  let summary = "Matrix product; `ta` and `tb` transpose an operand";
  let description = "[M, K] x [K, N] -> [M, N]. `ta`: a is [K, M]; `tb`: b is [N, K].";
  let arguments = (ins Moe_Matrix:$a, Moe_Matrix:$b, UnitAttr:$ta, UnitAttr:$tb);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = "(`ta` $ta^)? (`tb` $tb^)? $a `,` $b attr-dict `:` type($a) `,` type($b) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_GroupedMatmulOp : Moe_Op<"grouped_matmul", [Pure, differentiable, leavesRows, productFacts]> {
  let summary = "One matrix product for each expert over its own rows";
  let description = [{
    a is [R, K], w [E, K, N] (with `tb`: [E, N, K]); offsets i32 [1, E+1] and counts i32 [1, E] come from `moe.permute`.
    Rows offsets[e] .. offsets[e+1] - 1 of the result are the same rows of a times w[e]. This includes rows of padding
    (from offsets[e] + counts[e] on). `gather_rows` and `spread_rows` make these rows zeros, since their row number is
    -1, so their products are zeros too. A group without rows costs nothing. Rows beyond offsets[E] are not written and
    are undefined. `all_rows` promises that there are no such rows, that is, offsets[E] = R. Only then may the product's
    kernel hold ops that have to happen for all rows, such as `moe.write`.

    `scales` are given if the operands are quantised. Element (r, n) of the result, where r is a row of expert e, is
    then the sum times rows[r] times columns[e, n]. Such a product has no backward of its own, because quantising comes
    after differentiation (moe-quantize-experts).

    Constraints: (C1) there are no scales, or two: rows [R, 1] and columns [E, N].
    ```mlir
    %y = moe.grouped_matmul tb %q, %wq, %offsets, %counts scales %rows, %columns : tensor<16x1xf32>, tensor<2x6xf32>
      : tensor<16x4xf32>, tensor<2x6x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x6xf32>
    ```
  }];
  let arguments = (ins Moe_Matrix:$a, Moe_Stack:$w, Moe_Ids:$offsets, Moe_Ids:$counts, UnitAttr:$tb,
                       Variadic<Moe_Matrix>:$scales, UnitAttr:$all_rows);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    (`tb` $tb^)? (`all_rows` $all_rows^)? $a `,` $w `,` $offsets `,` $counts (`scales` $scales^ `:` type($scales))?
    attr-dict
    `:` type($a) `,` type($w) `,` type($offsets) `,` type($counts) `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Null without scales.
    ::mlir::Value getRowScale() { return getScales().empty() ? ::mlir::Value() : getScales()[0]; }
    ::mlir::Value getColumnScale() { return getScales().empty() ? ::mlir::Value() : getScales()[1]; }
  }];
}

def Moe_GroupedOuterOp : Moe_Op<"grouped_outer", [Pure, productFacts]> {
  let summary = "The weight gradient of grouped_matmul: result[e] = a_e^T b_e over the rows of expert e";
  let description = [{
    a [R, K], b [R, N], result [E, K, N]. The sum runs over the counts[e] rows of each group; an expert without rows
    gets zeros. A kernel may also read the rows of padding: whoever makes this op guarantees that one of a and b is zero
    there (see `moe.grouped_matmul`) and the other is finite.
  }];
  let arguments = (ins Moe_Matrix:$a, Moe_Matrix:$b, Moe_Ids:$offsets, Moe_Ids:$counts);
  let results = (outs Moe_Stack:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $offsets `,` $counts attr-dict `:` type($a) `,` type($b) `,` type($offsets) `,` type($counts) `->`
    type($result)
  }];
  let hasVerifier = 1;
}

//===--- Quantisation ---------------------------------------------------------------------------------------------===//

def Moe_QuantizeRowsOp : Moe_Op<"quantize_rows", [Pure, Moe_Facts<"expanded", "aligned", "wide">]> {
  let summary = "Rounds rows to numbers that f8E4M3FN can hold, with one scale per row";
  let description = [{
    values[n, c] = input[n, c] / scale[n], rounded to the nearest number of f8E4M3FN, ties to even. scale [N, 1] is a
    power of two: the smallest one, 2^-100 or larger, for which the largest magnitude of row n divided by it is at
    most 448. Several inputs share one scale per row, so that their products can be added up before they are scaled.
    Dividing and multiplying by a power of two is exact, so every target gets the same values, whatever it fuses. A row
    with an infinity or a NaN becomes NaN, and so does its scale.

    The values are f32 or f64 numbers that an f8 can hold; `moe-narrow-storage` decides where they lie in memory as f8.
    `moe-decompose` expands the op into `map` and `row_reduce`.

    Constraints: (C1) at least one input, as many values, all of one type; (C2) scale has their rows and element type.
    ```mlir
    %q, %s = moe.quantize_rows %x : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf32>)
    ```
  }];
  let arguments = (ins Variadic<Moe_Matrix>:$inputs);
  let results = (outs Variadic<Moe_Matrix>:$values, Moe_Matrix:$scale);
  let assemblyFormat = "$inputs attr-dict `:` functional-type($inputs, results)";
  let hasVerifier = 1;
}

def Moe_QuantizeColumnsOp : Moe_Op<"quantize_columns", [Pure,
    Moe_Facts<"own", "aligned", "float8", ".sinks = Sinks::write", ["getStorage"]>]> {
  let summary = "quantize_rows of each matrix, transposed: the columns of weights, contiguous in depth";
  let description = [{
    input [E, K, N], values [E, N, K], scale [E, N]. Column n of matrix e is divided by scale[e, n] and rounded, as
    `quantize_rows` does with rows. Tensor cores take 8-bit operands only with their depth contiguous, so the values are
    transposed on the way.

    Constraints: (C1) the shapes are these, all of one element type.
  }];
  let arguments = (ins Moe_Stack:$input);
  let results = (outs Moe_Stack:$values, Moe_Matrix:$scale);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($values) `,` type($scale)";
  let hasVerifier = 1;
}

//===--- Attention ------------------------------------------------------------------------------------------------===//

def Moe_AttentionOp : Moe_Op<"attention", [Pure, differentiable, AllTypesMatch<["k", "v"]>,
    AllTypesMatch<["q", "result"]>, Moe_Facts<"own", "whole", "narrow", "", ["isFactor", "getStorage"]>]> {
  let summary = "Causal softmax attention by blocks; grouped queries";
  let description = [{
    q [B*S, H*dh], k and v [B*S, G*dh], with H = heads, G = kv_heads and S = seq_len. Query head h reads key head h /
    (H/G). Scores are scaled by 1/sqrt(dh). No kernel stores a full matrix of scores (Dao et al. 2022). lse [B*S, H] is
    the log-sum-exp of the scaled scores; the backward needs it. The query at position i sees the keys max(0, i -
    window + 1) .. i; without `window` it sees all keys up to its own. A window of seq_len or more hides nothing, so
    canonicalization drops it.

    Constraints: G divides H; window >= 1.
  }];
  let arguments = (ins Moe_Matrix:$q, Moe_Matrix:$k, Moe_Matrix:$v, I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$seq_len,
                       OptionalAttr<I64Attr>:$window);
  let results = (outs Moe_Matrix:$result, Moe_Matrix:$lse);
  let assemblyFormat = [{
    $q `,` $k `,` $v `heads` $heads `kv_heads` $kv_heads `seq_len` $seq_len (`window` $window^)? attr-dict
    `:` type($q) `,` type($k) `->` type($lse)
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

def Moe_AttentionGradOp : Moe_Op<"attention_grad", [Pure, AllTypesMatch<["k", "v", "dk", "dv"]>,
    AllTypesMatch<["q", "result", "grad", "dq"]>, Moe_Facts<"own", "whole", "narrow", "", ["isFactor"]>]> {
  let summary = "Gradients of attention with respect to q, k and v; recomputes the scores block by block";
  let description = "Sizes and `window` are those of the `moe.attention` whose backward it is.";
  let arguments = (ins Moe_Matrix:$q, Moe_Matrix:$k, Moe_Matrix:$v, Moe_Matrix:$result, Moe_Matrix:$lse,
                       Moe_Matrix:$grad,
                       I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$seq_len, OptionalAttr<I64Attr>:$window);
  let results = (outs Moe_Matrix:$dq, Moe_Matrix:$dk, Moe_Matrix:$dv);
  let assemblyFormat = [{
    $q `,` $k `,` $v `,` $result `,` $lse `,` $grad `heads` $heads `kv_heads` $kv_heads `seq_len` $seq_len
    (`window` $window^)? attr-dict
    `:` type($q) `,` type($k) `,` type($lse)
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

//===--- Sources --------------------------------------------------------------------------------------------------===//

def Moe_SliceColumnsOp : Moe_Op<"slice_columns", [Pure,
    // Rows are sequences; these are too few to look for a kernel that reads the same rows.
    Moe_Facts<"row", "aligned", "wide", ".sinks = Sinks::any, .takesConstants = true, .isCheap = true">]> {
  let summary = "Columns first .. first+C-1 of an id matrix, by row: the inputs or targets of a batch";
  let description = "i32 [B, S+1] -> i32 [B, C].";
  let arguments = (ins Moe_Ids:$input, I64Attr:$first);
  let results = (outs Moe_Ids:$result);
  let assemblyFormat = "$input `first` $first attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_RandomNormalOp : Moe_Op<"random_normal", [Pure, Moe_RowFacts<"aligned", "wide", ".isBusy = true">]> {
  let summary = "Normal random numbers from a counter-based generator";
  let description = [{
    Element i (row-major in the result) of copy c is a function of (seed, stream, c, i) alone, so no layout, thread
    count or order changes a value. The generator is Philox4x32-10 (Salmon et al. 2011) with key = seed and counter =
    (low 32 bits of i / 2, high 32 bits, stream, c). Box-Muller in f64 turns its pair of 64-bit words into two numbers,
    which are rounded to the element type: element 2j takes the cosine, 2j+1 the sine. `index` is the copy (absent: 0).
  }];
  let arguments = (ins Optional<Index>:$index, I64Attr:$seed, I64Attr:$stream, F64Attr:$mean, F64Attr:$stddev);
  let results = (outs Moe_Matrix:$result);
  let assemblyFormat = [{
    (`[` $index^ `]`)? `seed` $seed `stream` $stream `mean` $mean `stddev` $stddev attr-dict `:` type($result)
  }];
}

#endif
