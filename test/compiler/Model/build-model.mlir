// RUN: moec-opt -moec-build-model %S/Inputs/base.mlir | FileCheck %s
// RUN: moec-opt -moec-build-model %S/Inputs/base.mlir --verify-roundtrip -o /dev/null

// CHECK: exp.experiment @base
// CHECK-DAG: moe.state @embed parameter : tensor<256x32xf32> gradient @grad.embed saved
// CHECK-DAG: moe.state @"layers.{}.attention.k" parameter : tensor<32x16xf32> count 4 layers [0, 1] gradient @"grad.layers.{}.attention.k"
// CHECK-DAG: moe.state @"layers.{}.moe.experts.down" parameter : tensor<8x48x32xf32> count 4
// CHECK-DAG: moe.state @head parameter : tensor<32x256xf32>
// CHECK-DAG: moe.state @batch.tokens batch : tensor<4x17xi32> role batch_tokens
// CHECK-DAG: moe.state @metric.expert_tokens metric : tensor<1x8xi64> count 4 layers [0, 1] logged "expert_tokens" role expert_tokens
// CHECK-DAG: moe.state @metric.loss metric : tensor<1x1xf32> logged "loss" role loss
// CHECK-DAG: moe.state @metric.total_loss metric : tensor<1x1xf32> logged "total_loss" role total_loss
// CHECK-DAG: moe.state @metric.grad_norm metric : tensor<1x1xf32> logged "grad_norm" role grad_norm
// CHECK-DAG: moe.state @metric.load_balance metric : tensor<1x1xf32> logged "load_balance"{{$}}
// CHECK-DAG: moe.state @evaluate.losses output : tensor<64x1xf32> role token_losses
// CHECK-DAG: moe.state @generate.tokens batch : tensor<1x16xi32> role generate_tokens
// CHECK-DAG: moe.state @generate.position batch : tensor<1x1xi32> role generate_position
// CHECK-DAG: moe.state @generate.logits output : tensor<1x256xf32> role generate_logits
// CHECK-DAG: moe.state @"counter.layers.{}.load_balance.counts" counter : tensor<1x8xi64> count 4 layers [0, 1]{{$}}
// CHECK-DAG: moe.state @counter.step counter : tensor<1x1xi64> role step_counter saved
// CHECK-DAG: moe.state @optimizer.m.embed optimizer : {{.*}} saved
// CHECK-DAG: moe.state @"optimizer.v.layers.{}.moe.router" optimizer : tensor<32x8xf32> count 4

// CHECK-LABEL: func.func @forward_backward() attributes {moe.differentiate}
// CHECK: moe.repeat %[[L:.*]] of 4 carry
// CHECK: moe.read @"layers.{}.attention.q"[%[[L]]]
// CHECK: moe.attention {{.*}} heads 4 kv_heads 2 seq_len 16
// CHECK: %[[IDS:.*]] = moe.top_k
// CHECK: %[[COUNTS:.*]] = moe.count_ids %[[IDS]]
// CHECK: moe.accumulate @metric.expert_tokens[%[[L]]], %[[COUNTS]]
// CHECK: moe.permute %[[IDS]] experts 8 align 8
// CHECK-COUNT-3: moe.grouped_matmul
// CHECK: moe.combine_rows
// The running counts are added before they are read.
// CHECK: moe.accumulate @"counter.layers.{}.load_balance.counts"[%[[L]]], %[[COUNTS]]
// CHECK: moe.read @"counter.layers.{}.load_balance.counts"[%[[L]]]
// CHECK: moe.accumulate @metric.loss
// CHECK: moe.accumulate @metric.load_balance
// CHECK: moe.accumulate @metric.total_loss
// CHECK: moe.loss %{{.*}} scale 5.000000e-01

// CHECK-LABEL: func.func @evaluate()
// CHECK-NOT: count_ids
// CHECK: moe.write @evaluate.losses

// CHECK-LABEL: func.func @logits()
// CHECK: moe.read @generate.position
// CHECK: moe.gather_rows
// CHECK: moe.matmul {{.*}} tensor<1x32xf32>, tensor<32x256xf32>
// CHECK: moe.write @generate.logits

// CHECK-LABEL: func.func @update()
// CHECK: moe.write @metric.grad_norm
// CHECK: arith.minimumf
// CHECK: moe.write @metric.lr
// One pass over parameter, gradient and both moments of all layers at once.
// CHECK: moe.map({{.*}}tensor<1024x48xf32>, tensor<1024x48xf32>, tensor<1024x48xf32>, tensor<1024x48xf32>, {{.*}}) -> (tensor<1024x48xf32>, tensor<1024x48xf32>, tensor<1024x48xf32>)
// CHECK: moe.accumulate @counter.step

// CHECK-LABEL: func.func @begin_step()
// CHECK-DAG: moe.write @grad.embed
// CHECK-DAG: moe.write @"counter.layers.{}.load_balance.counts"
// CHECK-NOT: @counter.step

// CHECK-LABEL: func.func @init()
// CHECK: moe.random_normal seed 17
// CHECK: moe.repeat %[[I:.*]] of 4
// CHECK: moe.random_normal[%[[I]]] seed 17 {{.*}} stddev 2.000000e-02 : tensor<32x32xf32>
// The output projection is scaled by 1/sqrt(2L).
// CHECK: stddev 0.00707106781{{.*}} : tensor<32x32xf32>
// CHECK: moe.write @"layers.{}.attention.o"
// CHECK: moe.map position()
// CHECK: moe.write @constant.rope.cos
// CHECK: moe.write @counter.step
