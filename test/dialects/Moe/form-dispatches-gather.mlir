// RUN: moec-opt %s -moe-form-dispatches=gather-once=12 | FileCheck %s --check-prefix=ONCE
// RUN: moec-opt %s -moe-form-dispatches=gather-once=13 | FileCheck %s --check-prefix=LOADS

// Rows for products of many columns together are gathered once, by a kernel of their own.
moe.state @rows batch : tensor<12x1xi32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @x batch : tensor<8x4xf32>
moe.state @v parameter : tensor<2x4x6xf32>
moe.state @w parameter : tensor<2x4x6xf32>
moe.state @y output : tensor<12x6xf32>
moe.state @z output : tensor<12x6xf32>
// ONCE: %[[G:.*]] = moe.dispatch "row" {{.*}} : () -> tensor<12x4xf32> {
// ONCE: moe.gather_rows
// ONCE: moe.dispatch "matmul" (%[[IN:.*]] = %[[G]]) : (tensor<12x4xf32>) -> () {
// ONCE-NOT: moe.gather_rows
// ONCE: moe.grouped_matmul all_rows %[[IN]]
// ONCE: moe.grouped_matmul all_rows %[[IN]]
// LOADS-NOT: moe.dispatch "row"
// LOADS: moe.dispatch "matmul" () : () -> () {
// LOADS: %[[G:.*]] = moe.gather_rows
// LOADS: moe.grouped_matmul all_rows %[[G]]
// LOADS: moe.grouped_matmul all_rows %[[G]]
func.func @gather() {
  %x = moe.read @x : tensor<8x4xf32>
  %rows = moe.read @rows : tensor<12x1xi32>
  %offsets = moe.read @offsets : tensor<1x3xi32>
  %counts = moe.read @counts : tensor<1x2xi32>
  %v = moe.read @v : tensor<2x4x6xf32>
  %w = moe.read @w : tensor<2x4x6xf32>
  %g = moe.gather_rows %x, %rows : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %a = moe.grouped_matmul all_rows %g, %v, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  %b = moe.grouped_matmul all_rows %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  moe.write @y, %a : tensor<12x6xf32>
  moe.write @z, %b : tensor<12x6xf32>
  return
}
