// Products of groups whose right sides a block can hold: lanes, where they take less time.
// RUN: env MOEC_PTXAS=none moec-kernels %s --print-kernels -o %t | FileCheck %s --check-prefix=TILE
// RUN: cat %t/*.ptx | FileCheck %s --check-prefix=PTX

// A shallow product of groups keeps the right side of a column of tiles: each consumer has tiles of its own, in turns.
// TILE-LABEL: tile.kernel @shallow params 5 <m = 64, n = 256, k = 64, stages = 8, producer = 40, consumer = 232, buffers = 2, lanes = 33>
// TILE: tile.grouped
// PTX-LABEL: .entry shallow_
// PTX-NOT: .local
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n256k16
// PTX-NOT: wgmma.mma_async
func.func @shallow(%a0: tensor<32768x256xbf16>, %w0: tensor<4x256x1024xbf16>, %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>) {
  %r = moe.dispatch "matmul" (%a = %a0, %w = %w0, %o = %o0, %c = %c0) : (tensor<32768x256xbf16>, tensor<4x256x1024xbf16>, tensor<1x5xi32>, tensor<1x4xi32>) -> tensor<32768x1024xbf16> {
    %x = moe.cast %a : tensor<32768x256xbf16> -> tensor<32768x256xf32>
    %y = moe.cast %w : tensor<4x256x1024xbf16> -> tensor<4x256x1024xf32>
    %p = moe.grouped_matmul %x, %y, %o, %c : tensor<32768x256xf32>, tensor<4x256x1024xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<32768x1024xf32>
    %q = moe.cast %p : tensor<32768x1024xf32> -> tensor<32768x1024xbf16>
    moe.yield %q : tensor<32768x1024xbf16>
  }
  return
}

// With few rows there is a multiprocessor for each tile, and nothing to hold weights for.
// PTX-LABEL: .entry few_
// TILE-LABEL: tile.kernel @few params 5 <m = 128,
// TILE-NOT: lanes
// TILE: tile.grouped
func.func @few(%a0: tensor<256x256xbf16>, %w0: tensor<4x256x1024xbf16>, %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>) {
  %r = moe.dispatch "matmul" (%a = %a0, %w = %w0, %o = %o0, %c = %c0) : (tensor<256x256xbf16>, tensor<4x256x1024xbf16>, tensor<1x5xi32>, tensor<1x4xi32>) -> tensor<256x1024xbf16> {
    %x = moe.cast %a : tensor<256x256xbf16> -> tensor<256x256xf32>
    %y = moe.cast %w : tensor<4x256x1024xbf16> -> tensor<4x256x1024xf32>
    %p = moe.grouped_matmul %x, %y, %o, %c : tensor<256x256xf32>, tensor<4x256x1024xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<256x1024xf32>
    %q = moe.cast %p : tensor<256x1024xf32> -> tensor<256x1024xbf16>
    moe.yield %q : tensor<256x1024xbf16>
  }
  return
}

// Nine slices of depth: the right side of 128 columns no longer fits.
// PTX-LABEL: .entry deep_
// TILE-LABEL: tile.kernel @deep params 5 <m = 128,
// TILE-NOT: lanes
// TILE: tile.grouped
func.func @deep(%a0: tensor<32768x576xbf16>, %w0: tensor<4x576x1024xbf16>, %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>) {
  %r = moe.dispatch "matmul" (%a = %a0, %w = %w0, %o = %o0, %c = %c0) : (tensor<32768x576xbf16>, tensor<4x576x1024xbf16>, tensor<1x5xi32>, tensor<1x4xi32>) -> tensor<32768x1024xbf16> {
    %x = moe.cast %a : tensor<32768x576xbf16> -> tensor<32768x576xf32>
    %y = moe.cast %w : tensor<4x576x1024xbf16> -> tensor<4x576x1024xf32>
    %p = moe.grouped_matmul %x, %y, %o, %c : tensor<32768x576xf32>, tensor<4x576x1024xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<32768x1024xf32>
    %q = moe.cast %p : tensor<32768x1024xf32> -> tensor<32768x1024xbf16>
    moe.yield %q : tensor<32768x1024xbf16>
  }
  return
}
