#ifndef MOEC_DIALECTS_MOE_IR_MOEBASE_TD
#define MOEC_DIALECTS_MOE_IR_MOEBASE_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Moe_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::moec::moe";
  let summary = "Tensor programs of an experiment on logical shapes";
  let description = [{
    `exp` declares an experiment; `moe` is what it computes: the model, its losses, the optimizer and the initialisation
    as functions over tensors with static shapes. compiler/Model builds it, `moe-differentiate` adds the backward,
    `moe-form-dispatches` groups ops into dispatches, and these become `plan` plus kernels.

    ```
    exp --model--> moe --differentiate--> moe --form-dispatches--> moe.dispatch --> plan + kernels
    ```

    Conventions. N = tokens of a micro-batch, D = hidden size, E = experts, K = experts per token, R = rows after
    permutation. Tensors have rank 2, `[rows, columns]`, except stacked expert weights `[E, K, M]`; a scalar is `[1,
    1]`. "Row ops" compute each row of their result from the same row of their row-aligned operands, so they can be
    fused freely. Floating types are f32, or f64 where results are checked; ids are i32; counters are i64.

    A value that outlives a function call is a `moe.state`, addressed by its symbol. If the state has one copy for each
    layer of a segment, an index selects the copy. So neither the IR nor the kernels grow with depth.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class Moe_Op<string mnemonic, list<Trait> traits = []> : Op<Moe_Dialect, mnemonic, traits>;

// A tensor with an encoding is a part of a number (dist.partial): only what joins the parts may take it.
def Moe_IsWholePred : And<[HasStaticShapePred,
    CPred<"!::llvm::cast<::mlir::RankedTensorType>($_self).getEncoding()">]>;

class Moe_Tensor<list<Type> elements, list<int> ranks>
    : RankedTensorOf<elements, [Moe_IsWholePred, HasAnyRankOfPred<ranks>]>;

// [rows, columns] of floats.
def Moe_Matrix : Moe_Tensor<[F32, F64], [2]>;
// [E, rows, columns] of floats.
def Moe_Stack : Moe_Tensor<[F32, F64], [3]>;
// Ids, row numbers, offsets.
def Moe_Ids : Moe_Tensor<[I32], [2]>;
// Counters.
def Moe_Counts : Moe_Tensor<[I64], [2]>;
// Types that a map may read or make.
def Moe_MapTensor : Moe_Tensor<[F32, F64, I32, I64], [2]>;
// BF16 and F8E4M3FN are how some tensors lie in memory; ops compute with F32 and F64 (see moe.cast).
def Moe_AnyTensor : RankedTensorOf<[F32, F64, BF16, F8E4M3FN, I32, I64], [Moe_IsWholePred], "whole tensor">;
// What a state may hold and a read return.
def Moe_StateTensor : RankedTensorOf<[F32, F64, BF16, F8E4M3FN, I32, I64], [HasStaticShapePred]>;

#endif
