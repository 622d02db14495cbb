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

// -----

// A product of groups that may leave rows out: what joins it is read in these groups alone.
moe.state @dy batch : tensor<8x4xf32>
moe.state @gate batch : tensor<8x4xf32>
moe.state @w parameter : tensor<2x4x4xf32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @others batch : tensor<1x3xi32>
moe.state @grad gradient : tensor<2x4x4xf32>
moe.state @more gradient : tensor<2x4x4xf32>
// CHECK-LABEL: func @groups()
func.func @groups() {
  // CHECK: moe.grouped_matmul tb
  // CHECK-NEXT: moe.map partial(
  %dy = moe.read @dy : tensor<8x4xf32>
  %gate = moe.read @gate : tensor<8x4xf32>
  %w = moe.read @w : tensor<2x4x4xf32>
  %o = moe.read @offsets : tensor<1x3xi32>
  %c = moe.read @counts : tensor<1x2xi32>
  %h = moe.map(%gate) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%g: f32):
    %m = arith.mulf %g, %g : f32
    moe.yield %m : f32
  }
  %dw = moe.grouped_outer %h, %dy, %o, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x4xf32>
  %dh = moe.grouped_matmul tb %dy, %w, %o, %c : tensor<8x4xf32>, tensor<2x4x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<8x4xf32>
  %dg = moe.map(%dh, %gate) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %g: f32):
    %m = arith.mulf %d, %g : f32
    moe.yield %m : f32
  }
  %dv = moe.grouped_outer %dy, %dg, %o, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x4xf32>
  moe.write @grad, %dw : tensor<2x4x4xf32>
  moe.write @more, %dv : tensor<2x4x4xf32>
  return
}

// CHECK-LABEL: func @other_groups()
func.func @other_groups() {
  // CHECK-NOT: partial
  // CHECK: return
  %dy = moe.read @dy : tensor<8x4xf32>
  %gate = moe.read @gate : tensor<8x4xf32>
  %w = moe.read @w : tensor<2x4x4xf32>
  %o = moe.read @offsets : tensor<1x3xi32>
  %c = moe.read @counts : tensor<1x2xi32>
  %other = moe.read @others : tensor<1x3xi32>
  %h = moe.map(%gate) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%g: f32):
    %m = arith.mulf %g, %g : f32
    moe.yield %m : f32
  }
  %dw = moe.grouped_outer %h, %dy, %other, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x4xf32>
  %dh = moe.grouped_matmul tb %dy, %w, %o, %c : tensor<8x4xf32>, tensor<2x4x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<8x4xf32>
  %dg = moe.map(%dh, %gate) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %g: f32):
    %m = arith.mulf %d, %g : f32
    moe.yield %m : f32
  }
  %dv = moe.grouped_outer %dy, %dg, %o, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x4xf32>
  moe.write @grad, %dw : tensor<2x4x4xf32>
  moe.write @more, %dv : tensor<2x4x4xf32>
  return
}
