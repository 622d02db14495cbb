// RUN: moec-opt %s --verify-roundtrip | FileCheck %s

// CHECK: plan.state @w parameter : tensor<4x4xf32> count 3 layers [1, 2] at 128
plan.state @w parameter : tensor<4x4xf32> count 3 layers [1, 2] at 128
// CHECK: plan.state @batch batch : tensor<1x5xi32> count 1 role batch_tokens{{$}}
plan.state @batch batch : tensor<1x5xi32> count 1 role batch_tokens
// CHECK: plan.state @"layers.{}.w#1" parameter : tensor<4x4xf32> count 3 layers [1, 2] named "layers.{}.w" saved at 384
plan.state @"layers.{}.w#1" parameter : tensor<4x4xf32> count 3 layers [1, 2] named "layers.{}.w" saved at 384
// CHECK: plan.state @metric.loss metric : tensor<1x1xf32> count 1 logged "loss" role loss at 576
plan.state @metric.loss metric : tensor<1x1xf32> count 1 logged "loss" role loss at 576
// CHECK: plan.kernel @k params 2 grid 4 scratch 64 flops 1000 bytes 512 "matmul + map" note "moe.row_reduce not fused"
plan.kernel @k params 2 grid 4 scratch 64 flops 1000 bytes 512 "matmul + map" note "moe.row_reduce not fused"

// CHECK: plan.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"
plan.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"

// CHECK-LABEL: plan.func @exchange
plan.func @exchange {
  // CHECK: %[[C:.*]] = plan.coordinate ["data"] : index
  %c = plan.coordinate ["data"] : index
  %all = plan.alloc "all" : tensor<64xf32> -> !plan.buffer<256>
  // CHECK: %[[MINE:.*]] = plan.slice %{{.*}}[%[[C]]] offset 0 stride 64
  %mine = plan.slice %all[%c] offset 0 stride 64 : !plan.buffer<256> -> !plan.buffer<64>
  // CHECK: %[[R:.*]] = plan.start all_gather along ["data"] %{{.*}}, %[[MINE]] : !plan.buffer<256>, !plan.buffer<64>
  %r = plan.start all_gather along ["data"] %all, %mine : !plan.buffer<256>, !plan.buffer<64>
  %other = plan.alloc "other" : tensor<64xf32> -> !plan.buffer<256>
  // CHECK: %[[S:.*]] = plan.start all_to_all along ["data", "expert"]
  %s = plan.start all_to_all along ["data", "expert"] %other, %all : !plan.buffer<256>, !plan.buffer<256>
  %sends = plan.alloc "sends" : tensor<8xi32> -> !plan.buffer<32>
  // CHECK: plan.start rows along ["expert"] %{{.*}}, %{{.*}} counts %{{.*}}, %{{.*}} row_bytes 16 : !plan.buffer<256>, !plan.buffer<64>, !plan.buffer<32>, !plan.buffer<32>
  %t = plan.start rows along ["expert"] %other, %mine counts %sends, %sends row_bytes 16 : !plan.buffer<256>, !plan.buffer<64>, !plan.buffer<32>, !plan.buffer<32>
  plan.wait %t
  // In any order.
  // CHECK: plan.wait %[[S]]
  plan.wait %s
  // CHECK: plan.wait %[[R]]
  plan.wait %r
}

// CHECK-LABEL: plan.func @f
plan.func @f {
  // CHECK: %[[W:.*]] = plan.address @w : !plan.buffer<192>
  %w = plan.address @w : !plan.buffer<192>
  // CHECK: plan.alloc "row" : tensor<4x4xf32> at 256 from 1 to 5 -> !plan.buffer<64>
  %a = plan.alloc "row" : tensor<4x4xf32> at 256 from 1 to 5 -> !plan.buffer<64>
  // CHECK: plan.fill
  plan.fill %a : !plan.buffer<64>
  // CHECK: plan.repeat 3 reverse {
  plan.repeat 3 reverse {
  ^bb0(%i: index):
    // CHECK: plan.slice %[[W]][%{{.*}}] offset 0 stride 64 : !plan.buffer<192> -> !plan.buffer<64>
    %s = plan.slice %w[%i] offset 0 stride 64 : !plan.buffer<192> -> !plan.buffer<64>
    // CHECK: plan.launch @k(%{{.*}}, %{{.*}}) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    plan.launch @k (%s, %a) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    // CHECK: plan.copy
    plan.copy %a, %s : !plan.buffer<64>, !plan.buffer<64>
  }
}

// CHECK-LABEL: plan.program "train"
plan.program "train" {
  // CHECK: plan.steps 10 {
  plan.steps 10 {
    // CHECK: plan.repeat 2 {
    plan.repeat 2 {
      // CHECK: plan.next_batch
      plan.next_batch
      // CHECK: plan.call @f
      plan.call @f
    }
    // CHECK: plan.log every 5
    plan.log every 5
    // CHECK: plan.every 5 {
    plan.every 5 {
      // CHECK: plan.evaluate
      plan.evaluate
      // CHECK: plan.save
      plan.save
    }
  }
}
