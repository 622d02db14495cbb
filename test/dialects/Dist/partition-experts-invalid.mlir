// RUN: moec-opt %s -split-input-file -verify-diagnostics -dist-partition="experts=2"

// A table of one row for two tokens each: a rank's rows of it are others than those of its tokens.
moe.state @batch.tokens batch : tensor<4x8xf32>
func.func @forward_backward() attributes {moe.differentiate} {
  %x = moe.read @batch.tokens : tensor<4x8xf32>
  %noise = moe.map position() : () -> tensor<2x8xf32> {
  ^bb0(%row: i64, %column: i64):
    %n = arith.sitofp %row : i64 to f32
    moe.yield %n : f32
  }
  // expected-error @+1 {{MOEC-S084: a value of 2 rows that all ranks have meets divided rows}}
  %y = moe.map(%x, %noise) : (tensor<4x8xf32>, tensor<2x8xf32>) -> tensor<4x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    moe.yield %c : f32
  }
  return
}
func.func @update() {
  return
}

// -----

// Rows that are no tokens of this rank, sorted by the numbers of its tokens.
moe.state @batch.tokens batch : tensor<2x8xf32>
func.func @forward_backward() attributes {moe.differentiate} {
  %x = moe.read @batch.tokens : tensor<2x8xf32>
  %ids = moe.top_k %x : tensor<2x8xf32> -> tensor<2x1xi32>
  %offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute %ids experts 8 align 1
      : tensor<2x1xi32> -> tensor<1x9xi32>, tensor<1x8xi32>, tensor<2x1xi32>
  %rows = moe.gather_rows %x, %row_token slot_row %slot_row : tensor<2x1xi32> : tensor<2x8xf32>, tensor<2x1xi32> -> tensor<2x8xf32>
  %noise = moe.map position() : () -> tensor<2x1xf32> {
  ^bb0(%row: i64, %column: i64):
    %n = arith.sitofp %row : i64 to f32
    moe.yield %n : f32
  }
  // expected-error @+1 {{MOEC-S084: rows that all ranks have are sorted by the experts of divided tokens}}
  %sorted = moe.gather_rows %noise, %row_slot slot_row %slot_row : tensor<2x1xi32> : tensor<2x1xf32>, tensor<2x1xi32> -> tensor<2x1xf32>
  return
}
func.func @update() {
  return
}

// -----

// The owner has other rows than those whose numbers the noise counts.
moe.state @batch.tokens batch : tensor<2x8xf32>
func.func @forward_backward() attributes {moe.differentiate} {
  %x = moe.read @batch.tokens : tensor<2x8xf32>
  %ids = moe.top_k %x : tensor<2x8xf32> -> tensor<2x1xi32>
  %offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute %ids experts 8 align 1
      : tensor<2x1xi32> -> tensor<1x9xi32>, tensor<1x8xi32>, tensor<2x1xi32>
  %rows = moe.gather_rows %x, %row_token slot_row %slot_row : tensor<2x1xi32> : tensor<2x8xf32>, tensor<2x1xi32> -> tensor<2x8xf32>
  %noise = moe.map position() : () -> tensor<2x1xf32> {
  ^bb0(%row: i64, %column: i64):
    %n = arith.sitofp %row : i64 to f32
    moe.yield %n : f32
  }
  // expected-error @+1 {{MOEC-S084: the rows of experts meet rows that are sorted in another way}}
  %y = moe.map(%rows, %noise) : (tensor<2x8xf32>, tensor<2x1xf32>) -> tensor<2x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    moe.yield %c : f32
  }
  return
}
func.func @update() {
  return
}

// -----

// The gradient of a weight that layers carry would be added up twice.
moe.state @batch.tokens batch : tensor<2x8xf32>
moe.state @grad.w gradient : tensor<1x8xf32>
moe.state @w parameter : tensor<1x8xf32> gradient @grad.w saved
func.func @forward_backward() attributes {moe.differentiate} {
  %x = moe.read @batch.tokens : tensor<2x8xf32>
  %w = moe.read @w : tensor<1x8xf32>
  // expected-error @+1 {{MOEC-S084: layers take the weights of "w" as a value that they carry}}
  %y, %u = moe.repeat %l of 2 carry(%a = %x : tensor<2x8xf32>, %c = %w : tensor<1x8xf32>) {
    moe.yield %a, %c : tensor<2x8xf32>, tensor<1x8xf32>
  }
  return
}
func.func @update() {
  return
}
