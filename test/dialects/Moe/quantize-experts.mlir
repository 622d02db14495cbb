// RUN: moec-opt %s -moe-quantize-experts -canonicalize | FileCheck %s

// A product of a parameter takes quantised operands. Copies are made where the parameter is written, and by refresh.
moe.state @x batch : tensor<8x4xf32>
moe.state @grad.w gradient : tensor<2x4x6xf32> count 3
moe.state @w parameter : tensor<2x4x6xf32> count 3 layers [0, 1] gradient @grad.w
moe.state @v parameter : tensor<2x4x6xf32> count 3 layers [0, 1] gradient @grad.w named "layers.{}.v" saved

// CHECK: moe.state @w parameter
// Those of rows are shared with @v, so its scale stands for both.
// CHECK-DAG: moe.state @copy.w.columns copy : tensor<2x6x4xf32> count 3 layers [0, 1] {moe.quantized}
// CHECK-DAG: moe.state @copy.w.columns.scale copy : tensor<2x6xf32> count 3 layers [0, 1] {moe.full_precision}
// CHECK-DAG: moe.state @copy.w.rows copy : tensor<2x4x6xf32> count 3 layers [0, 1] {moe.quantized}
// CHECK-DAG: moe.state @copy.w.rows.scale copy : tensor<2x4xf32> count 3 layers [0, 1] {moe.full_precision}
// A copy is called like its parameter; it is made anew, not saved.
// CHECK-DAG: moe.state @copy.v.rows copy : tensor<2x4x6xf32> count 3 layers [0, 1] named "copy.layers.{}.v.rows" {moe.quantized}

// A gather takes quantised rows; the gradient of the weights goes on reading what it did.
// CHECK-LABEL: func @forward
// CHECK-SAME: (%[[X:.*]]: tensor<8x4xf32>, %[[ROWS:.*]]: tensor<16x1xi32>, %[[O:.*]]: tensor<1x3xi32>, %[[C:.*]]: tensor<1x2xi32>, %[[G:.*]]: tensor<16x6xf32>, %[[L:.*]]: index)
// CHECK-NEXT: %[[Q:.*]], %[[S:.*]] = moe.quantize_rows %[[X]] : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf32>)
// CHECK: %[[A:.*]] = moe.gather_rows %[[X]], %[[ROWS]]
// CHECK: %[[QA:.*]] = moe.gather_rows %[[Q]], %[[ROWS]]
// CHECK: %[[QS:.*]] = moe.gather_rows %[[S]], %[[ROWS]] : tensor<8x1xf32>, tensor<16x1xi32> -> tensor<16x1xf32>
// CHECK: %[[WS:.*]] = moe.read @copy.w.columns.scale[%[[L]]] : tensor<2x6xf32>
// CHECK: %[[W:.*]] = moe.read @copy.w.columns[%[[L]]] : tensor<2x6x4xf32>
// CHECK: moe.grouped_matmul tb %[[QA]], %[[W]], %[[O]], %[[C]] scales %[[QS]], %[[WS]]
// CHECK: moe.grouped_outer %[[A]], %[[G]]
func.func @forward(%x: tensor<8x4xf32>, %rows: tensor<16x1xi32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>, %g: tensor<16x6xf32>, %l: index) -> (tensor<16x6xf32>, tensor<2x4x6xf32>) {
  %a = moe.gather_rows %x, %rows : tensor<8x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  %w = moe.read @w[%l] : tensor<2x4x6xf32>
  %y = moe.grouped_matmul %a, %w, %o, %c : tensor<16x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x6xf32>
  %d = moe.grouped_outer %a, %g, %o, %c : tensor<16x4xf32>, tensor<16x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x6xf32>
  return %y, %d : tensor<16x6xf32>, tensor<2x4x6xf32>
}

// Products that are only added share both scales.
// CHECK-LABEL: func @backward
// CHECK-SAME: (%[[G:.*]]: tensor<16x6xf32>, %[[H:.*]]: tensor<16x6xf32>
// CHECK: %[[Q:.*]]:2, %[[RS:.*]] = moe.quantize_rows %[[G]], %[[H]]
// CHECK: %[[S:.*]] = moe.read @copy.w.rows.scale
// CHECK: %[[W:.*]] = moe.read @copy.w.rows[
// CHECK: %[[P:.*]] = moe.grouped_matmul tb %[[Q]]#0, %[[W]], %{{.*}}, %{{.*}} scales %[[RS]], %[[S]]
// CHECK: %[[V:.*]] = moe.read @copy.v.rows[
// CHECK: %[[R:.*]] = moe.grouped_matmul tb %[[Q]]#1, %[[V]], %{{.*}}, %{{.*}} scales %[[RS]], %[[S]]
// CHECK: moe.map(%[[P]], %[[R]])
func.func @backward(%g: tensor<16x6xf32>, %h: tensor<16x6xf32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>, %l: index) -> tensor<16x4xf32> {
  %w = moe.read @w[%l] : tensor<2x4x6xf32>
  %p = moe.grouped_matmul tb %g, %w, %o, %c : tensor<16x6xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x4xf32>
  %v = moe.read @v[%l] : tensor<2x4x6xf32>
  %q = moe.grouped_matmul tb %h, %v, %o, %c : tensor<16x6xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x4xf32>
  %s = moe.map(%p, %q) : (tensor<16x4xf32>, tensor<16x4xf32>) -> tensor<16x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %t = arith.addf %a, %b : f32
    moe.yield %t : f32
  }
  return %s : tensor<16x4xf32>
}

// Losses compare activities of experts that may differ by less than a rounding to eight bits.
// CHECK-LABEL: func @precise
// CHECK: %[[W:.*]] = moe.read @w[
// CHECK: moe.grouped_matmul %{{.*}}, %[[W]], {{.*}} {moe.full_precision}
func.func @precise(%x: tensor<16x4xf32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>, %l: index) -> tensor<16x6xf32> {
  %w = moe.read @w[%l] : tensor<2x4x6xf32>
  %y = moe.grouped_matmul %x, %w, %o, %c {moe.full_precision} : tensor<16x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x6xf32>
  return %y : tensor<16x6xf32>
}

// CHECK-LABEL: func @update
// CHECK: moe.write @w,
// CHECK-NEXT: moe.read @w
// CHECK: moe.quantize_columns
// CHECK-SAME: tensor<6x4x6xf32> -> tensor<6x6x4xf32>, tensor<6x6xf32>
// CHECK: moe.write @copy.w.columns, %{{.*}} : tensor<3x2x6x4xf32>
// CHECK: moe.write @copy.w.columns.scale, %{{.*}} : tensor<3x2x6xf32>
// CHECK: moe.quantize_rows %{{.*}}, %{{.*}} : (tensor<24x6xf32>, tensor<24x6xf32>)
// CHECK: moe.write @copy.w.rows
// CHECK: moe.write @copy.v.rows
// CHECK: moe.write @copy.w.rows.scale
func.func @update(%x: tensor<3x2x4x6xf32>) {
  moe.write @w, %x : tensor<3x2x4x6xf32>
  return
}

// CHECK-LABEL: func @refresh
// CHECK: moe.quantize_columns
// CHECK: moe.quantize_rows
