// RUN: moec-opt %s -dist-partition="experts=2" | FileCheck %s

// Noise that all ranks could make for all tokens: each makes that of its own rows. Its scale is a weight. A rank has the
// gradient of its rows alone, so the gradients of the ranks are added up.
moe.state @batch.tokens batch : tensor<4x8xf32>
moe.state @grad.scale gradient : tensor<1x8xf32>
moe.state @scale parameter : tensor<1x8xf32> gradient @grad.scale saved

// CHECK-LABEL: func @forward_backward
func.func @forward_backward() attributes {moe.differentiate} {
  %x = moe.read @batch.tokens : tensor<4x8xf32>
  // CHECK: %[[W:.*]] = moe.read @scale
  // CHECK: %[[SAME:.*]] = dist.same %[[W]] along ["expert"]
  %scale = moe.read @scale : tensor<1x8xf32>
  // CHECK: %[[SHARED:.*]] = dist.share %[[SAME]] along ["expert"]
  // CHECK: %[[NOISE:.*]] = moe.map position(%[[SHARED]], %{{.*}}) : (tensor<1x8xf32>, tensor<1x1xi64>) -> tensor<2x8xf32>
  %noise = moe.map position(%scale) : (tensor<1x8xf32>) -> tensor<4x8xf32> {
  ^bb0(%s: f32, %row: i64, %column: i64):
    %n = arith.sitofp %row : i64 to f32
    %m = arith.mulf %n, %s : f32
    moe.yield %m : f32
  }
  // CHECK: moe.map(%{{.*}}, %[[NOISE]]) : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %y = moe.map(%x, %noise) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    moe.yield %c : f32
  }
  return
}
func.func @update() {
  return
}
func.func @init() {
  return
}
