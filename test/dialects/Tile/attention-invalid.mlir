// RUN: moec-opt %s -split-input-file -verify-diagnostics

tile.kernel @attention_attr_c1 params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 3, 1] strides [768, 256, 393216] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{attention has 3 query heads for 2 key heads, which do not divide them}}
  tile.attention_fwd <1 x 512, heads = 3, kv_heads = 2, head_size = 128, section = 1> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_c1 params 4 <m = 128, n = 128, k = 96, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [96, 512, 2, 1] strides [384, 192, 196608] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_fwd' op has heads of size 96; expected 64 or 128}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 96, section = 2> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_c2 params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  // expected-note @+1 {{has this one}}
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_fwd' op needs a bf16 map of [128, 512, 2, 1] with boxes of [64, 128, 1, 1] and swizzle 128}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_c3 params 4 <m = 128, n = 64, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_fwd' op needs a schedule of 128 x 128 tiles and depth 128; it has 128 x 64 and 128}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_c4 params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 160> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_fwd' op keeps 160 registers of products; a consumer has 160}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_sections params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_fwd' op has sections of 3 heads, which do not divide 2}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 3> (%q, %q, %q) -> %q
}

// -----

tile.kernel @attention_dkv_c5 params 6 <m = 128, n = 64, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_dkv' op has 2 stages; it needs 3 or it locks up}}
  tile.attention_dkv <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q
}

// -----

// Four stages of queries and gradients do not fit beside the keys.
// expected-error @+1 {{'tile.kernel' op takes 264288 bytes of shared memory; there are 232448}}
tile.kernel @attention_dkv_shared params 6 <m = 128, n = 64, k = 128, stages = 4, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  tile.attention_dkv <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q
}

// -----

tile.kernel @attention_attr_sizes params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{attention has a size below 1}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 0> (%q, %q, %q) -> %q
}

// -----

// The gradients keep more products in registers than the forward.
tile.kernel @attention_dq_c4 params 8 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 224> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  %r = tile.operand 1 : tensor<512x256xbf16>
  %lse = tile.operand 2 : tensor<512x2xf32>
  // expected-error @+1 {{'tile.attention_dq' op keeps 224 registers of products; a consumer has 224}}
  tile.attention_dq <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %q, %q, %q) rows (%r, %r, %lse) -> %q : tensor<512x256xbf16>, tensor<512x256xbf16>, tensor<512x2xf32>
}

// -----

tile.kernel @attention_dkv_c4 params 6 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 224> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_dkv' op keeps 224 registers of products; a consumer has 224}}
  tile.attention_dkv <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q
}

// -----

tile.kernel @attention_grad_c4 params 6 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 224> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_grad' op keeps 224 registers of products; a consumer has 224}}
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q, %q
}

// -----

tile.kernel @attention_grad_c3 params 6 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_grad' op needs a schedule of 128 x 64 tiles and depth 128; it has 128 x 128 and 128}}
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q, %q
}

// -----

// Sections are of key heads; the results of q have as many heads as q.
tile.kernel @attention_grad_sections params 6 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 1, 1] strides [256, 256, 131072] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_grad' op has sections of 2 heads, which do not divide 1}}
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 1, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %k, %k
}

// -----

tile.kernel @attention_grad_c2 params 6 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 1, 1] strides [256, 256, 131072] box [64, 128, 1, 1] swizzle 128
  // expected-note @+1 {{has this one}}
  %dk = tile.map 2 : bf16 dims [128, 512, 1, 1] strides [256, 256, 131072] box [64, 64, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_grad' op needs a bf16 map of [128, 512, 2, 1] with boxes of [64, 64, 1, 1] and swizzle 128}}
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 1, head_size = 128, section = 1> (%q, %k, %k, %q) -> %dk, %dk, %dk
}

// -----

// Four stages of queries and gradients do not fit beside the keys.
// expected-error @+1 {{'tile.kernel' op takes 264320 bytes of shared memory; there are 232448}}
tile.kernel @attention_grad_shared params 6 <m = 128, n = 64, k = 128, stages = 4, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2> (%q, %k, %k, %q) -> %q, %q, %q
}

// -----

tile.kernel @attention_grad_window params 6 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{'tile.attention_grad' op has a window; only tile.attention_dq and tile.attention_dkv know windows}}
  tile.attention_grad <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2, window = 100> (%q, %k, %k, %q) -> %q, %q, %q
}

// -----

tile.kernel @attention_attr_c3 params 4 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 512, 2, 1] strides [512, 256, 262144] box [64, 128, 1, 1] swizzle 128
  // expected-error @+1 {{attention has a window of 512 for 512 positions; expected less, or none}}
  tile.attention_fwd <1 x 512, heads = 2, kv_heads = 2, head_size = 128, section = 2, window = 512> (%q, %q, %q) -> %q
}
