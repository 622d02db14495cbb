// RUN: moec-opt %s -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s
// RUN: sed 's/window 150/window 300/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=FULL

// Attention by windows on tensor cores: grid and workspace as without, work of the pairs that are seen. Those are 150 * 300 - 150 * 149 / 2 = 33825 of
// 300 * 301 / 2 = 45150 in each of two heads; a product is 256 FLOP of each, and the kernels have two, two and three of them. Bytes stay: every key is
// read by some query.
// CHECK: flops 34636800 bytes 463200 "attention
// CHECK: plan.kernel {{.*}}_dq params 8 grid 6 scratch 10240 flops 34636800 bytes 770400
// CHECK: plan.kernel {{.*}}_dkv params 8 grid 3 scratch 10240 flops 51955200 bytes 770400
// CHECK: tile.attention_fwd <1 x 300, heads = 2, kv_heads = 1, head_size = 128, section = 2, window = 150>
// CHECK: tile.attention_dq <{{.*}}, window = 150>
// CHECK: tile.attention_dkv <{{.*}}, window = 150>

// A window that hides nothing is none.
// FULL: flops 46233600 bytes 463200 "attention
// FULL: tile.attention_fwd <1 x 300, heads = 2, kv_heads = 1, head_size = 128, section = 2>
moe.state @q batch : tensor<300x256xbf16>
moe.state @k batch : tensor<300x128xbf16>
moe.state @v batch : tensor<300x128xbf16>
moe.state @lse batch : tensor<300x2xf32>
moe.state @o output : tensor<300x256xbf16>
moe.state @dq gradient : tensor<300x256xbf16>
moe.state @dk gradient : tensor<300x128xbf16>
moe.state @dv gradient : tensor<300x128xbf16>

func.func @attention() {
  moe.dispatch "attention" () : () -> () {
    %q = moe.read @q : tensor<300x256xbf16>
    %k = moe.read @k : tensor<300x128xbf16>
    %v = moe.read @v : tensor<300x128xbf16>
    %qf = moe.cast %q : tensor<300x256xbf16> -> tensor<300x256xf32>
    %kf = moe.cast %k : tensor<300x128xbf16> -> tensor<300x128xf32>
    %vf = moe.cast %v : tensor<300x128xbf16> -> tensor<300x128xf32>
    %r, %l = moe.attention %qf, %kf, %vf heads 2 kv_heads 1 seq_len 300 window 150 : tensor<300x256xf32>, tensor<300x128xf32> -> tensor<300x2xf32>
    %rb = moe.cast %r : tensor<300x256xf32> -> tensor<300x256xbf16>
    moe.write @o, %rb : tensor<300x256xbf16>
    moe.write @lse, %l : tensor<300x2xf32>
    moe.yield
  }
  return
}

func.func @attention_grad() {
  moe.dispatch "attention_grad" () : () -> () {
    %q = moe.read @q : tensor<300x256xbf16>
    %k = moe.read @k : tensor<300x128xbf16>
    %v = moe.read @v : tensor<300x128xbf16>
    %o = moe.read @o : tensor<300x256xbf16>
    %l = moe.read @lse : tensor<300x2xf32>
    %qf = moe.cast %q : tensor<300x256xbf16> -> tensor<300x256xf32>
    %kf = moe.cast %k : tensor<300x128xbf16> -> tensor<300x128xf32>
    %vf = moe.cast %v : tensor<300x128xbf16> -> tensor<300x128xf32>
    %of = moe.cast %o : tensor<300x256xbf16> -> tensor<300x256xf32>
    %dq, %dk, %dv = moe.attention_grad %qf, %kf, %vf, %of, %l, %of heads 2 kv_heads 1 seq_len 300 window 150
      : tensor<300x256xf32>, tensor<300x128xf32>, tensor<300x2xf32>
    %dqb = moe.cast %dq : tensor<300x256xf32> -> tensor<300x256xbf16>
    %dkb = moe.cast %dk : tensor<300x128xf32> -> tensor<300x128xbf16>
    %dvb = moe.cast %dv : tensor<300x128xf32> -> tensor<300x128xbf16>
    moe.write @dq, %dqb : tensor<300x256xbf16>
    moe.write @dk, %dkb : tensor<300x128xbf16>
    moe.write @dv, %dvb : tensor<300x128xbf16>
    moe.yield
  }
  return
}
