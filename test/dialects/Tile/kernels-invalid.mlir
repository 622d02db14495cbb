// RUN: moec-opt %s -split-input-file -verify-diagnostics

// Rules of schedules, and those that need a whole kernel.

// expected-error @+1 {{schedule has depth 0 and 4 stages; expected a depth of 1 and 2 stages or more}}
tile.kernel @schedule_depth params 0 <m = 128, n = 256, k = 0, stages = 4, producer = 40, consumer = 232> {
}

// -----

// expected-error @+1 {{schedule has depth 64 and 1 stages; expected a depth of 1 and 2 stages or more}}
tile.kernel @schedule_stages params 0 <m = 128, n = 256, k = 64, stages = 1, producer = 40, consumer = 232> {
}

// -----

// expected-error @+1 {{schedule gives a thread 16 registers; expected a multiple of 8 within 24..240}}
tile.kernel @schedule_producer params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 16, consumer = 232> {
}

// -----

// expected-error @+1 {{schedule gives a thread 248 registers; expected a multiple of 8 within 24..240}}
tile.kernel @schedule_consumer params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 248> {
}

// -----

// expected-error @+1 {{schedule has raster 0, buffers 0, split 1; expected 1, 0, 1 or more}}
tile.kernel @schedule_raster params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, raster = 0> {
}

// -----

// expected-error @+1 {{schedule has raster 8, buffers -1, split 1; expected 1, 0, 1 or more}}
tile.kernel @schedule_buffers params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = -1> {
}

// -----

// expected-error @+1 {{schedule has raster 8, buffers 0, split 0; expected 1, 0, 1 or more}}
tile.kernel @schedule_split params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, split = 0> {
}

// -----

// expected-error @+1 {{schedule has -1 lanes of tiles of 64 rows; expected none, or tiles of 64}}
tile.kernel @schedule_lanes params 0 <m = 64, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, lanes = -1> {
}

// -----

// expected-error @+1 {{schedule has 8 lanes of tiles of 128 rows; expected none, or tiles of 64}}
tile.kernel @schedule_lanes_rows params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, lanes = 8> {
}

// -----

// expected-error @+1 {{'tile.kernel' op has lanes, which only grouped work has}}
tile.kernel @kernel_c5_dense params 1 <m = 64, n = 64, k = 64, stages = 4, producer = 40, consumer = 232, lanes = 8> {
  %m = tile.map 0 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 128
  tile.dense 64 x 64
  %a = tile.load %m : !tile.slices<64, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<64, 64, bf16, k>), (!tile.slices<64, 64, bf16, k>) -> !tile.fragment<64, 64>
}

// -----

// A matrix for the epilogue would come through stages, which lanes have for the left side alone.
tile.kernel @kernel_c5_fetch params 2 <m = 64, n = 64, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2, lanes = 8> {
  %o = tile.operand 0 : tensor<1x2xi32>
  %m = tile.map 1 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 128
  tile.grouped 64 x 64 by %o : tensor<1x2xi32>
  %a = tile.load %m : !tile.slices<64, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<64, 64, bf16, k>), (!tile.slices<64, 64, bf16, k>) -> !tile.fragment<64, 64>
  // expected-error @+1 {{'tile.fetch' op in a kernel with lanes}}
  %f = tile.fetch %m : !tile.fragment<64, 64>
}

// -----

// The right side of all slices counts as shared memory: 9 of 256 rows, and 2 stages of 64.
// expected-error @+1 {{'tile.kernel' op takes 311552 bytes of shared memory; there are 232448}}
tile.kernel @lanes_shared params 3 <m = 64, n = 256, k = 64, stages = 2, producer = 40, consumer = 232, lanes = 8> {
  %o = tile.operand 0 : tensor<1x2xi32>
  %m = tile.map 1 : bf16 dims [576, 64] strides [1152] box [64, 64] swizzle 128
  %n = tile.map 2 : bf16 dims [576, 256] strides [1152] box [64, 256] swizzle 128
  tile.grouped 64 x 256 by %o : tensor<1x2xi32>
  %a = tile.load %m : !tile.slices<64, 64, bf16, k>
  %b = tile.load %n : !tile.slices<256, 64, bf16, k>
  %p = tile.mma (%a) by (%b) depth [576] : (!tile.slices<64, 64, bf16, k>), (!tile.slices<256, 64, bf16, k>) -> !tile.fragment<64, 256>
}

// -----

// expected-error @+1 {{'tile.kernel' op has 0 work ops; expected 1}}
tile.kernel @no_work params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
}

// -----

// Store buffers count as shared memory.
// expected-error @+1 {{'tile.kernel' op takes 262272 bytes of shared memory; there are 232448}}
tile.kernel @buffers_shared params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 4> {
  tile.dense 128 x 256
}

// -----

// expected-note @+1 {{kernel declared here}}
tile.kernel @map_param params 1 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  tile.dense 128 x 256
  // expected-error @+1 {{'tile.map' op names parameter 1 of 1}}
  %0 = tile.map 1 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 128
}

// -----

tile.kernel @store_c2 params 3 <m = 128, n = 128, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  %c = tile.map 1 : bf16 dims [128, 128] strides [256] box [64, 64] swizzle 128
  tile.dense 128 x 128
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.store' op has no buffer in the schedule}}
  tile.store %p, %c : !tile.fragment<128, 128>
}

// -----

tile.kernel @grouped_split params 1 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, split = 2> {
  %offsets = tile.operand 0 : tensor<1x5xi32>
  // expected-error @+1 {{'tile.grouped' op cannot split the depth; only dense and ragged work can}}
  tile.grouped 512 x 256 by %offsets : tensor<1x5xi32>
}

// -----

// 4 tiles of 2 consumers in 129 pieces.
tile.kernel @ragged_c1 params 1 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, split = 129> {
  %offsets = tile.operand 0 : tensor<1x5xi32>
  // expected-error @+1 {{'tile.ragged' op needs 1032 counters for the parts of its tiles; there are 1024}}
  tile.ragged 512 x 256 by %offsets : tensor<1x5xi32>
}

// -----

tile.kernel @dense_c1 params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, split = 2> {
  // expected-error @+1 {{'tile.dense' op needs 1026 counters for the parts of its tiles; there are 1024}}
  tile.dense 65664 x 256
}

// -----

tile.kernel @ragged_major params 2 <m = 128, n = 128, k = 64, stages = 4, producer = 40, consumer = 232> {
  %offsets = tile.operand 0 : tensor<1x5xi32>
  %m = tile.map 1 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.ragged 512 x 128 by %offsets : tensor<1x5xi32>
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  // expected-error @+1 {{'tile.mma' op is of ragged depth; expected one term of MN-major operands}}
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

tile.kernel @ragged_terms params 2 <m = 128, n = 128, k = 64, stages = 4, producer = 40, consumer = 232> {
  %offsets = tile.operand 0 : tensor<1x5xi32>
  %m = tile.map 1 : bf16 dims [128, 512] strides [256] box [64, 64] swizzle 128
  tile.ragged 128 x 128 by %offsets : tensor<1x5xi32>
  %a = tile.load %m : !tile.slices<128, 64, bf16, mn>
  // expected-error @+1 {{'tile.mma' op is of ragged depth; expected one term of MN-major operands}}
  %p = tile.mma (%a, %a) by (%a, %a) depth [64, 64] : (!tile.slices<128, 64, bf16, mn>, !tile.slices<128, 64, bf16, mn>), (!tile.slices<128, 64, bf16, mn>, !tile.slices<128, 64, bf16, mn>) -> !tile.fragment<128, 128>
}

// -----

tile.kernel @tile_rows params 1 <m = 64, n = 128, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  // expected-error @+1 {{'tile.mma' op multiplies tiles of 128 rows and depth 64; the schedule has 64 and 64}}
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

tile.kernel @tile_depth params 1 <m = 128, n = 128, k = 32, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  // expected-error @+1 {{'tile.mma' op multiplies tiles of 128 rows and depth 64; the schedule has 128 and 32}}
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

tile.kernel @stage_bytes params 1 <m = 128, n = 128, k = 32, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [256, 64] strides [512] box [64, 32] swizzle 128
  tile.dense 128 x 128
  %a = tile.load %m : !tile.slices<128, 32, bf16, mn>
  // expected-error @+1 {{'tile.mma' op has a stage of depth 32; expected 128 bytes}}
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 32, bf16, mn>), (!tile.slices<128, 32, bf16, mn>) -> !tile.fragment<128, 128>
}

// -----

// Products beside each other have as many terms of the same depths.
tile.kernel @beside_depth params 1 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 256
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.mma' op has another shape than the product beside it}}
  %q = tile.mma (%a) by (%a) depth [48] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

tile.kernel @beside_columns params 2 <m = 128, n = 192, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  %n = tile.map 1 : bf16 dims [64, 128] strides [128] box [64, 64] swizzle 128
  tile.dense 128 x 192
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  %b = tile.load %n : !tile.slices<64, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.mma' op has another shape than the product beside it}}
  %q = tile.mma (%a) by (%b) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<64, 64, bf16, k>) -> !tile.fragment<128, 64>
}
