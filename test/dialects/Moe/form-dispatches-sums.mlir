// RUN: moec-opt %s -split-input-file -moe-form-dispatches=summed-columns=64 | FileCheck %s
// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s --check-prefix=AGAIN

// The gradient of a norm's scale: its terms are made of rows that the norm's backward reads. 8 rows each leave 512 parts.
moe.state @x batch : tensor<4096x64xf32>
moe.state @dy batch : tensor<4096x64xf32>
moe.state @dx output : tensor<4096x64xf32>
moe.state @grad gradient : tensor<1x64xf32>
// CHECK-LABEL: func @scale()
// CHECK: %[[PARTS:.*]] = moe.dispatch "row" {{.*}} -> tensor<512x64xf32> {
// CHECK: moe.row_reduce sum
// CHECK: moe.write @dx
// CHECK: %[[T:.*]] = moe.map
// CHECK: %[[S:.*]] = moe.col_reduce %[[T]] : tensor<4096x64xf32> -> tensor<512x64xf32>
// CHECK: moe.yield %[[S]]
// CHECK: moe.dispatch "col_reduce" (%[[IN:.*]] = %[[PARTS]]) : (tensor<512x64xf32>) -> () {
// CHECK-NEXT: %[[ALL:.*]] = moe.col_reduce %[[IN]] : tensor<512x64xf32> -> tensor<1x64xf32>
// CHECK-NEXT: moe.accumulate @grad, %[[ALL]]
// AGAIN-LABEL: func @scale()
// AGAIN: moe.dispatch "row" {{.*}} -> tensor<4096x1xf32> {
// AGAIN: moe.dispatch "col_reduce" {{.*}} : (tensor<4096x1xf32>) -> () {
// AGAIN: moe.map
// AGAIN: moe.col_reduce %{{.*}} : tensor<4096x64xf32> -> tensor<1x64xf32>
func.func @scale() {
  %x = moe.read @x : tensor<4096x64xf32>
  %dy = moe.read @dy : tensor<4096x64xf32>
  %p = moe.map(%x, %dy) : (tensor<4096x64xf32>, tensor<4096x64xf32>) -> tensor<4096x64xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.mulf %u, %v : f32
    moe.yield %n : f32
  }
  %r = moe.row_reduce sum %p : tensor<4096x64xf32> -> tensor<4096x1xf32>
  %dx = moe.map(%dy, %r) : (tensor<4096x64xf32>, tensor<4096x1xf32>) -> tensor<4096x64xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.subf %u, %v : f32
    moe.yield %n : f32
  }
  moe.write @dx, %dx : tensor<4096x64xf32>
  %t = moe.map(%x, %dy, %r) : (tensor<4096x64xf32>, tensor<4096x64xf32>, tensor<4096x1xf32>) -> tensor<4096x64xf32> {
  ^bb0(%u: f32, %v: f32, %w: f32):
    %m = arith.mulf %u, %v : f32
    %n = arith.mulf %m, %w : f32
    moe.yield %n : f32
  }
  %s = moe.col_reduce %t : tensor<4096x64xf32> -> tensor<1x64xf32>
  moe.accumulate @grad, %s : tensor<1x64xf32>
  return
}

// -----

// What is made for the sum alone is not stored. Groups of 1100 rows: 20 is the least divisor that leaves at most 512 parts.
moe.state @x batch : tensor<8800x64xf32>
moe.state @m output : tensor<8800x1xf32>
moe.state @grad gradient : tensor<8x64xf32>
// CHECK-LABEL: func @made()
// CHECK: moe.dispatch "row" {{.*}} : () -> tensor<440x64xf32> {
// CHECK: moe.col_reduce %{{.*}} : tensor<8800x64xf32> -> tensor<440x64xf32>
// CHECK: moe.dispatch "col_reduce"
// CHECK-NEXT: moe.col_reduce %{{.*}} : tensor<440x64xf32> -> tensor<8x64xf32>
// AGAIN-LABEL: func @made()
// AGAIN: moe.dispatch "row" {{.*}} : () -> tensor<8800x64xf32> {
func.func @made() {
  %x = moe.read @x : tensor<8800x64xf32>
  %e = moe.map(%x) : (tensor<8800x64xf32>) -> tensor<8800x64xf32> {
  ^bb0(%u: f32):
    %n = math.exp %u : f32
    moe.yield %n : f32
  }
  %m = moe.row_reduce sum %e : tensor<8800x64xf32> -> tensor<8800x1xf32>
  moe.write @m, %m : tensor<8800x1xf32>
  %s = moe.col_reduce %e : tensor<8800x64xf32> -> tensor<8x64xf32>
  moe.accumulate @grad, %s : tensor<8x64xf32>
  return
}

// -----

// Sums that stay whole: of few rows, of rows of one column or of too many, and where the row kernel has not all that the
// terms are made of.
moe.state @x batch : tensor<1024x64xf32>
moe.state @w batch : tensor<4096x128xf32>
moe.state @o batch : tensor<4096x64xf32>
moe.state @q batch : tensor<4096x64xf32>
moe.state @grad gradient : tensor<1x64xf32>
moe.state @wide gradient : tensor<1x128xf32>
moe.state @grad_o gradient : tensor<1x64xf32>
moe.state @loss output : tensor<1x1xf32>
// CHECK-LABEL: func @whole()
// CHECK: moe.col_reduce %{{.*}} : tensor<1024x64xf32> -> tensor<1x64xf32>
// CHECK: moe.col_reduce %{{.*}} : tensor<4096x128xf32> -> tensor<1x128xf32>
// CHECK: moe.col_reduce %{{.*}} : tensor<4096x1xf32> -> tensor<1x1xf32>
// CHECK: moe.col_reduce %{{.*}} : tensor<4096x64xf32> -> tensor<1x64xf32>
func.func @whole() {
  %x = moe.read @x : tensor<1024x64xf32>
  %w = moe.read @w : tensor<4096x128xf32>
  %o = moe.read @o : tensor<4096x64xf32>
  %q = moe.read @q : tensor<4096x64xf32>
  %a = moe.row_reduce max %x : tensor<1024x64xf32> -> tensor<1024x1xf32>
  %s = moe.col_reduce %x : tensor<1024x64xf32> -> tensor<1x64xf32>
  moe.accumulate @grad, %s : tensor<1x64xf32>
  %b = moe.row_reduce max %w : tensor<4096x128xf32> -> tensor<4096x1xf32>
  %t = moe.col_reduce %w : tensor<4096x128xf32> -> tensor<1x128xf32>
  moe.accumulate @wide, %t : tensor<1x128xf32>
  %c = moe.row_reduce max %o : tensor<4096x64xf32> -> tensor<4096x1xf32>
  %l = moe.col_reduce %c : tensor<4096x1xf32> -> tensor<1x1xf32>
  moe.write @loss, %l : tensor<1x1xf32>
  %p = moe.map(%o, %q) : (tensor<4096x64xf32>, tensor<4096x64xf32>) -> tensor<4096x64xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.mulf %u, %v : f32
    moe.yield %n : f32
  }
  %u = moe.col_reduce %p : tensor<4096x64xf32> -> tensor<1x64xf32>
  moe.accumulate @grad_o, %u : tensor<1x64xf32>
  return
}

// -----

// Choices keep a kernel busier than memory does: it would only take longer.
moe.state @x batch : tensor<4096x64xf32>
moe.state @ids output : tensor<4096x8xi32>
moe.state @grad gradient : tensor<1x64xf32>
// CHECK-LABEL: func @choices()
// CHECK: moe.col_reduce %{{.*}} : tensor<4096x64xf32> -> tensor<1x64xf32>
func.func @choices() {
  %x = moe.read @x : tensor<4096x64xf32>
  %ids = moe.top_k %x : tensor<4096x64xf32> -> tensor<4096x8xi32>
  moe.write @ids, %ids : tensor<4096x8xi32>
  %s = moe.col_reduce %x : tensor<4096x64xf32> -> tensor<1x64xf32>
  moe.accumulate @grad, %s : tensor<1x64xf32>
  return
}
