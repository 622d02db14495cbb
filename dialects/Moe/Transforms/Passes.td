#ifndef MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_TD
#define MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def MoeAssignRemat : Pass<"moe-assign-remat", "::mlir::func::FuncOp"> {
  let summary = "Marks the values that the backward computes again instead of keeping";
  let description = [{
    Before: `moe-differentiate` would keep every forward value of a `moe.repeat` that its backward needs, one copy per
    layer.
    After: ops inside repeats that are cheap to run again carry the unit attribute `moe.remat`. `selective` marks the
    ops that are cheap according to their facts (maps, norms, softmax, gathers, views). Such an op costs one pass over
    memory, as much as loading a saved copy. `full` marks all ops except those that decide routing according to their
    facts: these decide which rows meet which expert, and their results are small integers. Why here: the choice is
    about forward values, and differentiation, which comes next, connects them to the backward.
    ```mlir
    %n = moe.rms_norm %x, %s {eps = 1.0e-06 : f64, moe.remat} : tensor<8x4xf32>, tensor<1x4xf32>
    ```
  }];
  let options = [Option<"policy", "policy", "::moec::moe::RematPolicy", "::moec::moe::RematPolicy::selective",
    "none, selective or full",
    [{::llvm::cl::values(
      clEnumValN(::moec::moe::RematPolicy::none, "none", "keep everything that the backward reads"),
      clEnumValN(::moec::moe::RematPolicy::selective, "selective", "compute cheap row ops again"),
      clEnumValN(::moec::moe::RematPolicy::full, "full", "recompute all but the routing decision"))}]>];
  let dependentDialects = ["::moec::moe::MoeDialect"];
}

def MoeDifferentiate : Pass<"moe-differentiate", "::mlir::func::FuncOp"> {
  let summary = "Appends the backward of a function's loss to the function";
  let description = [{
    Before: a function with the unit attribute `moe.differentiate` holds one `moe.loss` at its top level.
    After: the loss is gone. The forward is followed, in reverse order, by the backward of every op between a read of a
    parameter with a gradient state and the loss. It ends in `moe.accumulate` into the gradient states. A `moe.repeat`
    gets a second repeat that runs the other way; the values that it needs are read again, computed again (`moe.remat`)
    or kept in a stacked result of the first.
    Why here: ops still have their meaning (rms_norm, attention), so each backward is written once by hand; fusion,
    which follows, sees both directions.
    ```mlir
    %w = moe.read @w : tensor<4x4xf32>
    %y = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    // appended:
    %dw = moe.matmul ta %x, %dy : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
    moe.accumulate @grad.w, %dw : tensor<4x4xf32>
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def MoeDecompose : Pass<"moe-decompose"> {
  let summary = "Expands rms_norm, softmax, log_sum_exp and quantize_rows into map and row_reduce";
  let description = [{
    Before: forward and backward hold ops with a meaning of their own.
    After: `moe.rms_norm`, `moe.softmax`, `moe.log_sum_exp` and `moe.quantize_rows` are written as `moe.map` and
    `moe.row_reduce`, so the row template of a target only has to know those two.
    Why here: after differentiation, which has shorter rules for the whole ops; before dispatches are formed, because
    forming them fuses the parts.
    ```mlir
    %m = moe.row_reduce max %x : tensor<8x4xf32> -> tensor<8x1xf32>
    %e = moe.map(%x, %m) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> { ... exp(x - m) ... }
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def MoeSplitSums : Pass<"moe-split-sums", "::mlir::func::FuncOp"> {
  let summary = "Adds products to a state one after another instead of summing them first";
  let description = [{
    Before: the gradient of a parameter that several products use (its layer, and a loss on the weights themselves) is a
    sum, which is then added to the state.
    After: each product is added to the state by itself, starting with the one made last; the other terms of the sum
    follow.
    Why here: after differentiation, which makes the sums; before `moe-write-first`, which turns the first addition into
    a write. The kernel of a product can add to a state in its epilogue. Without the pass, each product would be stored
    and read again by a kernel that only adds.
    ```mlir
    %s = moe.map(%dw, %loss) : ... { ... dw + loss ... }
    moe.accumulate @grad.w, %s : tensor<4x4xf32>
    // becomes
    moe.accumulate @grad.w, %loss : tensor<4x4xf32>
    moe.accumulate @grad.w, %dw : tensor<4x4xf32>
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect"];
}

def MoeWriteFirst : Pass<"moe-write-first", "::mlir::ModuleOp"> {
  let summary = "Turns the first addition to a gradient into a write, so that nothing has to zero it";
  let description = [{
    Before: one function writes zeros to each gradient state. Another, which runs once after it (a step has one
    micro-batch), adds to it.
    After: if the first addition reaches each copy exactly once, it is a `moe.write`, and the zeros are gone. Later
    additions (a parameter with two uses) stay. Why here: after differentiation, which makes the additions; before
    dispatches are formed, whose kernels do the writes. It saves two passes over all gradients.
    ```mlir
    moe.write @grad.w, %zero : tensor<4x4xf32>            // in begin_step: erased
    moe.accumulate @grad.w, %dw : tensor<4x4xf32>         // in forward_backward: becomes
    moe.write @grad.w, %dw : tensor<4x4xf32>
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
}

def MoeQuantizeExperts : Pass<"moe-quantize-experts", "::mlir::ModuleOp"> {
  let summary = "Gives the products of experts 8-bit operands, with a scale for each row and each column";
  let description = [{
    Before: `moe.grouped_matmul`, forward or the gradient of an input, reads activations and a parameter.
    After: it reads quantised activations (`moe.quantize_rows` follows the op that made them; a gather takes the
    quantised rows) and a quantised copy of the parameter that is contiguous in depth (`tb`), and carries both scales.
    The copies are states. `copy.<parameter>.columns` is the parameter transposed, for products that read it as [E, K,
    N]; `copy.<parameter>.rows` is laid out as the parameter is, for products that read it with `tb`. Either name with
    `.scale` appended holds the scales. The copies are made again at the end of each function that writes the parameter,
    and by `refresh` after a checkpoint is loaded. Products that are only added up share their scales, so that they can
    still be added up in one accumulator (`moe-join-sums`). `moe.grouped_outer`, the gradient of a weight, stays as it
    was. Why here: after differentiation, so that gradients treat the rounding as the identity (straight-through);
    before `moe-decompose`, which expands `moe.quantize_rows`.
    ```mlir
    %w = moe.read @w : tensor<2x4x6xf32>
    %y = moe.grouped_matmul %x, %w, %o, %c : ...
    // becomes
    %q, %s = moe.quantize_rows %x : (tensor<16x4xf32>) -> (tensor<16x4xf32>, tensor<16x1xf32>)
    %wq = moe.read @copy.w.columns : tensor<2x6x4xf32>
    %ws = moe.read @copy.w.columns.scale : tensor<2x6xf32>
    %y = moe.grouped_matmul tb %q, %wq, %o, %c scales %s, %ws : ...
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::func::FuncDialect"];
}

def MoeJoinSums : Pass<"moe-join-sums", "::mlir::func::FuncOp"> {
  let summary = "Brings together products that are only added up";
  let description = [{
    Before: the gradient of a value with several uses is a chain of sums; each product stands where its use was
    differentiated.
    After: products of one kind that only feed such a chain stand side by side before one map that adds all its terms.
    Why here: before dispatches are formed, which puts neighbours that feed one sum into one kernel. That kernel adds
    them in its accumulators, so no term is stored or rounded.
    ```mlir
    %dq = moe.matmul tb %gq, %wq : ...
    %dk = moe.matmul tb %gk, %wk : ...
    %dv = moe.matmul tb %gv, %wv : ...
    %dh = moe.map(%dv, %dk, %dq) : ... { ... dv + dk + dq ... }
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect"];
}

def MoeJoinMaps : Pass<"moe-join-maps", "::mlir::func::FuncOp"> {
  let summary = "Merges a map that makes an operand of a product into the epilogue of another product";
  let description = [{
    Before: the backward of SwiGLU has two maps. One computes the activation h again, which is an operand of the product
    for the gradient of the down projection. The other computes the gradients of gate and up from the same gate and up
    projections and from the gradient of h, a product that nothing else reads. After: one map has all these results. It
    stands where the first map stood, right after the product. Why here: before dispatches are formed, because the
    merged map becomes the product's epilogue. So gate and up are read once; otherwise a row kernel would read both
    again. A map joins another map only under three conditions. It makes an operand of products, which is stored in any
    case. It reads no tensor of its shape that the other map does not read. And the operands of the other map and of its
    product are made before it.
    ```mlir
    %dh = moe.matmul tb %dy, %down : ...
    %h = moe.map(%gate, %up) : ...
    %dw = moe.matmul ta %h, %dy : ...
    %r:2 = moe.map(%gate, %up, %dh) : ... { ... d gate, d up ... }
    // becomes
    %dh = moe.matmul tb %dy, %down : ...
    %r:3 = moe.map(%gate, %up, %dh) : ... { ... d gate, d up, h ... }
    %dw = moe.matmul ta %r#2, %dy : ...
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect"];
}

def MoeFormDispatches : Pass<"moe-form-dispatches", "::mlir::func::FuncOp"> {
  let summary = "Groups ops into dispatches: one dispatch is one kernel";
  let description = [{
    Before: decomposed ops of forward, backward and update.

    After: every block holds only `moe.dispatch`, `moe.repeat`, views and constants.
    - Row ops with the same number of rows form one dispatch.
    - Products with the same left operand form one dispatch. It takes a gather into its loads and elementwise maps into
      its epilogue. A map becomes the epilogue of a product if the map's result has to be stored anyway, or if it
      replaces the result of the product.
    - A map that only feeds sums over rows is computed inside those sums.
    - Writes and accumulations happen in the dispatch that makes their value.
    - `note` of a dispatch says why the first op that could have followed was not fused.

    The options say what a target's kernels can do:
    - `epilogue-tensors`: an epilogue reads at most this many tensors of its own shape. On a GPU, one stage of a product
      has room for so many.
    - `row-sums` n: the kernel of a product also begins the sums of its rows. It sums every n columns, and a row kernel
      that follows adds up these sums.
    - `gather-once`: every product gathers rows in its own loads, unless the products that multiply the rows have this
      many columns or more together. Then the gather is a dispatch of its own, and its rows are stored.
    - `spread-in-loads`: the same rule for `moe.spread_rows` without weights, which is the gradient of rows that were
      combined. Here a `moe.grouped_outer` may also read the rows as its right operand, if its result is only stored; it
      counts with the columns of its left operand.
    - `summed-columns`: splits a sum over rows that has 2 columns up to this many, if its terms are made from rows that
      one row dispatch makes or reads. That dispatch adds up N adjacent rows at a time, and a small dispatch adds up
      these parts. N is the smallest divisor of the number of rows that is at least 8 and leaves at most 512 parts. With
      257 to 1024 columns it may leave up to 1024 parts, since fewer threads share such a row. If fewer than 256 parts
      would be left, or if no dispatch without busy ops (`top_k`, `random_normal`) has all rows, the sum reads the rows
      again, as every sum does without this option. GPUs set it, because their blocks keep the sums of a row in
      registers; a CPU would go through sums in cache for each row.

    Why here: forward and backward are now in one function, and shapes are final. After this pass only the code
    generators look inside a group.
    ```mlir
    %h = moe.dispatch "matmul" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x16xf32> { ... moe.matmul ... moe.map ... }
    ```
  }];
  let options = [Option<"epilogueTensors", "epilogue-tensors", "unsigned", "0",
    "Tensors of its own shape that the epilogue of a product may read; 0: any number">,
    Option<"rowSums", "row-sums", "int64_t", "0",
    "Columns of each partial sum of a row that the kernel of a product makes; 0: only row kernels sum rows">,
    Option<"gatherOnce", "gather-once", "int64_t", "0",
    "Gathered rows are stored once if their products have this many columns or more; 0: never">,
    Option<"summedColumns", "summed-columns", "int64_t", "0",
    "Most columns of a sum over rows that a row kernel may begin with the rows that it holds; 0: never">,
    Option<"spreadInLoads", "spread-in-loads", "bool", "false",
    "Products read rows that are spread to experts through the map of rows, as they read gathered rows">,
    Option<"apart", "apart", "bool", "false",
    "Makes every op a dispatch of its own where that is possible; tests compare fused dispatches with it">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect"];
}

def MoeNarrowStorage : Pass<"moe-narrow-storage", "::mlir::ModuleOp"> {
  let summary = "Stores tensors as bf16 or f8E4M3FN; dispatches go on computing in f32";
  let description = [{
    Before: dispatches read and make f32.

    After: states and the values between dispatches are stored as bf16 where that is enough. `moe.cast` stands at the
    borders inside dispatches: after an input or a read, before a yield, a write or an accumulation.
    - Stored as bf16: results of products (except those marked `moe.full_precision`, the router's logits), embeddings,
      the tensors of attention, maps and row ops with a bf16 operand of their own shape, and everything that a product
      reads.
    - Stored as f8E4M3FN, without loss: values that a map rounded to it (the map yields an `arith.extf` from it),
      results of `moe.quantize_columns`, and states marked `moe.quantized`.
    - Unchanged: reductions, statistics of rows, weights, scores, losses, and states marked `moe.full_precision`.

    A parameter that products read gets a state `copy.<name>`, which is written wherever the parameter is. The function
    `refresh` makes all copies again after the parameters came from a checkpoint. `master` makes the parameters
    themselves narrow instead. With `narrow=false` only the copies are made, in the type of the parameters. This gives
    the same program for a machine without bf16.

    Why here: only formed dispatches show which values are stored.
    ```mlir
    %y = moe.dispatch "matmul" (%a = %x, %l = %layer) : (tensor<8x4xbf16>, index) -> tensor<8x4xbf16> {
      %af = moe.cast %a : tensor<8x4xbf16> -> tensor<8x4xf32>
      %w = moe.read @"copy.layers.{}.attention.q"[%l] : tensor<4x4xbf16>
      %wf = moe.cast %w : tensor<4x4xbf16> -> tensor<4x4xf32>
      %p = moe.matmul %af, %wf : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
      %n = moe.cast %p : tensor<8x4xf32> -> tensor<8x4xbf16>
      moe.yield %n : tensor<8x4xbf16>
    }
    ```
  }];
  let options = [
    Option<"narrow", "narrow", "bool", "true", "Whether the target has bf16; false: only make copies of parameters">,
    Option<"master", "master", "bool", "false", "Parameters themselves are bf16, without copies">,
    Option<"optimizer", "optimizer", "bool", "false", "States of the optimizer are bf16">,
    Option<"gradients", "gradients", "bool", "false", "Gradients are summed in bf16">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

#endif
