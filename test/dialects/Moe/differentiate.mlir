// RUN: moec-opt %s -split-input-file -moe-differentiate -canonicalize -cse | FileCheck %s

// Straight line: both gradients of a product, nothing for the input that is no parameter, none for the frozen one.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x6xf32> gradient @grad.w
moe.state @frozen parameter : tensor<6x5xf32>
moe.state @grad.w gradient : tensor<4x6xf32>
// CHECK-LABEL: func @straight_line()
// CHECK-NOT: moe.differentiate
func.func @straight_line() attributes {moe.differentiate} {
  // CHECK: %[[X:.*]] = moe.read @x
  // CHECK: %[[F:.*]] = moe.read @frozen
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x6xf32>
  %f = moe.read @frozen : tensor<6x5xf32>
  %h = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %y = moe.matmul %h, %f : tensor<8x6xf32>, tensor<6x5xf32> -> tensor<8x5xf32>
  %r = moe.row_reduce sum %y : tensor<8x5xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  // CHECK-NOT: moe.loss
  // CHECK: %[[SEED:.*]] = moe.map() : () -> tensor<1x1xf32> {
  // CHECK: arith.constant 2.500000e-01 : f32
  // CHECK: %[[DR:.*]] = moe.map(%[[SEED]]) : (tensor<1x1xf32>) -> tensor<8x1xf32>
  // CHECK: %[[DY:.*]] = moe.map(%[[DR]]) : (tensor<8x1xf32>) -> tensor<8x5xf32>
  // CHECK: %[[DH:.*]] = moe.matmul tb %[[DY]], %[[F]]
  // CHECK: %[[DW:.*]] = moe.matmul ta %[[X]], %[[DH]]
  // CHECK-NEXT: moe.accumulate @grad.w, %[[DW]]
  // CHECK-NEXT: return
  moe.loss %t scale 0.25 : tensor<1x1xf32>
  return
}

// -----

// A value with two uses adds its gradients; the backward of an addition reads none of its operands.
moe.state @w parameter : tensor<8x4xf32> gradient @grad.w
moe.state @s parameter : tensor<1x4xf32> gradient @grad.s
moe.state @grad.w gradient : tensor<8x4xf32>
moe.state @grad.s gradient : tensor<1x4xf32>
// CHECK-LABEL: func @two_uses()
func.func @two_uses() attributes {moe.differentiate} {
  // CHECK: %[[W:.*]] = moe.read @w
  // CHECK: %[[S:.*]] = moe.read @s
  %w = moe.read @w : tensor<8x4xf32>
  %s = moe.read @s : tensor<1x4xf32>
  %y = moe.map(%w, %s) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  %z = moe.map(%y, %w) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.addf %a, %b : f32
    moe.yield %p : f32
  }
  %r = moe.row_reduce sum %z : tensor<8x4xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  // CHECK: %[[DZ:.*]] = moe.map(%{{.*}}) : (tensor<8x1xf32>) -> tensor<8x4xf32>
  // CHECK: %[[D:.*]]:2 = moe.map(%[[W]], %[[S]], %[[DZ]])
  // CHECK: %[[DS:.*]] = moe.col_reduce %[[D]]#1 : tensor<8x4xf32> -> tensor<1x4xf32>
  // CHECK: %[[DW:.*]] = moe.map(%[[DZ]], %[[D]]#0)
  // CHECK: moe.accumulate @grad.s, %[[DS]]
  // CHECK: moe.accumulate @grad.w, %[[DW]]
  return
}

// -----

// A repeat: the carried value is kept, the norm marked moe.remat is computed again, the weights are read again.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32> count 3 gradient @grad.w
moe.state @grad.w gradient : tensor<4x4xf32> count 3
moe.state @s parameter : tensor<1x4xf32> count 3 gradient @grad.s
moe.state @grad.s gradient : tensor<1x4xf32> count 3
// CHECK-LABEL: func @layers()
func.func @layers() attributes {moe.differentiate} {
  %x0 = moe.read @x : tensor<8x4xf32>
  // CHECK: %[[F:.*]]:2 = moe.repeat %{{.*}} of 3 carry(%[[X:.*]] = %{{.*}} : tensor<8x4xf32>) -> (tensor<3x8x4xf32>) {
  %x3 = moe.repeat %l of 3 carry(%x = %x0 : tensor<8x4xf32>) {
    %s = moe.read @s[%l] : tensor<1x4xf32>
    %n = moe.rms_norm %x, %s {eps = 1.0e-05 : f64, moe.remat} : tensor<8x4xf32>, tensor<1x4xf32>
    %w = moe.read @w[%l] : tensor<4x4xf32>
    %h = moe.matmul %n, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    %y = moe.map(%x, %h) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%a: f32, %b: f32):
      %p = arith.addf %a, %b : f32
      moe.yield %p : f32
    }
    // CHECK: moe.yield %{{.*}}, %[[X]] : tensor<8x4xf32>, tensor<8x4xf32>
    moe.yield %y : tensor<8x4xf32>
  }
  %r = moe.row_reduce sum %x3 : tensor<8x4xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  // The gradient of %x0 has no use, but is the loop's carried value.
  // CHECK: moe.repeat reverse %[[L:.*]] of 3 carry(%[[DY:.*]] = %{{.*}} : tensor<8x4xf32>) stacked(%[[KEPT:.*]] = %[[F]]#1 : tensor<3x8x4xf32>) {
  // CHECK-DAG: %[[W:.*]] = moe.read @w[%[[L]]]
  // CHECK-DAG: %[[DN:.*]] = moe.matmul tb %[[DY]], %[[W]]
  // CHECK-DAG: %[[S:.*]] = moe.read @s[%[[L]]]
  // CHECK-DAG: %[[N:.*]] = moe.rms_norm %[[KEPT]], %[[S]] {eps = {{.*}} : f64} :
  // CHECK-DAG: %[[DW:.*]] = moe.matmul ta %[[N]], %[[DY]]
  // CHECK: moe.accumulate @grad.w[%[[L]]], %[[DW]]
  // CHECK: moe.accumulate @grad.s[%[[L]]]
  // CHECK: moe.yield %{{.*}} : tensor<8x4xf32>
  return
}

// -----

// Without the mark the result of the norm is kept too. Ids are kept as floats are.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32> count 3 gradient @grad.w
moe.state @grad.w gradient : tensor<4x4xf32> count 3
// CHECK-LABEL: func @kept()
func.func @kept() attributes {moe.differentiate} {
  %x0 = moe.read @x : tensor<8x4xf32>
  // CHECK: moe.repeat %{{.*}} of 3 carry(%{{.*}} = %{{.*}} : tensor<8x4xf32>) -> (tensor<3x8x4xi32>, tensor<3x8x4xf32>) {
  // CHECK: %[[SOFT:.*]] = moe.softmax
  // CHECK: %[[IDS:.*]] = moe.top_k
  // CHECK: moe.yield %{{.*}}, %[[IDS]], %[[SOFT]]
  %x3 = moe.repeat %l of 3 carry(%x = %x0 : tensor<8x4xf32>) {
    %soft = moe.softmax %x : tensor<8x4xf32>
    %ids = moe.top_k %soft : tensor<8x4xf32> -> tensor<8x4xi32>
    %w = moe.read @w[%l] : tensor<4x4xf32>
    %h = moe.matmul %soft, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    %y = moe.take %h, %ids : tensor<8x4xf32>, tensor<8x4xi32> -> tensor<8x4xf32>
    moe.yield %y : tensor<8x4xf32>
  }
  // CHECK: moe.repeat reverse %{{.*}} of 3 carry({{.*}}) stacked(%[[I:.*]] = %{{.*}}#1 : tensor<3x8x4xi32>, %[[S:.*]] = %{{.*}}#2 : tensor<3x8x4xf32>) {
  // CHECK: %[[DH:.*]] = moe.put %{{.*}}, %[[I]]
  // CHECK: moe.matmul ta %[[S]], %[[DH]]
  %r = moe.row_reduce sum %x3 : tensor<8x4xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

// A captured value gets its gradient through an extra carried sum; a stacked operand gets a stacked gradient, a stacked result passes one in.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32> gradient @grad.w
moe.state @grad.w gradient : tensor<4x4xf32>
moe.state @p parameter : tensor<8x4xf32> count 3 gradient @grad.p
moe.state @grad.p gradient : tensor<8x4xf32> count 3
// CHECK-LABEL: func @captured()
func.func @captured() attributes {moe.differentiate} {
  %x0 = moe.read @x : tensor<8x4xf32>
  // CHECK: %[[W:.*]] = moe.read @w
  %w = moe.read @w : tensor<4x4xf32>
  // CHECK: %[[P:.*]] = moe.read @p
  %all = moe.read @p : tensor<3x8x4xf32>
  %outs = moe.repeat %l of 3 stacked(%p = %all : tensor<3x8x4xf32>) -> (tensor<3x8x4xf32>) {
    %h = moe.matmul %p, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    moe.yield %h : tensor<8x4xf32>
  }
  // CHECK: %[[G:.*]] = moe.reshape %{{.*}} : tensor<24x4xf32> -> tensor<3x8x4xf32>
  // CHECK: %[[B:.*]]:2 = moe.repeat reverse %{{.*}} of 3 carry(%[[SUM:.*]] = %{{.*}} : tensor<4x4xf32>) stacked(%[[D:.*]] = %[[G]] : tensor<3x8x4xf32>, %[[SLICE:.*]] = %[[P]] : tensor<3x8x4xf32>) -> (tensor<3x8x4xf32>) {
  // CHECK: %[[DP:.*]] = moe.matmul tb %[[D]], %[[W]]
  // CHECK: %[[DW:.*]] = moe.matmul ta %[[SLICE]], %[[D]]
  // CHECK: %[[NEXT:.*]] = moe.map(%[[SUM]], %[[DW]])
  // CHECK: moe.yield %[[NEXT]], %[[DP]]
  // CHECK: moe.accumulate @grad.p, %[[B]]#1 : tensor<3x8x4xf32>
  // CHECK: moe.accumulate @grad.w, %[[B]]#0 : tensor<4x4xf32>
  %flat = moe.reshape %outs : tensor<3x8x4xf32> -> tensor<24x4xf32>
  %r = moe.row_reduce sum %flat : tensor<24x4xf32> -> tensor<24x1xf32>
  %t = moe.col_reduce %r : tensor<24x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

// A state that the function changes cannot be read again: its value is kept.
moe.state @w parameter : tensor<8x4xf32> count 3 gradient @grad.w
moe.state @grad.w gradient : tensor<8x4xf32> count 3
moe.state @bias balance : tensor<1x4xf32> count 3
// CHECK-LABEL: func @changed_state()
func.func @changed_state() attributes {moe.differentiate} {
  %outs = moe.repeat %l of 3 -> (tensor<3x8x4xf32>) {
    // CHECK: %[[B:.*]] = moe.read @bias
    // CHECK: moe.yield %{{.*}}, %[[B]]
    %w = moe.read @w[%l] : tensor<8x4xf32>
    %b = moe.read @bias[%l] : tensor<1x4xf32>
    %h = moe.map(%w, %b) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%x: f32, %y: f32):
      %p = arith.mulf %x, %y : f32
      moe.yield %p : f32
    }
    moe.accumulate @bias[%l], %b : tensor<1x4xf32>
    moe.yield %h : tensor<8x4xf32>
  }
  // CHECK: moe.repeat reverse
  // CHECK-NOT: moe.read
  // CHECK: moe.accumulate @grad.w
  %flat = moe.reshape %outs : tensor<3x8x4xf32> -> tensor<24x4xf32>
  %r = moe.row_reduce sum %flat : tensor<24x4xf32> -> tensor<24x1xf32>
  %t = moe.col_reduce %r : tensor<24x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

// What is marked moe.stop_gradient counts as constant.
moe.state @w parameter : tensor<8x4xf32> gradient @grad.w
moe.state @grad.w gradient : tensor<8x4xf32>
// CHECK-LABEL: func @stopped()
func.func @stopped() attributes {moe.differentiate} {
  // CHECK: %[[W:.*]] = moe.read @w
  // CHECK: %[[Y:.*]] = moe.softmax %[[W]]
  %w = moe.read @w : tensor<8x4xf32>
  %y = moe.softmax %w {moe.stop_gradient} : tensor<8x4xf32>
  %z = moe.map(%w, %y) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  %r = moe.row_reduce sum %z : tensor<8x4xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  // CHECK: %[[D:.*]] = moe.map(%[[Y]], %{{.*}}) :
  // CHECK-NOT: moe.row_reduce
  // CHECK: moe.accumulate @grad.w, %[[D]]
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

// Thresholds and plans are constants, though they are made of what has a gradient.
moe.state @w parameter : tensor<8x4xf32> gradient @grad.w
moe.state @now counter : tensor<1x1xi64>
moe.state @grad.w gradient : tensor<8x4xf32>
// CHECK-LABEL: func @chosen()
// CHECK: %[[T:.*]] = moe.column_kth
// CHECK: %[[P:.*]] = moe.sinkhorn
// CHECK: moe.map(%[[T]], %[[P]], %{{.*}}) : (tensor<1x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32>
// CHECK-NOT: col_reduce
// CHECK: moe.accumulate @grad.w
func.func @chosen() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<8x4xf32>
  %now = moe.read @now : tensor<1x1xi64>
  %t = moe.column_kth %w n 2 : tensor<8x4xf32> -> tensor<1x4xf32>
  %p = moe.sinkhorn %w if %now xi 0.1 max_iters 5 tol 0.0 : tensor<8x4xf32>, tensor<1x1xi64>
  %y = moe.map(%w, %t, %p) : (tensor<8x4xf32>, tensor<1x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %s = arith.mulf %m, %c : f32
    moe.yield %s : f32
  }
  %r = moe.row_reduce sum %y : tensor<8x4xf32> -> tensor<8x1xf32>
  %l = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.loss %l scale 1.0 : tensor<1x1xf32>
  return
}
