// Weight gradients whose experts may be skewed.
// RUN: env MOEC_PTXAS=none moec-kernels %s --print-kernels -o %t | FileCheck %s --check-prefix=TILE
// RUN: cat %t/*.ptx | FileCheck %s --check-prefix=PTX

// Weight gradients with few tiles per expert: where experts are skewed, pieces of equal depth take the place of experts,
// and blocks that share a tile meet in scratch.
// TILE-LABEL: tile.kernel @pieces
// TILE-SAME: split = 11>
// TILE: tile.ragged 256 x 384
// PTX-LABEL: .entry pieces_
// PTX-NOT: .local
// The largest group is found before roles part.
// PTX-COUNT-5: shfl.sync.bfly
// PTX: setmaxnreg.inc
// One program for pieces, whose parts meet; lanes meet before the next tile.
// PTX: bar.warp.sync
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n64k16
// PTX: atom{{.*}}add.u32
// And one for whole experts.
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n64k16
// PTX-NOT: wgmma.mma_async
// PTX-NOT: atom
func.func @pieces(%a: tensor<65536x256xbf16>, %h: tensor<65536x384xbf16>, %o: tensor<1x9xi32>, %c: tensor<1x8xi32>) {
  %r = moe.dispatch "matmul" (%a0 = %a, %a1 = %h, %a2 = %o, %a3 = %c) : (tensor<65536x256xbf16>, tensor<65536x384xbf16>, tensor<1x9xi32>, tensor<1x8xi32>) -> tensor<8x256x384xbf16> {
    %x = moe.cast %a0 : tensor<65536x256xbf16> -> tensor<65536x256xf32>
    %y = moe.cast %a1 : tensor<65536x384xbf16> -> tensor<65536x384xf32>
    %p = moe.grouped_outer %x, %y, %a2, %a3 : tensor<65536x256xf32>, tensor<65536x384xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8x256x384xf32>
    %q = moe.cast %p : tensor<8x256x384xf32> -> tensor<8x256x384xbf16>
    moe.yield %q : tensor<8x256x384xbf16>
  }
  return
}

// With as many tiles as multiprocessors, tiles of whole experts are as good.
// TILE-LABEL: tile.kernel @whole
// TILE-NOT: split
// TILE: tile.ragged 1024 x 4096
// PTX-LABEL: .entry whole_
// PTX-NOT: atom
func.func @whole(%a: tensor<65536x1024xbf16>, %h: tensor<65536x4096xbf16>, %o: tensor<1x9xi32>, %c: tensor<1x8xi32>) {
  %r = moe.dispatch "matmul" (%a0 = %a, %a1 = %h, %a2 = %o, %a3 = %c) : (tensor<65536x1024xbf16>, tensor<65536x4096xbf16>, tensor<1x9xi32>, tensor<1x8xi32>) -> tensor<8x1024x4096xbf16> {
    %x = moe.cast %a0 : tensor<65536x1024xbf16> -> tensor<65536x1024xf32>
    %y = moe.cast %a1 : tensor<65536x4096xbf16> -> tensor<65536x4096xf32>
    %p = moe.grouped_outer %x, %y, %a2, %a3 : tensor<65536x1024xf32>, tensor<65536x4096xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<8x1024x4096xf32>
    %q = moe.cast %p : tensor<8x1024x4096xf32> -> tensor<8x1024x4096xbf16>
    moe.yield %q : tensor<8x1024x4096xbf16>
  }
  return
}
