// RUN: moec-opt %s -split-input-file -verify-diagnostics -moe-differentiate

// expected-error @+1 {{is marked moe.differentiate, but has 0 moe.loss, expected 1}}
func.func @no_loss() attributes {moe.differentiate} {
  return
}

// -----

moe.state @x batch : tensor<1x1xf32>
func.func @constant_loss() attributes {moe.differentiate} {
  %x = moe.read @x : tensor<1x1xf32>
  // expected-error @+1 {{depends on no parameter with a gradient}}
  moe.loss %x scale 1.0 : tensor<1x1xf32>
  return
}

// -----

moe.state @w parameter : tensor<1x1xf32> gradient @g
moe.state @g gradient : tensor<1x1xf32>
func.func @nested_loss() attributes {moe.differentiate} {
  moe.repeat %l of 3 {
    %w = moe.read @w : tensor<1x1xf32>
    // expected-error @+1 {{is nested, expected it at the top level of the function}}
    moe.loss %w scale 1.0 : tensor<1x1xf32>
    moe.yield
  }
  return
}

// -----

moe.state @w parameter : tensor<1x1xf32> gradient @g
moe.state @g gradient : tensor<1x1xf32>
func.func @no_rule() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<1x1xf32>
  %y = moe.map(%w) : (tensor<1x1xf32>) -> tensor<1x1xf32> {
  ^bb0(%a: f32):
    // expected-error @+1 {{has no scalar rule for its backward}}
    %f = math.floor %a : f32
    moe.yield %f : f32
  }
  moe.loss %y scale 1.0 : tensor<1x1xf32>
  return
}

// -----

moe.state @w parameter : tensor<8x4xf32> gradient @g
moe.state @g gradient : tensor<8x4xf32>
moe.state @rows batch : tensor<1x1xi32>
func.func @no_slot_row() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<8x4xf32>
  %r = moe.read @rows : tensor<1x1xi32>
  // expected-error @+1 {{needs slot_row to be differentiated}}
  %y = moe.gather_rows %w, %r : tensor<8x4xf32>, tensor<1x1xi32> -> tensor<1x4xf32>
  %t = moe.row_reduce sum %y : tensor<1x4xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

moe.state @w parameter : tensor<8x4xf32> gradient @g
moe.state @g gradient : tensor<8x4xf32>
func.func @parts_of_rows() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<8x4xf32>
  // expected-error @+1 {{of parts of rows has no backward}}
  %y = moe.row_reduce sum %w every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
  %s = moe.row_reduce sum %y : tensor<8x2xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %s : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

moe.state @w parameter : tensor<8x4xf32> gradient @g
moe.state @g gradient : tensor<8x4xf32>
moe.state @rows batch : tensor<1x1xi32>
func.func @no_backward() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<8x4xf32>
  %r = moe.read @rows : tensor<1x1xi32>
  // expected-error @+1 {{lies between a parameter and the loss, but has no backward}}
  %y = moe.spread_rows %w, %r top_k 1 : tensor<8x4xf32>, tensor<1x1xi32> -> tensor<1x4xf32>
  %t = moe.row_reduce sum %y : tensor<1x4xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}

// -----

moe.state @w parameter : tensor<2x6x4xf32> gradient @g
moe.state @g gradient : tensor<2x6x4xf32>
moe.state @o batch : tensor<1x3xi32>
moe.state @c batch : tensor<1x2xi32>
moe.state @x batch : tensor<16x4xf32>
moe.state @s batch : tensor<16x1xf32>
moe.state @t batch : tensor<2x6xf32>
func.func @quantised() attributes {moe.differentiate} {
  %w = moe.read @w : tensor<2x6x4xf32>
  %o = moe.read @o : tensor<1x3xi32>
  %c = moe.read @c : tensor<1x2xi32>
  %x = moe.read @x : tensor<16x4xf32>
  %s = moe.read @s : tensor<16x1xf32>
  %u = moe.read @t : tensor<2x6xf32>
  // expected-error @+1 {{is of quantised operands; quantise after differentiation}}
  %y = moe.grouped_matmul tb %x, %w, %o, %c scales %s, %u : tensor<16x1xf32>, tensor<2x6xf32> : tensor<16x4xf32>, tensor<2x6x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x6xf32>
  %r = moe.row_reduce sum %y : tensor<16x6xf32> -> tensor<16x1xf32>
  %t = moe.col_reduce %r : tensor<16x1xf32> -> tensor<1x1xf32>
  moe.loss %t scale 1.0 : tensor<1x1xf32>
  return
}
