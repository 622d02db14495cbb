// RUN: sed 's/tie_embeddings = false/tie_embeddings = true/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=TIE
// TIE-NOT: @head
// TIE-LABEL: func.func @forward_backward
// TIE: %[[TABLE:.*]] = moe.read @embed
// TIE: %[[TABLE2:.*]] = moe.read @embed
// TIE-NEXT: moe.matmul tb %{{.*}}, %[[TABLE2]]

// RUN: sed 's/qk_norm = "none"/qk_norm = "head"/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=HEAD
// HEAD: moe.state @"layers.{}.attention.q_norm.scale" parameter : tensor<1x8xf32>
// HEAD: moe.state @"layers.{}.attention.k_norm.scale" parameter : tensor<1x8xf32>
// HEAD: moe.reshape %{{.*}} : tensor<64x32xf32> -> tensor<256x8xf32>
// HEAD: moe.rms_norm %{{.*}} : tensor<256x8xf32>, tensor<1x8xf32>

// RUN: sed 's/qk_norm = "none"/qk_norm = "full"/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=FULL
// FULL: moe.state @"layers.{}.attention.q_norm.scale" parameter : tensor<1x32xf32>
// FULL: moe.state @"layers.{}.attention.k_norm.scale" parameter : tensor<1x16xf32>
// FULL: moe.rms_norm %{{.*}} : tensor<64x16xf32>, tensor<1x16xf32>

// RUN: sed 's/qk_norm = "none"/qk_norm = "none", window = 5 : i64/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=WINDOW
// WINDOW-LABEL: func.func @forward_backward
// WINDOW: moe.attention {{.*}} seq_len 16 window 5 :
// WINDOW-LABEL: func.func @logits
// WINDOW: moe.attention {{.*}} seq_len 16 window 5 :

// Capacity = ceil(1.25 * 64 * 2 / 8) = 20.
// RUN: sed 's/capacity_factor = 0.0/capacity_factor = 1.25/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=CAPACITY
// CAPACITY: %[[IDS:.*]] = moe.top_k
// CAPACITY: moe.count_ids %[[IDS]]
// CAPACITY: %[[KEPT:.*]] = moe.limit_capacity lowest_weight %[[IDS]], %{{.*}} experts 8 capacity 20
// CAPACITY: moe.permute %[[KEPT]]

// A layer with a top_k of its own has room for ceil(1.0 * 64 * k / 8); memory is laid out for the largest k.
// RUN: sed -e 's/capacity_factor = 0.0/capacity_factor = 1.0/' -e 's/top_k = 2/top_k_per_layer = array<f64: 4.0, 2.0, 2.0, 4.0>, top_k = 4/' \
// RUN:   %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=ROOM
// ROOM-LABEL: func.func @forward_backward
// ROOM: %[[TOPK:.*]] = moe.read @"constant.layers.{}.top_k"
// ROOM: %[[ROOM:.*]] = moe.map position(%[[TOPK]]) : (tensor<1x1xf32>) -> tensor<1x1xi64>
// ROOM: moe.limit_capacity lowest_weight %{{.*}}, %{{.*}} experts 8 capacity 32 room %[[ROOM]]

// Where text is made its tokens alone count, and what stands behind them has no expert.
// TEXT-LABEL: func.func @evaluate
// TEXT-NOT: room
// TEXT-LABEL: func.func @logits
// TEXT: moe.limit_capacity lowest_weight %{{.*}}, %{{.*}} experts 8 capacity 4 room %{{.*}}
// RUN: sed 's/capacity_factor = 0.0/capacity_factor = 1.0/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=TEXT

// A capacity that no expert can exceed drops nothing and costs nothing.
// RUN: sed 's/capacity_factor = 0.0/capacity_factor = 4.0/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=AMPLE
// AMPLE-NOT: limit_capacity

// RUN: sed 's/norm_placement = "pre"/norm_placement = "peri"/' %S/Inputs/base.mlir \
// RUN:   | sed 's/"no_decay", match = \["/&*out_norm.scale", "/' | moec-opt -moec-build-model | FileCheck %s --check-prefix=PERI
// PERI-LABEL: func.func @forward_backward
// PERI: %[[CHANGE:.*]] = moe.combine_rows
// PERI: moe.read @"layers.{}.moe.out_norm.scale"
// PERI-NEXT: moe.rms_norm %[[CHANGE]]

// RUN: sed -e 's/"softmax", {order = "pre"}/"softmax", {order = "post"}/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=POST
// POST: %[[LOGITS:.*]] = moe.matmul %{{.*}} : tensor<64x32xf32>, tensor<32x8xf32>
// POST-NEXT: %[[IDS:.*]] = moe.top_k %[[LOGITS]]
// POST-NEXT: %[[CHOSEN:.*]] = moe.take %[[LOGITS]], %[[IDS]]
// POST-NEXT: moe.softmax %[[CHOSEN]]

// RUN: sed -e 's/"softmax", {order = "pre"}>, normalize = false, scale = 1.0/"sigmoid", {}>, normalize = true, scale = 2.5/' -e 's/shared_experts = 0/shared_experts = 2/' \
// RUN:   %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=SIGMOID
// SIGMOID: moe.state @"layers.{}.moe.shared.up" parameter : tensor<32x96xf32>
// SIGMOID: moe.top_k
// SIGMOID: moe.take
// SIGMOID-NEXT: moe.row_reduce sum
// SIGMOID: arith.constant 2.500000e+00
// SIGMOID: moe.combine_rows
// SIGMOID: moe.read @"layers.{}.moe.shared.gate"

// RUN: sed 's/compute = "f32"/compute = "f64"/' %S/Inputs/base.mlir | moec-opt -moec-build-model | FileCheck %s --check-prefix=F64
// F64: moe.state @embed parameter : tensor<256x32xf64>
// F64-NOT: f32
