// RUN: moec-opt %s -dist-order-sums='micro-batches=2' | FileCheck %s --check-prefixes=CHECK,TWO
// RUN: moec-opt %s -dist-order-sums='micro-batches=3' | FileCheck %s --check-prefixes=CHECK,THREE
// RUN: moec-opt %s -dist-order-sums='micro-batches=8' | FileCheck %s --check-prefixes=CHECK,EIGHT
// RUN: moec-opt %s -dist-order-sums='micro-batches=1' | FileCheck %s --check-prefix=ONE --implicit-check-not=level

// A level for each power of two below the number of micro-batches. Sums of integers need none.
// ONE: moe.state @grad.w
// CHECK: moe.state @grad.w gradient : tensor<4x4xf32> count 3
// EIGHT-DAG: moe.state @level.0.grad.w gradient : tensor<4x4xf32> count 3
// EIGHT-DAG: moe.state @level.1.grad.w gradient : tensor<4x4xf32> count 3
// EIGHT-DAG: moe.state @level.2.grad.w gradient : tensor<4x4xf32> count 3
// EIGHT-NOT: @level.3
// THREE-DAG: moe.state @level.1.grad.w
// THREE-NOT: @level.2
// TWO-DAG: moe.state @level.0.grad.w
// TWO-NOT: @level.1
// What is no gradient is kept in f32 as a counter: gradients alone may be stored as bf16.
// EIGHT-DAG: moe.state @level.0.parts.loss counter : tensor<1x1xf32>
// CHECK-NOT: level.{{.*}}.counts
moe.state @grad.w gradient : tensor<4x4xf32> count 3
moe.state @parts.loss counter : tensor<1x1xf32>
moe.state @counts counter : tensor<1x8xi64>
moe.state @x batch : tensor<4x4xf32>
moe.state @y batch : tensor<1x1xf32>
moe.state @n batch : tensor<1x8xi64>

func.func @forward_backward() {
  %x = moe.read @x : tensor<4x4xf32>
  %y = moe.read @y : tensor<1x1xf32>
  %n = moe.read @n : tensor<1x8xi64>
  moe.repeat %l of 3 {
    moe.accumulate @grad.w[%l], %x : tensor<4x4xf32>
    moe.yield
  }
  moe.accumulate @parts.loss, %y : tensor<1x1xf32>
  moe.accumulate @counts, %n : tensor<1x8xi64>
  return
}

// The first leaf of a pair is kept as it is, and the state is cleared for the next.
// CHECK-LABEL: func @sum_level_0
// CHECK-NEXT: %[[ALL:.*]] = moe.read @grad.w : tensor<3x4x4xf32>
// CHECK-NEXT: %[[LEAF:.*]] = moe.reshape %[[ALL]] : tensor<3x4x4xf32> -> tensor<12x4xf32>
// CHECK-NEXT: %[[KEPT:.*]] = moe.reshape %[[LEAF]]
// CHECK-NEXT: moe.write @level.0.grad.w, %[[KEPT]] : tensor<3x4x4xf32>
// CHECK-NEXT: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<12x4xf32>
// CHECK-NEXT: %[[NONE:.*]] = moe.reshape %[[ZERO]]
// CHECK-NEXT: moe.write @grad.w, %[[NONE]] : tensor<3x4x4xf32>
// CHECK: moe.write @level.0.parts.loss
// CHECK: moe.write @parts.loss
// CHECK-NOT: @counts

// The second is added to the first: earlier + later.
// THREE-LABEL: func @sum_level_1
// THREE: %[[LATER:.*]] = moe.reshape %{{.*}} : tensor<3x4x4xf32> -> tensor<12x4xf32>
// THREE: moe.read @level.0.grad.w
// THREE-NEXT: %[[EARLIER:.*]] = moe.reshape
// THREE-NEXT: moe.map(%[[EARLIER]], %[[LATER]])
// THREE-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
// THREE-NEXT: arith.addf %[[A]], %[[B]]
// THREE: moe.write @level.1.grad.w
// After three micro-batches: level 1 holds the sum of the first two, the state the third. Level 0 is empty.
// THREE-LABEL: func @sum_all
// THREE-NOT: @level.0.
// THREE: moe.read @level.1.grad.w
// THREE: moe.write @grad.w
// THREE-NOT: @level.0.

// TWO-LABEL: func @sum_all
// TWO: moe.read @level.0.grad.w
// TWO: moe.write @grad.w
// TWO: moe.read @level.0.parts.loss
// TWO: moe.write @parts.loss
// TWO-NOT: func

// The third joins two levels, the lowest first.
// EIGHT-LABEL: func @sum_level_2
// EIGHT: moe.read @level.0.grad.w
// EIGHT: moe.read @level.1.grad.w
// EIGHT: moe.write @level.2.grad.w
// EIGHT: moe.write @grad.w
// EIGHT-LABEL: func @sum_all
// EIGHT: moe.read @level.0.grad.w
// EIGHT: moe.read @level.1.grad.w
// EIGHT: moe.read @level.2.grad.w
// EIGHT: moe.write @grad.w
// EIGHT-NOT: moe.write @level
