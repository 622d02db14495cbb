#ifndef MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_TD
#define MOEC_DIALECTS_MOE_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def MoeAssignRemat : Pass<"moe-assign-remat", "::mlir::func::FuncOp"> {
  let summary = "Marks the values that the backward computes again instead of keeping";
  let description = [{
    Before: `moe-differentiate` would keep every forward value of a `moe.repeat` that its backward needs, once for
    each layer.
    After: ops inside repeats that are cheap to run again carry the unit attribute `moe.remat`. `selective` marks row
    ops and views (maps, norms, softmax, rope, gathers): they cost one pass over memory, as loading a saved copy does.
    `full` marks everything but the routing decision (top_k, column_kth, sinkhorn, limit_capacity, permute, count_ids):
    integers decide which rows meet which expert, and are small.
    Why here: the choice is about values, which only exist as such before differentiation wires them to the
    backward.
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
    After: the loss is gone; behind the forward, in reverse order, stands the backward of every op that lies between
    a read of a parameter with a gradient state and the loss. It ends in `moe.accumulate` into the gradient states.
    A `moe.repeat` gets a second one that runs the other way; what that one needs is read again, computed again
    (`moe.remat`) or kept in a stacked result of the first.
    Why here: ops still have their meaning (rms_norm, attention), so each backward is written once by hand, and
    fusion sees both directions.
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
    After: `moe.rms_norm`, `moe.softmax`, `moe.log_sum_exp` and `moe.quantize_rows` are `moe.map` and `moe.row_reduce`,
    so the row template of a target only has to know those two.
    Why here: after differentiation, which has shorter rules for the whole ops; before dispatches are formed, which
    fuse the parts.
    ```mlir
    %m = moe.row_reduce max %x : tensor<8x4xf32> -> tensor<8x1xf32>
    %e = moe.map(%x, %m) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> { ... exp(x - m) ... }
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def MoeSplitSums : Pass<"moe-split-sums", "::mlir::func::FuncOp"> {
  let summary = "Products that are summed into a state are added to it one after another";
  let description = [{
    Before: the gradient of a parameter that several products use (its layer, and a loss on the weights themselves) is
    their sum, then added to the state.
    After: each product is added to the state by itself, the one made last first; what else the sum has follows.
    Why here: behind differentiation, which makes the sums; before `moe-write-first`, which lets the first of them
    write. A kernel of a product adds to a state in its epilogue, whereas for a sum each product is stored, and read
    again by a kernel that only adds.
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
  let summary = "The first sum into a gradient becomes a write; nothing zeroes it before";
  let description = [{
    Before: one function writes zeros to each gradient state, another, which runs once after it (a step has one
    micro-batch), adds to it.
    After: where the first addition meets each copy exactly once, it is a `moe.write`, and the zeros are gone. Later
    additions (a parameter with two uses) stay.
    Why here: behind differentiation, which makes the additions; before dispatches, which store what is written. It
    saves two passes over all gradients.
    ```mlir
    moe.write @grad.w, %zero : tensor<4x4xf32>            // in begin_step: erased
    moe.accumulate @grad.w, %dw : tensor<4x4xf32>         // in forward_backward: becomes
    moe.write @grad.w, %dw : tensor<4x4xf32>
    ```
  }];
  let dependentDialects = ["::moec::moe::MoeDialect"];
}

def MoeQuantizeExperts : Pass<"moe-quantize-experts", "::mlir::ModuleOp"> {
  let summary = "Products of experts take operands of eight bits, with a scale for each row and each column";
  let description = [{
    Before: `moe.grouped_matmul`, forward or the gradient of an input, reads activations and a parameter.
    After: it reads quantised activations (`moe.quantize_rows` behind whatever made them; a gather takes the quantised
    rows) and a quantised copy of the parameter, depth contiguous (`tb`), and carries both scales. The copies are
    states: `copy.<parameter>.columns` is the parameter transposed, for products that read it as [E, K, N];
    `copy.<parameter>.rows` lies as the parameter does, for those that read it with `tb`; `.scale` behind either name.
    They are made again at the end of each function that writes the parameter, and by `refresh` after a checkpoint was
    read. Products that are only added up share their scales, so that they can still be added up in one accumulator
    (`moe-join-sums`). `moe.grouped_outer`, the gradient of a weight, stays as it was.
    Why here: behind differentiation, which so treats rounding as the identity (straight-through) without knowing of it;
    before `moe-decompose`, which expands the quantising of rows.
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
  let summary = "Brings products together that only serve to be added up";
  let description = [{
    Before: the gradient of a value with several uses is a chain of sums, each product of which stands where its use was
    differentiated.
    After: products of one kind that only feed such a chain stand side by side before one map that adds all its terms.
    Why here: before dispatches are formed, which puts neighbours that feed one sum into one kernel. It adds them in its
    accumulators: nothing in between is stored, or rounded.
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
  let summary = "Lets the map behind a product make what another map makes of the same tensors";
  let description = [{
    Before: the backward of SwiGLU makes the activation h again, a factor of the gradient of the weights behind it;
    then, of the same gate and up projections and of a product that nobody else reads (the gradient of h), the gradients
    of gate and up.
    After: one map with all these results, where the first map stood, and the product moved to right before it.
    Why here: before dispatches are formed. The second map becomes the product's epilogue, and with this the first does
    too, so gate and up are read once; else a row kernel reads both again. A map joins another only if it makes a factor
    of products, which is stored in any case, reads no tensor of its shape that the other does not read, and the other's
    operands, and the product's, are made before it.
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
    Before: decomposed ops of forward, backward and update. After: every block holds only `moe.dispatch`, `moe.repeat`,
    views and constants. Row ops with the same rows form one dispatch; products of one A share it, take a gather into
    their loads and elementwise maps into their epilogue; writes and accumulations happen where their value is made.
    `note` of a dispatch says why the first consumer of its values that could not join did not. A map becomes a
    product's epilogue where its result has to be stored anyway, or takes the place of the product's; a map that only
    feeds sums over rows is computed inside them. With `epilogue-tensors` an epilogue reads so many tensors of its shape
    at most: what a stage of a GPU's product has room for. With `row-sums` n the sum of a row is a product's affair too:
    its kernel sums up each n columns, and a row kernel behind it those sums. Rows are gathered in the loads of every
    product that multiplies them, unless those products have `gather-once` columns or more together: then the gather is
    a dispatch of its own, and its rows are stored. With `spread-in-loads` the same holds for `moe.spread_rows` without
    weights, the gradient of rows that were combined; there a `moe.grouped_outer` may read the rows on its right, if its
    result is only stored, and counts with the columns of its left side. A sum over rows of 2 to `summed-columns`
    columns whose terms are made of rows that one row dispatch makes or reads is split: that dispatch adds up N adjacent
    rows each, and a small one adds up these parts. N is the least divisor of the sum's rows from 8 on that leaves at
    most 512 parts; where that would leave fewer than 256, or no dispatch without `top_k` has all rows, the sum reads
    them again, as all sums do without the option. GPUs ask for it: their blocks keep the sums of a row in registers,
    whereas CPUs would go over them in cache for each row.
    Why here: both directions of the model stand in one function by now, and shapes are final; after this nothing looks
    inside a group but the code generators.
    ```mlir
    %h = moe.dispatch "matmul" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x16xf32> { ... moe.matmul ... moe.map ... }
    ```
  }];
  let options = [Option<"epilogueTensors", "epilogue-tensors", "unsigned", "0",
    "Most tensors of its own shape that an epilogue of products reads; 0: any number">,
    Option<"rowSums", "row-sums", "int64_t", "0",
    "Columns that kernels of products sum up for a sum of rows; 0: sums are row kernels">,
    Option<"gatherOnce", "gather-once", "int64_t", "0",
    "Columns of the products of gathered rows from which the rows are stored; 0: never">,
    Option<"summedColumns", "summed-columns", "int64_t", "0",
    "Columns up to which row kernels begin sums over the rows that they hold; 0: never">,
    Option<"spreadInLoads", "spread-in-loads", "bool", "false",
    "Rows that are spread to experts are read through their map by products, as gathered rows are">,
    Option<"apart", "apart", "bool", "false",
    "Every op that can be a dispatch of its own is one: what fused dispatches are compared with in tests">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect"];
}

def MoeNarrowStorage : Pass<"moe-narrow-storage", "::mlir::ModuleOp"> {
  let summary = "Lays tensors in memory as bf16 or f8E4M3FN; dispatches go on computing with f32";
  let description = [{
    Before: dispatches that read and make f32. After: states and the values between dispatches lie in memory as bf16
    where that is enough, and `moe.cast` stands at the borders inside dispatches: behind an input or a read, before a
    yield, a write or an accumulation. Narrow are results of products (but for those marked `moe.full_precision`: the
    router's logits), embeddings, attention's tensors, maps and row ops with a narrow operand of their own shape, and
    all that a product reads. Reductions, statistics of rows, weights, scores and losses stay as they are. Values that a
    map rounded to f8E4M3FN (it yields an `arith.extf` from it), and what `moe.quantize_columns` makes, lie as that,
    without loss; so do states marked `moe.quantized`. States marked `moe.full_precision` stay. A parameter that
    products read gets a state `copy.<name>`, written wherever the parameter is; the function `refresh` makes all of
    them again from parameters that came from a checkpoint. `master` makes the parameters themselves narrow instead.
    With `narrow=false` only the copies are made, in the type of the parameters: the same program for a machine without
    bf16.
    Why here: what is stored is known only once dispatches are formed.
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
    Option<"narrow", "narrow", "bool", "true", "Whether the target has bf16; false: only the copies of parameters">,
    Option<"master", "master", "bool", "false", "Parameters are bf16 themselves, without copies">,
    Option<"optimizer", "optimizer", "bool", "false", "What the optimizer keeps is bf16">,
    Option<"gradients", "gradients", "bool", "false", "Gradients are summed in bf16">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

#endif
