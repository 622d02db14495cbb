// RUN: moec-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{'tile.kernel' op takes 512 registers for a thread of each warpgroup, but starts with 504}}
tile.kernel @kernel_c1 params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 32, consumer = 240> {
  tile.dense 128 x 256
}

// -----

// expected-error @+1 {{'tile.kernel' op has 2 work ops; expected 1}}
tile.kernel @kernel_c2 params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  tile.dense 128 x 256
  tile.dense 128 x 256
}

// -----

// expected-error @+1 {{'tile.kernel' op takes 245904 bytes of shared memory; there are 232448}}
tile.kernel @kernel_c3 params 0 <m = 128, n = 256, k = 64, stages = 5, producer = 40, consumer = 232> {
  tile.dense 128 x 256
}

// -----

// expected-error @+1 {{schedule gives a thread 44 registers; expected a multiple of 8 within 24..240}}
tile.kernel @kernel_c4 params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 44, consumer = 232> {
  tile.dense 128 x 256
}

// -----

// expected-error @+1 {{schedule has tiles of 100 rows; expected 64 for each of 1 to 3 consumers}}
tile.kernel @schedule_rows params 0 <m = 100, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
}

// -----

// expected-error @+1 {{schedule has tiles of 264 columns; expected a multiple of 8 up to 256}}
tile.kernel @schedule_columns params 0 <m = 128, n = 264, k = 64, stages = 4, producer = 40, consumer = 232> {
}

// -----

// expected-error @+1 {{'tile.kernel' op has no tile.mma}}
tile.kernel @kernel_empty params 0 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  tile.dense 128 x 256
}

// -----

func.func @map_c1() {
  // expected-error @+1 {{'tile.map' op has 2 dimensions, 2 strides and a box of 2; expected 1 to 5, one less, and as many}}
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128, 8192] box [64, 64] swizzle 128
  return
}

// -----

func.func @map_c2() {
  // expected-error @+1 {{'tile.map' op has a stride of 136 bytes, which is not a multiple of 16}}
  %0 = tile.map 0 : bf16 dims [68, 64] strides [136] box [64, 64] swizzle 128
  return
}

// -----

func.func @map_c3() {
  // expected-error @+1 {{'tile.map' op has a box side of 512; expected 1 to 256}}
  %0 = tile.map 0 : bf16 dims [64, 512] strides [128] box [64, 512] swizzle 128
  return
}

// -----

func.func @map_c4() {
  // expected-error @+1 {{'tile.map' op has a box of 64 bytes per row, but swizzles 128}}
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128] box [32, 64] swizzle 128
  return
}

// -----

// expected-note @+1 {{kernel declared here}}
tile.kernel @map_c5 params 1 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  tile.dense 128 x 256
  // expected-error @+1 {{'tile.operand' op names parameter 1 of 1}}
  %0 = tile.operand 1 : tensor<4x4xf32>
}

// -----

func.func @load_c1() {
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 128
  // expected-error @+1 {{'tile.load' op loads 'f8E4M3FN' by a map of another element type}}
  %1 = tile.load %0 : !tile.slices<64, 128, f8E4M3FN, k>
  return
}

// -----

func.func @load_c2() {
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 0
  // expected-error @+1 {{'tile.load' op loads by a map of swizzle 0; expected 128}}
  %1 = tile.load %0 : !tile.slices<64, 64, bf16, k>
  return
}

// -----

func.func @load_c3() {
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128] box [64, 64] swizzle 128
  // expected-error @+1 {{'tile.load' op takes boxes of [64, 64]; its slices need [64, 128]}}
  %1 = tile.load %0 : !tile.slices<128, 64, bf16, k>
  return
}

// -----

func.func @load_c3_mn() {
  %0 = tile.map 0 : bf16 dims [256, 64] strides [512] box [64, 32] swizzle 128
  // expected-error @+1 {{'tile.load' op takes boxes of [64, 32]; its slices need [64, 64]}}
  %1 = tile.load %0 : !tile.slices<256, 64, bf16, mn>
  return
}

// -----

func.func @load_c3_stack() {
  %0 = tile.map 0 : bf16 dims [64, 128, 4] strides [128, 16384] box [64, 128, 2] swizzle 128
  // expected-error @+1 {{'tile.load' op takes boxes of [64, 128, 2]; its slices need [64, 128]}}
  %1 = tile.load %0 : !tile.slices<128, 64, bf16, k>
  return
}

// -----

func.func @gather_c1_bytes(%rows: tensor<8x1xi32>, %x: tensor<8x24xf8E4M3FN>) {
  // expected-error @+1 {{'tile.gather' op gathers rows of 'tensor<8x24xf8E4M3FN>'; expected [rows, columns] of 'f8E4M3FN' with rows of whole 16 bytes}}
  %0 = tile.gather %x rows %rows : tensor<8x24xf8E4M3FN>, tensor<8x1xi32> -> !tile.slices<128, 128, f8E4M3FN, k>
  return
}

// -----

func.func @gather_c1(%rows: tensor<8x1xi32>, %x: tensor<8x12xbf16>) {
  // expected-error @+1 {{'tile.gather' op gathers rows of 'tensor<8x12xbf16>'; expected [rows, columns] of 'bf16' with rows of whole 16 bytes}}
  %0 = tile.gather %x rows %rows : tensor<8x12xbf16>, tensor<8x1xi32> -> !tile.slices<128, 64, bf16, k>
  return
}

// -----

func.func @gather_c2(%rows: tensor<8x1xi32>, %x: tensor<8x16xbf16>) {
  // expected-error @+1 {{'tile.gather' op makes tiles of 64 rows; expected 128}}
  %0 = tile.gather %x rows %rows : tensor<8x16xbf16>, tensor<8x1xi32> -> !tile.slices<64, 64, bf16, k>
  return
}

// -----

func.func @mma_c1(%a: !tile.slices<128, 64, bf16, k>) {
  // expected-error @+1 {{'tile.mma' op has 1 left and 1 right operands and 2 depths; expected as many of each}}
  %0 = tile.mma (%a) by (%a) depth [64, 64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  return
}

// -----

func.func @mma_c2(%a: !tile.slices<128, 64, bf16, k>, %b: !tile.slices<128, 128, f8E4M3FN, k>) {
  // expected-error @+1 {{'tile.mma' op mixes operands '!tile.slices<128, 64, bf16, k>' and '!tile.slices<128, 128, f8E4M3FN, k>'}}
  %0 = tile.mma (%a) by (%b) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 128, f8E4M3FN, k>) -> !tile.fragment<128, 128>
  return
}

// -----

func.func @mma_c2_terms(%a: !tile.slices<128, 64, bf16, k>, %b: !tile.slices<128, 64, bf16, mn>) {
  // expected-error @+1 {{'tile.mma' op mixes operands '!tile.slices<128, 64, bf16, mn>' and '!tile.slices<128, 64, bf16, k>'}}
  %0 = tile.mma (%a, %b) by (%a, %a) depth [64, 64] : (!tile.slices<128, 64, bf16, k>, !tile.slices<128, 64, bf16, mn>), (!tile.slices<128, 64, bf16, k>, !tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  return
}

// -----

func.func @mma_c3(%a: !tile.slices<128, 64, bf16, k>) {
  // expected-error @+1 {{'tile.mma' op makes '!tile.fragment<128, 64>' of '!tile.slices<128, 64, bf16, k>' and '!tile.slices<128, 64, bf16, k>'}}
  %0 = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 64>
  return
}

// -----

func.func @mma_c4(%a: !tile.slices<128, 128, f8E4M3FN, mn>) {
  // expected-error @+1 {{'tile.mma' op takes 'f8E4M3FN' operands, which must be K-major}}
  %0 = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 128, f8E4M3FN, mn>), (!tile.slices<128, 128, f8E4M3FN, mn>) -> !tile.fragment<128, 128>
  return
}

// -----

func.func @epilogue_c1(%a: !tile.fragment<128, 128>) {
  // expected-error @+1 {{'tile.epilogue' op has a region that does not take and yield one f32 for each operand and result}}
  %0 = tile.epilogue (%a) : (!tile.fragment<128, 128>) -> !tile.fragment<128, 128> {
  ^bb0(%x: f32, %y: f32):
    tile.yield %x : f32
  }
  return
}

// -----

func.func @epilogue_c1_yield(%a: !tile.fragment<128, 128>) {
  // expected-error @+1 {{'tile.epilogue' op has a region that does not take and yield one f32 for each operand and result}}
  %0:2 = tile.epilogue (%a) : (!tile.fragment<128, 128>) -> (!tile.fragment<128, 128>, !tile.fragment<128, 128>) {
  ^bb0(%x: f32):
    tile.yield %x : f32
  }
  return
}

// -----

func.func @epilogue_c2(%a: !tile.fragment<128, 128>) {
  %0 = tile.epilogue (%a) : (!tile.fragment<128, 128>) -> !tile.fragment<128, 128> {
  ^bb0(%x: f32):
    // expected-error @+1 {{'vector.broadcast' op inside tile.epilogue; expected arith and math ops}}
    %y = vector.broadcast %x : f32 to vector<1xf32>
    tile.yield %x : f32
  }
  return
}

// -----

func.func @gather_c3(%rows: tensor<8x1xi32>, %x: tensor<8x16xbf16>) {
  // expected-error @+1 {{'tile.gather' op has 0 slots per row; expected at least 1}}
  %0 = tile.gather %x rows %rows slots 0 : tensor<8x16xbf16>, tensor<8x1xi32> -> !tile.slices<128, 64, bf16, k>
  return
}

// -----

func.func @store_c3(%a: !tile.fragment<128, 128>) {
  %0 = tile.map 0 : f32 dims [64, 64] strides [256] box [32, 64] swizzle 128
  // expected-error @+1 {{'tile.store' op stores by another map than bf16 in boxes of 64 x 64, or f32 in boxes of 32 x 32, with swizzle 128}}
  tile.store transposed %a, %0 : !tile.fragment<128, 128>
  return
}

// -----

func.func @store_c1(%a: !tile.fragment<128, 128>) {
  %0 = tile.map 0 : bf16 dims [64, 64] strides [128] box [64, 32] swizzle 128
  // expected-error @+1 {{'tile.store' op stores by another map than bf16 in boxes of 64 x 64, or f32 in boxes of 32 x 64, with swizzle 128}}
  tile.store %a, %0 : !tile.fragment<128, 128>
  return
}

// -----

tile.kernel @beside params 3 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 256
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  %b = tile.load %m : !tile.slices<128, 64, bf16, k>
  // expected-note @+1 {{this one}}
  %p = tile.mma (%a) by (%b) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.mma' op has other left operands than the product beside it}}
  %q = tile.mma (%b) by (%b) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

// expected-error @+1 {{'tile.kernel' op multiplies tiles of 128 columns; the schedule has 256}}
tile.kernel @width params 3 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 256
  %a = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%a) by (%a) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
}

// -----

func.func @fetch_c1_element() {
  %0 = tile.map 0 : f32 dims [64, 64] strides [256] box [32, 64] swizzle 128
  // expected-error @+1 {{'tile.fetch' op fetches by another map than bf16 in boxes of 64 columns with swizzle 128}}
  %1 = tile.fetch %0 : !tile.fragment<128, 128>
  return
}

func.func @row_sums_c1(%a: !tile.fragment<128, 128>, %s: tensor<128x2xf32>) {
  // expected-error @+1 {{'tile.row_sums' op stores to 'tensor<128x2xf32>'; expected a parameter [rows, columns / 64]}}
  tile.row_sums %a, %s : !tile.fragment<128, 128>, tensor<128x2xf32>
  return
}

// -----

tile.kernel @fetch_c1 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  %n = tile.map 1 : bf16 dims [64, 128] strides [128] box [64, 64] swizzle 128
  // expected-error @+1 {{'tile.fetch' op takes boxes of 64 rows; the schedule has 128}}
  %f = tile.fetch %n : !tile.fragment<128, 128>
}

// -----

tile.kernel @fetch_c2 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2, split = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.fetch' op in work that is ragged or split}}
  %f = tile.fetch %m : !tile.fragment<128, 128>
}

// -----

tile.kernel @fetch_c3 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  %f = tile.fetch %m : !tile.fragment<128, 128>
  %g = tile.fetch %m : !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.fetch' op is number 3; a stage has room for 2}}
  %h = tile.fetch %m : !tile.fragment<128, 128>
}

// -----

tile.kernel @fetch_c4 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  // expected-error @+1 {{'tile.fetch' op makes '!tile.fragment<128, 64>'; products make '!tile.fragment<128, 128>'}}
  %f = tile.fetch %m : !tile.fragment<128, 64>
}

// -----

// expected-error @+1 {{'tile.kernel' op stores 2 boxes of 64 columns each beside those in the places of fetched matrices, in two sets of buffers; the schedule has 2}}
tile.kernel @fetch_c5 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  %f = tile.fetch %m : !tile.fragment<128, 128>
  %to = tile.map 1 : bf16 dims [128, 128] strides [256] box [64, 64] swizzle 128
  %wide = tile.map 2 : f32 dims [128, 128] strides [512] box [32, 64] swizzle 128
  tile.store %p, %to : !tile.fragment<128, 128>
  tile.store %p, %wide : !tile.fragment<128, 128>
}

// -----

tile.kernel @store_c4 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  %f = tile.fetch %m : !tile.fragment<128, 128>
  %to = tile.map 1 : bf16 dims [128, 128] strides [256] box [64, 64] swizzle 128
  // expected-error @+1 {{'tile.store' op stores the transpose beside fetched matrices, whose places it cannot take}}
  tile.store transposed %p, %to : !tile.fragment<128, 128>
}

// -----

tile.kernel @row_sums_c2 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %m = tile.map 0 : bf16 dims [64, 128] strides [128] box [64, 128] swizzle 128
  tile.dense 128 x 128
  %x = tile.load %m : !tile.slices<128, 64, bf16, k>
  %p = tile.mma (%x) by (%x) depth [64] : (!tile.slices<128, 64, bf16, k>), (!tile.slices<128, 64, bf16, k>) -> !tile.fragment<128, 128>
  %s = tile.operand 3 : tensor<128x3xf32>
  // expected-error @+1 {{'tile.row_sums' op stores 'tensor<128x3xf32>' for results of 128 x 128; expected the sums of each 64 columns}}
  tile.row_sums %p, %s : !tile.fragment<128, 128>, tensor<128x3xf32>
}

// -----

tile.kernel @row_sums_c3 params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %m = tile.map 0 : bf16 dims [128, 8192] strides [256] box [64, 64] swizzle 128
  tile.ragged 128 x 128 by %offsets : tensor<1x9xi32>
  %x = tile.load %m : !tile.slices<128, 64, bf16, mn>
  %p = tile.mma (%x) by (%x) depth [8192] : (!tile.slices<128, 64, bf16, mn>), (!tile.slices<128, 64, bf16, mn>) -> !tile.fragment<128, 128>
  %s = tile.operand 3 : tensor<128x2xf32>
  // expected-error @+1 {{'tile.row_sums' op in ragged work}}
  tile.row_sums %p, %s : !tile.fragment<128, 128>, tensor<128x2xf32>
}

// -----

tile.kernel @fetch_c2_ragged params 8 <m = 128, n = 128, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 2> {
  %offsets = tile.operand 2 : tensor<1x9xi32>
  %m = tile.map 0 : bf16 dims [128, 8192] strides [256] box [64, 64] swizzle 128
  tile.ragged 128 x 128 by %offsets : tensor<1x9xi32>
  %x = tile.load %m : !tile.slices<128, 64, bf16, mn>
  %p = tile.mma (%x) by (%x) depth [8192] : (!tile.slices<128, 64, bf16, mn>), (!tile.slices<128, 64, bf16, mn>) -> !tile.fragment<128, 128>
  %n = tile.map 1 : bf16 dims [128, 128] strides [256] box [64, 128] swizzle 128
  // expected-error @+1 {{'tile.fetch' op in work that is ragged or split}}
  %f = tile.fetch %n : !tile.fragment<128, 128>
}
