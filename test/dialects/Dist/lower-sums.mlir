// RUN: moec-opt %s -split-input-file -dist-lower-sums | FileCheck %s --implicit-check-not=partial --implicit-check-not=dist.sum

// A small sum is gathered, and every rank adds all parts: ((0 + 1) + (2 + 3)).
dist.mesh @mesh ["data"] sizes [4]
// CHECK: moe.state @grad.b gradient : tensor<1x8xf32>
moe.state @grad.b gradient : tensor<1x8xf32, #dist.partial<["data"]>>
moe.state @b output : tensor<1x8xf32>
// CHECK-LABEL: func @small
// CHECK-NEXT: %[[PART:.*]] = moe.read @grad.b : tensor<1x8xf32>
// CHECK-NEXT: %[[ALL:.*]]:4 = dist.all_gather %[[PART]] along ["data"] : tensor<1x8xf32> -> tensor<1x8xf32>, tensor<1x8xf32>, tensor<1x8xf32>, tensor<1x8xf32>
// CHECK-NEXT: %[[SUM:.*]] = moe.map(%[[ALL]]#0, %[[ALL]]#1, %[[ALL]]#2, %[[ALL]]#3)
// CHECK-NEXT: ^bb0(%[[P0:.*]]: f32, %[[P1:.*]]: f32, %[[P2:.*]]: f32, %[[P3:.*]]: f32):
// CHECK-NEXT: %[[L:.*]] = arith.addf %[[P0]], %[[P1]] : f32
// CHECK-NEXT: %[[R:.*]] = arith.addf %[[P2]], %[[P3]] : f32
// CHECK-NEXT: %[[T:.*]] = arith.addf %[[L]], %[[R]] : f32
// CHECK-NEXT: moe.yield %[[T]] : f32
// CHECK: moe.write @b, %[[SUM]] : tensor<1x8xf32>
func.func @small() {
  %g = moe.read @grad.b : tensor<1x8xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<1x8xf32, #dist.partial<["data"]>> -> tensor<1x8xf32>
  moe.write @b, %s : tensor<1x8xf32>
  return
}

// -----

// Three ranks: the tree is (0 + 1) + 2.
dist.mesh @mesh ["data"] sizes [3]
moe.state @counts counter : tensor<1x8xi64, #dist.partial<["data"]>>
moe.state @b output : tensor<1x8xi64>
// CHECK-LABEL: func @three
// CHECK: ^bb0(%[[P0:.*]]: i64, %[[P1:.*]]: i64, %[[P2:.*]]: i64):
// CHECK-NEXT: %[[L:.*]] = arith.addi %[[P0]], %[[P1]] : i64
// CHECK-NEXT: %[[T:.*]] = arith.addi %[[L]], %[[P2]] : i64
// CHECK-NEXT: moe.yield %[[T]] : i64
func.func @three() {
  %g = moe.read @counts : tensor<1x8xi64, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<1x8xi64, #dist.partial<["data"]>> -> tensor<1x8xi64>
  moe.write @b, %s : tensor<1x8xi64>
  return
}

// -----

// A large sum: each rank adds one part, in the order of the ranks, and the parts come back into the state.
dist.mesh @mesh ["data"] sizes [2]
moe.state @grad.w gradient : tensor<128x256xf32, #dist.partial<["data"]>>
moe.state @w output : tensor<128x256xf32>
// CHECK-LABEL: func @large
// CHECK-NEXT: %[[PART:.*]] = moe.read @grad.w : tensor<128x256xf32>
// CHECK-NEXT: %[[GOT:.*]]:2 = dist.all_to_all %[[PART]] along ["data"] : tensor<128x256xf32> -> tensor<64x256xf32>, tensor<64x256xf32>
// CHECK-NEXT: %[[MINE:.*]] = moe.map(%[[GOT]]#0, %[[GOT]]#1)
// CHECK: arith.addf
// CHECK: dist.gather_into @grad.w, %[[MINE]] along ["data"] : tensor<64x256xf32>
// CHECK-NEXT: %[[SUM:.*]] = moe.read @grad.w : tensor<128x256xf32>
// CHECK-NEXT: moe.write @w, %[[SUM]]
func.func @large() {
  %g = moe.read @grad.w : tensor<128x256xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
  moe.write @w, %s : tensor<128x256xf32>
  return
}

// -----

// 64 KiB is still small, one more row is not.
dist.mesh @mesh ["data"] sizes [2]
moe.state @grad.v gradient : tensor<64x256xf32, #dist.partial<["data"]>>
moe.state @grad.w gradient : tensor<66x256xf32, #dist.partial<["data"]>>
moe.state @v output : tensor<64x256xf32>
moe.state @w output : tensor<66x256xf32>
// CHECK-LABEL: func @border
// CHECK: dist.all_gather %{{.*}} : tensor<64x256xf32> -> tensor<64x256xf32>, tensor<64x256xf32>
// CHECK: dist.all_to_all %{{.*}} : tensor<66x256xf32> -> tensor<33x256xf32>, tensor<33x256xf32>
func.func @border() {
  %g = moe.read @grad.v : tensor<64x256xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<64x256xf32, #dist.partial<["data"]>> -> tensor<64x256xf32>
  moe.write @v, %s : tensor<64x256xf32>
  %h = moe.read @grad.w : tensor<66x256xf32, #dist.partial<["data"]>>
  %t = dist.sum %h along ["data"] : tensor<66x256xf32, #dist.partial<["data"]>> -> tensor<66x256xf32>
  moe.write @w, %t : tensor<66x256xf32>
  return
}

// -----

// Where the ranks do not divide the number of elements, a large sum is gathered too. Where they divide it, but not in
// whole rows, parts have rows of another length.
dist.mesh @mesh ["data"] sizes [3]
moe.state @grad.v gradient : tensor<128x256xf32, #dist.partial<["data"]>>
moe.state @grad.w gradient : tensor<128x255xf32, #dist.partial<["data"]>>
moe.state @v output : tensor<128x256xf32>
moe.state @w output : tensor<128x255xf32>
// CHECK-LABEL: func @not_divided
// CHECK: dist.all_gather %{{.*}} along ["data"] : tensor<128x256xf32> -> tensor<128x256xf32>, tensor<128x256xf32>, tensor<128x256xf32>
// CHECK: dist.all_to_all %{{.*}} along ["data"] : tensor<128x255xf32> -> tensor<16x680xf32>, tensor<16x680xf32>, tensor<16x680xf32>
// CHECK: dist.gather_into @grad.w, %{{.*}} : tensor<16x680xf32>
func.func @not_divided() {
  %g = moe.read @grad.v : tensor<128x256xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
  moe.write @v, %s : tensor<128x256xf32>
  %h = moe.read @grad.w : tensor<128x255xf32, #dist.partial<["data"]>>
  %t = dist.sum %h along ["data"] : tensor<128x255xf32, #dist.partial<["data"]>> -> tensor<128x255xf32>
  moe.write @w, %t : tensor<128x255xf32>
  return
}

// -----

// Copies that a loop reads one by one, and a state that a loop reads again and again: the sum may not take the place of
// the parts.
dist.mesh @mesh ["data"] sizes [2]
moe.state @grad.w gradient : tensor<128x256xf32, #dist.partial<["data"]>> count 3
moe.state @grad.v gradient : tensor<128x256xf32, #dist.partial<["data"]>>
moe.state @w output : tensor<128x256xf32> count 3
// CHECK-LABEL: func @in_a_loop
// CHECK-NOT: dist.gather_into
// CHECK: moe.repeat %[[L:.*]] of 3
// CHECK-NEXT: moe.read @grad.w[%[[L]]] : tensor<128x256xf32>
// CHECK: dist.all_to_all
// CHECK: dist.all_gather %{{.*}} along ["data"] : tensor<64x256xf32> -> tensor<128x256xf32>
// CHECK: moe.read @grad.v
// CHECK: dist.all_to_all
// CHECK: dist.all_gather %{{.*}} along ["data"] : tensor<64x256xf32> -> tensor<128x256xf32>
// CHECK-NOT: dist.gather_into
func.func @in_a_loop() {
  moe.repeat %l of 3 {
    %g = moe.read @grad.w[%l] : tensor<128x256xf32, #dist.partial<["data"]>>
    %s = dist.sum %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
    moe.accumulate @w[%l], %s : tensor<128x256xf32>
    %h = moe.read @grad.v : tensor<128x256xf32, #dist.partial<["data"]>>
    %t = dist.sum %h along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
    moe.accumulate @w[%l], %t : tensor<128x256xf32>
    moe.yield
  }
  return
}

// -----

// Nor where another function reads the parts as well.
dist.mesh @mesh ["data"] sizes [2]
moe.state @grad.w gradient : tensor<128x256xf32, #dist.partial<["data"]>>
moe.state @w output : tensor<128x256xf32>
// CHECK-LABEL: func @first
// CHECK: dist.all_gather
// CHECK-LABEL: func @second
// CHECK: dist.all_gather
// CHECK-NOT: dist.gather_into
func.func @first() {
  %g = moe.read @grad.w : tensor<128x256xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
  moe.write @w, %s : tensor<128x256xf32>
  return
}
func.func @second() {
  %g = moe.read @grad.w : tensor<128x256xf32, #dist.partial<["data"]>>
  %s = dist.sum %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<128x256xf32>
  moe.write @w, %s : tensor<128x256xf32>
  return
}

// -----

// One run of a sum takes one exchange.
dist.mesh @mesh ["data"] sizes [2]
moe.state @grad.w gradient : tensor<128x256xf32, #dist.partial<["data"]>>
moe.state @w output : tensor<64x256xf32>
// CHECK-LABEL: func @run
// CHECK: %[[GOT:.*]]:2 = dist.all_to_all %{{.*}} along ["data"] : tensor<128x256xf32> -> tensor<64x256xf32>, tensor<64x256xf32>
// CHECK-NEXT: %[[SUM:.*]] = moe.map(%[[GOT]]#0, %[[GOT]]#1)
// CHECK-NOT: dist.
// CHECK: moe.write @w, %[[SUM]]
func.func @run() {
  %g = moe.read @grad.w : tensor<128x256xf32, #dist.partial<["data"]>>
  %s = dist.sum_part %g along ["data"] : tensor<128x256xf32, #dist.partial<["data"]>> -> tensor<64x256xf32>
  moe.write @w, %s : tensor<64x256xf32>
  return
}

// -----

// Within a computation every rank adds up what all have; what is shared is there already.
dist.mesh @mesh ["expert"] sizes [2]
moe.state @x batch : tensor<1x8xf32>
moe.state @y output : tensor<1x8xf32>
// CHECK-LABEL: func @within
// CHECK: %[[X:.*]] = moe.read @x
// CHECK-NEXT: %[[ALL:.*]]:2 = dist.all_gather %[[X]] along ["expert"]
// CHECK-NEXT: %[[SUM:.*]] = moe.map(%[[ALL]]#0, %[[ALL]]#1)
// CHECK: moe.write @y, %[[SUM]]
// CHECK-NOT: dist.share
func.func @within() {
  %x = moe.read @x : tensor<1x8xf32>
  %h = dist.share %x along ["expert"] : tensor<1x8xf32>
  %s = dist.all_sum %h along ["expert"] : tensor<1x8xf32>
  moe.write @y, %s : tensor<1x8xf32>
  return
}
