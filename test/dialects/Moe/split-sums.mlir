// RUN: moec-opt %s -split-input-file -moe-split-sums | FileCheck %s

// The gradient of a weight that a layer and a loss on the weight use, in another shape there: two additions, the product
// made last first; what is no product follows.
moe.state @x batch : tensor<8x4xf32>
moe.state @dy batch : tensor<8x6xf32>
moe.state @w parameter : tensor<4x6xf32>
moe.state @grad.w gradient : tensor<2x2x6xf32>
// CHECK-LABEL: func @several()
func.func @several() {
  %x = moe.read @x : tensor<8x4xf32>
  %dy = moe.read @dy : tensor<8x6xf32>
  %w = moe.read @w : tensor<4x6xf32>
  %a = moe.matmul ta %x, %x : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
  %loss = moe.matmul %a, %w : tensor<4x4xf32>, tensor<4x6xf32> -> tensor<4x6xf32>
  // CHECK: %[[A:.*]] = moe.matmul ta
  // CHECK-NEXT: %[[LAYER:.*]] = moe.matmul ta
  // CHECK-NEXT: %[[R:.*]] = moe.reshape %[[LAYER]]
  // CHECK-NEXT: moe.accumulate @grad.w, %[[R]]
  // CHECK-NEXT: %[[LOSS:.*]] = moe.matmul %[[A]]
  // CHECK-NEXT: %[[S:.*]] = moe.reshape %[[LOSS]]
  // CHECK-NEXT: moe.accumulate @grad.w, %[[S]]
  // CHECK-NEXT: %[[T:.*]] = moe.reshape
  // CHECK-NEXT: moe.accumulate @grad.w, %[[T]]
  // CHECK-NEXT: return
  %s1 = moe.map(%loss, %w) : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  %r1 = moe.reshape %s1 : tensor<4x6xf32> -> tensor<2x12xf32>
  %layer = moe.matmul ta %x, %dy : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  %r2 = moe.reshape %layer : tensor<4x6xf32> -> tensor<2x12xf32>
  %s2 = moe.map(%r1, %r2) : (tensor<2x12xf32>, tensor<2x12xf32>) -> tensor<2x12xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  %r3 = moe.reshape %s2 : tensor<2x12xf32> -> tensor<2x2x6xf32>
  moe.accumulate @grad.w, %r3 : tensor<2x2x6xf32>
  return
}

// -----

// A sum with one product is that product's epilogue, and a product with another reader is stored anyway.
moe.state @x batch : tensor<4x4xf32>
moe.state @y output : tensor<4x4xf32>
moe.state @grad.w gradient : tensor<4x4xf32>
// CHECK-LABEL: func @one()
func.func @one() {
  // CHECK: moe.map
  // CHECK: moe.accumulate @grad.w
  // CHECK-NOT: moe.accumulate
  %x = moe.read @x : tensor<4x4xf32>
  %p = moe.matmul ta %x, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %q = moe.matmul tb %x, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  moe.write @y, %p : tensor<4x4xf32>
  %s = moe.map(%p, %q) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  moe.accumulate @grad.w, %s : tensor<4x4xf32>
  return
}
