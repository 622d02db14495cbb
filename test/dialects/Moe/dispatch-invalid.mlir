// RUN: moec-opt %s -split-input-file -verify-diagnostics

// What a dispatch may hold when one of its products leaves rows out.
moe.state @m optimizer : tensor<12x6xf32>
// dispatch_c4
func.func @write(%a: tensor<12x4xf32>, %w: tensor<2x4x6xf32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>) {
  moe.dispatch "matmul" (%x = %a, %y = %w, %p = %o, %q = %c) : (tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32>) -> () {
    // expected-note @+1 {{'moe.grouped_matmul' leaves out rows that no group has}}
    %r = moe.grouped_matmul %x, %y, %p, %q
      : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
    // expected-error @+1 {{'moe.write' op has to happen for all its rows, but its dispatch may leave rows out}}
    moe.write @m, %r : tensor<12x6xf32>
    moe.yield
  }
  return
}

// -----

// dispatch_c4
func.func @choice(%a: tensor<12x4xf32>, %w: tensor<2x4x6xf32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>, %old: tensor<12x6xf32>) {
  // expected-error @+1 {{yields value 0, which is needed in all its rows, but the dispatch may leave rows out}}
  %d = moe.dispatch "matmul" (%x = %a, %y = %w, %p = %o, %q = %c, %e = %old) : (tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32>, tensor<12x6xf32>) -> tensor<12x6xf32> {
    // expected-note @+1 {{'moe.grouped_matmul' leaves out rows that no group has}}
    %r = moe.grouped_matmul %x, %y, %p, %q
      : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
    %m = moe.map(%r, %e) : (tensor<12x6xf32>, tensor<12x6xf32>) -> tensor<12x6xf32> {
    ^bb0(%n: f32, %l: f32):
      %zero = arith.constant 0.0 : f32
      %is = arith.cmpf ogt, %l, %zero : f32
      %t = arith.select %is, %n, %l : f32
      moe.yield %t : f32
    }
    moe.yield %m : tensor<12x6xf32>
  }
  return
}

// -----

// An addition to a state.
moe.state @m optimizer : tensor<12x6xf32>
// dispatch_c4
func.func @accumulate(%a: tensor<12x4xf32>, %w: tensor<2x4x6xf32>, %o: tensor<1x3xi32>, %c: tensor<1x2xi32>) {
  moe.dispatch "matmul" (%x = %a, %y = %w, %p = %o, %q = %c) : (tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32>) -> () {
    // expected-note @+1 {{'moe.grouped_matmul' leaves out rows that no group has}}
    %r = moe.grouped_matmul %x, %y, %p, %q
      : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
    // expected-error @+1 {{'moe.accumulate' op has to happen for all its rows, but its dispatch may leave rows out}}
    moe.accumulate @m, %r : tensor<12x6xf32>
    moe.yield
  }
  return
}
