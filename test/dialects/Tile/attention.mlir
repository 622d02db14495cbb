// RUN: moec-opt %s --verify-roundtrip | FileCheck %s
// RUN: env MOEC_PTXAS=none moec-translate --kernels-to-code %s | FileCheck %s --check-prefix=PTX

// Products in 8 steps of 16: the block on the diagonal is written apart from the loop, and the scores of the next block
// are issued before the product of this one with its values.
// CHECK-LABEL: tile.kernel @forward params 5 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240>
// PTX-LABEL: .visible .entry forward_
// PTX: setmaxnreg.inc.sync.aligned.u32 240
// PTX-COUNT-24: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX: wgmma.wait_group.sync.aligned 1
// PTX-COUNT-8: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
// PTX: setmaxnreg.dec.sync.aligned.u32 24
tile.kernel @forward params 5 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %o = tile.map 3 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %lse = tile.operand 4 : tensor<1554x4xf32>
  // CHECK: tile.attention_fwd <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 8>(
  tile.attention_fwd <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 8> (%q, %k, %v) -> %o, %lse : tensor<1554x4xf32>
}

// CHECK-LABEL: tile.kernel @dq
// PTX-LABEL: .visible .entry dq_
// PTX-COUNT-48: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
tile.kernel @dq params 9 <m = 128, n = 128, k = 128, stages = 2, producer = 40, consumer = 232> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %g = tile.map 5 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %dq = tile.map 6 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %result = tile.operand 3 : tensor<1554x512xbf16>
  %lse = tile.operand 4 : tensor<1554x4xf32>
  %rows = tile.operand 5 : tensor<1554x512xbf16>
  // CHECK: tile.attention_dq
  tile.attention_dq <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 8> (%q, %k, %v, %g) rows (%result, %rows, %lse) -> %dq
    : tensor<1554x512xbf16>, tensor<1554x512xbf16>, tensor<1554x4xf32>
}

// CHECK-LABEL: tile.kernel @dkv
// PTX-LABEL: .visible .entry dkv_
// PTX-COUNT-16: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// PTX-COUNT-8: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-COUNT-16: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// PTX-COUNT-8: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
tile.kernel @dkv params 9 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %g = tile.map 5 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %dk = tile.map 7 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 64, 1, 1] swizzle 128
  %dv = tile.map 8 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 64, 1, 1] swizzle 128
  // CHECK: tile.attention_dkv
  tile.attention_dkv <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 4> (%q, %k, %v, %g) -> %dk, %dv
}

// Scores and their gradients, dV, dQ of half the columns, dK; both orders in one kernel. Parts of dQ are stored by the
// first tile, added by others, and read by the last.
// CHECK-LABEL: tile.kernel @grad params 9
// PTX-LABEL: .visible .entry grad_
// PTX-COUNT-8: st.relaxed.gpu.global.v4.f32
// PTX-COUNT-16: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-COUNT-8: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// PTX-COUNT-4: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
// PTX-COUNT-8: red.relaxed.gpu.global.add.v4.f32
// PTX-NOT: red.relaxed
// PTX-COUNT-8: ld.relaxed.gpu.global.v4.f32
// PTX: ld.acquire.gpu.global.b32
// PTX: st.release.gpu.global.b32
tile.kernel @grad params 9 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %g = tile.map 5 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %dq = tile.map 6 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %dk = tile.map 7 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %dv = tile.map 8 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  // CHECK: tile.attention_grad <2 x 777, heads = 4, kv_heads = 4, head_size = 128, section = 4>(
  tile.attention_grad <2 x 777, heads = 4, kv_heads = 4, head_size = 128, section = 4> (%q, %k, %v, %g) -> %dq, %dk, %dv
}

// With a window as many products, in the same order. A tile visits no more than three blocks of keys before the diagonal (299 positions back reach
// that far), five of 64 queries after it; of those in the loop, the ones that the window's edge cuts are masked behind a branch.
// CHECK-LABEL: tile.kernel @forward_window
// PTX-LABEL: .visible .entry forward_window_
// PTX: min.s32 %{{.*}}, 3;
// PTX-COUNT-16: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX: wgmma.wait_group.sync.aligned 1
// PTX: setp.lt.s32 %[[INSIDE:p[0-9]+]], %{{.*}}, 2;
// PTX-NEXT: @%[[INSIDE]] bra
// PTX: selp.f32 %{{.*}}, 0fFF800000
// PTX-COUNT-8: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
// PTX: setmaxnreg.dec.sync.aligned.u32 24
// PTX: min.s32 %{{.*}}, 3;
tile.kernel @forward_window params 5 <m = 128, n = 128, k = 128, stages = 2, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %o = tile.map 3 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %lse = tile.operand 4 : tensor<1554x4xf32>
  // CHECK: tile.attention_fwd <{{.*}}, section = 8, window = 300>(
  tile.attention_fwd <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 8, window = 300> (%q, %k, %v) -> %o, %lse : tensor<1554x4xf32>
}

// CHECK-LABEL: tile.kernel @dq_window
// PTX-LABEL: .visible .entry dq_window_
// PTX: min.s32 %{{.*}}, 3;
// PTX-COUNT-24: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// PTX-NOT: wgmma.mma_async
// PTX: setmaxnreg.dec.sync.aligned.u32 40
// PTX: min.s32 %{{.*}}, 3;
tile.kernel @dq_window params 9 <m = 128, n = 128, k = 128, stages = 2, producer = 40, consumer = 232> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %g = tile.map 5 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 128, 1, 1] swizzle 128
  %dq = tile.map 6 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %result = tile.operand 3 : tensor<1554x512xbf16>
  %lse = tile.operand 4 : tensor<1554x4xf32>
  %rows = tile.operand 5 : tensor<1554x512xbf16>
  // CHECK: tile.attention_dq <{{.*}}, section = 8, window = 300>(
  tile.attention_dq <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 8, window = 300> (%q, %k, %v, %g) rows (%result, %rows, %lse) -> %dq
    : tensor<1554x512xbf16>, tensor<1554x512xbf16>, tensor<1554x4xf32>
}

// CHECK-LABEL: tile.kernel @dkv_window
// PTX-LABEL: .visible .entry dkv_window_
// PTX: min.s32 %{{.*}}, 7;
// PTX: min.s32 %{{.*}}, 5;
// PTX-COUNT-32: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// PTX: setmaxnreg.dec.sync.aligned.u32 24
// PTX: min.s32 %{{.*}}, 7;
tile.kernel @dkv_window params 9 <m = 128, n = 64, k = 128, stages = 3, producer = 24, consumer = 240> {
  %q = tile.map 0 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %k = tile.map 1 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %v = tile.map 2 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 128, 1, 1] swizzle 128
  %g = tile.map 5 : bf16 dims [128, 777, 4, 2] strides [1024, 256, 795648] box [64, 64, 1, 1] swizzle 128
  %dk = tile.map 7 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 64, 1, 1] swizzle 128
  %dv = tile.map 8 : bf16 dims [128, 777, 2, 2] strides [512, 256, 397824] box [64, 64, 1, 1] swizzle 128
  // CHECK: tile.attention_dkv <{{.*}}, section = 4, window = 300>(
  tile.attention_dkv <2 x 777, heads = 4, kv_heads = 2, head_size = 128, section = 4, window = 300> (%q, %k, %v, %g) -> %dk, %dv
}
