// Factors that are f8 in memory: wgmma of e4m3 where rows are whole 16 bytes, ordinary arithmetic elsewhere.
// RUN: env MOEC_PTXAS=none moec-kernels %s --print-kernels -o %t | FileCheck %s --check-prefix=TILE
// RUN: cat %t/*.ptx | FileCheck %s --check-prefix=PTX

// Gate and up of gathered tokens: one scale of rows, one of columns for each, the group's row of which is read.
// TILE-LABEL: tile.kernel @up params 11 <m = 128, n = 256, k = 128, stages = 3, producer = 56, consumer = 224, buffers = 4>
// TILE: tile.grouped 8192 x 1024
// TILE: tile.gather {{.*}} : tensor<4096x2048xf8E4M3FN>, tensor<8192x1xi32> -> <128, 128, f8E4M3FN, k>
// TILE: tile.map 4 : f8E4M3FN dims [2048, 1024, 8] strides [2048, 2097152] box [128, 128, 1] swizzle 128
// TILE: tile.epilogue({{.*}}, {{.*}}) with({{.*}} : tensor<8192x1xf32>, tensor<8x1x1024xf32>, tensor<8x1x1024xf32>)
// TILE-NEXT: ^bb0(%[[G:.*]]: f32, %[[U:.*]]: f32, %[[ROW:.*]]: f32, %[[GS:.*]]: f32, %[[US:.*]]: f32):
// TILE-NEXT: %[[G1:.*]] = arith.mulf %[[G]], %[[ROW]]
// TILE-NEXT: %[[G2:.*]] = arith.mulf %[[G1]], %[[GS]]
// TILE-NEXT: %[[U1:.*]] = arith.mulf %[[U]], %[[ROW]]
// TILE-NEXT: %[[U2:.*]] = arith.mulf %[[U1]], %[[US]]
// TILE-NEXT: tile.yield %[[G2]], %[[U2]]
// PTX-LABEL: .entry up_
// PTX-NOT: .local
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3
// PTX-NOT: wgmma.mma_async
// PTX: stmatrix
// PTX: cp.async.cg.shared.global
func.func @up(%a0: tensor<4096x2048xf8E4M3FN>, %a1: tensor<8192x1xi32>, %a2: tensor<1x9xi32>, %a3: tensor<1x8xi32>, %a4: tensor<8x1024x2048xf8E4M3FN>, %a5: tensor<8x1024x2048xf8E4M3FN>, %a6: tensor<8192x1xf32>, %a7: tensor<8x1024xf32>, %a8: tensor<8x1024xf32>) {
  %r:2 = moe.dispatch "matmul" (%x = %a0, %rows = %a1, %o = %a2, %c = %a3, %g = %a4, %u = %a5, %s = %a6, %gs = %a7, %us = %a8)
      : (tensor<4096x2048xf8E4M3FN>, tensor<8192x1xi32>, tensor<1x9xi32>, tensor<1x8xi32>, tensor<8x1024x2048xf8E4M3FN>, tensor<8x1024x2048xf8E4M3FN>, tensor<8192x1xf32>, tensor<8x1024xf32>, tensor<8x1024xf32>) -> (tensor<8192x1024xbf16>, tensor<8192x1024xbf16>) {
    %xw = moe.cast %x : tensor<4096x2048xf8E4M3FN> -> tensor<4096x2048xf32>
    %gw = moe.cast %g : tensor<8x1024x2048xf8E4M3FN> -> tensor<8x1024x2048xf32>
    %uw = moe.cast %u : tensor<8x1024x2048xf8E4M3FN> -> tensor<8x1024x2048xf32>
    %a = moe.gather_rows %xw, %rows : tensor<4096x2048xf32>, tensor<8192x1xi32> -> tensor<8192x2048xf32>
    %p = moe.grouped_matmul tb %a, %gw, %o, %c scales %s, %gs : tensor<8192x1xf32>, tensor<8x1024xf32> : tensor<8192x2048xf32>, tensor<8x1024x2048xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8192x1024xf32>
    %q = moe.grouped_matmul tb %a, %uw, %o, %c scales %s, %us : tensor<8192x1xf32>, tensor<8x1024xf32> : tensor<8192x2048xf32>, tensor<8x1024x2048xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8192x1024xf32>
    %pn = moe.cast %p : tensor<8192x1024xf32> -> tensor<8192x1024xbf16>
    %qn = moe.cast %q : tensor<8192x1024xf32> -> tensor<8192x1024xbf16>
    moe.yield %pn, %qn : tensor<8192x1024xbf16>, tensor<8192x1024xbf16>
  }
  return
}

// Two products with one pair of scales are two terms of one accumulator, scaled once.
// TILE-LABEL: tile.kernel @terms
// TILE: tile.mma({{.*}}, {{.*}}) by({{.*}}, {{.*}}) depth [1024, 1024]
// TILE: tile.epilogue({{.*}}) with({{.*}} : tensor<8192x1xf32>, tensor<8x1x2048xf32>)
// TILE-COUNT-2: arith.mulf
// TILE-NOT: arith
// TILE: tile.yield
// PTX-LABEL: .entry terms_
// PTX-NOT: .local
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3
// PTX-NOT: wgmma.mma_async
func.func @terms(%a0: tensor<8192x1024xf8E4M3FN>, %a1: tensor<8192x1024xf8E4M3FN>, %a2: tensor<1x9xi32>, %a3: tensor<1x8xi32>, %a4: tensor<8x2048x1024xf8E4M3FN>, %a5: tensor<8x2048x1024xf8E4M3FN>, %a6: tensor<8192x1xf32>, %a7: tensor<8x2048xf32>) {
  %r = moe.dispatch "matmul" (%x = %a0, %y = %a1, %o = %a2, %c = %a3, %g = %a4, %u = %a5, %s = %a6, %t = %a7)
      : (tensor<8192x1024xf8E4M3FN>, tensor<8192x1024xf8E4M3FN>, tensor<1x9xi32>, tensor<1x8xi32>, tensor<8x2048x1024xf8E4M3FN>, tensor<8x2048x1024xf8E4M3FN>, tensor<8192x1xf32>, tensor<8x2048xf32>) -> tensor<8192x2048xbf16> {
    %xw = moe.cast %x : tensor<8192x1024xf8E4M3FN> -> tensor<8192x1024xf32>
    %yw = moe.cast %y : tensor<8192x1024xf8E4M3FN> -> tensor<8192x1024xf32>
    %gw = moe.cast %g : tensor<8x2048x1024xf8E4M3FN> -> tensor<8x2048x1024xf32>
    %uw = moe.cast %u : tensor<8x2048x1024xf8E4M3FN> -> tensor<8x2048x1024xf32>
    %p = moe.grouped_matmul tb %xw, %gw, %o, %c scales %s, %t : tensor<8192x1xf32>, tensor<8x2048xf32> : tensor<8192x1024xf32>, tensor<8x2048x1024xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8192x2048xf32>
    %q = moe.grouped_matmul tb %yw, %uw, %o, %c scales %s, %t : tensor<8192x1xf32>, tensor<8x2048xf32> : tensor<8192x1024xf32>, tensor<8x2048x1024xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8192x2048xf32>
    %m = moe.map(%p, %q) : (tensor<8192x2048xf32>, tensor<8192x2048xf32>) -> tensor<8192x2048xf32> {
    ^bb0(%v: f32, %w: f32):
      %z = arith.addf %v, %w : f32
      moe.yield %z : f32
    }
    %n = moe.cast %m : tensor<8192x2048xf32> -> tensor<8192x2048xbf16>
    moe.yield %n : tensor<8192x2048xbf16>
  }
  return
}

// Rows of 24 bytes, and weights with their depth across: not for tensor cores.
// PTX-LABEL: .entry plain_
// PTX-NOT: .local
// PTX-NOT: wgmma
// PTX: cvt.rn.f16x2.e4m3x2
// PTX: fma.rn.f32
func.func @plain(%a0: tensor<64x24xf8E4M3FN>, %a1: tensor<1x3xi32>, %a2: tensor<1x2xi32>, %a3: tensor<2x24x16xf8E4M3FN>, %a4: tensor<64x1xf32>, %a5: tensor<2x16xf32>) {
  %r = moe.dispatch "matmul" (%x = %a0, %o = %a1, %c = %a2, %w = %a3, %s = %a4, %t = %a5)
      : (tensor<64x24xf8E4M3FN>, tensor<1x3xi32>, tensor<1x2xi32>, tensor<2x24x16xf8E4M3FN>, tensor<64x1xf32>, tensor<2x16xf32>) -> tensor<64x16xf32> {
    %xw = moe.cast %x : tensor<64x24xf8E4M3FN> -> tensor<64x24xf32>
    %ww = moe.cast %w : tensor<2x24x16xf8E4M3FN> -> tensor<2x24x16xf32>
    %p = moe.grouped_matmul %xw, %ww, %o, %c scales %s, %t : tensor<64x1xf32>, tensor<2x16xf32> : tensor<64x24xf32>, tensor<2x24x16xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<64x16xf32>
    moe.yield %p : tensor<64x16xf32>
  }
  return
}

// Weights, transposed: bytes of a column go out four at a time.
// PTX-LABEL: .entry columns_
// PTX-NOT: .local
// PTX: cvt.rn.satfinite.e4m3x2.f32
// PTX: st.global.b32
func.func @columns(%a0: tensor<8x2048x1024xbf16>) {
  %r:2 = moe.dispatch "quantize_columns" (%w = %a0) : (tensor<8x2048x1024xbf16>) -> (tensor<8x1024x2048xf8E4M3FN>, tensor<8x1024xf32>) {
    %ww = moe.cast %w : tensor<8x2048x1024xbf16> -> tensor<8x2048x1024xf32>
    %q, %s = moe.quantize_columns %ww : tensor<8x2048x1024xf32> -> tensor<8x1024x2048xf32>, tensor<8x1024xf32>
    %n = moe.cast %q : tensor<8x1024x2048xf32> -> tensor<8x1024x2048xf8E4M3FN>
    moe.yield %n, %s : tensor<8x1024x2048xf8E4M3FN>, tensor<8x1024xf32>
  }
  return
}
