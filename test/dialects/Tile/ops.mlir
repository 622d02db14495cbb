// RUN: moec-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: tile.kernel @dense params 3 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2>
tile.kernel @dense params 3 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2> {
  %a = tile.map 0 : bf16 dims [2048, 4096] strides [4096] box [64, 128] swizzle 128
  %b = tile.map 1 : bf16 dims [4096, 2048] strides [8192] box [64, 64] swizzle 128
  %c = tile.map 2 : bf16 dims [4096, 4096] strides [8192] box [64, 64] swizzle 128
  // CHECK: tile.dense 4096 x 4096
  tile.dense 4096 x 4096
  %x = tile.load %a : !tile.slices<128, 64, bf16, k>
  %y = tile.load %b : !tile.slices<256, 64, bf16, mn>
  // CHECK: tile.mma
  %p = tile.mma (%x) by (%y) depth [2048] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<256, 64, bf16, mn>) -> !tile.fragment<128, 256>
  // CHECK: tile.store
  tile.store %p, %c : !tile.fragment<128, 256>
}

// Gate and up projections of experts: gathered tokens, SwiGLU, one result stored and one added, in f32.
// CHECK-LABEL: tile.kernel @grouped
tile.kernel @grouped params 7 <m = 128, n = 256, k = 64, stages = 3, producer = 56, consumer = 224, raster = 4, buffers = 4> {
  %tokens = tile.operand 0 : tensor<4096x2048xbf16>
  %rows = tile.operand 1 : tensor<8192x1xi32>
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %gate = tile.map 3 : bf16 dims [1024, 2048, 8] strides [2048, 4194304] box [64, 64, 1] swizzle 128
  %up = tile.map 4 : bf16 dims [1024, 2048, 8] strides [2048, 4194304] box [64, 64, 1] swizzle 128
  %h = tile.map 5 : bf16 dims [1024, 8192] strides [2048] box [64, 64] swizzle 128
  %sum = tile.operand 6 : tensor<8192x1024xf32>
  // CHECK: tile.grouped 8192 x 1024 by
  tile.grouped 8192 x 1024 by %offsets : tensor<1x9xi32>
  // CHECK: tile.gather
  %x = tile.gather %tokens rows %rows : tensor<4096x2048xbf16>, tensor<8192x1xi32> -> !tile.slices<128, 64, bf16, k>
  %g = tile.load %gate : !tile.slices<128, 64, bf16, mn>
  %u = tile.load %up : !tile.slices<128, 64, bf16, mn>
  %p = tile.mma (%x) by (%g) depth [2048] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, mn>) -> !tile.fragment<128, 128>
  %q = tile.mma (%x) by (%u) depth [2048] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, mn>) -> !tile.fragment<128, 128>
  // CHECK: tile.epilogue
  %r = tile.epilogue (%p, %q) with (%sum : tensor<8192x1024xf32>) : (!tile.fragment<128, 128>, !tile.fragment<128, 128>) -> !tile.fragment<128, 128> {
  ^bb0(%gv: f32, %uv: f32, %s: f32):
    %product = arith.mulf %gv, %uv : f32
    tile.yield %product : f32
  }
  tile.store %r, %h : !tile.fragment<128, 128>
  // CHECK: tile.store accumulate
  tile.store accumulate %q, %h : !tile.fragment<128, 128>
  %total = tile.map 6 : f32 dims [1024, 8192] strides [4096] box [32, 64] swizzle 128
  // CHECK: tile.store accumulate
  tile.store accumulate %p, %total : !tile.fragment<128, 128>
}

// Lanes: tiles of one consumer each, below one another, while the right side stays.
// CHECK-LABEL: tile.kernel @lanes params 4 <m = 64, n = 256, k = 64, stages = 8, producer = 40, consumer = 232, buffers = 2, lanes = 8>
tile.kernel @lanes params 4 <m = 64, n = 256, k = 64, stages = 8, producer = 40, consumer = 232, buffers = 2, lanes = 8> {
  %offsets = tile.operand 0 : tensor<1x9xi32>
  %a = tile.map 1 : bf16 dims [256, 8192] strides [512] box [64, 64] swizzle 128
  %b = tile.map 2 : bf16 dims [1024, 256, 8] strides [2048, 524288] box [64, 64, 1] swizzle 128
  %c = tile.map 3 : bf16 dims [1024, 8192] strides [2048] box [64, 64] swizzle 128
  tile.grouped 8192 x 1024 by %offsets : tensor<1x9xi32>
  %x = tile.load %a : !tile.slices<64, 64, bf16, k>
  %y = tile.load %b : !tile.slices<256, 64, bf16, mn>
  %p = tile.mma (%x) by (%y) depth [256] : (!tile.slices<64, 64, bf16, k>), (!tile.slices<256, 64, bf16, mn>) -> !tile.fragment<64, 256>
  tile.store %p, %c : !tile.fragment<64, 256>
}

// The backward of a gated activation behind a product: two matrices fetched, three results, and sums of a fourth's rows.
// CHECK-LABEL: tile.kernel @fetched
tile.kernel @fetched params 8 <m = 128, n = 256, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %a = tile.map 0 : bf16 dims [2048, 4096] strides [4096] box [64, 128] swizzle 128
  %b = tile.map 1 : bf16 dims [1024, 2048] strides [2048] box [64, 64] swizzle 128
  %gate = tile.map 2 : bf16 dims [1024, 4096] strides [2048] box [64, 128] swizzle 128
  %up = tile.map 3 : bf16 dims [1024, 4096] strides [2048] box [64, 128] swizzle 128
  tile.dense 4096 x 1024
  %x = tile.load %a : !tile.slices<128, 64, bf16, k>
  %y = tile.load %b : !tile.slices<256, 64, bf16, mn>
  %p = tile.mma (%x) by (%y) depth [2048] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<256, 64, bf16, mn>) -> !tile.fragment<128, 256>
  // CHECK: tile.fetch %{{.*}} : <128, 256>
  %g = tile.fetch %gate : !tile.fragment<128, 256>
  // CHECK: tile.fetch %{{.*}} : <128, 256>
  %u = tile.fetch %up : !tile.fragment<128, 256>
  %r:4 = tile.epilogue (%p, %g, %u) : (!tile.fragment<128, 256>, !tile.fragment<128, 256>, !tile.fragment<128, 256>) -> (!tile.fragment<128, 256>, !tile.fragment<128, 256>, !tile.fragment<128, 256>, !tile.fragment<128, 256>) {
  ^bb0(%d: f32, %gv: f32, %uv: f32):
    %dg = arith.mulf %d, %uv : f32
    %du = arith.mulf %d, %gv : f32
    %h = arith.mulf %gv, %uv : f32
    %dh = arith.mulf %d, %h : f32
    tile.yield %dg, %du, %h, %dh : f32, f32, f32, f32
  }
  %to0 = tile.map 4 : bf16 dims [1024, 4096] strides [2048] box [64, 64] swizzle 128
  %to1 = tile.map 5 : bf16 dims [1024, 4096] strides [2048] box [64, 64] swizzle 128
  %to2 = tile.map 6 : bf16 dims [1024, 4096] strides [2048] box [64, 64] swizzle 128
  tile.store %r#0, %to0 : !tile.fragment<128, 256>
  tile.store %r#1, %to1 : !tile.fragment<128, 256>
  tile.store %r#2, %to2 : !tile.fragment<128, 256>
  %sums = tile.operand 7 : tensor<4096x16xf32>
  // CHECK: tile.row_sums %{{.*}}#3, %{{.*}} : <128, 256>, tensor<4096x16xf32>
  tile.row_sums %r#3, %sums : !tile.fragment<128, 256>, tensor<4096x16xf32>
}

// CHECK-LABEL: tile.kernel @ragged
tile.kernel @ragged params 4 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2> {
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %a = tile.map 0 : bf16 dims [2048, 8192] strides [4096] box [64, 64] swizzle 128
  %b = tile.map 1 : bf16 dims [1024, 8192] strides [2048] box [64, 64] swizzle 128
  %d = tile.map 3 : f32 dims [1024, 2048, 8] strides [4096, 8388608] box [32, 64, 1] swizzle 128
  // CHECK: tile.ragged 2048 x 1024 by
  tile.ragged 2048 x 1024 by %offsets : tensor<1x9xi32>
  %x = tile.load %a : !tile.slices<128, 64, bf16, mn>
  %y = tile.load %b : !tile.slices<256, 64, bf16, mn>
  %p = tile.mma (%x) by (%y) depth [8192] : (!tile.slices<128, 64, bf16, mn>), (!tile.slices<256, 64, bf16, mn>) -> !tile.fragment<128, 256>
  tile.store %p, %d : !tile.fragment<128, 256>
}

// The transpose of a weight's gradient, whose depth is gathered by slots: eight of each row.
// CHECK-LABEL: tile.kernel @transposed
tile.kernel @transposed params 5 <m = 128, n = 256, k = 64, stages = 4, producer = 56, consumer = 224, buffers = 2> {
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %source = tile.operand 0 : tensor<1024x2048xbf16>
  %slots = tile.operand 4 : tensor<8192x1xi32>
  %b = tile.map 1 : bf16 dims [1024, 8192] strides [2048] box [64, 64] swizzle 128
  %d = tile.map 3 : f32 dims [2048, 1024, 8] strides [8192, 8388608] box [32, 32, 1] swizzle 128
  tile.ragged 2048 x 1024 by %offsets : tensor<1x9xi32>
  // CHECK: tile.gather %{{.*}} rows %{{.*}} slots 8 :
  %x = tile.gather %source rows %slots slots 8 : tensor<1024x2048xbf16>, tensor<8192x1xi32> -> !tile.slices<128, 64, bf16, mn>
  %y = tile.load %b : !tile.slices<256, 64, bf16, mn>
  %p = tile.mma (%x) by (%y) depth [8192] : (!tile.slices<128, 64, bf16, mn>), (!tile.slices<256, 64, bf16, mn>) -> !tile.fragment<128, 256>
  // CHECK: tile.store accumulate transposed
  tile.store accumulate transposed %p, %d : !tile.fragment<128, 256>
}

// Eight bits: 128 elements of depth a stage, both sides K-major, scales of rows and of each group's columns.
// CHECK-LABEL: tile.kernel @quantised
tile.kernel @quantised params 7 <m = 128, n = 256, k = 128, stages = 4, producer = 56, consumer = 224, buffers = 2> {
  // CHECK: tile.operand 0 : tensor<4096x2048xf8E4M3FN>
  %tokens = tile.operand 0 : tensor<4096x2048xf8E4M3FN>
  %rows = tile.operand 1 : tensor<8192x1xi32>
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %row = tile.operand 4 : tensor<8192x1xf32>
  %column = tile.operand 5 : tensor<8x1x1024xf32>
  %w = tile.map 3 : f8E4M3FN dims [2048, 1024, 8] strides [2048, 2097152] box [128, 256, 1] swizzle 128
  %h = tile.map 6 : bf16 dims [1024, 8192] strides [2048] box [64, 64] swizzle 128
  tile.grouped 8192 x 1024 by %offsets : tensor<1x9xi32>
  // CHECK: tile.gather {{.*}} -> <128, 128, f8E4M3FN, k>
  %x = tile.gather %tokens rows %rows : tensor<4096x2048xf8E4M3FN>, tensor<8192x1xi32> -> !tile.slices<128, 128, f8E4M3FN, k>
  %y = tile.load %w : !tile.slices<256, 128, f8E4M3FN, k>
  %p = tile.mma (%x) by (%y) depth [2048] : (!tile.slices<128, 128, f8E4M3FN, k>), (!tile.slices<256, 128, f8E4M3FN, k>) -> !tile.fragment<128, 256>
  // CHECK: tile.epilogue({{.*}}) with({{.*}} : tensor<8192x1xf32>, tensor<8x1x1024xf32>)
  %r = tile.epilogue (%p) with (%row, %column : tensor<8192x1xf32>, tensor<8x1x1024xf32>) : (!tile.fragment<128, 256>) -> !tile.fragment<128, 256> {
  ^bb0(%v: f32, %s: f32, %t: f32):
    %a = arith.mulf %v, %s : f32
    %b = arith.mulf %a, %t : f32
    tile.yield %b : f32
  }
  tile.store %r, %h : !tile.fragment<128, 256>
}
