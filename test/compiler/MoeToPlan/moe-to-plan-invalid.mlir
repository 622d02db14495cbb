// RUN: moec-opt %s -split-input-file -verify-diagnostics -pass-pipeline='builtin.module(moec-moe-to-plan)'

moe.state @x batch : tensor<8x4xf32>
func.func @not_dispatched() {
  %x = moe.read @x : tensor<8x4xf32>
  // expected-error@+1 {{'moe.row_reduce' op internal: not inside a dispatch; run moe-form-dispatches first}}
  %r = moe.row_reduce sum %x : tensor<8x4xf32> -> tensor<8x1xf32>
  return
}

// -----

moe.state @x batch : tensor<8x4xf32>
func.func @no_template() {
  // expected-error@+1 {{'moe.dispatch' op has kind 'convolution', for which there is no CPU template}}
  moe.dispatch "convolution" () : () -> () {
    %x = moe.read @x : tensor<8x4xf32>
    moe.accumulate @x, %x : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

moe.state @x batch : tensor<8x4xf32>
func.func @carried_constant() {
  %one = arith.constant dense<1.0> : tensor<8x4xf32>
  // expected-error@+1 {{'moe.repeat' op internal: a carried value starts as a constant other than zero}}
  %r = moe.repeat %l of 3 carry(%c = %one : tensor<8x4xf32>) {
    moe.yield %c : tensor<8x4xf32>
  }
  return
}

// -----

moe.state @x batch : tensor<8x4xf32>
func.func @yielded_constant() {
  %x = moe.read @x : tensor<8x4xf32>
  %one = arith.constant dense<1.0> : tensor<8x4xf32>
  // expected-error@+1 {{'moe.repeat' op internal: a yielded value has no buffer}}
  %r = moe.repeat %l of 3 carry(%c = %x : tensor<8x4xf32>) {
    moe.yield %one : tensor<8x4xf32>
  }
  return
}

// -----

moe.state @x batch : tensor<8x4xf32>
func.func @constant_operand() {
  %one = arith.constant dense<1.0> : tensor<8x4xf32>
  // expected-error@+1 {{'moe.dispatch' op internal: input 0 has no buffer}}
  moe.dispatch "row" (%a = %one) : (tensor<8x4xf32>) -> () {
    moe.accumulate @x, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

moe.state @w batch : tensor<2x4x6xf32>
moe.state @q output : tensor<2x6x4xf32>
moe.state @s output : tensor<2x6xf32>
func.func @quantised_columns() {
  moe.dispatch "quantize_columns" () : () -> () {
    %w = moe.read @w : tensor<2x4x6xf32>
    %q, %s = moe.quantize_columns %w : tensor<2x4x6xf32> -> tensor<2x6x4xf32>, tensor<2x6xf32>
    // expected-error@+1 {{'moe.row_reduce' op cannot be part of a 'quantize_columns' dispatch}}
    %r = moe.row_reduce sum %s : tensor<2x6xf32> -> tensor<2x1xf32>
    moe.write @q, %q : tensor<2x6x4xf32>
    moe.write @s, %s : tensor<2x6xf32>
    moe.yield
  }
  return
}
