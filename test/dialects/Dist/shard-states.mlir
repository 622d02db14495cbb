// RUN: moec-opt %s -dist-shard-states | FileCheck %s

// Each of four ranks updates one run of the rows of @w and keeps its run of the moments.
dist.mesh @mesh ["data"] sizes [4] batches "data"
moe.state @grad.w gradient : tensor<8x4xf32, #dist.partial<["data"]>>
moe.state @w parameter : tensor<8x4xf32> gradient @grad.w saved
// CHECK: moe.state @m optimizer : tensor<8x4xf32> saved divided 4 along ["data"]
moe.state @m optimizer : tensor<8x4xf32> saved
// Three rows are not divided by four ranks.
moe.state @grad.odd gradient : tensor<3x4xf32, #dist.partial<["data"]>>
moe.state @odd parameter : tensor<3x4xf32> gradient @grad.odd saved
// A product needs the whole matrix.
moe.state @grad.matrix gradient : tensor<8x8xf32, #dist.partial<["data"]>>
moe.state @matrix parameter : tensor<8x8xf32> gradient @grad.matrix saved
// CHECK: moe.state @momentum optimizer : tensor<8x8xf32> saved{{$}}
moe.state @momentum optimizer : tensor<8x8xf32> saved
moe.state @norm metric : tensor<1x1xf32> logged "norm"

// CHECK-LABEL: func @update
func.func @update() {
  // CHECK: %[[RANK:.*]] = dist.coordinate ["data"] : index
  // CHECK: %[[G:.*]] = moe.read @grad.w
  // CHECK: %[[SUM:.*]] = dist.sum_part %[[G]] along ["data"] : tensor<8x4xf32, #dist.partial<["data"]>> -> tensor<2x4xf32>
  %g = moe.read @grad.w : tensor<8x4xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<8x4xf32, #dist.partial<["data"]>> -> tensor<8x4xf32>
  // Sums of rows are gathered: the sum over all of them has the order of one rank.
  // CHECK: %[[ROWS:.*]] = moe.row_reduce sum %[[SUM]] : tensor<2x4xf32> -> tensor<2x1xf32>
  // CHECK: %[[ALL:.*]] = dist.all_gather %[[ROWS]] along ["data"] : tensor<2x1xf32> -> tensor<8x1xf32>
  // CHECK: moe.col_reduce %[[ALL]] : tensor<8x1xf32> -> tensor<1x1xf32>
  %r = moe.row_reduce sum %s : tensor<8x4xf32> -> tensor<8x1xf32>
  %n = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.write @norm, %n : tensor<1x1xf32>
  // CHECK: moe.read @w[%[[RANK]]] of 4 : tensor<2x4xf32>
  // CHECK: moe.read @m : tensor<2x4xf32>
  %w = moe.read @w : tensor<8x4xf32>
  %m = moe.read @m : tensor<8x4xf32>
  %new:2 = moe.map(%s, %m, %w, %n) : (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x1xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32, %d: f32):
    %e = arith.addf %a, %b : f32
    %f = arith.subf %c, %e : f32
    moe.yield %e, %f : f32, f32
  }
  // CHECK: moe.write @m, %[[NEW:.*]]#0 : tensor<2x4xf32>
  moe.write @m, %new#0 : tensor<8x4xf32>
  // CHECK: dist.gather_into @w, %[[NEW]]#1 along ["data"] : tensor<2x4xf32>
  moe.write @w, %new#1 : tensor<8x4xf32>

  // CHECK: dist.sum %{{.*}} -> tensor<3x4xf32>
  %go = moe.read @grad.odd : tensor<3x4xf32, #dist.partial<["data"]>>
  %so = dist.sum %go along ["data"] : tensor<3x4xf32, #dist.partial<["data"]>> -> tensor<3x4xf32>
  // CHECK: moe.write @odd, %{{.*}} : tensor<3x4xf32>
  moe.write @odd, %so : tensor<3x4xf32>

  // CHECK: dist.sum %{{.*}} -> tensor<8x8xf32>
  %gm = moe.read @grad.matrix : tensor<8x8xf32, #dist.partial<["data"]>>
  %sm = dist.sum %gm along ["data"] : tensor<8x8xf32, #dist.partial<["data"]>> -> tensor<8x8xf32>
  %mm = moe.read @momentum : tensor<8x8xf32>
  %p = moe.matmul %sm, %mm : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  moe.write @momentum, %p : tensor<8x8xf32>
  moe.write @matrix, %p : tensor<8x8xf32>
  return
}

// CHECK-LABEL: func @init
func.func @init() {
  // CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<2x4xf32>
  // CHECK: moe.write @m, %[[ZERO]]
  %zero = arith.constant dense<0.0> : tensor<8x4xf32>
  moe.write @m, %zero : tensor<8x4xf32>
  return
}
