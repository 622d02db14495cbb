// RUN: moec-opt %s -split-input-file -moe-join-maps | FileCheck %s

// What makes a factor of products joins the map behind a product that reads the same tensors, and more; the product moves
// to right before it. A row's factor comes along.
moe.state @dy batch : tensor<8x6xf32>
moe.state @gate batch : tensor<8x4xf32>
moe.state @scale batch : tensor<8x1xf32>
moe.state @down parameter : tensor<4x6xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @grad gradient : tensor<4x6xf32>
// CHECK-LABEL: func @joins()
func.func @joins() {
  // CHECK: %[[SCALE:.*]] = moe.read @scale
  // CHECK: %[[P:.*]] = moe.matmul tb
  // CHECK-NEXT: %[[M:.*]]:2 = moe.map(%[[P]], %[[GATE:.*]], %[[SCALE]])
  // CHECK: moe.matmul ta %[[M]]#1
  // CHECK: moe.write @y, %[[M]]#0
  %dy = moe.read @dy : tensor<8x6xf32>
  %gate = moe.read @gate : tensor<8x4xf32>
  %down = moe.read @down : tensor<4x6xf32>
  %dh = moe.matmul tb %dy, %down : tensor<8x6xf32>, tensor<4x6xf32> -> tensor<8x4xf32>
  %scale = moe.read @scale : tensor<8x1xf32>
  %h = moe.map(%gate, %scale) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%g: f32, %s: f32):
    %m = arith.mulf %g, %s : f32
    moe.yield %m : f32
  }
  %dw = moe.matmul ta %h, %dy : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  %dg = moe.map(%dh, %gate) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %g: f32):
    %m = arith.mulf %d, %g : f32
    moe.yield %m : f32
  }
  moe.write @y, %dg : tensor<8x4xf32>
  moe.write @grad, %dw : tensor<4x6xf32>
  return
}

// -----

// Not joined: what no product takes; what reads a tensor that the other does not; what the product is made of.
moe.state @x batch : tensor<8x4xf32>
moe.state @z batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @out output : tensor<8x4xf32>
moe.state @grad gradient : tensor<4x4xf32>
// CHECK-LABEL: func @apart()
// CHECK-NOT: :2 = moe.map
// CHECK: return
func.func @apart() {
  %x = moe.read @x : tensor<8x4xf32>
  %z = moe.read @z : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %unused = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %m = arith.negf %a : f32
    moe.yield %m : f32
  }
  moe.write @out, %unused : tensor<8x4xf32>
  %other = moe.map(%x, %z) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %m = arith.mulf %a, %b : f32
    moe.yield %m : f32
  }
  %dw = moe.matmul ta %other, %z : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
  moe.write @grad, %dw : tensor<4x4xf32>
  %factor = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %m = arith.mulf %a, %a : f32
    moe.yield %m : f32
  }
  %p = moe.matmul %factor, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %y = moe.map(%p, %x) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %m = arith.addf %a, %b : f32
    moe.yield %m : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}
