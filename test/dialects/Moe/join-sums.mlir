// RUN: moec-opt %s -split-input-file -moe-join-sums | FileCheck %s
// RUN: moec-opt %s -split-input-file -moe-join-sums -moe-form-dispatches | FileCheck %s --check-prefix=GROUP

// Products that only feed a chain of sums stand before one map that adds everything, in the order of the chain, and become
// one kernel.
moe.state @a batch : tensor<8x4xf32>
moe.state @b batch : tensor<8x6xf32>
moe.state @x batch : tensor<8x5xf32>
moe.state @wa parameter : tensor<5x4xf32>
moe.state @wb parameter : tensor<5x6xf32>
moe.state @y output : tensor<8x5xf32>
// CHECK-LABEL: func @chain()
func.func @chain() {
  %a = moe.read @a : tensor<8x4xf32>
  %b = moe.read @b : tensor<8x6xf32>
  %x = moe.read @x : tensor<8x5xf32>
  %wa = moe.read @wa : tensor<5x4xf32>
  %wb = moe.read @wb : tensor<5x6xf32>
  %p = moe.matmul tb %a, %wa : tensor<8x4xf32>, tensor<5x4xf32> -> tensor<8x5xf32>
  // CHECK-NOT: moe.matmul
  // CHECK: %[[D:.*]] = moe.map(%{{.*}}) : (tensor<8x6xf32>)
  %d = moe.map(%b) : (tensor<8x6xf32>) -> tensor<8x6xf32> {
  ^bb0(%s: f32):
    %n = arith.negf %s : f32
    moe.yield %n : f32
  }
  %s1 = moe.map(%x, %p) : (tensor<8x5xf32>, tensor<8x5xf32>) -> tensor<8x5xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  // CHECK: %[[P:.*]] = moe.matmul tb
  // CHECK-NEXT: %[[Q:.*]] = moe.matmul tb %[[D]]
  // CHECK-NEXT: moe.map(%{{.*}}, %[[P]], %[[Q]])
  // CHECK: arith.addf
  // CHECK: arith.addf
  // CHECK: moe.write @y
  // GROUP-LABEL: func @chain()
  // GROUP: moe.dispatch "row"
  // GROUP: moe.dispatch "matmul"
  // GROUP: moe.matmul tb
  // GROUP: moe.matmul tb
  // GROUP: moe.map
  // GROUP: moe.write @y
  // GROUP-NOT: moe.dispatch
  // GROUP: return
  %q = moe.matmul tb %d, %wb : tensor<8x6xf32>, tensor<5x6xf32> -> tensor<8x5xf32>
  %s2 = moe.map(%s1, %q) : (tensor<8x5xf32>, tensor<8x5xf32>) -> tensor<8x5xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  moe.write @y, %s2 : tensor<8x5xf32>
  return
}

// -----

// A product with another reader is needed by itself.
moe.state @a batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @z output : tensor<8x4xf32>
// CHECK-LABEL: func @shared()
func.func @shared() {
  %a = moe.read @a : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  // CHECK: %[[P:.*]] = moe.matmul %
  // CHECK-NEXT: moe.write @z, %[[P]]
  %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  moe.write @z, %p : tensor<8x4xf32>
  %q = moe.matmul tb %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %s = moe.map(%p, %q) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%u: f32, %v: f32):
    %n = arith.addf %u, %v : f32
    moe.yield %n : f32
  }
  moe.write @y, %s : tensor<8x4xf32>
  return
}

// -----

// Products whose groups have other rows stay where they are: one kernel has one set of groups.
moe.state @a batch : tensor<8x4xf32>
moe.state @w parameter : tensor<3x4x5xf32>
moe.state @one batch : tensor<1x4xi32>
moe.state @two batch : tensor<1x4xi32>
moe.state @n batch : tensor<1x3xi32>
moe.state @y output : tensor<8x5xf32>
moe.state @z output : tensor<8x4xf32>
// CHECK-LABEL: func @groups()
func.func @groups() {
  %a = moe.read @a : tensor<8x4xf32>
  %w = moe.read @w : tensor<3x4x5xf32>
  %one = moe.read @one : tensor<1x4xi32>
  %two = moe.read @two : tensor<1x4xi32>
  %n = moe.read @n : tensor<1x3xi32>
  // CHECK: moe.grouped_matmul
  // CHECK-NEXT: moe.write @z
  %p = moe.grouped_matmul %a, %w, %one, %n : tensor<8x4xf32>, tensor<3x4x5xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x5xf32>
  moe.write @z, %a : tensor<8x4xf32>
  %q = moe.grouped_matmul %a, %w, %two, %n : tensor<8x4xf32>, tensor<3x4x5xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x5xf32>
  %s = moe.map(%p, %q) : (tensor<8x5xf32>, tensor<8x5xf32>) -> tensor<8x5xf32> {
  ^bb0(%u: f32, %v: f32):
    %r = arith.addf %u, %v : f32
    moe.yield %r : f32
  }
  moe.write @y, %s : tensor<8x5xf32>
  return
}
