// RUN: moec-opt %s --verify-roundtrip | FileCheck %s

// CHECK: dist.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"
dist.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"
// CHECK: moe.state @grad.w gradient : tensor<64x8xf32, #dist.partial<["data"]>>
moe.state @grad.w gradient : tensor<64x8xf32, #dist.partial<["data"]>>
// CHECK: moe.state @grad.both gradient : tensor<4x8xf32, #dist.partial<["data", "expert"]>> count 3
moe.state @grad.both gradient : tensor<4x8xf32, #dist.partial<["data", "expert"]>> count 3
moe.state @first constant : tensor<1x1xi64> count 4
moe.state @stacked output : tensor<8x8xf32> count 4

// CHECK-LABEL: func @f
func.func @f(%x: tensor<8x8xf32>, %sends: tensor<1x6xi32>, %receives: tensor<2x3xi32>) {
  // CHECK: %[[C:.*]] = dist.coordinate ["data"] : index
  %c = dist.coordinate ["data"] : index
  // It is an index of copies, as that of a repeat is.
  // CHECK: moe.read @first[%[[C]]] : tensor<1x1xi64>
  %first = moe.read @first[%c] : tensor<1x1xi64>
  // CHECK: %[[G:.*]] = moe.read @grad.w : tensor<64x8xf32, #dist.partial<["data"]>>
  %g = moe.read @grad.w : tensor<64x8xf32, #dist.partial<["data"]>>
  // CHECK: dist.sum %[[G]] along ["data"] : tensor<64x8xf32, #dist.partial<["data"]>> -> tensor<64x8xf32>
  %s = dist.sum %g along ["data"] : tensor<64x8xf32, #dist.partial<["data"]>> -> tensor<64x8xf32>
  // Of a state of copies the read has one dimension more, and is as partial.
  // CHECK: moe.read @grad.both : tensor<3x4x8xf32, #dist.partial<["data", "expert"]>>
  %b = moe.read @grad.both : tensor<3x4x8xf32, #dist.partial<["data", "expert"]>>
  // CHECK: dist.sum %{{.*}} along ["data", "expert"]
  %t = dist.sum %b along ["data", "expert"] : tensor<3x4x8xf32, #dist.partial<["data", "expert"]>> -> tensor<3x4x8xf32>
  // What a rank adds is its part: a whole tensor of this rank's.
  // CHECK: moe.accumulate @grad.w, %{{.*}} : tensor<64x8xf32>
  moe.accumulate @grad.w, %s : tensor<64x8xf32>
  // CHECK: dist.all_to_all %{{.*}} along ["expert"] : tensor<8x8xf32> -> tensor<4x8xf32>, tensor<4x8xf32>
  %p:2 = dist.all_to_all %x along ["expert"] : tensor<8x8xf32> -> tensor<4x8xf32>, tensor<4x8xf32>
  // CHECK: dist.all_gather %{{.*}} along ["expert"] : tensor<8x8xf32> -> tensor<8x8xf32>, tensor<8x8xf32>
  %q:2 = dist.all_gather %x along ["expert"] : tensor<8x8xf32> -> tensor<8x8xf32>, tensor<8x8xf32>
  // CHECK: dist.all_gather %{{.*}} along ["data"] : tensor<8x8xf32> -> tensor<32x8xf32>
  %r = dist.all_gather %x along ["data"] : tensor<8x8xf32> -> tensor<32x8xf32>
  // CHECK: dist.all_to_all %{{.*}} along ["expert"] : tensor<8x8xf32> -> tensor<8x8xf32>
  %one = dist.all_to_all %x along ["expert"] : tensor<8x8xf32> -> tensor<8x8xf32>
  // CHECK: dist.sum_part %[[G]] along ["data"] : tensor<64x8xf32, #dist.partial<["data"]>> -> tensor<16x8xf32>
  %run = dist.sum_part %g along ["data"] : tensor<64x8xf32, #dist.partial<["data"]>> -> tensor<16x8xf32>
  // CHECK: dist.all_sum %{{.*}} along ["expert"] : tensor<8x8xf32>
  %all = dist.all_sum %x along ["expert"] : tensor<8x8xf32>
  // CHECK: dist.share %{{.*}} along ["expert"] : tensor<8x8xf32>
  %shared = dist.share %x along ["expert"] : tensor<8x8xf32>
  // CHECK: dist.exchange_rows %{{.*}} sends %{{.*}} receives %{{.*}} along ["expert"] : tensor<8x8xf32>, tensor<1x6xi32>, tensor<2x3xi32> -> tensor<16x8xf32>
  %rows = dist.exchange_rows %x sends %sends receives %receives along ["expert"] : tensor<8x8xf32>, tensor<1x6xi32>, tensor<2x3xi32> -> tensor<16x8xf32>
  // Along several axes, the last counting fastest.
  // CHECK: dist.coordinate ["data", "expert"] : index
  %both = dist.coordinate ["data", "expert"] : index
  // CHECK: dist.gather_into @stacked, %{{.*}} along ["data"] : tensor<8x8xf32>
  dist.gather_into @stacked, %x along ["data"] : tensor<8x8xf32>
  return
}
