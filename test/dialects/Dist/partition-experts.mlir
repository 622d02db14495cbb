// RUN: moec-opt %s -dist-partition="experts=2" | FileCheck %s

// Each of two ranks takes one of the two sequences, and owns two of the four experts.

// CHECK: dist.mesh @mesh ["expert"] sizes [2]
moe.state @batch.tokens batch : tensor<2x8xf32>
// Weights that all ranks use get parts of their gradient everywhere.
// CHECK: moe.state @grad.w gradient : tensor<8x4xf32, #dist.partial<["expert"]>>
moe.state @grad.w gradient : tensor<8x4xf32>
moe.state @w parameter : tensor<8x4xf32> gradient @grad.w saved
// CHECK: moe.state @grad.up gradient : tensor<2x8x4xf32> divided 2 along ["expert"] each
moe.state @grad.up gradient : tensor<4x8x4xf32>
// CHECK: moe.state @up parameter : tensor<2x8x4xf32> gradient @grad.up saved divided 2 along ["expert"] each
moe.state @up parameter : tensor<4x8x4xf32> gradient @grad.up saved
// CHECK: moe.state @m optimizer : tensor<2x8x4xf32> saved divided 2 along ["expert"] each
moe.state @m optimizer : tensor<4x8x4xf32> saved
moe.state @metric.loss metric : tensor<1x1xf32> logged "loss"
moe.state @sum metric : tensor<1x1xf32> logged "sum"

// CHECK-LABEL: func @forward_backward
func.func @forward_backward() attributes {moe.differentiate} {
  // The rank's own sequence.
  // CHECK: %[[C:.*]] = dist.coordinate ["expert"] : index
  // CHECK: %[[X:.*]] = moe.read @batch.tokens[%[[C]]] of 2 : tensor<1x8xf32>
  %x = moe.read @batch.tokens : tensor<2x8xf32>
  // CHECK: %[[W:.*]] = moe.read @w : tensor<8x4xf32>
  // CHECK: %[[SAME:.*]] = dist.same %[[W]] along ["expert"]
  %w = moe.read @w : tensor<8x4xf32>
  // CHECK: %[[S:.*]] = moe.matmul %[[X]], %{{.*}} : tensor<1x8xf32>, tensor<8x4xf32> -> tensor<1x4xf32>
  %s = moe.matmul %x, %w : tensor<2x8xf32>, tensor<8x4xf32> -> tensor<2x4xf32>
  %ids = moe.top_k %s : tensor<2x4xf32> -> tensor<2x1xi32>
  // Sorted for sending, without padding; the owners hear how many rows come.
  // CHECK: %[[OFF:.*]], %[[SENDS:.*]], %[[TOKEN:.*]], %[[SLOT:.*]], %[[ROW:.*]] = moe.permute %{{.*}} experts 4 align 1 : tensor<1x1xi32>
  // CHECK: %[[GETS:.*]] = dist.all_to_all %[[SENDS]] along ["expert"] : tensor<1x4xi32> -> tensor<2x2xi32>
  // The number of each row's expert goes along; then the owner sorts the two ranks' rows.
  // CHECK: dist.exchange_rows %{{.*}} sends %[[SENDS]] receives %[[GETS]] along ["expert"] : tensor<1x1xf32>, tensor<1x4xi32>, tensor<2x2xi32> -> tensor<2x1xf32>
  // CHECK: %[[OFF2:.*]], %[[COUNTS2:.*]], %[[TOKEN2:.*]], %[[SLOT2:.*]], %[[ROW2:.*]] = moe.permute %{{.*}} experts 2 align 2 : tensor<2x1xi32>
  %offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute %ids experts 4 align 2
      : tensor<2x1xi32> -> tensor<1x5xi32>, tensor<1x4xi32>, tensor<6x1xi32>
  // CHECK: %[[OUT:.*]] = moe.gather_rows %[[X]], %[[TOKEN]] slot_row %[[ROW]]
  // CHECK: %[[ARRIVED:.*]] = dist.exchange_rows %[[OUT]] sends %[[SENDS]] receives %[[GETS]] along ["expert"] : tensor<1x8xf32>, {{.*}} -> tensor<2x8xf32>
  // CHECK: %[[IN:.*]] = moe.gather_rows %[[ARRIVED]], %[[TOKEN2]] slot_row %[[ROW2]]
  %rows = moe.gather_rows %x, %row_token slot_row %slot_row : tensor<2x1xi32> : tensor<2x8xf32>, tensor<6x1xi32> -> tensor<6x8xf32>
  %up = moe.read @up : tensor<4x8x4xf32>
  // CHECK: %[[Y:.*]] = moe.grouped_matmul %[[IN]], %{{.*}}, %[[OFF2]], %[[COUNTS2]] : tensor<4x8xf32>, tensor<2x8x4xf32>
  %y = moe.grouped_matmul %rows, %up, %offsets, %counts
      : tensor<6x8xf32>, tensor<4x8x4xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<6x4xf32>
  // Back in the order of arrival, back to their ranks, and combined there.
  // CHECK: %[[UNSORTED:.*]] = moe.combine_rows %[[Y]], %[[ROW2]] row_slot %[[SLOT2]]
  // CHECK: %[[BACK:.*]] = dist.exchange_rows %[[UNSORTED]] sends %[[GETS]] receives %[[SENDS]] along ["expert"] : tensor<2x4xf32>, {{.*}} -> tensor<1x4xf32>
  // CHECK: moe.combine_rows %[[BACK]], %[[ROW]] row_slot %[[SLOT]]
  %z = moe.combine_rows %y, %slot_row row_slot %row_slot : tensor<6x1xi32> : tensor<6x4xf32>, tensor<2x1xi32> -> tensor<2x4xf32>
  %line = moe.row_reduce sum %z : tensor<2x4xf32> -> tensor<2x1xf32>
  // What is added up over tokens is a part.
  // CHECK: %[[PART:.*]] = moe.col_reduce %{{.*}} : tensor<1x1xf32> -> tensor<1x1xf32>
  // CHECK: %[[ALL:.*]] = dist.all_sum %[[PART]] along ["expert"]
  %total = moe.col_reduce %line : tensor<2x1xf32> -> tensor<1x1xf32>
  // Every rank computes the same from the weight, so each has the whole gradient and gives its share of it.
  // CHECK: moe.row_reduce sum %[[SAME]] : tensor<8x4xf32>
  %size = moe.row_reduce sum %w : tensor<8x4xf32> -> tensor<8x1xf32>
  %all = moe.col_reduce %size : tensor<8x1xf32> -> tensor<1x1xf32>
  moe.accumulate @sum, %all : tensor<1x1xf32>
  // CHECK: moe.accumulate @metric.loss, %[[ALL]]
  moe.accumulate @metric.loss, %total : tensor<1x1xf32>
  moe.loss %total scale 1.0 : tensor<1x1xf32>
  return
}

// Where nothing is trained, the experts of all ranks come to every rank.
// CHECK-LABEL: func @evaluate
func.func @evaluate(%x: tensor<6x8xf32>, %offsets: tensor<1x5xi32>, %counts: tensor<1x4xi32>) -> tensor<6x4xf32> {
  // CHECK: %[[OWN:.*]] = moe.read @up : tensor<2x8x4xf32>
  // CHECK: %[[ALL:.*]] = dist.all_gather %[[OWN]] along ["expert"] : tensor<2x8x4xf32> -> tensor<4x8x4xf32>
  %up = moe.read @up : tensor<4x8x4xf32>
  // CHECK: moe.grouped_matmul %{{.*}}, %[[ALL]]
  %y = moe.grouped_matmul %x, %up, %offsets, %counts
      : tensor<6x8xf32>, tensor<4x8x4xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}

// CHECK-LABEL: func @update
func.func @update() {
  // CHECK: moe.read @grad.up : tensor<2x8x4xf32>
  %g = moe.read @grad.up : tensor<4x8x4xf32>
  %gr = moe.reshape %g : tensor<4x8x4xf32> -> tensor<32x4xf32>
  // CHECK: moe.row_reduce sum %{{.*}} : tensor<16x4xf32> -> tensor<16x1xf32>
  %sq = moe.row_reduce sum %gr : tensor<32x4xf32> -> tensor<32x1xf32>
  // CHECK: %[[OWN:.*]] = moe.col_reduce %{{.*}} : tensor<16x1xf32> -> tensor<1x1xf32>
  // CHECK: dist.all_sum %[[OWN]] along ["expert"]
  %sum = moe.col_reduce %sq : tensor<32x1xf32> -> tensor<1x1xf32>
  moe.write @sum, %sum : tensor<1x1xf32>
  %m = moe.read @m : tensor<4x8x4xf32>
  %mr = moe.reshape %m : tensor<4x8x4xf32> -> tensor<32x4xf32>
  %p = moe.read @up : tensor<4x8x4xf32>
  %pr = moe.reshape %p : tensor<4x8x4xf32> -> tensor<32x4xf32>
  %new:2 = moe.map(%gr, %mr, %pr) : (tensor<32x4xf32>, tensor<32x4xf32>, tensor<32x4xf32>) -> (tensor<32x4xf32>, tensor<32x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %d = arith.addf %a, %b : f32
    %e = arith.subf %c, %d : f32
    moe.yield %d, %e : f32, f32
  }
  %mn = moe.reshape %new#0 : tensor<32x4xf32> -> tensor<4x8x4xf32>
  // CHECK: moe.write @m, %{{.*}} : tensor<2x8x4xf32>
  moe.write @m, %mn : tensor<4x8x4xf32>
  %pn = moe.reshape %new#1 : tensor<32x4xf32> -> tensor<4x8x4xf32>
  // CHECK: moe.write @up, %{{.*}} : tensor<2x8x4xf32>
  moe.write @up, %pn : tensor<4x8x4xf32>
  return
}

// CHECK-LABEL: func @init
func.func @init() {
  // Random numbers are those of one rank: each keeps its own experts'.
  // CHECK: moe.random_normal
  // CHECK: arith.muli
  // CHECK: %[[OWN:.*]] = moe.gather_rows %{{.*}} : tensor<32x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  // CHECK: moe.write @up, %{{.*}} : tensor<2x8x4xf32>
  %r = moe.random_normal seed 1 stream 2 mean 0.0 stddev 0.5 : tensor<32x4xf32>
  %v = moe.reshape %r : tensor<32x4xf32> -> tensor<4x8x4xf32>
  moe.write @up, %v : tensor<4x8x4xf32>
  // CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<2x8x4xf32>
  // CHECK: moe.write @m, %[[ZERO]]
  %zero = arith.constant dense<0.0> : tensor<4x8x4xf32>
  moe.write @m, %zero : tensor<4x8x4xf32>
  return
}
