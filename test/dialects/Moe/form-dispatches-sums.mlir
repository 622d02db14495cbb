// RUN: moec-opt %s -split-input-file -moe-join-maps -cse -moe-form-dispatches=row-sums=2 | FileCheck %s
// RUN: moec-opt %s -split-input-file -moe-form-dispatches=row-sums=2 | FileCheck %s --check-prefix=APART
// RUN: moec-opt %s -split-input-file -moe-join-maps | FileCheck %s --check-prefix=JOIN

// The backward of a gated activation: one map makes the gradients and the activation again, and sums of rows begin in the
// product's kernel.
moe.state @dy batch : tensor<8x6xf32>
moe.state @gate batch : tensor<8x4xf32>
moe.state @up batch : tensor<8x4xf32>
moe.state @down parameter : tensor<4x6xf32>
moe.state @dgate output : tensor<8x4xf32>
moe.state @sums output : tensor<8x1xf32>
moe.state @grad gradient : tensor<4x6xf32>
// CHECK-LABEL: func @gated()
// APART-LABEL: func @gated()
// JOIN-LABEL: func @gated()
func.func @gated() {
  // JOIN: %[[P:.*]] = moe.matmul tb
  // JOIN-NEXT: %[[M:.*]]:3 = moe.map(%{{.*}}, %{{.*}}, %[[P]])
  // JOIN: moe.matmul ta %[[M]]#2
  // CHECK: %[[D:.*]]:2 = moe.dispatch "matmul" {{.*}}() : () -> (tensor<8x4xf32>, tensor<8x2xf32>) {
  // CHECK: moe.matmul tb
  // CHECK: %[[M:.*]]:3 = moe.map
  // CHECK: %[[S:.*]] = moe.row_reduce sum %[[M]]#1 every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
  // CHECK: moe.write @dgate, %[[M]]#0
  // CHECK: moe.yield %[[M]]#2, %[[S]]
  // CHECK: moe.dispatch "matmul" (%{{.*}} = %[[D]]#0)
  // CHECK: moe.dispatch "row" (%[[A:.*]] = %[[D]]#1) : (tensor<8x2xf32>) -> () {
  // CHECK: moe.row_reduce sum %[[A]] : tensor<8x2xf32> -> tensor<8x1xf32>
  // Apart, the activation is made by a row kernel, which reads both tensors again.
  // APART: moe.dispatch "matmul"
  // APART: %{{.*}}:2 = moe.map
  // APART: moe.dispatch "row"
  // APART: moe.map
  %dy = moe.read @dy : tensor<8x6xf32>
  %gate = moe.read @gate : tensor<8x4xf32>
  %up = moe.read @up : tensor<8x4xf32>
  %down = moe.read @down : tensor<4x6xf32>
  %dh = moe.matmul tb %dy, %down : tensor<8x6xf32>, tensor<4x6xf32> -> tensor<8x4xf32>
  %h = moe.map(%gate, %up) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%g: f32, %u: f32):
    %m = arith.mulf %g, %u : f32
    moe.yield %m : f32
  }
  %dw = moe.matmul ta %h, %dy : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  %r:2 = moe.map(%gate, %up, %dh) : (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  ^bb0(%g: f32, %u: f32, %d: f32):
    %m = arith.mulf %d, %u : f32
    %n = arith.mulf %d, %g : f32
    moe.yield %m, %n : f32, f32
  }
  %s = moe.row_reduce sum %r#1 : tensor<8x4xf32> -> tensor<8x1xf32>
  moe.write @dgate, %r#0 : tensor<8x4xf32>
  moe.write @sums, %s : tensor<8x1xf32>
  moe.write @grad, %dw : tensor<4x6xf32>
  return
}

// -----

// A map that only feeds a sum stays in the row kernel that reads its input for other ends.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @norm()
func.func @norm() {
  // CHECK: moe.dispatch "matmul"
  // CHECK-NOT: every
  // CHECK: moe.dispatch "row"
  // CHECK: moe.row_reduce sum
  // CHECK: moe.write @y
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %p = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %q = moe.map(%p) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%s: f32):
    %m = arith.mulf %s, %s : f32
    moe.yield %m : f32
  }
  %s = moe.row_reduce sum %q : tensor<8x4xf32> -> tensor<8x1xf32>
  %n = moe.map(%p, %s) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%u: f32, %v: f32):
    %m = arith.mulf %u, %v : f32
    moe.yield %m : f32
  }
  moe.write @y, %n : tensor<8x4xf32>
  return
}
