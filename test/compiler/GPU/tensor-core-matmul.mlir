// A dispatch whose operands are bf16 becomes a tile.kernel; its code holds the products the schedule asks for and keeps
// everything in registers.
// RUN: env MOEC_PTXAS=none moec-kernels %s --print-kernels -o %t | FileCheck %s --check-prefix=TILE
// RUN: cat %t/*.ptx | FileCheck %s --check-prefix=PTX

// TILE-LABEL: tile.kernel @dense params 3 <m = 128, n = 256, k = 64, stages = 3, producer = 40, consumer = 232, buffers = 4>
// TILE: tile.dense 4096 x 4096
// TILE: tile.mma
// TILE-NOT: tile.epilogue
// TILE: tile.store
// PTX-LABEL: .entry dense_
// PTX: .reqntid 384
// PTX-NOT: .local
// PTX: setmaxnreg.inc.sync.aligned.u32 232
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
// PTX: stmatrix
// PTX: cp.async.bulk.tensor.2d.global.shared::cta
// PTX: setmaxnreg.dec.sync.aligned.u32 40
// PTX: cp.async.bulk.tensor.2d.shared::cluster.global
func.func @dense(%a0: tensor<4096x2048xbf16>, %a1: tensor<2048x4096xbf16>) {
  %r = moe.dispatch "matmul" (%a = %a0, %b = %a1) : (tensor<4096x2048xbf16>, tensor<2048x4096xbf16>) -> tensor<4096x4096xbf16> {
    %x = moe.cast %a : tensor<4096x2048xbf16> -> tensor<4096x2048xf32>
    %y = moe.cast %b : tensor<2048x4096xbf16> -> tensor<2048x4096xf32>
    %p = moe.matmul %x, %y : tensor<4096x2048xf32>, tensor<2048x4096xf32> -> tensor<4096x4096xf32>
    %q = moe.cast %p : tensor<4096x4096xf32> -> tensor<4096x4096xbf16>
    moe.yield %q : tensor<4096x4096xbf16>
  }
  return
}

// Gradients of a router: few tiles, long depth, so blocks share the depth; sums are added where they lie.
// TILE-LABEL: tile.kernel @split
// TILE-SAME: split = 8
// TILE: tile.store accumulate
// PTX-LABEL: .entry split_
// PTX-NOT: .local
// PTX-DAG: wgmma.mma_async.sync.aligned.m64n64k16
// PTX-DAG: atom{{.*}}add.u32
// PTX-DAG: cp.reduce.async.bulk.tensor.2d.global.shared::cta.add
moe.state @sum gradient : tensor<2048x64xf32>
func.func @split(%a0: tensor<32768x2048xbf16>, %a1: tensor<32768x64xbf16>) {
  moe.dispatch "matmul" (%a = %a0, %b = %a1) : (tensor<32768x2048xbf16>, tensor<32768x64xbf16>) -> () {
    %x = moe.cast %a : tensor<32768x2048xbf16> -> tensor<32768x2048xf32>
    %y = moe.cast %b : tensor<32768x64xbf16> -> tensor<32768x64xf32>
    %p = moe.matmul ta %x, %y : tensor<32768x2048xf32>, tensor<32768x64xf32> -> tensor<2048x64xf32>
    moe.accumulate @sum, %p : tensor<2048x64xf32>
    moe.yield
  }
  return
}

// Gradients in bf16 are added box by box.
// TILE-LABEL: tile.kernel @narrow
// TILE: tile.store accumulate
// PTX-LABEL: .entry narrow_
// PTX-NOT: .local
// PTX: stmatrix
// PTX: cp.reduce.async.bulk.tensor.2d.global.shared::cta.add
moe.state @gradient gradient : tensor<2048x2048xbf16>
func.func @narrow(%a0: tensor<4096x2048xbf16>, %a1: tensor<4096x2048xbf16>) {
  moe.dispatch "matmul" (%a = %a0, %b = %a1) : (tensor<4096x2048xbf16>, tensor<4096x2048xbf16>) -> () {
    %x = moe.cast %a : tensor<4096x2048xbf16> -> tensor<4096x2048xf32>
    %y = moe.cast %b : tensor<4096x2048xbf16> -> tensor<4096x2048xf32>
    %p = moe.matmul ta %x, %y : tensor<4096x2048xf32>, tensor<4096x2048xf32> -> tensor<2048x2048xf32>
    %q = moe.cast %p : tensor<2048x2048xf32> -> tensor<2048x2048xbf16>
    moe.accumulate @gradient, %q : tensor<2048x2048xbf16>
    moe.yield
  }
  return
}

// Two products added are one accumulator with two terms; what follows is the epilogue.
// TILE-LABEL: tile.kernel @terms
// TILE: tile.mma({{.*}}, {{.*}}) by({{.*}}, {{.*}}) depth [256, 512]
// TILE: %[[FETCHED:.*]] = tile.fetch
// TILE: tile.epilogue({{.*}}, %[[FETCHED]])
// TILE-NEXT: ^bb0(%{{.*}}: f32, %{{.*}}: f32):
// TILE-NEXT: arith.mulf
// TILE-NEXT: tile.yield
// PTX-LABEL: .entry terms_
// PTX-NOT: .local
// PTX-COUNT-4: wgmma.mma_async
// PTX-NOT: wgmma.mma_async
func.func @terms(%a0: tensor<512x256xbf16>, %a1: tensor<256x512xbf16>, %a2: tensor<512x512xbf16>, %a3: tensor<512x512xbf16>) {
  %r = moe.dispatch "matmul" (%a = %a0, %b = %a1, %c = %a2, %d = %a3)
      : (tensor<512x256xbf16>, tensor<256x512xbf16>, tensor<512x512xbf16>, tensor<512x512xbf16>) -> tensor<512x512xbf16> {
    %x = moe.cast %a : tensor<512x256xbf16> -> tensor<512x256xf32>
    %y = moe.cast %b : tensor<256x512xbf16> -> tensor<256x512xf32>
    %z = moe.cast %c : tensor<512x512xbf16> -> tensor<512x512xf32>
    %w = moe.cast %d : tensor<512x512xbf16> -> tensor<512x512xf32>
    %p = moe.matmul %x, %y : tensor<512x256xf32>, tensor<256x512xf32> -> tensor<512x512xf32>
    %q = moe.matmul %z, %w : tensor<512x512xf32>, tensor<512x512xf32> -> tensor<512x512xf32>
    %s = moe.map(%p, %q) : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32> {
    ^bb0(%u: f32, %v: f32):
      %t = arith.addf %u, %v : f32
      moe.yield %t : f32
    }
    %m = moe.map(%s, %z) : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32> {
    ^bb0(%u: f32, %v: f32):
      %t = arith.mulf %u, %v : f32
      moe.yield %t : f32
    }
    %o = moe.cast %m : tensor<512x512xf32> -> tensor<512x512xbf16>
    moe.yield %o : tensor<512x512xbf16>
  }
  return
}

// A sigmoid in an epilogue is two instructions of the unit for special functions.
// TILE-LABEL: tile.kernel @sigmoid
// TILE: tile.epilogue
// TILE-NEXT: ^bb0(%[[X:.*]]: f32):
// TILE: %[[N:.*]] = arith.negf %[[X]]
// TILE-NEXT: %[[E:.*]] = math.exp %[[N]]
// TILE-NEXT: %[[D:.*]] = arith.addf %[[E]], %[[ONE:.*]] : f32
// TILE-NEXT: arith.divf %[[ONE]], %[[D]]
// PTX-LABEL: .entry sigmoid_
// PTX-NOT: div.
// PTX: ex2.approx.ftz.f32
// PTX: rcp.approx.ftz.f32
func.func @sigmoid(%a0: tensor<512x256xbf16>, %a1: tensor<256x512xbf16>) {
  %r = moe.dispatch "matmul" (%a = %a0, %b = %a1) : (tensor<512x256xbf16>, tensor<256x512xbf16>) -> tensor<512x512xbf16> {
    %x = moe.cast %a : tensor<512x256xbf16> -> tensor<512x256xf32>
    %y = moe.cast %b : tensor<256x512xbf16> -> tensor<256x512xf32>
    %p = moe.matmul %x, %y : tensor<512x256xf32>, tensor<256x512xf32> -> tensor<512x512xf32>
    %s = moe.map(%p) : (tensor<512x512xf32>) -> tensor<512x512xf32> {
    ^bb0(%u: f32):
      %t = moe.sigmoid %u : f32
      moe.yield %t : f32
    }
    %o = moe.cast %s : tensor<512x512xf32> -> tensor<512x512xbf16>
    moe.yield %o : tensor<512x512xbf16>
  }
  return
}

// Rows by groups: a consumer whose half of the tile has no rows only gives back the stages, its warps together.
// TILE-LABEL: tile.kernel @grouped
// TILE: tile.grouped
// PTX-LABEL: .entry grouped_
// PTX-NOT: .local
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n64k16
// PTX: mbarrier.try_wait.parity
// PTX-NOT: mbarrier.arrive
// PTX: bar.sync
// PTX-NEXT: @%{{.*}} bra
// PTX: mbarrier.arrive
// PTX: stmatrix
func.func @grouped(%a0: tensor<1024x512xbf16>, %w0: tensor<4x512x512xbf16>, %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>) {
  %r = moe.dispatch "matmul" (%a = %a0, %w = %w0, %o = %o0, %c = %c0) : (tensor<1024x512xbf16>, tensor<4x512x512xbf16>, tensor<1x5xi32>, tensor<1x4xi32>) -> tensor<1024x512xbf16> {
    %x = moe.cast %a : tensor<1024x512xbf16> -> tensor<1024x512xf32>
    %y = moe.cast %w : tensor<4x512x512xbf16> -> tensor<4x512x512xf32>
    %p = moe.grouped_matmul %x, %y, %o, %c : tensor<1024x512xf32>, tensor<4x512x512xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<1024x512xf32>
    %q = moe.cast %p : tensor<1024x512xf32> -> tensor<1024x512xbf16>
    moe.yield %q : tensor<1024x512xbf16>
  }
  return
}

// The backward of a gated activation is the epilogue of the product before it: two matrices come through the stages, results
// take their places, and sums of rows begin.
// TILE-LABEL: tile.kernel @gated
// TILE: %[[GATE:.*]] = tile.fetch
// TILE: %[[UP:.*]] = tile.fetch
// TILE: %[[R:.*]]:4 = tile.epilogue({{.*}}, %[[GATE]], %[[UP]])
// TILE-COUNT-3: tile.store
// TILE: tile.row_sums %[[R]]#3
// PTX-LABEL: .entry gated_
// PTX-NOT: .local
// PTX: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX: stmatrix
func.func @gated(%a0: tensor<4096x2048xbf16>, %a1: tensor<1024x2048xbf16>, %a2: tensor<4096x1024xbf16>, %a3: tensor<4096x1024xbf16>) {
  %r:4 = moe.dispatch "matmul" (%a = %a0, %b = %a1, %g = %a2, %u = %a3)
      : (tensor<4096x2048xbf16>, tensor<1024x2048xbf16>, tensor<4096x1024xbf16>, tensor<4096x1024xbf16>)
        -> (tensor<4096x1024xbf16>, tensor<4096x1024xbf16>, tensor<4096x1024xbf16>, tensor<4096x16xf32>) {
    %x = moe.cast %a : tensor<4096x2048xbf16> -> tensor<4096x2048xf32>
    %y = moe.cast %b : tensor<1024x2048xbf16> -> tensor<1024x2048xf32>
    %gate = moe.cast %g : tensor<4096x1024xbf16> -> tensor<4096x1024xf32>
    %up = moe.cast %u : tensor<4096x1024xbf16> -> tensor<4096x1024xf32>
    %p = moe.matmul tb %x, %y : tensor<4096x2048xf32>, tensor<1024x2048xf32> -> tensor<4096x1024xf32>
    %m:4 = moe.map(%p, %gate, %up) : (tensor<4096x1024xf32>, tensor<4096x1024xf32>, tensor<4096x1024xf32>)
        -> (tensor<4096x1024xf32>, tensor<4096x1024xf32>, tensor<4096x1024xf32>, tensor<4096x1024xf32>) {
    ^bb0(%d: f32, %gv: f32, %uv: f32):
      %s = moe.sigmoid %gv : f32
      %h = arith.mulf %s, %uv : f32
      %dg = arith.mulf %d, %uv : f32
      %du = arith.mulf %d, %s : f32
      %dh = arith.mulf %d, %h : f32
      moe.yield %dg, %du, %dh, %h : f32, f32, f32, f32
    }
    %sums = moe.row_reduce sum %m#2 every 64 : tensor<4096x1024xf32> -> tensor<4096x16xf32>
    %c0 = moe.cast %m#0 : tensor<4096x1024xf32> -> tensor<4096x1024xbf16>
    %c1 = moe.cast %m#1 : tensor<4096x1024xf32> -> tensor<4096x1024xbf16>
    %c3 = moe.cast %m#3 : tensor<4096x1024xf32> -> tensor<4096x1024xbf16>
    moe.yield %c0, %c1, %c3, %sums : tensor<4096x1024xbf16>, tensor<4096x1024xbf16>, tensor<4096x1024xbf16>, tensor<4096x16xf32>
  }
  return
}

// Sums of a product's own rows need no epilogue.
// TILE-LABEL: tile.kernel @raw
// TILE-NOT: tile.epilogue
// TILE: tile.row_sums
// PTX-LABEL: .entry raw_
// PTX-NOT: .local
// PTX: shfl.sync.bfly
func.func @raw(%a0: tensor<4096x2048xbf16>, %a1: tensor<1024x2048xbf16>) {
  %r:2 = moe.dispatch "matmul" (%a = %a0, %b = %a1) : (tensor<4096x2048xbf16>, tensor<1024x2048xbf16>) -> (tensor<4096x1024xbf16>, tensor<4096x16xf32>) {
    %x = moe.cast %a : tensor<4096x2048xbf16> -> tensor<4096x2048xf32>
    %y = moe.cast %b : tensor<1024x2048xbf16> -> tensor<1024x2048xf32>
    %p = moe.matmul tb %x, %y : tensor<4096x2048xf32>, tensor<1024x2048xf32> -> tensor<4096x1024xf32>
    %s = moe.row_reduce sum %p every 64 : tensor<4096x1024xf32> -> tensor<4096x16xf32>
    %c = moe.cast %p : tensor<4096x1024xf32> -> tensor<4096x1024xbf16>
    moe.yield %c, %s : tensor<4096x1024xbf16>, tensor<4096x16xf32>
  }
  return
}

// Rows spread to experts are gathered by slot, also where the epilogue reads through the stages.
// TILE-LABEL: tile.kernel @spread_gated
// TILE: tile.gather %{{.*}} rows %{{.*}} slots 8
// TILE: tile.fetch
// PTX-LABEL: .entry spread_gated_
// PTX-NOT: .local
// PTX: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX: cp.async.cg.shared.global
func.func @spread_gated(%a0: tensor<512x2048xbf16>, %s0: tensor<4096x1xi32>, %w0: tensor<4x256x2048xbf16>,
                        %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>, %g0: tensor<4096x256xbf16>) {
  %r = moe.dispatch "matmul" (%a = %a0, %s = %s0, %w = %w0, %o = %o0, %c = %c0, %g = %g0)
      : (tensor<512x2048xbf16>, tensor<4096x1xi32>, tensor<4x256x2048xbf16>, tensor<1x5xi32>, tensor<1x4xi32>, tensor<4096x256xbf16>)
        -> tensor<4096x256xbf16> {
    %x = moe.cast %a : tensor<512x2048xbf16> -> tensor<512x2048xf32>
    %y = moe.cast %w : tensor<4x256x2048xbf16> -> tensor<4x256x2048xf32>
    %gate = moe.cast %g : tensor<4096x256xbf16> -> tensor<4096x256xf32>
    %rows = moe.spread_rows %x, %s top_k 8 : tensor<512x2048xf32>, tensor<4096x1xi32> -> tensor<4096x2048xf32>
    %p = moe.grouped_matmul tb %rows, %y, %o, %c : tensor<4096x2048xf32>, tensor<4x256x2048xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<4096x256xf32>
    %m = moe.map(%p, %gate) : (tensor<4096x256xf32>, tensor<4096x256xf32>) -> tensor<4096x256xf32> {
    ^bb0(%d: f32, %gv: f32):
      %e = arith.mulf %d, %gv : f32
      moe.yield %e : f32
    }
    %q = moe.cast %m : tensor<4096x256xf32> -> tensor<4096x256xbf16>
    moe.yield %q : tensor<4096x256xbf16>
  }
  return
}

// On the right of a weight's gradient they are the left side of its transpose.
// TILE-LABEL: tile.kernel @spread_outer
// TILE: tile.ragged 2048 x 256
// TILE: tile.gather %{{.*}} rows %{{.*}} slots 8 :
// TILE: tile.map 0 : bf16 dims [256, 4096]
// TILE: tile.map {{.*}} : bf16 dims [2048, 256, 4] strides [4096, 1048576] box [64, 64, 1]
// TILE: tile.store transposed
// PTX-LABEL: .entry spread_outer_
// PTX-NOT: .local
// PTX: stmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// PTX: cp.async.cg.shared.global
func.func @spread_outer(%h0: tensor<4096x256xbf16>, %a0: tensor<512x2048xbf16>, %s0: tensor<4096x1xi32>,
                        %o0: tensor<1x5xi32>, %c0: tensor<1x4xi32>) {
  %r = moe.dispatch "matmul" (%h = %h0, %a = %a0, %s = %s0, %o = %o0, %c = %c0)
      : (tensor<4096x256xbf16>, tensor<512x2048xbf16>, tensor<4096x1xi32>, tensor<1x5xi32>, tensor<1x4xi32>) -> tensor<4x256x2048xbf16> {
    %x = moe.cast %a : tensor<512x2048xbf16> -> tensor<512x2048xf32>
    %y = moe.cast %h : tensor<4096x256xbf16> -> tensor<4096x256xf32>
    %rows = moe.spread_rows %x, %s top_k 8 : tensor<512x2048xf32>, tensor<4096x1xi32> -> tensor<4096x2048xf32>
    %p = moe.grouped_outer %y, %rows, %o, %c : tensor<4096x256xf32>, tensor<4096x2048xf32>, tensor<1x5xi32>, tensor<1x4xi32> -> tensor<4x256x2048xf32>
    %q = moe.cast %p : tensor<4x256x2048xf32> -> tensor<4x256x2048xbf16>
    moe.yield %q : tensor<4x256x2048xbf16>
  }
  return
}
