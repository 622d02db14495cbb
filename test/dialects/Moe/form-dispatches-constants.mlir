// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s --check-prefix=AS-IT-IS
// RUN: moec-opt %s -split-input-file -canonicalize -moe-form-dispatches | FileCheck %s --check-prefix=INSIDE

// A constant goes inside maps, which then join a product. As a tensor it has no place in an epilogue: the map stays apart.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
// AS-IT-IS-LABEL: func @epilogue()
// AS-IT-IS: moe.dispatch "matmul" note "moe.map not fused: an operand does not fit an epilogue"
// AS-IT-IS-NOT: arith.constant
// AS-IT-IS: moe.dispatch "row"
// AS-IT-IS: arith.constant dense<2.000000e+00> : tensor<1x1xf32>
// INSIDE-LABEL: func @epilogue()
// INSIDE: moe.dispatch "matmul" () : () -> () {
// INSIDE: moe.map(%{{[0-9]+}}) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
// INSIDE: arith.constant 2.000000e+00 : f32
// INSIDE-NOT: moe.dispatch
func.func @epilogue() {
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %two = arith.constant dense<2.0> : tensor<1x1xf32>
  %p = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
  %y = moe.map(%p, %two) : (tensor<8x4xf32>, tensor<1x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %m = arith.mulf %a, %b : f32
    moe.yield %m : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}

// -----

// Terms of a sum over rows.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<1x4xf32>
// AS-IT-IS-LABEL: func @terms()
// AS-IT-IS: moe.dispatch "row"
// AS-IT-IS: arith.constant dense
// AS-IT-IS: moe.dispatch "col_reduce"
// AS-IT-IS-NOT: moe.map
// INSIDE-LABEL: func @terms()
// INSIDE: moe.dispatch "col_reduce" () : () -> () {
// INSIDE: moe.map(%{{[0-9]+}}) :
// INSIDE: moe.col_reduce
func.func @terms() {
  %x = moe.read @x : tensor<8x4xf32>
  %two = arith.constant dense<2.0> : tensor<1x4xf32>
  %t = moe.map(%x, %two) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %m = arith.mulf %a, %b : f32
    moe.yield %m : f32
  }
  %s = moe.col_reduce %t : tensor<8x4xf32> -> tensor<1x4xf32>
  moe.write @y, %s : tensor<1x4xf32>
  return
}

// -----

// A kernel that reads its operands from memory gets a constant from there, stored once; a row kernel makes it.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @z output : tensor<4x4xf32>
moe.state @q output : tensor<8x4xf32>
// AS-IT-IS-LABEL: func @factor()
// AS-IT-IS: %[[C:.*]] = moe.dispatch "row" {{.*}} : () -> tensor<8x4xf32> {
// AS-IT-IS-NEXT: arith.constant dense<1.000000e+00> : tensor<8x4xf32>
// AS-IT-IS: moe.dispatch "matmul" (%[[A:.*]] = %[[C]]) : (tensor<8x4xf32>) -> () {
// AS-IT-IS: moe.matmul ta %{{.*}}, %[[A]]
// AS-IT-IS: moe.dispatch "row" () : () -> () {
// AS-IT-IS-NEXT: arith.constant dense<1.000000e+00> : tensor<16x2xf32>
func.func @factor() {
  %x = moe.read @x : tensor<8x4xf32>
  %ones = arith.constant dense<1.0> : tensor<8x4xf32>
  %p = moe.matmul ta %x, %ones : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
  moe.write @z, %p : tensor<4x4xf32>
  %flat = moe.reshape %ones : tensor<8x4xf32> -> tensor<16x2xf32>
  %half = moe.map(%flat) : (tensor<16x2xf32>) -> tensor<16x2xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    moe.yield %e : f32
  }
  %back = moe.reshape %half : tensor<16x2xf32> -> tensor<8x4xf32>
  moe.write @q, %back : tensor<8x4xf32>
  return
}
