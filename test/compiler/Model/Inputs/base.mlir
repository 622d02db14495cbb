// A small experiment that the tests of this folder change with sed. Those with dense layers put exp.ffn in place of the marked line.
exp.experiment @base attributes {version = 1 : i64, seed = 17 : i64} {
  exp.model {vocab_size = 256 : i64, hidden_size = 32 : i64, num_layers = 4 : i64, tie_embeddings = false,
    norm_placement = "pre", norm_eps = 1.0e-05 : f64, init_std = 0.02 : f64, residual_scale = "1/sqrt(2L)"}
  exp.attention {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, rope_theta = 1.0e+04 : f64, qk_norm = "none"}
  // ffn
  exp.moe {first_layer = 0 : i64, every = 1 : i64, num_experts = 8 : i64, top_k = 2 : i64, expert_kind = "swiglu",
    expert_inner_size = 48 : i64, shared_experts = 0 : i64, capacity_factor = 0.0 : f64, drop = "lowest_weight"}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, score = #exp.method<"score", "softmax", {order = "pre"}>, normalize = false, scale = 1.0 : f64}
  exp.loss {name = "load_balance", weight = 0.01 : f64, method = #exp.method<"loss", "load_balance", {choices = "scores", groups = 1 : i64, scope = "global"}>}
  exp.loss {name = "router_z", weight = 0.001 : f64, method = #exp.method<"loss", "router_z", {}>}
  exp.optimizer {method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-08 : f64, weight_decay = 0.1 : f64}>,
    lr = 0.001 : f64, clip_norm = 1.0 : f64,
    schedule = #exp.method<"schedule", "cosine", {warmup = 10 : i64, floor = 0.1 : f64}>}
  exp.group {name = "no_decay", match = ["*norm.scale", "embed"], lr = 0.001 : f64,
    method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-08 : f64, weight_decay = 0.0 : f64}>}
  exp.data {tokenizer = "byte", seq_len = 16 : i64}
  exp.dataset {split = "train", name = "a", path = "a.txt", weight = 1.0 : f64}
  exp.dataset {split = "validation", name = "a", path = "b.txt", weight = 1.0 : f64}
  exp.batch {sequences = 8 : i64, micro_sequences = 4 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {every_steps = 10 : i64, batches = 4 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 1 : i64}
}
