// Every op prints as it is written and parses back.
// RUN: moec-opt %s --verify-roundtrip | FileCheck %s
// RUN: moec-opt %s -emit-bytecode | moec-opt | FileCheck %s

// CHECK: moe.state @"layers.{}.q" parameter : tensor<4x4xf32> count 3 layers [1, 2] gradient @"grad.layers.{}.q"
moe.state @"layers.{}.q" parameter : tensor<4x4xf32> count 3 layers [1, 2] gradient @"grad.layers.{}.q"
// CHECK: moe.state @"grad.layers.{}.q" gradient : tensor<4x4xf32> count 3
moe.state @"grad.layers.{}.q" gradient : tensor<4x4xf32> count 3
// CHECK: moe.state @steps counter : tensor<1x1xi64>
moe.state @steps counter : tensor<1x1xi64>
// CHECK: moe.state @batch batch : tensor<2x9xi32> role batch_tokens{{$}}
moe.state @batch batch : tensor<2x9xi32> role batch_tokens
// CHECK: moe.state @"layers.{}.k#1" parameter : tensor<4x4xf32> count 3 layers [2, 2] gradient @"grad.layers.{}.q" named "layers.{}.k" saved
moe.state @"layers.{}.k#1" parameter : tensor<4x4xf32> count 3 layers [2, 2] gradient @"grad.layers.{}.q" named "layers.{}.k" saved
// CHECK: moe.state @counter.step counter : tensor<1x1xi64> role step_counter saved
moe.state @counter.step counter : tensor<1x1xi64> role step_counter saved
// CHECK: moe.state @metric.tokens metric : tensor<1x8xi64> count 2 layers [0, 1] logged "tokens" role expert_tokens
moe.state @metric.tokens metric : tensor<1x8xi64> count 2 layers [0, 1] logged "tokens" role expert_tokens
// CHECK: moe.state @metric.size metric : tensor<1x1xf32> logged "size" {moe.full_precision}
moe.state @metric.size metric : tensor<1x1xf32> logged "size" {moe.full_precision}

// CHECK-LABEL: func @states
func.func @states(%i: index) {
  // CHECK: moe.read @"layers.{}.q"[%{{.*}}] : tensor<4x4xf32>
  %w = moe.read @"layers.{}.q"[%i] : tensor<4x4xf32>
  // CHECK: moe.read @"layers.{}.q" : tensor<3x4x4xf32>
  %all = moe.read @"layers.{}.q" : tensor<3x4x4xf32>
  // CHECK: moe.read @steps : tensor<1x1xi64>
  %s = moe.read @steps : tensor<1x1xi64>
  // CHECK: moe.accumulate @"grad.layers.{}.q"[%{{.*}}], %{{.*}} : tensor<4x4xf32>
  moe.accumulate @"grad.layers.{}.q"[%i], %w : tensor<4x4xf32>
  // CHECK: moe.write @steps, %{{.*}} : tensor<1x1xi64>
  moe.write @steps, %s : tensor<1x1xi64>
  // CHECK: moe.write @"layers.{}.q", %{{.*}} : tensor<3x4x4xf32>
  moe.write @"layers.{}.q", %all : tensor<3x4x4xf32>
  return
}

// CHECK-LABEL: func @structure
func.func @structure(%x0: tensor<8x4xf32>, %all: tensor<3x8x1xf32>) {
  // CHECK: %[[Y:.*]]:2 = moe.repeat %[[L:.*]] of 3 carry(%[[X:.*]] = %{{.*}} : tensor<8x4xf32>) stacked(%{{.*}} = %{{.*}} : tensor<3x8x1xf32>) -> (tensor<3x8x4xf32>) {
  %y, %saved = moe.repeat %l of 3 carry(%x = %x0 : tensor<8x4xf32>) stacked(%s = %all : tensor<3x8x1xf32>)
      -> (tensor<3x8x4xf32>) {
    // CHECK: moe.dispatch "matmul" note "alone" (%{{.*}} = %[[X]], %{{.*}} = %[[L]]) : (tensor<8x4xf32>, index) -> tensor<8x4xf32> {
    %n = moe.dispatch "matmul" note "alone" (%a = %x, %i = %l) : (tensor<8x4xf32>, index) -> tensor<8x4xf32> {
      %w = moe.read @"layers.{}.q"[%i] : tensor<4x4xf32>
      %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
      // CHECK: moe.yield %{{.*}} : tensor<8x4xf32>
      moe.yield %p : tensor<8x4xf32>
    }
    moe.yield %n, %x : tensor<8x4xf32>, tensor<8x4xf32>
  }
  // CHECK: moe.repeat reverse %{{.*}} of 3 {
  moe.repeat reverse %l of 3 {
    // CHECK: moe.dispatch "row" (%{{.*}} = %{{.*}}) : (index) -> () attributes {tag} {
    moe.dispatch "row" (%i = %l) : (index) -> () attributes {tag} {
      moe.yield
    }
    moe.yield
  }
  %t = moe.random_normal seed 1 stream 2 mean 0.0 stddev 1.0 : tensor<1x1xf32>
  // CHECK: moe.loss %{{.*}} scale 5.000000e-01 : tensor<1x1xf32>
  moe.loss %t scale 0.5 : tensor<1x1xf32>
  return
}

// CHECK-LABEL: func @row_ops
func.func @row_ops(%x: tensor<8x4xf32>, %s: tensor<1x4xf32>, %ids: tensor<8x2xi32>, %cos: tensor<4x2xf32>) {
  // CHECK: moe.map(%{{.*}}, %{{.*}}) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
  %m = moe.map(%x, %s) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  // CHECK: moe.sigmoid %{{.*}} : f32
  %sig = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %p = moe.sigmoid %a : f32
    moe.yield %p : f32
  }
  // CHECK: moe.map position() : () -> (tensor<8x4xi64>, tensor<8x4xf32>) {
  %pos:2 = moe.map position() : () -> (tensor<8x4xi64>, tensor<8x4xf32>) {
  ^bb0(%r: i64, %c: i64):
    %f = arith.sitofp %c : i64 to f32
    moe.yield %r, %f : i64, f32
  }
  // CHECK: moe.row_reduce sum %{{.*}} : tensor<8x4xf32> -> tensor<8x1xf32>
  %sum = moe.row_reduce sum %x : tensor<8x4xf32> -> tensor<8x1xf32>
  // CHECK: moe.row_reduce sum %{{.*}} every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
  %parts = moe.row_reduce sum %x every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
  // CHECK: moe.row_reduce max %{{.*}} : tensor<8x4xf32> -> tensor<8x1xf32>
  %max = moe.row_reduce max %x : tensor<8x4xf32> -> tensor<8x1xf32>
  // CHECK: moe.rms_norm %{{.*}}, %{{.*}} {eps = 9.9999999999999995E-7 : f64} : tensor<8x4xf32>, tensor<1x4xf32>
  %n = moe.rms_norm %x, %s {eps = 1.0e-06 : f64} : tensor<8x4xf32>, tensor<1x4xf32>
  // CHECK: moe.softmax %{{.*}} : tensor<8x4xf32>
  %soft = moe.softmax %x : tensor<8x4xf32>
  // CHECK: moe.log_sum_exp %{{.*}} : tensor<8x4xf32> -> tensor<8x1xf32>
  %lse = moe.log_sum_exp %x : tensor<8x4xf32> -> tensor<8x1xf32>
  // CHECK: moe.top_k %{{.*}} : tensor<8x4xf32> -> tensor<8x2xi32>
  %top = moe.top_k %x : tensor<8x4xf32> -> tensor<8x2xi32>
  // CHECK: moe.take %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<8x2xi32> -> tensor<8x2xf32>
  %take = moe.take %x, %ids : tensor<8x4xf32>, tensor<8x2xi32> -> tensor<8x2xf32>
  // CHECK: moe.put %{{.*}}, %{{.*}} : tensor<8x2xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
  %put = moe.put %take, %ids : tensor<8x2xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
  // CHECK: moe.rope %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<4x2xf32>
  %rope = moe.rope %x, %cos, %cos : tensor<8x4xf32>, tensor<4x2xf32>
  // CHECK: moe.rope %{{.*}}, %{{.*}}, %{{.*}} heads 2 : tensor<8x4xf32>, tensor<4x2xf32>
  %by_head = moe.rope %x, %cos, %cos heads 2 : tensor<8x4xf32>, tensor<4x2xf32>
  // CHECK: moe.rope inverse %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<4x2xf32>
  %back = moe.rope inverse %x, %cos, %cos : tensor<8x4xf32>, tensor<4x2xf32>
  // CHECK: moe.reshape %{{.*}} : tensor<8x4xf32> -> tensor<16x2xf32>
  %view = moe.reshape %x : tensor<8x4xf32> -> tensor<16x2xf32>
  // CHECK: moe.col_reduce %{{.*}} : tensor<8x4xf32> -> tensor<2x4xf32>
  %col = moe.col_reduce %x : tensor<8x4xf32> -> tensor<2x4xf32>
  return
}

// CHECK-LABEL: func @routed
func.func @routed(%x: tensor<8x4xf32>, %scores: tensor<8x2xf32>, %ids: tensor<8x2xi32>, %w: tensor<3x4x6xf32>, %n: tensor<1x1xi64>) {
  // CHECK: moe.limit_capacity lowest_weight %{{.*}}, %{{.*}} experts 3 capacity 4 : tensor<8x2xi32>, tensor<8x2xf32>
  %kept = moe.limit_capacity lowest_weight %ids, %scores experts 3 capacity 4 : tensor<8x2xi32>, tensor<8x2xf32>
  // CHECK: moe.limit_capacity position %{{.*}}, %{{.*}} experts 3 capacity 4 room %{{.*}} : tensor<8x2xi32>, tensor<8x2xf32>, tensor<1x1xi64>
  %kept2 = moe.limit_capacity position %ids, %scores experts 3 capacity 4 room %n : tensor<8x2xi32>, tensor<8x2xf32>, tensor<1x1xi64>
  // CHECK: moe.count_ids %{{.*}} : tensor<8x2xi32> -> tensor<2x3xi64>
  %load = moe.count_ids %ids : tensor<8x2xi32> -> tensor<2x3xi64>
  // CHECK: moe.permute %{{.*}} experts 3 align 4 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<28x1xi32>
  %offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute %kept experts 3 align 4
      : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<28x1xi32>
  // CHECK: moe.permute %{{.*}} experts 3 align 4 limit 6 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<16x1xi32>
  %few:5 = moe.permute %kept experts 3 align 4 limit 6 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<16x1xi32>
  // CHECK: moe.column_kth %{{.*}} n 3 : tensor<8x4xf32> -> tensor<2x4xf32>
  %threshold = moe.column_kth %x n 3 : tensor<8x4xf32> -> tensor<2x4xf32>
  // CHECK: %{{.*}}, %{{.*}} = moe.column_kth %{{.*}} n 3 : tensor<8x4xf32> -> tensor<2x4xf32>, tensor<2x4xi32>
  %threshold2, %last = moe.column_kth %x n 3 : tensor<8x4xf32> -> tensor<2x4xf32>, tensor<2x4xi32>
  // CHECK: moe.column_kth %{{.*}} n 3 rank %{{.*}} : tensor<8x4xf32>, tensor<1x1xi64> -> tensor<2x4xf32>
  %threshold3 = moe.column_kth %x n 3 rank %n : tensor<8x4xf32>, tensor<1x1xi64> -> tensor<2x4xf32>
  // CHECK: moe.gather_rows %{{.*}}, %{{.*}} slot_row %{{.*}} : tensor<8x2xi32> : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  %g = moe.gather_rows %x, %row_token slot_row %slot_row : tensor<8x2xi32> : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  // CHECK: moe.gather_rows %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  %g2 = moe.gather_rows %x, %row_token : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  // CHECK: moe.grouped_matmul %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<28x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x6xf32>
  %h = moe.grouped_matmul %g, %w, %offsets, %counts : tensor<28x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x6xf32>
  // CHECK: moe.grouped_matmul all_rows %
  %h1 = moe.grouped_matmul all_rows %g, %w, %offsets, %counts : tensor<28x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x6xf32>
  // CHECK: moe.map partial(%
  %h1p = moe.map partial(%h1) : (tensor<28x6xf32>) -> tensor<28x6xf32> {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  // CHECK: moe.grouped_matmul tb
  %h2 = moe.grouped_matmul tb %h, %w, %offsets, %counts : tensor<28x6xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x4xf32>
  // CHECK: %{{.*}}:2, %[[QS:.*]] = moe.quantize_rows %{{.*}}, %{{.*}} : (tensor<28x4xf32>, tensor<28x4xf32>) -> (tensor<28x4xf32>, tensor<28x4xf32>, tensor<28x1xf32>)
  %q, %q2, %qs = moe.quantize_rows %g, %h2 : (tensor<28x4xf32>, tensor<28x4xf32>) -> (tensor<28x4xf32>, tensor<28x4xf32>, tensor<28x1xf32>)
  // CHECK: moe.quantize_columns %{{.*}} : tensor<3x4x6xf32> -> tensor<3x6x4xf32>, tensor<3x6xf32>
  %wq, %ws = moe.quantize_columns %w : tensor<3x4x6xf32> -> tensor<3x6x4xf32>, tensor<3x6xf32>
  // CHECK: moe.grouped_matmul tb %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} scales %[[QS]], %{{.*}} : tensor<28x1xf32>, tensor<3x6xf32> : tensor<28x4xf32>, tensor<3x6x4xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x6xf32>
  %h3 = moe.grouped_matmul tb %q, %wq, %offsets, %counts scales %qs, %ws : tensor<28x1xf32>, tensor<3x6xf32> : tensor<28x4xf32>, tensor<3x6x4xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<28x6xf32>
  // CHECK: moe.grouped_outer
  %dw = moe.grouped_outer %g, %h, %offsets, %counts : tensor<28x4xf32>, tensor<28x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<3x4x6xf32>
  // CHECK: moe.combine_rows %{{.*}}, %{{.*}} row_slot %{{.*}} : tensor<28x1xi32> weights %{{.*}} : tensor<8x2xf32> : tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
  %y = moe.combine_rows %h2, %slot_row row_slot %row_slot : tensor<28x1xi32> weights %scores : tensor<8x2xf32>
      : tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
  // CHECK: moe.combine_rows
  %y2 = moe.combine_rows %h2, %slot_row : tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
  // CHECK: moe.spread_rows %{{.*}}, %{{.*}} weights %{{.*}} : tensor<8x2xf32> top_k 2 : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  %spread = moe.spread_rows %y, %row_slot weights %scores : tensor<8x2xf32> top_k 2 : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
  // CHECK: moe.dot_rows %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x2xf32>
  %dot = moe.dot_rows %y, %h2, %slot_row : tensor<8x4xf32>, tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x2xf32>
  return
}

// CHECK-LABEL: func @now_and_then
func.func @now_and_then(%x: tensor<8x4xf32>, %now: tensor<1x1xf32>, %count: tensor<1x1xi64>, %a: tensor<2x6x6xf32>, %tall: tensor<2x6x4xf64>) {
  // CHECK: moe.sinkhorn %{{.*}} if %{{.*}} xi 5.000000e-02 max_iters 100 tol 1.000000e-03 : tensor<8x4xf32>, tensor<1x1xf32>
  %plan = moe.sinkhorn %x if %now xi 0.05 max_iters 100 tol 1.0e-3 : tensor<8x4xf32>, tensor<1x1xf32>
  // CHECK: %{{.*}}, %{{.*}} = moe.eigh %{{.*}} previous %{{.*}} if %{{.*}} : tensor<2x6x6xf32>, tensor<1x1xi64> -> tensor<2x6xf32>
  %q, %l = moe.eigh %a previous %a if %count : tensor<2x6x6xf32>, tensor<1x1xi64> -> tensor<2x6xf32>
  // CHECK: moe.qr %{{.*}} previous %{{.*}} if %{{.*}} : tensor<2x6x4xf64>, tensor<1x1xf32>
  %o = moe.qr %tall previous %tall if %now : tensor<2x6x4xf64>, tensor<1x1xf32>
  return
}

// CHECK-LABEL: func @rest
func.func @rest(%a: tensor<8x4xf32>, %b: tensor<4x6xf32>, %k: tensor<8x2xf32>, %i: index, %table: tensor<16x4xf32>) {
  // CHECK: moe.matmul %{{.*}}, %{{.*}} : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %m = moe.matmul %a, %b : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  // CHECK: moe.matmul ta %{{.*}}, %{{.*}}
  %ta = moe.matmul ta %a, %m : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  // CHECK: moe.matmul ta tb %{{.*}}, %{{.*}}
  %tatb = moe.matmul ta tb %b, %a : tensor<4x6xf32>, tensor<8x4xf32> -> tensor<6x8xf32>
  // CHECK: moe.attention %{{.*}}, %{{.*}}, %{{.*}} heads 2 kv_heads 1 seq_len 4 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  %o, %lse = moe.attention %a, %k, %k heads 2 kv_heads 1 seq_len 4 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  // CHECK: moe.attention_grad {{.*}} heads 2 kv_heads 1 seq_len 4 : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  %dq, %dk, %dv = moe.attention_grad %a, %k, %k, %o, %lse, %o heads 2 kv_heads 1 seq_len 4
      : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  // CHECK: moe.attention {{.*}} heads 2 kv_heads 1 seq_len 4 window 3 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  %ow, %lsew = moe.attention %a, %k, %k heads 2 kv_heads 1 seq_len 4 window 3 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  // CHECK: moe.attention_grad {{.*}} heads 2 kv_heads 1 seq_len 4 window 3 : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  %dqw, %dkw, %dvw = moe.attention_grad %a, %k, %k, %ow, %lsew, %ow heads 2 kv_heads 1 seq_len 4 window 3
      : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  %batch = moe.read @batch : tensor<2x9xi32>
  // CHECK: moe.slice_columns %{{.*}} first 1 : tensor<2x9xi32> -> tensor<2x8xi32>
  %ids = moe.slice_columns %batch first 1 : tensor<2x9xi32> -> tensor<2x8xi32>
  %rows = moe.reshape %ids : tensor<2x8xi32> -> tensor<16x1xi32>
  // CHECK: moe.embed %{{.*}}, %{{.*}} : tensor<16x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  %e = moe.embed %table, %rows : tensor<16x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  // CHECK: moe.embed_grad %{{.*}}, %{{.*}} : tensor<16x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  %de = moe.embed_grad %e, %rows : tensor<16x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
  // CHECK: moe.random_normal[%{{.*}}] seed 7 stream 3 mean 0.000000e+00 stddev 2.000000e-02 : tensor<4x4xf32>
  %r = moe.random_normal [%i] seed 7 stream 3 mean 0.0 stddev 0.02 : tensor<4x4xf32>
  return
}
