#ifndef MOEC_DIALECTS_DIST_TRANSFORMS_PASSES_TD
#define MOEC_DIALECTS_DIST_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def DistPartition : Pass<"dist-partition", "::mlir::ModuleOp"> {
  let summary = "Divides the work of a step over ranks";
  let description = [{
    Before: functions that describe a step on one rank.
    After: the same functions, as each rank of `dist.mesh @mesh` runs them. Along the axis `data` ranks deal out whole
    micro-batches, so `forward_backward` stays as it is. What it adds up in states (gradients, losses, counts) is then a
    part of the sum over all micro-batches: these states become partial, and every other function reads them through
    `dist.sum`. A state that is logged stays whole; its parts get a state of their own, and `update` writes the sum. The
    index of a micro-batch starts at the rank's first.

    Along the axis `expert` ranks divide one micro-batch: each takes some of its sequences, and owns some of the experts
    of every layer (states `divided ... each`). A row of tokens stays on its rank, except in the experts: rows are
    sorted by expert, go to the owner (`dist.exchange_rows`), are computed there as on one rank, and come back. Whatever
    is added up over tokens is a part of a sum (`dist.all_sum`). Weights that all ranks use get parts of their gradient
    everywhere. An op without a rule for divided rows is an error at the op (MOEC-S084).

    A state that one micro-batch writes and another reads has no order when they run side by side: that is an error at
    the reader (MOEC-S083).

    Why here: before `moe-differentiate`, so rules are needed for what a model says alone, not for its backward.
    ```mlir
    %g = moe.read @grad.head : tensor<64x256xf32>
    // becomes
    %g = moe.read @grad.head : tensor<64x256xf32, #dist.partial<["data"]>>
    %s = dist.sum %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<64x256xf32>
    ```
  }];
  let options = [
    Option<"data", "data", "int64_t", "1", "ranks that deal out the micro-batches of a step">,
    Option<"experts", "experts", "int64_t", "1", "ranks that divide the tokens of a micro-batch and its experts">,
    Option<"microBatches", "micro-batches", "int64_t", "1", "of a step, over all ranks">];
  let dependentDialects = ["::moec::dist::DistDialect", "::mlir::arith::ArithDialect"];
}

def DistShardStates : Pass<"dist-shard-states", "::mlir::ModuleOp"> {
  let summary = "Divides the update of a parameter over the data ranks (ZeRO-1)";
  let description = [{
    Before: `update` sums each gradient over the ranks, and every rank updates all of every parameter.
    After: where an update computes element by element, or row by row, each rank does it for one run of the rows: it
    sums its run of the gradient alone (`dist.sum_part`), keeps its run of the optimizer's state (`divided`), and the
    new parameter is put together by `dist.gather_into`. That moves as many bytes as the whole sum did. Sums over the
    rows of a column, such as those of the gradient norm, are gathered and added up whole, as on one rank: no bit
    changes.

    An update that needs the whole matrix (an orthogonal step, a basis), or whose number of rows the ranks do not
    divide, stays whole on every rank.

    Why here: after `dist-partition`, whose sums it starts from; before dispatches are formed, which fuse the update.
    ```mlir
    %s = dist.sum %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<64x256xf32>
    %w = moe.read @head : tensor<64x256xf32>
    ... %new = w - s ...
    moe.write @head, %new : tensor<64x256xf32>
    // becomes
    %s = dist.sum_part %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<32x256xf32>
    %w = moe.read @head[%rank] of 2 : tensor<32x256xf32>
    ... %new = w - s ...
    dist.gather_into @head, %new along ["data"] : tensor<32x256xf32>
    ```
  }];
  let dependentDialects = ["::moec::dist::DistDialect", "::mlir::arith::ArithDialect"];
}

def DistLowerSums : Pass<"dist-lower-sums", "::mlir::ModuleOp"> {
  let summary = "Writes sums over ranks as exchanges and additions";
  let description = [{
    Before: `dist.sum` of partial states.
    After: no partial type is left. A sum of at most 64 KiB, or of a number of elements that the ranks do not divide, is
    an all-gather that every rank adds up by itself. A larger sum takes two exchanges: after an all-to-all each rank
    adds up one part, and an all-gather brings the parts back, into the memory of the state when nobody else reads it.
    That sends 2 (R - 1) / R times the bytes of the state from each of R ranks, the least that is possible. The
    additions are one `moe.map`, as a fixed tree (see `dist.sum`), which may fuse with what follows.

    Why here: after differentiation, since only whole sums have a meaning there; before dispatches are formed, because
    the additions are kernels.
    ```mlir
    %0, %1 = dist.all_to_all %x along ["data"] : tensor<64x256xf32> -> tensor<32x256xf32>, tensor<32x256xf32>
    %part = moe.map(%0, %1) : (tensor<32x256xf32>, tensor<32x256xf32>) -> tensor<32x256xf32> { ... add ... }
    dist.gather_into @grad.head, %part along ["data"] : tensor<32x256xf32>
    ```
  }];
  let dependentDialects = ["::moec::dist::DistDialect", "::mlir::arith::ArithDialect"];
}

def DistOrderSums : Pass<"dist-order-sums", "::mlir::ModuleOp"> {
  let summary = "Gives sums over micro-batches an order that no layout changes";
  let description = [{
    Before: `forward_backward` adds what a micro-batch gives to what the ones before it left, one after another.
    After: functions `sum_level_<t>` and `sum_all`, which the train program calls after each micro-batch. They add as a
    binary tree whose leaves are micro-batches: `sum_level_t` joins the last leaf with the sums of 1, 2, ... 2^(t-1)
    leaves that wait in states `level.<t>.<name>`, keeps the result as the sum of 2^t leaves, and clears the state for
    the next leaf. `sum_all` joins what is left after the last one. A rank with 2^k micro-batches then holds a whole
    subtree, and `dist.sum` goes on with the same tree over ranks.

    Integers need no order and are left alone.

    Why here: after the backward is there, which adds to gradients; before dispatches are formed.
    ```mlir
    func.func @sum_level_1() {
      %leaf = moe.read @grad.head : tensor<64x256xf32>
      %first = moe.read @level.0.grad.head : tensor<64x256xf32>
      ... write first + leaf to @level.1.grad.head, zeros to @grad.head ...
    }
    ```
  }];
  let options = [Option<"microBatches", "micro-batches", "int64_t", "1", "of a step, on one rank">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

#endif
