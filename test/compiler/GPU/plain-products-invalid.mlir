// RUN: moec-opt %s -split-input-file -verify-diagnostics -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})'

// Parts of 128 columns of f64, of which a block has 64.
moe.state @a batch : tensor<8x8xf64>
moe.state @b batch : tensor<8x256xf64>
moe.state @s output : tensor<8x2xf64>
func.func @long_parts() {
  // expected-error @+1 {{'moe.dispatch' op adds up every 128 columns of a product; this template has 64 at once}}
  moe.dispatch "matmul" () : () -> () {
    %a = moe.read @a : tensor<8x8xf64>
    %b = moe.read @b : tensor<8x256xf64>
    %p = moe.matmul %a, %b : tensor<8x8xf64>, tensor<8x256xf64> -> tensor<8x256xf64>
    %r = moe.row_reduce sum %p every 128 : tensor<8x256xf64> -> tensor<8x2xf64>
    moe.write @s, %r : tensor<8x2xf64>
    moe.yield
  }
  return
}

// -----

// The sum of whole rows.
moe.state @a batch : tensor<8x8xf32>
moe.state @b batch : tensor<8x64xf32>
moe.state @s output : tensor<8x1xf32>
func.func @whole_rows() {
  // expected-error @+1 {{hands out a value that a matmul kernel does not compute}}
  moe.dispatch "matmul" () : () -> () {
    %a = moe.read @a : tensor<8x8xf32>
    %b = moe.read @b : tensor<8x64xf32>
    %p = moe.matmul %a, %b : tensor<8x8xf32>, tensor<8x64xf32> -> tensor<8x64xf32>
    %r = moe.row_reduce sum %p : tensor<8x64xf32> -> tensor<8x1xf32>
    moe.write @s, %r : tensor<8x1xf32>
    moe.yield
  }
  return
}

// -----

// Kernels of rows sum whole ones.
moe.state @a batch : tensor<8x64xf32>
moe.state @s output : tensor<8x2xf32>
func.func @parts_in_rows() {
  moe.dispatch "row" () : () -> () {
    %a = moe.read @a : tensor<8x64xf32>
    // expected-error @+1 {{is not an op of the row template}}
    %r = moe.row_reduce sum %a every 32 : tensor<8x64xf32> -> tensor<8x2xf32>
    moe.write @s, %r : tensor<8x2xf32>
    moe.yield
  }
  return
}
