// RUN: moec-opt %s -moe-narrow-storage='gradients=true' | FileCheck %s
// RUN: moec-opt %s -moe-narrow-storage | FileCheck %s --check-prefix=WIDE --implicit-check-not=bf16

// An exchange moves bytes as they lie: what comes from a state in bf16 and goes into one is bf16 all the way, and is
// added in f32.
dist.mesh @mesh ["data"] sizes [2]
// CHECK: moe.state @grad.w gradient : tensor<128x256xbf16>
moe.state @grad.w gradient : tensor<128x256xf32>
moe.state @norm output : tensor<128x1xf32>

// CHECK-LABEL: func @update
// CHECK: %[[PART:.*]] = moe.read @grad.w : tensor<128x256xbf16>
// CHECK: %[[GOT:.*]]:2 = dist.all_to_all %[[PART]] along ["data"] : tensor<128x256xbf16> -> tensor<64x256xbf16>, tensor<64x256xbf16>
// CHECK: %[[SUM:.*]] = moe.dispatch "row" (%[[A:.*]] = %[[GOT]]#0, %[[B:.*]] = %[[GOT]]#1) : (tensor<64x256xbf16>, tensor<64x256xbf16>) -> tensor<64x256xbf16>
// CHECK-DAG: moe.cast %[[A]] : tensor<64x256xbf16> -> tensor<64x256xf32>
// CHECK-DAG: moe.cast %[[B]] : tensor<64x256xbf16> -> tensor<64x256xf32>
// CHECK: moe.cast %{{.*}} : tensor<64x256xf32> -> tensor<64x256xbf16>
// CHECK: dist.gather_into @grad.w, %[[SUM]] along ["data"] : tensor<64x256xbf16>
// WIDE: dist.gather_into @grad.w, %{{.*}} along ["data"] : tensor<64x256xf32>
func.func @update() {
  %g = moe.read @grad.w : tensor<128x256xf32>
  %p:2 = dist.all_to_all %g along ["data"] : tensor<128x256xf32> -> tensor<64x256xf32>, tensor<64x256xf32>
  %s = moe.dispatch "row" (%a = %p#0, %b = %p#1) : (tensor<64x256xf32>, tensor<64x256xf32>) -> tensor<64x256xf32> {
    %m = moe.map(%a, %b) : (tensor<64x256xf32>, tensor<64x256xf32>) -> tensor<64x256xf32> {
    ^bb0(%c: f32, %d: f32):
      %t = arith.addf %c, %d : f32
      moe.yield %t : f32
    }
    moe.yield %m : tensor<64x256xf32>
  }
  dist.gather_into @grad.w, %s along ["data"] : tensor<64x256xf32>
  moe.dispatch "row" () : () -> () {
    %w = moe.read @grad.w : tensor<128x256xf32>
    %n = moe.row_reduce sum %w : tensor<128x256xf32> -> tensor<128x1xf32>
    moe.write @norm, %n : tensor<128x1xf32>
    moe.yield
  }
  return
}

// The same with a result instead of a state.
// CHECK-LABEL: func @gathered
// CHECK: dist.all_gather %{{.*}} along ["data"] : tensor<128x256xbf16> -> tensor<256x256xbf16>
// CHECK: moe.dispatch "row" (%{{.*}} = %{{.*}}) : (tensor<256x256xbf16>)
func.func @gathered() {
  %g = moe.read @grad.w : tensor<128x256xf32>
  %all = dist.all_gather %g along ["data"] : tensor<128x256xf32> -> tensor<256x256xf32>
  %n = moe.dispatch "row" (%a = %all) : (tensor<256x256xf32>) -> tensor<256x1xf32> {
    %r = moe.row_reduce sum %a : tensor<256x256xf32> -> tensor<256x1xf32>
    moe.yield %r : tensor<256x1xf32>
  }
  return
}
