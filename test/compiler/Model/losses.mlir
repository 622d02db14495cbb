// A weight of 0 leaves nothing behind: no term, no metric, no counter.
// RUN: sed -e 's/weight = 0.01 /weight = 0.0 /' -e 's/weight = 0.001 /weight = 0.0 /' %S/Inputs/base.mlir \
// RUN:   | moec-opt -moec-build-model | FileCheck %s --check-prefix=ZERO
// The declaration stays; states and tensor ops do not mention it.
// ZERO: exp.metrics
// ZERO-NOT: load_balance
// ZERO-NOT: router_z
// ZERO-LABEL: func.func @forward_backward
// ZERO: moe.repeat %{{.*}} of 4 carry(%{{.*}} = %{{.*}} : tensor<64x32xf32>) {
// ZERO-NOT: log_sum_exp %{{.*}} : tensor<64x8xf32>
// ZERO-LABEL: func.func @evaluate

// RUN: sed -e 's/scope = "global"/scope = "sequence"/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=SEQUENCE
// SEQUENCE-NOT: counter.layers
// SEQUENCE: moe.count_ids %{{.*}} : tensor<64x2xi32> -> tensor<4x8xi64>
// SEQUENCE: moe.col_reduce %{{.*}} : tensor<64x8xf32> -> tensor<4x8xf32>

// RUN: sed -e 's/scope = "global"/scope = "micro"/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=MICRO
// MICRO-NOT: counter.layers
// MICRO: moe.col_reduce %{{.*}} : tensor<64x8xf32> -> tensor<1x8xf32>

// One micro-batch a step: the whole batch is the micro-batch, and no counter is needed.
// RUN: sed -e 's/micro_sequences = 4/micro_sequences = 8/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=ONE
// ONE-NOT: counter.layers
// ONE: moe.loss %{{.*}} scale 1.000000e+00
