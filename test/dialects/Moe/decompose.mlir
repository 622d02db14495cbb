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
