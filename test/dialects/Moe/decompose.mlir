// RUN: moec-opt %s -moe-decompose | FileCheck %s

// CHECK-LABEL: func @rms_norm
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>, %[[S:.*]]: tensor<1x4xf32>)
func.func @rms_norm(%x: tensor<8x4xf32>, %s: tensor<1x4xf32>) -> tensor<8x4xf32> {
  // CHECK: %[[SQ:.*]] = moe.map(%[[X]])
  // CHECK: arith.mulf
  // CHECK: %[[SUM:.*]] = moe.row_reduce sum %[[SQ]]
  // CHECK: %[[Y:.*]] = moe.map(%[[X]], %[[S]], %[[SUM]])
  // CHECK: math.rsqrt
  // CHECK: return %[[Y]]
  %y = moe.rms_norm %x, %s {eps = 1.0e-06 : f64} : tensor<8x4xf32>, tensor<1x4xf32>
  return %y : tensor<8x4xf32>
}

// CHECK-LABEL: func @softmax
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>)
func.func @softmax(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK: %[[MAX:.*]] = moe.row_reduce max %[[X]]
  // CHECK: %[[E:.*]] = moe.map(%[[X]], %[[MAX]])
  // CHECK: math.exp
  // CHECK: %[[SUM:.*]] = moe.row_reduce sum %[[E]]
  // CHECK: %[[Y:.*]] = moe.map(%[[E]], %[[SUM]])
  // CHECK: return %[[Y]]
  %y = moe.softmax %x : tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}

// CHECK-LABEL: func @log_sum_exp
// CHECK-NOT: moe.log_sum_exp
func.func @log_sum_exp(%x: tensor<8x4xf32>) -> tensor<8x1xf32> {
  // CHECK: %[[MAX:.*]] = moe.row_reduce max
  // CHECK: %[[SUM:.*]] = moe.row_reduce sum
  // CHECK: moe.map(%[[MAX]], %[[SUM]])
  // CHECK: math.log
  %y = moe.log_sum_exp %x : tensor<8x4xf32> -> tensor<8x1xf32>
  return %y : tensor<8x1xf32>
}

// CHECK-LABEL: func @quantize_rows
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>, %[[Y:.*]]: tensor<8x4xf32>)
func.func @quantize_rows(%x: tensor<8x4xf32>, %y: tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x1xf32>) {
  // CHECK: %[[A:.*]] = moe.map(%[[X]], %[[Y]])
  // CHECK: %[[XA:.*]] = math.absf
  // CHECK: %[[YA:.*]] = math.absf
  // CHECK: arith.maximumf %[[XA]], %[[YA]]
  // CHECK: %[[M:.*]] = moe.row_reduce max %[[A]]
  // The power of two: one below a quarter of the mantissa's range, the exponent, less eight, at least that of 2^-100.
  // CHECK: %[[S:.*]]:2 = moe.map(%[[M]])
  // CHECK-DAG: arith.constant 2097151 : i32
  // CHECK-DAG: arith.constant 2139095040 : i32
  // CHECK-DAG: arith.constant 67108864 : i32
  // CHECK-DAG: arith.constant 226492416 : i32
  // CHECK-DAG: arith.constant 2130706432 : i32
  // CHECK: arith.subf
  // CHECK: %[[QX:.*]] = moe.map(%[[X]], %[[S]]#1)
  // CHECK: arith.mulf
  // CHECK-NEXT: arith.truncf %{{.*}} : f32 to f8E4M3FN
  // CHECK-NEXT: arith.extf %{{.*}} : f8E4M3FN to f32
  // CHECK: %[[QY:.*]] = moe.map(%[[Y]], %[[S]]#1)
  // CHECK: return %[[QX]], %[[QY]], %[[S]]#0
  %0:3 = moe.quantize_rows %x, %y : (tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x1xf32>)
  return %0#0, %0#1, %0#2 : tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x1xf32>
}
