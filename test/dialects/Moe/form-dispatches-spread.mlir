// RUN: moec-opt %s -moe-form-dispatches=spread-in-loads -split-input-file | FileCheck %s --check-prefixes=LOADS,CHECK
// RUN: moec-opt %s -moe-form-dispatches="spread-in-loads gather-once=14" -split-input-file | FileCheck %s --check-prefixes=LOADS,CHECK
// RUN: moec-opt %s -moe-form-dispatches="spread-in-loads gather-once=13" -split-input-file | FileCheck %s --check-prefixes=ROWS,CHECK
// RUN: moec-opt %s -moe-form-dispatches -split-input-file | FileCheck %s --check-prefixes=ROWS,CHECK

// The gradient of what experts made, spread to their rows, is read through the map by the product with the weight and by the
// gradient of the weight: 6 + 7 columns of products together.
moe.state @w parameter : tensor<2x7x4xf32>
moe.state @dw gradient : tensor<2x6x4xf32>
// CHECK-LABEL: func @both
// LOADS-NOT: moe.dispatch "row"
// LOADS: moe.dispatch "matmul"
// LOADS: %[[A:.*]] = moe.spread_rows
// LOADS: moe.grouped_matmul tb %[[A]]
// LOADS: moe.dispatch "matmul"
// LOADS: %[[B:.*]] = moe.spread_rows
// LOADS: moe.grouped_outer %{{.*}}, %[[B]]
// ROWS: moe.dispatch "row"
// ROWS: moe.spread_rows
// ROWS: moe.dispatch "matmul"
// ROWS-NOT: moe.spread_rows
func.func @both(%dy: tensor<8x4xf32>, %h: tensor<12x6xf32>, %slot: tensor<12x1xi32>, %offsets: tensor<1x3xi32>,
                %counts: tensor<1x2xi32>) -> tensor<12x7xf32> {
  %w = moe.read @w : tensor<2x7x4xf32>
  %g = moe.spread_rows %dy, %slot top_k 2 : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %dh = moe.grouped_matmul tb %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x7x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x7xf32>
  %p = moe.grouped_outer %h, %g, %offsets, %counts
    : tensor<12x6xf32>, tensor<12x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x6x4xf32>
  moe.accumulate @dw, %p : tensor<2x6x4xf32>
  return %dh : tensor<12x7xf32>
}

// -----

// Weights are multiplied by a row kernel.
moe.state @w parameter : tensor<2x6x4xf32>
// CHECK-LABEL: func @weighted
// CHECK: moe.dispatch "row"
// CHECK: moe.spread_rows
// CHECK: moe.dispatch "matmul"
// CHECK-NOT: moe.spread_rows
func.func @weighted(%dy: tensor<8x4xf32>, %weights: tensor<8x2xf32>, %slot: tensor<12x1xi32>, %offsets: tensor<1x3xi32>,
                    %counts: tensor<1x2xi32>) -> tensor<12x6xf32> {
  %w = moe.read @w : tensor<2x6x4xf32>
  %g = moe.spread_rows %dy, %slot weights %weights : tensor<8x2xf32> top_k 2 : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %dh = moe.grouped_matmul tb %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x6x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  return %dh : tensor<12x6xf32>
}

// -----

// So are rows that something else reads too.
moe.state @w parameter : tensor<2x6x4xf32>
// CHECK-LABEL: func @kept
// CHECK: moe.dispatch "row"
// CHECK: moe.spread_rows
// CHECK-NOT: moe.spread_rows
func.func @kept(%dy: tensor<8x4xf32>, %slot: tensor<12x1xi32>, %offsets: tensor<1x3xi32>, %counts: tensor<1x2xi32>)
    -> (tensor<12x6xf32>, tensor<12x1xf32>) {
  %w = moe.read @w : tensor<2x6x4xf32>
  %g = moe.spread_rows %dy, %slot top_k 2 : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %dh = moe.grouped_matmul tb %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x6x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  %s = moe.row_reduce sum %g : tensor<12x4xf32> -> tensor<12x1xf32>
  return %dh, %s : tensor<12x6xf32>, tensor<12x1xf32>
}

// -----

// And those on the right of a gradient that is not only stored.
// CHECK-LABEL: func @computed
// CHECK: moe.dispatch "row"
// CHECK: moe.spread_rows
// CHECK: moe.dispatch "matmul"
// CHECK-NOT: moe.spread_rows
func.func @computed(%dy: tensor<8x4xf32>, %h: tensor<12x6xf32>, %slot: tensor<12x1xi32>, %offsets: tensor<1x3xi32>,
                    %counts: tensor<1x2xi32>) -> tensor<2x6x4xf32> {
  %g = moe.spread_rows %dy, %slot top_k 2 : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %p = moe.grouped_outer %h, %g, %offsets, %counts
    : tensor<12x6xf32>, tensor<12x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x6x4xf32>
  return %p : tensor<2x6x4xf32>
}
