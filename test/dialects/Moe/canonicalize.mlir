// RUN: moec-opt %s -canonicalize | FileCheck %s

// CHECK-LABEL: func @reshapes
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>)
func.func @reshapes(%x: tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<2x16xf32>) {
  // CHECK: %[[Y:.*]] = moe.reshape %[[X]] : tensor<8x4xf32> -> tensor<2x16xf32>
  // CHECK: return %[[X]], %[[Y]]
  %a = moe.reshape %x : tensor<8x4xf32> -> tensor<4x8xf32>
  %b = moe.reshape %a : tensor<4x8xf32> -> tensor<8x4xf32>
  %c = moe.reshape %a : tensor<4x8xf32> -> tensor<2x16xf32>
  return %b, %c : tensor<8x4xf32>, tensor<2x16xf32>
}

// Equal operands are merged; operands, results and positions without a use go. Constants stay inside.
// CHECK-LABEL: func @map_signature
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>, %{{.*}}: tensor<8x4xf32>)
func.func @map_signature(%x: tensor<8x4xf32>, %y: tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK-NEXT: %[[R:.*]] = moe.map(%[[X]]) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: f32):
  // CHECK-NEXT: arith.constant
  // CHECK-NEXT: %[[P:.*]] = arith.mulf %[[A]], %[[A]]
  // CHECK: return %[[R]]
  %0:2 = moe.map position(%x, %y, %x) : (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xi64>) {
  ^bb0(%a: f32, %b: f32, %c: f32, %r: i64, %k: i64):
    %two = arith.constant 2.0 : f32
    %p = arith.mulf %a, %c : f32
    %q = arith.mulf %p, %two : f32
    moe.yield %q, %k : f32, i64
  }
  return %0#0 : tensor<8x4xf32>
}

// A constant of one number goes inside, under a reshape too; `partial` stays.
// CHECK-LABEL: func @map_constant
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>)
func.func @map_constant(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK-NEXT: %[[R:.*]] = moe.map partial(%[[X]]) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: f32):
  // CHECK-DAG: %[[TWO:.*]] = arith.constant 2.000000e+00 : f32
  // CHECK-DAG: %[[THREE:.*]] = arith.constant 3.000000e+00 : f32
  // CHECK: %[[P:.*]] = arith.mulf %[[A]], %[[TWO]]
  // CHECK: arith.addf %[[P]], %[[THREE]]
  %two = arith.constant dense<2.0> : tensor<1x1xf32>
  %three = arith.constant dense<3.0> : tensor<1x8xf32>
  %column = moe.reshape %three : tensor<1x8xf32> -> tensor<8x1xf32>
  %0 = moe.map partial(%x, %two, %column) : (tensor<8x4xf32>, tensor<1x1xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %p = arith.mulf %a, %b : f32
    %q = arith.addf %p, %c : f32
    moe.yield %q : f32
  }
  return %0 : tensor<8x4xf32>
}

// Constants of a repeat's body stay there.
// CHECK-LABEL: func @repeat_constants
func.func @repeat_constants() {
  // CHECK-NEXT: moe.repeat
  moe.repeat %l of 2 {
    // CHECK-NEXT: arith.constant
    %a = arith.constant dense<0.0> : tensor<1x1xf32>
    moe.loss %a scale 1.0 : tensor<1x1xf32>
    moe.yield
  }
  return
}

// A window as long as the sequence hides nothing.
// CHECK-LABEL: func @full_window
func.func @full_window(%q: tensor<8x4xf32>, %k: tensor<8x2xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) {
  // CHECK: moe.attention {{.*}} seq_len 4 :
  %o, %lse = moe.attention %q, %k, %k heads 2 kv_heads 1 seq_len 4 window 4 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  // CHECK: moe.attention_grad {{.*}} seq_len 4 :
  %dq, %dk, %dv = moe.attention_grad %q, %k, %k, %o, %lse, %o heads 2 kv_heads 1 seq_len 4 window 9
      : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  // CHECK: moe.attention {{.*}} seq_len 4 window 3 :
  %p, %lse2 = moe.attention %q, %k, %k heads 2 kv_heads 1 seq_len 4 window 3 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  return %o, %dq, %p : tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>
}
