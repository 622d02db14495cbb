// What losses that reach beyond scores build, and modules that predict further ahead.
// RUN: sed 's/exp.loss {name = "router_z".*/exp.loss {name = "erc", weight = 1.0 : f64, method = #exp.method<"loss", "erc", {activation = "gate", alpha = 1.0 : f64, layer_reduce = "mean", noise = "none"}>}/' \
// RUN:   %S/Inputs/base.mlir > %t.erc.mlir
// RUN: moec-opt -moec-build-model %t.erc.mlir | FileCheck %s --check-prefix=ERC
// Router rows, a copy of them for each of eight experts, and one product.
// ERC-LABEL: func.func @forward_backward
// ERC: %[[ROUTER:.*]] = moe.read @"layers.{}.moe.router"
// ERC: %[[GATE:.*]] = moe.read @"layers.{}.moe.experts.gate"
// ERC: %[[ROWS:.*]] = moe.matmul tb %{{.*}}, %[[ROUTER]] {moe.full_precision} : tensor<8x8xf32>, tensor<32x8xf32> -> tensor<8x32xf32>
// ERC: %[[COPIES:.*]] = moe.gather_rows %[[ROWS]], %{{.*}} slot_row %{{.*}} : tensor<8x8xi32> : tensor<8x32xf32>, tensor<64x1xi32> -> tensor<64x32xf32>
// ERC: moe.grouped_matmul all_rows %[[COPIES]], %[[GATE]], {{.*}} {moe.full_precision} : {{.*}} -> tensor<64x48xf32>
// A mean over four layers of weight 1.
// ERC: %[[SUMS:.*]] = arith.constant 2.500000e-01
// ERC-LABEL: func.func @evaluate
// ERC-NOT: moe.full_precision} : tensor<8x8xf32>

// Groups of eight rows that start at multiples of 20.
// RUN: moec-opt -moec-build-model=row-align=20 %t.erc.mlir | FileCheck %s --check-prefix=PADDED
// PADDED: moe.gather_rows %{{.*}} : tensor<8x32xf32>, tensor<160x1xi32> -> tensor<160x32xf32>
// PADDED: moe.gather_rows %{{.*}} slot_row %{{.*}} : tensor<160x1xi32> : tensor<160x48xf32>, tensor<64x1xi32> -> tensor<64x48xf32>

// One number per token goes from mixture to mixture; as many as top_k with largest_k. The residual stream and the sums of
// two losses are carried before it.
// RUN: sed 's/exp.loss {name = "router_z".*/exp.loss {name = "coupling", weight = 1.0 : f64, method = #exp.method<"loss", "coupling", {detach_hidden = false, pairs = "topk_x_topk"}>}/' \
// RUN:   %S/Inputs/base.mlir > %t.coupling.mlir
// RUN: moec-opt -moec-build-model %t.coupling.mlir | FileCheck %s --check-prefix=COUPLING
// COUPLING: moe.repeat %{{.*}} of 4 carry(%{{.*}} : tensor<64x32xf32>, %{{.*}} : tensor<1x1xf32>, %{{.*}} : tensor<1x1xf32>, %{{.*}} : tensor<64x1xf32>) {
// RUN: sed 's/topk_x_topk/largest_k/' %t.coupling.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=LARGEST
// LARGEST: moe.repeat %{{.*}} of 4 carry({{.*}} : tensor<64x2xf32>) {
// LARGEST: moe.top_k %{{.*}} : tensor<64x4xf32> -> tensor<64x2xi32>

// RUN: sed 's/  exp.optimizer {/  exp.multi_token {depth = 2 : i64, weight = 0.3 : f64}\n&/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=AHEAD
// The dense block is as wide as what a token meets of a mixture.
// AHEAD: moe.state @multi_token.1.ffn.up parameter : tensor<32x96xf32>
// AHEAD-LABEL: func.func @forward_backward
// AHEAD: moe.read @multi_token.0.from_hidden
// AHEAD: moe.read @head
// AHEAD: moe.read @multi_token.1.from_hidden
// AHEAD: moe.accumulate @metric.multi_token
// AHEAD-LABEL: func.func @evaluate
// AHEAD-NOT: multi_token
// AHEAD-LABEL: func.func @update
