// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s
// RUN: moec-opt %s -split-input-file -moe-form-dispatches=epilogue-tensors=1 | FileCheck %s --check-prefix=LIGHT

// Rules about what is stored. A square that only a norm reads is not made by the product: it would be stored beside the
// product's own result, which has another reader. The norm's kernel makes it.
moe.state @a batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @norm()
func.func @norm() {
  // CHECK: %[[P:.*]] = moe.dispatch "matmul" note "moe.map not fused: the product's kernel would store more" () : () -> tensor<8x4xf32> {
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[P]]) : (tensor<8x4xf32>) -> () {
  // CHECK-NEXT: moe.map
  // CHECK: moe.row_reduce sum
  // CHECK-NEXT: moe.map
  %a = moe.read @a : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %q = moe.map(%p) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%u: f32):
    %n = arith.mulf %u, %u : f32
    moe.yield %n : f32
  }
  %s = moe.row_reduce sum %q : tensor<8x4xf32> -> tensor<8x1xf32>
  %r = moe.map(%p, %s) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.mulf %u, %v : f32
    moe.yield %n : f32
  }
  moe.write @y, %r : tensor<8x4xf32>
  return
}

// -----

// The terms of a sum over rows are computed inside the sum.
moe.state @a batch : tensor<8x4xf32>
moe.state @b batch : tensor<8x4xf32>
moe.state @grad gradient : tensor<1x4xf32>
// CHECK-LABEL: func @terms()
func.func @terms() {
  // CHECK: moe.dispatch "col_reduce" () : () -> () {
  // CHECK: %[[T:.*]] = moe.map
  // CHECK: %[[S:.*]] = moe.col_reduce %[[T]]
  // CHECK: moe.accumulate @grad, %[[S]]
  // CHECK-NOT: moe.dispatch
  %a = moe.read @a : tensor<8x4xf32>
  %b = moe.read @b : tensor<8x4xf32>
  %t = moe.map(%a, %b) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.mulf %u, %v : f32
    moe.yield %n : f32
  }
  %s = moe.col_reduce %t : tensor<8x4xf32> -> tensor<1x4xf32>
  moe.accumulate @grad, %s : tensor<1x4xf32>
  return
}

// -----

// Two row ops that read one tensor read it together, though neither needs the other.
moe.state @logits batch : tensor<8x4xf32>
moe.state @ids batch : tensor<8x1xi32>
moe.state @y output : tensor<8x1xf32>
moe.state @z output : tensor<8x1xf32>
// CHECK-LABEL: func @siblings()
func.func @siblings() {
  // CHECK: moe.dispatch "row"
  // CHECK: moe.row_reduce max
  // CHECK: moe.take
  // CHECK-NOT: moe.dispatch
  %x = moe.read @logits : tensor<8x4xf32>
  %ids = moe.read @ids : tensor<8x1xi32>
  %m = moe.row_reduce max %x : tensor<8x4xf32> -> tensor<8x1xf32>
  moe.write @y, %m : tensor<8x1xf32>
  %t = moe.take %x, %ids : tensor<8x4xf32>, tensor<8x1xi32> -> tensor<8x1xf32>
  moe.write @z, %t : tensor<8x1xf32>
  return
}

// -----

// An epilogue reads no more tensors than it is told.
moe.state @a batch : tensor<8x4xf32>
moe.state @gate batch : tensor<8x4xf32>
moe.state @up batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @z output : tensor<8x4xf32>
// CHECK-LABEL: func @gated_backward()
// LIGHT-LABEL: func @gated_backward()
func.func @gated_backward() {
  // CHECK: moe.dispatch "matmul"
  // CHECK: moe.map
  // CHECK-NOT: moe.dispatch
  // LIGHT: %[[P:.*]] = moe.dispatch "matmul" note "moe.map not fused: the product's kernel would store more" () : () -> tensor<8x4xf32> {
  // LIGHT-NOT: moe.map
  // LIGHT: moe.dispatch "row"
  // LIGHT: moe.map
  %a = moe.read @a : tensor<8x4xf32>
  %gate = moe.read @gate : tensor<8x4xf32>
  %up = moe.read @up : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %p = moe.matmul tb %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %g:2 = moe.map(%p, %gate, %up) : (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  ^bb0(%s: f32, %u: f32, %v: f32):
    %m = arith.mulf %s, %u : f32
    %n = arith.mulf %s, %v : f32
    moe.yield %m, %n : f32, f32
  }
  moe.write @y, %g#0 : tensor<8x4xf32>
  moe.write @z, %g#1 : tensor<8x4xf32>
  return
}
