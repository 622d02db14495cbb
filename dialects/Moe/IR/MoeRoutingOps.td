#ifndef MOEC_DIALECTS_MOE_IR_MOEROUTINGOPS_TD
#define MOEC_DIALECTS_MOE_IR_MOEROUTINGOPS_TD

include "dialects/Moe/IR/MoeBase.td"
include "dialects/Moe/IR/MoeInterfaces.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

//===--- Routing --------------------------------------------------------------------------------------------------===//

def Moe_PermuteOp : Moe_Op<"permute", [Pure, AllTypesMatch<["ids", "slot_row"]>,
    AllTypesMatch<["row_token", "row_slot"]>, Moe_Facts<"own", "whole", "wide", ".isDecision = true">]> {
  let summary = "Sorts (token, slot) pairs by expert with a stable counting sort";
  let description = [{
    ids i32 [N, K] are in 0..E-1, or -1 for a dropped slot. Rows are sorted by expert, then token, then slot, and the
    group of each expert starts at a multiple of `align` rows. The results:
    - offsets i32 [1, E+1]: where each group starts; offsets[E] is the number of rows in use
    - counts i32 [1, E]: slots of each expert
    - row_token i32 [R, 1]: the token of a row, -1 in padding and beyond offsets[E]
    - row_slot i32 [R, 1]: n*K + k of a row, or -1
    - slot_row i32 [N, K]: the row of a slot, or -1

    R = S + E*(align-1), rounded up to `align`, with S = N*K slots: enough for every routing. `limit` promises that at
    most `limit` ids are not -1; then S = limit. Routing by experts uses it: its ids [N, E] have only E*n entries that
    are not -1. If there are more than promised, those that would come after row R - 1 are dropped: they have no row
    (slot_row is -1), and offsets and counts end there.

    Constraints: (C1) at least one expert and an alignment of at least 1; (C2) 1 <= limit <= N*K; (C3) the shapes are
    these.
    ```mlir
    %offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute %ids experts 3 align 4 limit 6
        : tensor<8x3xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<16x1xi32>
    ```
  }];
  let arguments = (ins Moe_Ids:$ids, I64Attr:$experts, I64Attr:$align, OptionalAttr<I64Attr>:$limit);
  let results = (outs Moe_Ids:$offsets, Moe_Ids:$counts, Moe_Ids:$row_token, Moe_Ids:$row_slot, Moe_Ids:$slot_row);
  let assemblyFormat = [{
    $ids `experts` $experts `align` $align (`limit` $limit^)? attr-dict
    `:` type($ids) `->` type($offsets) `,` type($counts) `,` type($row_token)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// R, for at most `slots` slots that have an id: N*K, or the limit.
    static int64_t getPermutedRows(int64_t slots, int64_t experts, int64_t align);
  }];
}

def Moe_DropPolicy : I32EnumAttr<"DropPolicy", "which slots of an over-full expert are dropped",
    [I32EnumAttrCase<"lowest_weight", 0>, I32EnumAttrCase<"position", 1>]> {
  let cppNamespace = "::moec::moe";
  let genSpecializedAttr = 0;
}
def Moe_DropPolicyAttr : EnumAttr<Moe_Dialect, Moe_DropPolicy, "drop"> { let assemblyFormat = "$value"; }

def Moe_LimitCapacityOp : Moe_Op<"limit_capacity", [Pure, AllTypesMatch<["ids", "result"]>,
    Moe_Facts<"own", "whole", "wide", ".isDecision = true">]> {
  let summary = "Replaces the ids of slots beyond an expert's capacity by -1";
  let description = [{
    ids i32 [N, K], weights [N, K] -> ids i32 [N, K]. `lowest_weight` drops the slots of lowest weight: each expert
    keeps its `capacity` slots of highest weight, the earlier slot among equals. `position` keeps the first `capacity`
    slots in token order.

    `room` i64 [1, 1] is for capacities that are known only at run time, as in a layer whose top_k differs from that of
    other layers. An expert keeps min(room, capacity) slots, and none if that is 0 or less.

    Constraints: (C1) at least one expert and a capacity of at least 1; (C2) weights have the shape of ids; (C3) room is
    [1, 1].
    ```mlir
    %kept = moe.limit_capacity lowest_weight %ids, %weights experts 3 capacity 4 room %n
      : tensor<8x2xi32>, tensor<8x2xf32>, tensor<1x1xi64>
    ```
  }];
  let arguments = (ins Moe_DropPolicyAttr:$policy, Moe_Ids:$ids, Moe_Matrix:$weights, I64Attr:$experts,
                       I64Attr:$capacity, Optional<Moe_Counts>:$room);
  let results = (outs Moe_Ids:$result);
  let assemblyFormat = [{
    `` $policy $ids `,` $weights `experts` $experts `capacity` $capacity (`room` $room^)? attr-dict
    `:` type($ids) `,` type($weights) (`,` type($room)^)?
  }];
  let hasVerifier = 1;
}

def Moe_CountIdsOp : Moe_Op<"count_ids", [Pure,
    Moe_Facts<"own", "reduced", "wide", ".sinks = Sinks::accumulate, .isDecision = true">]> {
  let summary = "How often each expert was chosen: i32 [N, K] -> i64 [G, E], G equal groups of consecutive rows";
  let description = "Negative ids are not counted. Counts are integers, so the order of counting does not matter.";
  let arguments = (ins Moe_Ids:$ids);
  let results = (outs Moe_Counts:$result);
  let assemblyFormat = "$ids attr-dict `:` type($ids) `->` type($result)";
  let hasVerifier = 1;
}

def Moe_SinkhornOp : Moe_Op<"sinkhorn", [Pure, differentiable, AllTypesMatch<["scores", "plan"]>,
    Moe_Facts<"own", "whole", "wide", ".sinks = Sinks::write, .takesConstants = true, .isDecision = true">]> {
  let summary = "The balanced transport plan nearest to scores: entropic optimal transport between rows and columns";
  let description = [{
    plan [N, E] maximises <plan, scores> - xi <plan, log plan> under row sums of 1 and column sums of N/E (Cuturi 2013).
    The iteration runs in the log domain with K = scores/xi, from log u = 0. It alternates log v_e = log(N/E) -
    logsumexp_r(K + log u) and log u_r = -logsumexp_e(K + log v), until the 2-norm of all errors of the sums is below
    `tol` or `max_iters` such pairs are done. The row update comes last, so rows sum to 1 and the plan is the softmax of
    the rows of K + log v. Adding a number to a row or a column of scores does not change the plan. If `enabled` is 0
    the plan is zeros, at the cost of writing them. The op has no gradient: the plan counts as a constant.

    Constraints: (C1) enabled is [1, 1]; (C2) xi > 0, tol >= 0 and max_iters >= 1.
    ```mlir
    %plan = moe.sinkhorn %scores if %now xi 0.05 max_iters 100 tol 1.0e-3 : tensor<8x4xf32>, tensor<1x1xf32>
    ```
  }];
  let arguments = (ins Moe_Matrix:$scores, Moe_MapTensor:$enabled, F64Attr:$xi, I64Attr:$max_iters, F64Attr:$tol);
  let results = (outs Moe_Matrix:$plan);
  let assemblyFormat = [{
    $scores `if` $enabled `xi` $xi `max_iters` $max_iters `tol` $tol attr-dict `:` type($scores) `,` type($enabled)
  }];
  let hasVerifier = 1;
}

//===--- Decompositions -------------------------------------------------------------------------------------------===//

defvar decompositionFacts = Moe_Facts<"own", "aligned", "wide",
    ".sinks = Sinks::write, .takesConstants = true, .inPlace = 1", ["getOperandRows"]>; // of `previous`

def Moe_EighOp : Moe_Op<"eigh", [Pure, AllTypesMatch<["input", "previous", "vectors"]>, decompositionFacts]> {
  let summary = "Eigenvectors and eigenvalues of symmetric matrices, largest first";
  let description = [{
    input [B, n, n] is symmetric. vectors [B, n, n] holds an eigenvector of norm 1 in each column; values [B, n]
    descend. The method is cyclic Jacobi rotations over a fixed order of disjoint pairs (Golub and Van Loan, 8.5), until
    the norm of the off-diagonal part is below the resolution of the element type times the norm of the matrix. That
    takes about 10 sweeps of 9 n^3 flops. So the op is meant for matrices of some hundreds of rows, and not for every
    step. The sign of an eigenvector, and the basis of equal eigenvalues, are those that result from applying the
    rotations to the unit matrix.

    If `enabled` is 0, vectors = previous and values = 0. If `previous` is also read from the state that vectors are
    written to, nothing is copied then.

    Constraints: (C1) matrices are square; (C2) values are [B, n], of the same element type; (C3) enabled is [1, 1].
    ```mlir
    %q, %l = moe.eigh %a previous %old if %now : tensor<2x8x8xf32>, tensor<1x1xf32> -> tensor<2x8xf32>
    ```
  }];
  let arguments = (ins Moe_Stack:$input, Moe_Stack:$previous, Moe_MapTensor:$enabled);
  let results = (outs Moe_Stack:$vectors, Moe_Matrix:$values);
  let assemblyFormat = [{
    $input `previous` $previous `if` $enabled attr-dict `:` type($input) `,` type($enabled) `->` type($values)
  }];
  let hasVerifier = 1;
}

def Moe_QrOp : Moe_Op<"qr", [Pure, AllTypesMatch<["input", "previous", "result"]>, decompositionFacts]> {
  let summary = "The orthonormal factor of matrices: input = result * R, R upper triangular with a positive diagonal";
  let description = [{
    input [B, m, n], m >= n. The method is Gram-Schmidt, column by column, with each column projected twice: columns are
    then orthogonal up to rounding (Giraud et al. 2005). If a column lies, up to rounding, in the span of the columns
    before it, it is replaced by the unit vector farthest from that span. This vector is made orthogonal in the same
    way.

    If `enabled` is 0, result = previous. If `previous` is also read from the state that the result is written to,
    nothing is copied then.

    Constraints: (C1) matrices have as many rows as columns or more; (C2) enabled is [1, 1].
    ```mlir
    %q = moe.qr %a previous %old if %now : tensor<2x8x4xf32>, tensor<1x1xf32>
    ```
  }];
  let arguments = (ins Moe_Stack:$input, Moe_Stack:$previous, Moe_MapTensor:$enabled);
  let results = (outs Moe_Stack:$result);
  let assemblyFormat = "$input `previous` $previous `if` $enabled attr-dict `:` type($input) `,` type($enabled)";
  let hasVerifier = 1;
}

#endif
