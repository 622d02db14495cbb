// RUN: moec-opt %s -split-input-file -verify-diagnostics
// The label over a case is that of the rule in dialects/Exp/IR/ExpVerify.cpp.

// fields_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S013: 0 is out of range; expected at least 1}}
  exp.attention {head_dim = 16 : i64, num_heads = 0 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
}

// -----

// fields_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S014: "all" is not a choice; expected "none", "selective" or "full"}}
  exp.memory {remat = "all"}
}

// -----

// fields_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{attribute 'remat' failed to satisfy constraint: a word: what the backward computes again}}
  exp.memory {remat = 1 : i64}
}

// -----

// fields_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S014: "test" is not a choice; expected "train" or "validation"}}
  exp.dataset {name = "text", path = "text.txt", split = "test", weight = 1.0 : f64}
}

// -----

// fields_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S015: "Text" is not a name}}
  exp.dataset {name = "Text", path = "text.txt", split = "train", weight = 1.0 : f64}
}

// -----

// attention_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+2 {{MOEC-S030: num_kv_heads 3 does not divide num_heads 4}}
  // expected-note @+1 {{num_heads is 4}}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 3 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
}

// -----

// attention_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S031: head_dim 15 is odd}}
  exp.attention {head_dim = 15 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
}

// -----

// precision_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+2 {{MOEC-S048: experts is fp8, but compute is f32}}
  // expected-note @+1 {{compute is f32}}
  exp.precision {compute = "f32", experts = "fp8"}
}

// -----

// moe_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+2 {{MOEC-S032: top_k 5 is larger than num_experts 4}}
  // expected-note @+1 {{num_experts is 4}}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 5 : i64}
}

// -----

// (C4)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+2 {{MOEC-S039: micro_sequences 3 does not divide sequences 8}}
  // expected-note @+1 {{sequences is 8}}
  exp.batch {micro_sequences = 3 : i64, sequences = 8 : i64}
}

// -----

// method_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error-re @+1 {{MOEC-S017: no score has kind "softmaxx"; expected {{("[a-z_]+"(, | or )?)+}}; did you mean "softmax"?}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmaxx", {order = "pre"}>}
}

// -----

// method_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S014: order: "mid" is not a choice}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "mid"}>}
}

// -----

// method_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S011: "order" of score "softmax" is missing}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {}>}
}

// -----

// method_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S018: score "softmax" has no key "top"}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre", top = 1 : i64}>}
}

// -----

// expected-error @+1 {{'exp.memory' op expects parent op 'exp.experiment'}}
exp.memory {remat = "none"}

// -----

// (C1)
  // expected-error @+1 {{MOEC-S023: exp.memory is missing}}
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// (C2)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  // expected-error @+1 {{MOEC-S023: exp.moe needs exp.router}}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
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

// -----

// (C2)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.ffn {inner_size = 256 : i64, kind = "swiglu"}
  // expected-error @+1 {{MOEC-S037: router is given}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
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

// -----

// moe_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-note @+1 {{num_layers is 2}}
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  // expected-error @+1 {{MOEC-S034: layers.from 2 is not below num_layers 2}}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 2 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
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

// -----

// (C5)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  // expected-error @+1 {{MOEC-S035: 1 of 2 layers are not mixtures}}
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 1 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
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

// -----

// router_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  // expected-note @+1 {{top_k is 1}}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 1 : i64}
  // expected-error @+1 {{MOEC-S033: with top_k 1}}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "post"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
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

// -----

// optimizer_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  // expected-error @+1 {{MOEC-S040: warmup is 100 steps, the run only 100}}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 100 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  // expected-note @+1 {{the run is 100 steps}}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// (C9)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  // expected-error @+1 {{MOEC-S076: step 101 never comes: the last step of the run is 100}}
  exp.change {at_step = 101 : i64, name = "late", top_k_per_layer = array<f64: 1.0, 1.0>}
  // expected-note @+1 {{the run is 100 steps}}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// (C10)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  // expected-note @+1 {{"a" is at step 5 too}}
  exp.change {at_step = 5 : i64, name = "a", top_k_per_layer = array<f64: 1.0, 2.0>}
  // expected-error @+1 {{MOEC-S077: changes "a" and "b" both set top_k_per_layer from step 5 on}}
  exp.change {at_step = 5 : i64, name = "b", top_k_per_layer = array<f64: 1.0, 1.0>}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// data_c2
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  // expected-error @+1 {{MOEC-S044}}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// experiment_c1
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 16777216 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  // expected-error @+1 {{MOEC-S042: the largest activation}}
  exp.batch {micro_sequences = 1048576 : i64, sequences = 1048576 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// (C3)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.moe {capacity_factor = 0.0 : f64, drop = "position", every = 1 : i64, expert_inner_size = 64 : i64, expert_kind = "swiglu", first_layer = 0 : i64, num_experts = 4 : i64, shared_experts = 0 : i64, top_k = 2 : i64}
  exp.router {method = #exp.method<"routing", "token_choice", {}>, normalize = false, scale = 1.0 : f64, score = #exp.method<"score", "softmax", {order = "pre"}>}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  // expected-note @+1 {{first here}}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  // expected-error @+1 {{MOEC-S024: name "text" is there twice}}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  exp.duration {steps = 100 : i64}
  exp.precision {compute = "f32"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}

// -----

// (C7)
exp.experiment @x attributes {seed = 1 : i64, version = 1 : i64} {
  exp.model {hidden_size = 64 : i64, init_std = 0.02 : f64, norm_eps = 1.0e-05 : f64, norm_placement = "pre", num_layers = 2 : i64, residual_scale = "none", tie_embeddings = false, vocab_size = 256 : i64}
  exp.attention {head_dim = 16 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, qk_norm = "none", rope_theta = 1.0e+04 : f64}
  exp.ffn {inner_size = 256 : i64, kind = "swiglu"}
  exp.optimizer {clip_norm = 0.0 : f64, lr = 1.0e-3 : f64, method = #exp.method<"optimizer", "adamw", {betas = array<f64: 0.9, 0.95>, eps = 1.0e-8 : f64, weight_decay = 0.1 : f64}>, schedule = #exp.method<"schedule", "constant", {warmup = 0 : i64}>}
  exp.data {seq_len = 64 : i64, tokenizer = "byte"}
  exp.dataset {name = "text", path = "text.txt", split = "train", weight = 1.0 : f64}
  exp.batch {micro_sequences = 4 : i64, sequences = 8 : i64}
  exp.duration {steps = 100 : i64}
  // expected-error @+1 {{MOEC-S049: experts is fp8, but model.moe is null}}
  exp.precision {compute = "bf16", experts = "fp8"}
  exp.memory {remat = "none"}
  exp.evaluate {batches = 4 : i64, every_steps = 0 : i64}
  exp.checkpoint {every_steps = 0 : i64, keep_last = 3 : i64}
  exp.metrics {every_steps = 10 : i64}
}
