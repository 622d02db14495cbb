// RUN: moec-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: exp.experiment @dense
exp.experiment @dense attributes {seed = 1 : i64, version = 1 : i64} {
  // CHECK: exp.model {{.*}}hidden_size = 64
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64,
             residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.ffn {inner_size = 256 : i64, kind = "swiglu"}
  // CHECK: #exp.method<"schedule", "cosine", {floor = 1.000000e-01 : f64, warmup = 10 : i64}>
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64,
    method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>,
    schedule = #exp.method<"schedule", "cosine", {floor = 0.1 : f64, warmup = 10 : i64}>}
  // CHECK: exp.group {{.*}}match = ["*norm*"]
  exp.group {name = "no_decay", match = ["*norm*"], lr = 1.0e-3 : f64,
    method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.0 : f64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}
