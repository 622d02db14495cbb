// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s

// An exchange stays between dispatches, and says why what is before it did not fuse with what is after.
dist.mesh @mesh ["data"] sizes [2]
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<4x4xf32>
// CHECK-LABEL: func @between
// CHECK-NEXT: %[[TWICE:.*]] = moe.dispatch "row"
// CHECK: %[[GOT:.*]]:2 = dist.all_to_all %[[TWICE]] along ["data"]
// CHECK-NEXT: moe.dispatch "row" {{.*}}(%{{.*}} = %[[GOT]]#0, %{{.*}} = %[[GOT]]#1)
// CHECK: moe.write @y
func.func @between() {
  %x = moe.read @x : tensor<8x4xf32>
  %t = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %b = arith.addf %a, %a : f32
    moe.yield %b : f32
  }
  %p:2 = dist.all_to_all %t along ["data"] : tensor<8x4xf32> -> tensor<4x4xf32>, tensor<4x4xf32>
  %s = moe.map(%p#0, %p#1) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    moe.yield %c : f32
  }
  moe.write @y, %s : tensor<4x4xf32>
  return
}

// -----

// A read after the gather stays after it: the kernel that reads the state may not join one before.
dist.mesh @mesh ["data"] sizes [2]
moe.state @g gradient : tensor<8x4xf32>
moe.state @x batch : tensor<4x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @read_after
// CHECK: moe.read @g
// CHECK: moe.write @y
// CHECK: dist.gather_into @g
// CHECK: moe.read @g
// CHECK: moe.accumulate @y
func.func @read_after() {
  %x = moe.read @x : tensor<4x4xf32>
  %before = moe.read @g : tensor<8x4xf32>
  %t = moe.map(%before) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %b = arith.addf %a, %a : f32
    moe.yield %b : f32
  }
  moe.write @y, %t : tensor<8x4xf32>
  dist.gather_into @g, %x along ["data"] : tensor<4x4xf32>
  %after = moe.read @g : tensor<8x4xf32>
  %u = moe.map(%after) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %b = arith.addf %a, %a : f32
    moe.yield %b : f32
  }
  moe.accumulate @y, %u : tensor<8x4xf32>
  return
}

// -----

// A coordinate comes in as an index.
dist.mesh @mesh ["data"] sizes [2]
moe.state @first constant : tensor<1x1xi64> count 2
moe.state @counter counter : tensor<1x1xi64>
// CHECK-LABEL: func @coordinate
// CHECK-NEXT: %[[C:.*]] = dist.coordinate ["data"] : index
// CHECK-NEXT: moe.dispatch "row" (%[[I:.*]] = %[[C]]) : (index) -> () {
// CHECK-NEXT: moe.read @first[%[[I]]]
func.func @coordinate() {
  %c = dist.coordinate ["data"] : index
  %f = moe.read @first[%c] : tensor<1x1xi64>
  moe.write @counter, %f : tensor<1x1xi64>
  return
}
