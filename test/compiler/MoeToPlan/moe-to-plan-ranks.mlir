// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan)' | FileCheck %s

// Each exchange is a start and its wait. What several ranks sent lies side by side, as it arrives.
dist.mesh @mesh ["data"] sizes [2] batches "data"
moe.state @table constant : tensor<1x4xf32> count 2
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @z output : tensor<4x4xf32>

// CHECK: plan.mesh @mesh ["data"] sizes [2] batches "data"
// CHECK-LABEL: plan.func @exchanges
// CHECK: %[[X:.*]] = plan.address @x : !plan.buffer<128>
// CHECK-NEXT: %[[GOT:.*]] = plan.alloc "received.{{[^"]*}}" : tensor<8x4xf32> -> !plan.buffer<128>
// CHECK-NEXT: %[[FIRST:.*]] = plan.slice %[[GOT]] offset 0 stride 0 : !plan.buffer<128> -> !plan.buffer<64>
// CHECK-NEXT: %[[SECOND:.*]] = plan.slice %[[GOT]] offset 64 stride 0 : !plan.buffer<128> -> !plan.buffer<64>
// CHECK-NEXT: %[[R:.*]] = plan.start all_to_all along ["data"] %[[GOT]], %[[X]] : !plan.buffer<128>, !plan.buffer<128>
// CHECK-NEXT: plan.wait %[[R]]
// CHECK: %[[SUM:.*]] = plan.alloc
// CHECK: plan.launch @{{.*}}(%[[FIRST]], %[[SECOND]], %[[SUM]]) writes [2]
// Into a state, nothing is copied.
// CHECK: %[[Y:.*]] = plan.address @y : !plan.buffer<128>
// CHECK-NEXT: %[[S:.*]] = plan.start all_gather along ["data"] %[[Y]], %[[SUM]] : !plan.buffer<128>, !plan.buffer<64>
// CHECK-NEXT: plan.wait %[[S]]
func.func @exchanges() {
  %x = moe.read @x : tensor<8x4xf32>
  %p:2 = dist.all_to_all %x along ["data"] : tensor<8x4xf32> -> tensor<4x4xf32>, tensor<4x4xf32>
  %s = moe.dispatch "row" (%a = %p#0, %b = %p#1) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32> {
    %m = moe.map(%a, %b) : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32> {
    ^bb0(%c: f32, %d: f32):
      %t = arith.addf %c, %d : f32
      moe.yield %t : f32
    }
    moe.yield %m : tensor<4x4xf32>
  }
  dist.gather_into @y, %s along ["data"] : tensor<4x4xf32>
  return
}

// One result that holds all of them is the buffer.
// CHECK-LABEL: plan.func @gathered
// CHECK: %[[ALL:.*]] = plan.alloc "received.{{[^"]*}}" : tensor<8x4xf32> -> !plan.buffer<128>
// CHECK-NEXT: plan.start all_gather along ["data"] %[[ALL]], %{{.*}} : !plan.buffer<128>, !plan.buffer<64>
// CHECK: plan.launch @{{.*}}(%[[ALL]], %{{.*}})
func.func @gathered() {
  %z = moe.read @z : tensor<4x4xf32>
  %all = dist.all_gather %z along ["data"] : tensor<4x4xf32> -> tensor<8x4xf32>
  moe.dispatch "row" (%a = %all) : (tensor<8x4xf32>) -> () {
    %m = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%c: f32):
      %t = arith.addf %c, %c : f32
      moe.yield %t : f32
    }
    moe.write @y, %m : tensor<8x4xf32>
    moe.yield
  }
  return
}

// Where a rank stands is an index of copies.
// CHECK-LABEL: plan.func @own_copy
// CHECK: %[[C:.*]] = plan.coordinate ["data"] : index
// CHECK: plan.slice %{{.*}}[%[[C]]] offset 0 stride 16 : !plan.buffer<32> -> !plan.buffer<16>
func.func @own_copy() {
  %c = dist.coordinate ["data"] : index
  moe.dispatch "row" (%i = %c) : (index) -> () {
    %t = moe.read @table[%i] : tensor<1x4xf32>
    %m = moe.map(%t) : (tensor<1x4xf32>) -> tensor<1x4xf32> {
    ^bb0(%a: f32):
      %u = arith.addf %a, %a : f32
      moe.yield %u : f32
    }
    moe.write @table[%i], %m : tensor<1x4xf32>
    moe.yield
  }
  return
}
