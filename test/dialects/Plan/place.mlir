// RUN: moec-opt %s --moec-plan-place --moec-plan-verify-placement | FileCheck %s

// CHECK: module attributes {plan.arena_bytes = 384 : i64, plan.state_bytes = 192 : i64}
module {
  // CHECK: plan.state @a parameter : tensor<20xf32> count 1 at 0
  plan.state @a parameter : tensor<20xf32> count 1
  // CHECK: plan.state @b parameter : tensor<4xf32> count 1 at 128
  plan.state @b parameter : tensor<4xf32> count 1
  plan.kernel @k params 2 grid 1 scratch 0 flops 0 bytes 0 "map"

  // Three values in a chain: the third may take the place of the first.
  // CHECK-LABEL: plan.func @chain
  plan.func @chain {
    // CHECK: plan.alloc "first" : tensor<16xf32> at 192 from 0 to 1
    %0 = plan.alloc "first" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%0, %0) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    // CHECK: plan.alloc "second" : tensor<16xf32> at 192 from 2 to 5
    %1 = plan.alloc "second" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%1, %1) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    // CHECK: plan.alloc "third" : tensor<16xf32> at 256 from 4 to 5
    %2 = plan.alloc "third" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%1, %2) writes [1] : !plan.buffer<64>, !plan.buffer<64>
  }

  // The larger value is placed first. A value used inside a repeat lives for all of it; a value of the body for one iteration.
  // CHECK-LABEL: plan.func @loop
  plan.func @loop {
    // CHECK: plan.alloc "carried" : tensor<16xf32> at 320 from 0 to 5
    %0 = plan.alloc "carried" : tensor<16xf32> -> !plan.buffer<64>
    plan.repeat 4 {
    ^bb0(%i: index):
      // CHECK: plan.alloc "inner" : tensor<32xf32> at 192 from 2 to 3
      %1 = plan.alloc "inner" : tensor<32xf32> -> !plan.buffer<128>
      plan.launch @k (%0, %1) writes [1] : !plan.buffer<64>, !plan.buffer<128>
      plan.fill %0 : !plan.buffer<64>
    }
  }

  // A buffer that is used through a slice lives as long as its slices.
  // CHECK-LABEL: plan.func @slice
  plan.func @slice {
    // CHECK: plan.alloc "whole" : tensor<16xf32> at 192 from 0 to 4
    %0 = plan.alloc "whole" : tensor<16xf32> -> !plan.buffer<64>
    %1 = plan.slice %0 offset 32 stride 0 : !plan.buffer<64> -> !plan.buffer<32>
    // CHECK: plan.alloc "between" : tensor<16xf32> at 256 from 2 to 3
    %2 = plan.alloc "between" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%2, %2) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    plan.launch @k (%1, %1) writes [1] : !plan.buffer<32>, !plan.buffer<32>
  }

  // Until an exchange was waited for, nobody takes the place of what it moves; afterwards its source is free.
  // CHECK-LABEL: plan.func @exchange
  plan.func @exchange {
    // CHECK: plan.alloc "source" : tensor<16xf32> at [[SOURCE:[0-9]+]] from 0 to 5
    %0 = plan.alloc "source" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%0, %0) writes [1] : !plan.buffer<64>, !plan.buffer<64>
    // CHECK: plan.alloc "arrived" : tensor<32xf32> at 192 from 2 to 7
    %1 = plan.alloc "arrived" : tensor<32xf32> -> !plan.buffer<128>
    %r = plan.start all_gather along ["data"] %1, %0 : !plan.buffer<128>, !plan.buffer<64>
    plan.fill %1 : !plan.buffer<128>
    plan.wait %r
    // CHECK: plan.alloc "after" : tensor<16xf32> at [[SOURCE]] from 6 to 7
    %2 = plan.alloc "after" : tensor<16xf32> -> !plan.buffer<64>
    plan.launch @k (%1, %2) writes [1] : !plan.buffer<128>, !plan.buffer<64>
  }
  plan.mesh @mesh ["data"] sizes [2]
}
