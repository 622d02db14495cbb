// Layers 0 dense; 1, 3 mixtures with 2, 4 dense between: one dense layer, then a period of two, twice.
// RUN: sed -e 's/\/\/ ffn/exp.ffn {kind = "swiglu", inner_size = 64 : i64}/' -e 's/num_layers = 4/num_layers = 5/' -e 's/first_layer = 0 : i64, every = 1/first_layer = 1 : i64, every = 2/' %S/Inputs/base.mlir \
// RUN:   | moec-opt -moec-build-model | FileCheck %s
// CHECK-DAG: moe.state @"layers.{}.ffn.up" parameter : tensor<32x64xf32> count 1 layers [0, 1] gradient @"grad.layers.{}.ffn.up" saved
// Two slots of the pattern have feed-forward blocks: symbols tell them apart, names do not.
// CHECK-DAG: moe.state @"layers.{}.moe.router#1" parameter : tensor<32x8xf32> count 2 layers [1, 2] gradient @"grad.layers.{}.moe.router#1" named "layers.{}.moe.router" saved
// CHECK-DAG: moe.state @"layers.{}.ffn.up#2" parameter : tensor<32x64xf32> count 2 layers [2, 2] gradient @"grad.layers.{}.ffn.up#2" named "layers.{}.ffn.up" saved
// CHECK-DAG: moe.state @"optimizer.m.layers.{}.ffn.up#2" optimizer : tensor<32x64xf32> count 2 layers [2, 2] named "optimizer.m.layers.{}.ffn.up" saved
// CHECK-DAG: moe.state @metric.expert_tokens metric : tensor<1x8xi64> count 2 layers [1, 2]
// CHECK-LABEL: func.func @forward_backward
// CHECK: moe.repeat %[[A:.*]] of 1
// CHECK: moe.read @"layers.{}.ffn.up"[%[[A]]]
// CHECK: moe.repeat %[[B:.*]] of 2
// CHECK: moe.read @"layers.{}.moe.router#1"[%[[B]]]
// CHECK: moe.read @"layers.{}.ffn.up#2"[%[[B]]]
// CHECK-NOT: moe.repeat
// CHECK-LABEL: func.func @evaluate

// One layer more is the beginning of a period: a segment of its own, with its own counts.
// RUN: sed -e 's/\/\/ ffn/exp.ffn {kind = "swiglu", inner_size = 64 : i64}/' -e 's/num_layers = 4/num_layers = 6/' -e 's/first_layer = 0 : i64, every = 1/first_layer = 1 : i64, every = 2/' %S/Inputs/base.mlir \
// RUN:   | moec-opt -moec-build-model | FileCheck %s --check-prefix=REST
// REST-DAG: moe.state @"layers.{}.moe.router#3" parameter : tensor<32x8xf32> count 1 layers [5, 1]
// REST-DAG: moe.state @metric.expert_tokens metric : tensor<1x8xi64> count 2 layers [1, 2] logged "expert_tokens" role expert_tokens
// REST-DAG: moe.state @metric.expert_tokens.1 metric : tensor<1x8xi64> count 1 layers [5, 1] logged "expert_tokens.1" role expert_tokens
// REST-LABEL: func.func @forward_backward
// REST-COUNT-3: moe.repeat
// REST-LABEL: func.func @evaluate
