// A sum over rows that a row kernel holds begins there: 512 parts, 1024 of narrower rows, which fewer threads share, and
// 512 again of rows so narrow that a block adds up several side by side.
// RUN: moec-opt %s -split-input-file -moe-form-dispatches=summed-columns=8192 | FileCheck %s

moe.state @x batch : tensor<32768x2048xf32>
moe.state @y output : tensor<32768x2048xf32>
moe.state @sum gradient : tensor<1x2048xf32>
// CHECK-LABEL: func.func @wide()
// CHECK: moe.dispatch "row"
// CHECK: moe.col_reduce %{{.*}} : tensor<32768x2048xf32> -> tensor<512x2048xf32>
// CHECK: moe.dispatch "col_reduce"
// CHECK: moe.col_reduce %{{.*}} : tensor<512x2048xf32> -> tensor<1x2048xf32>
func.func @wide() {
  %x = moe.read @x : tensor<32768x2048xf32>
  %y = moe.map(%x) : (tensor<32768x2048xf32>) -> tensor<32768x2048xf32> {
  ^bb0(%u: f32):
    %v = arith.mulf %u, %u : f32
    moe.yield %v : f32
  }
  moe.write @y, %y : tensor<32768x2048xf32>
  %s = moe.col_reduce %y : tensor<32768x2048xf32> -> tensor<1x2048xf32>
  moe.accumulate @sum, %s : tensor<1x2048xf32>
  return
}

// -----

moe.state @x batch : tensor<32768x1024xf32>
moe.state @y output : tensor<32768x1024xf32>
moe.state @sum gradient : tensor<1x1024xf32>
// CHECK-LABEL: func.func @narrow()
// CHECK: moe.dispatch "row"
// CHECK: moe.col_reduce %{{.*}} : tensor<32768x1024xf32> -> tensor<1024x1024xf32>
// CHECK: moe.dispatch "col_reduce"
// CHECK: moe.col_reduce %{{.*}} : tensor<1024x1024xf32> -> tensor<1x1024xf32>
func.func @narrow() {
  %x = moe.read @x : tensor<32768x1024xf32>
  %y = moe.map(%x) : (tensor<32768x1024xf32>) -> tensor<32768x1024xf32> {
  ^bb0(%u: f32):
    %v = arith.mulf %u, %u : f32
    moe.yield %v : f32
  }
  moe.write @y, %y : tensor<32768x1024xf32>
  %s = moe.col_reduce %y : tensor<32768x1024xf32> -> tensor<1x1024xf32>
  moe.accumulate @sum, %s : tensor<1x1024xf32>
  return
}

// -----

moe.state @x batch : tensor<32768x257xf32>
moe.state @y output : tensor<32768x257xf32>
moe.state @sum gradient : tensor<1x257xf32>
// CHECK-LABEL: func.func @narrower()
// CHECK: moe.dispatch "row"
// CHECK: moe.col_reduce %{{.*}} : tensor<32768x257xf32> -> tensor<1024x257xf32>
// CHECK: moe.dispatch "col_reduce"
// CHECK: moe.col_reduce %{{.*}} : tensor<1024x257xf32> -> tensor<1x257xf32>
func.func @narrower() {
  %x = moe.read @x : tensor<32768x257xf32>
  %y = moe.map(%x) : (tensor<32768x257xf32>) -> tensor<32768x257xf32> {
  ^bb0(%u: f32):
    %v = arith.mulf %u, %u : f32
    moe.yield %v : f32
  }
  moe.write @y, %y : tensor<32768x257xf32>
  %s = moe.col_reduce %y : tensor<32768x257xf32> -> tensor<1x257xf32>
  moe.accumulate @sum, %s : tensor<1x257xf32>
  return
}

// -----

moe.state @x batch : tensor<32768x256xf32>
moe.state @y output : tensor<32768x256xf32>
moe.state @sum gradient : tensor<1x256xf32>
// CHECK-LABEL: func.func @narrowest()
// CHECK: moe.dispatch "row"
// CHECK: moe.col_reduce %{{.*}} : tensor<32768x256xf32> -> tensor<512x256xf32>
// CHECK: moe.dispatch "col_reduce"
// CHECK: moe.col_reduce %{{.*}} : tensor<512x256xf32> -> tensor<1x256xf32>
func.func @narrowest() {
  %x = moe.read @x : tensor<32768x256xf32>
  %y = moe.map(%x) : (tensor<32768x256xf32>) -> tensor<32768x256xf32> {
  ^bb0(%u: f32):
    %v = arith.mulf %u, %u : f32
    moe.yield %v : f32
  }
  moe.write @y, %y : tensor<32768x256xf32>
  %s = moe.col_reduce %y : tensor<32768x256xf32> -> tensor<1x256xf32>
  moe.accumulate @sum, %s : tensor<1x256xf32>
  return
}
