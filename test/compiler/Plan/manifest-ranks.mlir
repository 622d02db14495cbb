// RUN: moec-translate --plan-to-manifest %s -split-input-file | FileCheck %s

// What ranks exchange, in the manifest (docs/plan-format.md). A place has a stride for each axis of the mesh, then one
// for each loop.
plan.mesh @mesh ["data", "expert"] sizes [4, 2] batches "data"
plan.state @all output : tensor<64xf32> count 1 at 0

// CHECK-LABEL: "functions": [
// CHECK: "body": [
// CHECK: "at": 0,
// CHECK-NEXT: "axes": [
// CHECK-NEXT: 0
// CHECK-NEXT: ],
// CHECK-NEXT: "bytes": 64,
// CHECK-NEXT: "dst": [
// CHECK-NEXT: 0
// CHECK-NEXT: ],
// CHECK-NEXT: "exchange": "all_gather",
// CHECK-NEXT: "op": "start",
// CHECK-NEXT: "request": 0,
// CHECK-NEXT: "src": [
// CHECK-NEXT: 0,
// CHECK-NEXT: 64
// CHECK-NEXT: ]
// CHECK: "op": "wait",
// CHECK-NEXT: "request": 0
// Inside a loop: no stride along "data", none along "expert", 32 for the loop. Bytes are those between two ranks.
// CHECK: "axes": [
// CHECK-NEXT: 1,
// CHECK-NEXT: 0
// CHECK-NEXT: ],
// CHECK-NEXT: "bytes": 4,
// CHECK-NEXT: "dst": [
// CHECK-NEXT: 256
// CHECK-NEXT: ],
// CHECK-NEXT: "exchange": "all_to_all",
// CHECK-NEXT: "op": "start",
// CHECK-NEXT: "request": 1,
// CHECK-NEXT: "src": [
// CHECK-NEXT: 0,
// CHECK-NEXT: 0,
// CHECK-NEXT: 0,
// CHECK-NEXT: 32
// CHECK-NEXT: ]
// Requests of the next function count from 0.
// CHECK: "exchange": "all_to_all",
// CHECK-NEXT: "op": "start",
// CHECK-NEXT: "request": 0,
// CHECK-LABEL: "mesh": [
// CHECK: "axis": "data",
// CHECK-NEXT: "batches": true,
// CHECK-NEXT: "size": 4
// CHECK: "axis": "expert",
// CHECK-NEXT: "batches": false,
// CHECK-NEXT: "size": 2
plan.func @first {
  %c = plan.coordinate ["data"] : index
  %a = plan.address @all : !plan.buffer<256>
  %mine = plan.slice %a[%c] offset 0 stride 64 : !plan.buffer<256> -> !plan.buffer<64>
  %r = plan.start all_gather along ["data"] %a, %mine : !plan.buffer<256>, !plan.buffer<64>
  plan.wait %r
  %b = plan.alloc "b" : tensor<8xf32> at 256 from 0 to 9 -> !plan.buffer<32>
  plan.repeat 8 {
  ^bb0(%i: index):
    %from = plan.slice %a[%i] offset 0 stride 32 : !plan.buffer<256> -> !plan.buffer<32>
    %s = plan.start all_to_all along ["expert", "data"] %b, %from : !plan.buffer<32>, !plan.buffer<32>
    plan.wait %s
  }
}
plan.func @second {
  %a = plan.address @all : !plan.buffer<256>
  %b = plan.alloc "b" : tensor<64xf32> at 256 from 0 to 9 -> !plan.buffer<256>
  %r = plan.start all_to_all along ["expert"] %b, %a : !plan.buffer<256>, !plan.buffer<256>
  plan.wait %r
}

// -----

// One rank: no axes.
// CHECK: "mesh": [],
plan.func @alone {
}
