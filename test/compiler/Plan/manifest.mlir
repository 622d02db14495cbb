// RUN: moec-translate --plan-to-manifest %s | FileCheck %s

// What each op of a placed plan becomes in the manifest (docs/plan-format.md). Keys come out sorted.

// Memory: states and values of functions, with their places.
// CHECK-LABEL: "buffers": [
// CHECK: "bytes": 96,
// CHECK-NEXT: "dtype": "f32",
// CHECK-NEXT: "first": 0,
// CHECK-NEXT: "function": "",
// CHECK-NEXT: "last": 0,
// CHECK-NEXT: "loc":
// CHECK-NEXT: "name": "layers.{}.w#1",
// CHECK-NEXT: "offset": 64,
// CHECK: "dtype": "bf16",
// CHECK-NEXT: "first": 0,
// CHECK-NEXT: "function": "step",
// CHECK-NEXT: "last": 3,
// CHECK-NEXT: "loc":
// CHECK-NEXT: "name": "%h",
// CHECK-NEXT: "offset": 320,

// Instructions of functions.
// CHECK-LABEL: "functions": [
// CHECK: "at": 0,
// CHECK-NEXT: "bytes": 32,
// CHECK-NEXT: "dst": [
// CHECK-NEXT: 320
// CHECK-NEXT: ],
// CHECK-NEXT: "op": "fill"
// A slice is an offset, and a stride for each loop around it.
// CHECK: "args": [
// CHECK-NEXT: [
// CHECK-NEXT: 72,
// CHECK-NEXT: 32
// CHECK-NEXT: ],
// CHECK-NEXT: [
// CHECK-NEXT: 320
// CHECK-NEXT: ]
// CHECK-NEXT: ],
// CHECK-NEXT: "at": 0,
// CHECK-NEXT: "grid": 5,
// CHECK-NEXT: "kernel": 0,
// CHECK-NEXT: "op": "launch",
// CHECK-NEXT: "sizes": [
// CHECK-NEXT: 16,
// CHECK-NEXT: 32
// CHECK-NEXT: ]
// CHECK: "count": 3,
// CHECK-NEXT: "op": "repeat",
// CHECK-NEXT: "reverse": true
// CHECK: "bytes": 8,
// CHECK-NEXT: "dst": [
// CHECK-NEXT: 0
// CHECK-NEXT: ],
// CHECK-NEXT: "op": "copy",
// CHECK-NEXT: "src": [
// CHECK-NEXT: 8
// CHECK-NEXT: ]

// Kernels, with the element types of their operands.
// CHECK-LABEL: "kernels": [
// CHECK: "bytes": 7,
// CHECK-NEXT: "flops": 9,
// CHECK-NEXT: "launch": {
// CHECK-NEXT: "maps": [],
// CHECK-NEXT: "threads": 128
// CHECK-NEXT: },
// CHECK-NEXT: "loc":
// CHECK-NEXT: "name": "k",
// CHECK-NEXT: "params": 2,
// CHECK-NEXT: "summary": "map",
// CHECK-NEXT: "symbol": "moec_k",
// CHECK-NEXT: "types": [
// CHECK-NEXT: "f32",
// CHECK-NEXT: "bf16"
// CHECK-NEXT: ],
// CHECK-NEXT: "writes": [
// CHECK-NEXT: 1
// CHECK-NEXT: ]

// CHECK-LABEL: "metrics": [
// CHECK: "name": "loss",
// CHECK-NEXT: "shape": [
// CHECK-NEXT: 1,
// CHECK-NEXT: 1
// CHECK-NEXT: ],
// CHECK-NEXT: "state": "metric.loss"
// Rows of a metric of layers are the layers.
// CHECK: "name": "expert_tokens",
// CHECK-NEXT: "shape": [
// CHECK-NEXT: 2,
// CHECK-NEXT: 8
// CHECK-NEXT: ],
// CHECK-NEXT: "state": "metric.expert_tokens"

// Instructions of programs.
// CHECK-LABEL: "programs": {
// CHECK-NEXT: "train": [
// CHECK: "op": "next_batch"
// CHECK: "function": "step",
// CHECK-NEXT: "op": "call"
// CHECK: "count": 2,
// CHECK-NEXT: "op": "repeat"
// CHECK: "every": 10,
// CHECK-NEXT: "op": "log"
// CHECK: "op": "evaluate"
// CHECK: "op": "save"
// CHECK: "op": "every",
// CHECK-NEXT: "steps": 20
// CHECK: "count": 40,
// CHECK-NEXT: "op": "steps"

// States: which are saved, and how copies are named.
// CHECK-LABEL: "state": [
// CHECK: "checkpoint": true,
// CHECK-NEXT: "count": 1,
// CHECK: "name": "counter.step",
// CHECK: "role": "step_counter",
// CHECK-NEXT: "shape": [
// CHECK-NEXT: 2,
// CHECK-NEXT: 1,
// CHECK-NEXT: 1
// CHECK: "checkpoint": true,
// CHECK-NEXT: "count": 3,
// CHECK-NEXT: "dtype": "f32",
// CHECK-NEXT: "each": false,
// CHECK-NEXT: "first": 1,
// CHECK-NEXT: "kind": "parameter",
// CHECK-NEXT: "name": "layers.{}.w",
// CHECK-NEXT: "offset": 64,
// CHECK-NEXT: "role": null,
// CHECK-NEXT: "shape": [
// CHECK-NEXT: 2,
// CHECK-NEXT: 4
// CHECK-NEXT: ],
// CHECK-NEXT: "step": 2
// CHECK: "checkpoint": false,
// CHECK: "kind": "metric",
// CHECK-NEXT: "name": "metric.loss",
// CHECK: "role": "loss",
// CHECK: "name": "metric.expert_tokens",
// CHECK: "role": "expert_tokens",
// CHECK-NEXT: "shape": [
// CHECK-NEXT: 2,
// CHECK-NEXT: 1,
// CHECK-NEXT: 8

plan.state @counter.step counter : tensor<1x1xi64> count 2 role step_counter saved at 0
plan.state @"layers.{}.w#1" parameter : tensor<2x4xf32> count 3 layers [1, 2] named "layers.{}.w" saved at 64
plan.state @metric.loss metric : tensor<1x1xf32> count 1 logged "loss" role loss at 256
plan.state @metric.expert_tokens metric : tensor<1x8xi64> count 2 layers [0, 1] logged "expert_tokens" role expert_tokens at 512
plan.func @step {
  %h = plan.alloc "%h" : tensor<4x4xbf16> at 320 from 0 to 3 -> !plan.buffer<32>
  plan.fill %h : !plan.buffer<32>
  %w = plan.address @"layers.{}.w#1" : !plan.buffer<96>
  plan.repeat 3 reverse {
  ^bb0(%i: index):
    %s = plan.slice %w [%i] offset 8 stride 32 : !plan.buffer<96> -> !plan.buffer<16>
    plan.launch @moec_k (%s, %h) writes [1] : !plan.buffer<16>, !plan.buffer<32>
  }
  %c = plan.address @counter.step : !plan.buffer<16>
  %to = plan.slice %c offset 0 stride 0 : !plan.buffer<16> -> !plan.buffer<8>
  %from = plan.slice %c offset 8 stride 0 : !plan.buffer<16> -> !plan.buffer<8>
  plan.copy %to, %from : !plan.buffer<8>, !plan.buffer<8>
}
plan.program "train" {
  plan.steps 40 {
    plan.next_batch
    plan.call @step
    plan.repeat 2 {
      plan.call @step
    }
    plan.log every 10
    plan.every 20 {
      plan.evaluate
      plan.save
    }
  }
}
plan.kernel @moec_k params 2 grid 5 scratch 0 flops 9 bytes 7 "map" launch {maps = [], threads = 128 : i64}
