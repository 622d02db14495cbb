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

// -----

// A kind names the template of an op inside.
moe.state @x batch : tensor<8x4xf32>
func.func @no_root() {
  // expected-error@+1 {{'moe.dispatch' op must hold one 'moe.column_kth'}}
  moe.dispatch "column_kth" () : () -> () {
    moe.yield
  }
  return
}

// -----

moe.state @i batch : tensor<8x2xi32>
moe.state @c counter : tensor<1x4xi64>
moe.state @d counter : tensor<1x4xi64>
func.func @two_roots() {
  // expected-error@+1 {{'moe.dispatch' op must hold one 'moe.count_ids'}}
  moe.dispatch "count_ids" () : () -> () {
    %i = moe.read @i : tensor<8x2xi32>
    %c = moe.count_ids %i : tensor<8x2xi32> -> tensor<1x4xi64>
    %d = moe.count_ids %i : tensor<8x2xi32> -> tensor<1x4xi64>
    moe.accumulate @c, %c : tensor<1x4xi64>
    moe.accumulate @d, %d : tensor<1x4xi64>
    moe.yield
  }
  return
}

// -----

moe.state @q batch : tensor<8x16xf32>
moe.state @o output : tensor<8x16xf32>
func.func @added_attention() {
  // expected-error@+1 {{'moe.dispatch' op adds to a state what 'moe.attention' computes, which has no template}}
  moe.dispatch "attention" () : () -> () {
    %q = moe.read @q : tensor<8x16xf32>
    %r, %l = moe.attention %q, %q, %q heads 1 kv_heads 1 seq_len 4 : tensor<8x16xf32>, tensor<8x16xf32> -> tensor<8x1xf32>
    moe.accumulate @o, %r : tensor<8x16xf32>
    moe.yield
  }
  return
}
