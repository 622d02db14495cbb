// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s

// What has to happen for all rows stays out of the kernel of a product whose groups may not have them all. What only the
// product defines is undefined where the product is, and joins it.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<2x4x4xf32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @due batch : tensor<1x1xf32>
moe.state @m optimizer : tensor<8x4xf32>
// CHECK-LABEL: func @choice()
func.func @choice() {
  // CHECK: moe.dispatch "matmul" note "moe.map not fused: it is needed in rows that the product may leave out"
  // CHECK: moe.grouped_matmul %
  // CHECK-NEXT: moe.map
  // CHECK: math.exp
  // CHECK-NOT: moe.write
  // CHECK: moe.dispatch "row"
  // CHECK: arith.select
  // CHECK: moe.write @m
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<2x4x4xf32>
  %o = moe.read @offsets : tensor<1x3xi32>
  %c = moe.read @counts : tensor<1x2xi32>
  %due = moe.read @due : tensor<1x1xf32>
  %m = moe.read @m : tensor<8x4xf32>
  %p = moe.grouped_matmul %x, %w, %o, %c : tensor<8x4xf32>, tensor<2x4x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<8x4xf32>
  %e = moe.map(%p) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %next = moe.map(%due, %e, %m) : (tensor<1x1xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %a: f32, %b: f32):
    %zero = arith.constant 0.0 : f32
    %is = arith.cmpf one, %d, %zero : f32
    %s = arith.select %is, %a, %b : f32
    moe.yield %s : f32
  }
  moe.write @m, %next : tensor<8x4xf32>
  return
}

// -----

// A condition that one operand settles is as good as a choice.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<2x4x4xf32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @due batch : tensor<1x1xf32>
moe.state @m optimizer : tensor<8x4xf32>
moe.state @out output : tensor<8x4xf32>
// CHECK-LABEL: func @settled()
func.func @settled() {
  // CHECK: moe.dispatch "matmul" note "moe.map not fused: it is needed in rows that the product may leave out"
  // CHECK-NOT: moe.map
  // CHECK: moe.dispatch "row"
  // CHECK: arith.andi
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<2x4x4xf32>
  %o = moe.read @offsets : tensor<1x3xi32>
  %c = moe.read @counts : tensor<1x2xi32>
  %due = moe.read @due : tensor<1x1xf32>
  %m = moe.read @m : tensor<8x4xf32>
  %p = moe.grouped_matmul %x, %w, %o, %c : tensor<8x4xf32>, tensor<2x4x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<8x4xf32>
  %next = moe.map(%due, %p, %m) : (tensor<1x1xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %a: f32, %b: f32):
    %zero = arith.constant 0.0 : f32
    %is = arith.cmpf one, %d, %zero : f32
    %positive = arith.cmpf ogt, %a, %zero : f32
    %both = arith.andi %is, %positive : i1
    %s = arith.select %both, %a, %b : f32
    moe.yield %s : f32
  }
  moe.write @out, %next : tensor<8x4xf32>
  return
}

// -----

// Where the groups have all rows, everything joins.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<2x4x4xf32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @due batch : tensor<1x1xf32>
moe.state @m optimizer : tensor<8x4xf32>
// CHECK-LABEL: func @all_rows()
func.func @all_rows() {
  // CHECK: moe.dispatch "matmul" () : () -> () {
  // CHECK: moe.grouped_matmul all_rows
  // CHECK: arith.select
  // CHECK: moe.write @m
  // CHECK-NOT: moe.dispatch
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<2x4x4xf32>
  %o = moe.read @offsets : tensor<1x3xi32>
  %c = moe.read @counts : tensor<1x2xi32>
  %due = moe.read @due : tensor<1x1xf32>
  %m = moe.read @m : tensor<8x4xf32>
  %p = moe.grouped_matmul all_rows %x, %w, %o, %c : tensor<8x4xf32>, tensor<2x4x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<8x4xf32>
  %next = moe.map(%due, %p, %m) : (tensor<1x1xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%d: f32, %a: f32, %b: f32):
    %zero = arith.constant 0.0 : f32
    %is = arith.cmpf one, %d, %zero : f32
    %s = arith.select %is, %a, %b : f32
    moe.yield %s : f32
  }
  moe.write @m, %next : tensor<8x4xf32>
  return
}
