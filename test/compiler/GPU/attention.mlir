// RUN: moec-opt %s -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s
// RUN: sed 's/<300x/<65536x/g; s/seq_len 300/seq_len 2048/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=LONG
// RUN: sed 's/<300x/<51200x/g; s/seq_len 300/seq_len 2048/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=ONE
// RUN: sed 's/<300x/<49152x/g; s/seq_len 300/seq_len 2048/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=PAIR
// RUN: sed 's/<300x/<65504x/g; s/seq_len 300/seq_len 2047/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=PAIR
// RUN: sed 's/<300x2x/<65536x4x/g; s/<300x/<65536x/g; s/heads 2 kv_heads 1 seq_len 300/heads 4 kv_heads 2 seq_len 2048/' %s | moec-opt -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s --check-prefix=PAIR

// What is bf16 in memory and has heads of 64 or 128 columns runs on tensor cores. The backward is two kernels, launched
// in turn on the same operands; the first leaves row statistics in the workspace (2 x 2 heads x 384 rows x 4 bytes behind
// the counters) for the second.
moe.state @q batch : tensor<300x256xbf16>
moe.state @k batch : tensor<300x128xbf16>
moe.state @v batch : tensor<300x128xbf16>
moe.state @lse batch : tensor<300x2xf32>
moe.state @o output : tensor<300x256xbf16>
moe.state @dq gradient : tensor<300x256xbf16>
moe.state @dk gradient : tensor<300x128xbf16>
moe.state @dv gradient : tensor<300x128xbf16>

// CHECK-LABEL: plan.func @attention
// CHECK: plan.launch @[[F:.*]](%
// CHECK-NEXT: }
// CHECK: plan.kernel @[[F]] params 5 grid 6 scratch 4096 {{.*}} threads = 384
func.func @attention() {
  moe.dispatch "attention" () : () -> () {
    %q = moe.read @q : tensor<300x256xbf16>
    %k = moe.read @k : tensor<300x128xbf16>
    %v = moe.read @v : tensor<300x128xbf16>
    %qf = moe.cast %q : tensor<300x256xbf16> -> tensor<300x256xf32>
    %kf = moe.cast %k : tensor<300x128xbf16> -> tensor<300x128xf32>
    %vf = moe.cast %v : tensor<300x128xbf16> -> tensor<300x128xf32>
    %r, %l = moe.attention %qf, %kf, %vf heads 2 kv_heads 1 seq_len 300 : tensor<300x256xf32>, tensor<300x128xf32> -> tensor<300x2xf32>
    %rb = moe.cast %r : tensor<300x256xf32> -> tensor<300x256xbf16>
    moe.write @o, %rb : tensor<300x256xbf16>
    moe.write @lse, %l : tensor<300x2xf32>
    moe.yield
  }
  return
}

// CHECK-LABEL: plan.func @attention_grad
// CHECK: plan.launch @[[DQ:.*]](%[[OPERANDS:.*]]) writes [5, 6, 7]
// CHECK-NEXT: plan.launch @[[DKV:.*]](%[[OPERANDS]]) writes [5, 6, 7]
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
    %dq, %dk, %dv = moe.attention_grad %qf, %kf, %vf, %of, %l, %of heads 2 kv_heads 1 seq_len 300
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

// CHECK: plan.kernel @[[DQ]] params 8 grid 6 scratch 10240
// CHECK: plan.kernel @[[DKV]] params 8 grid 3 scratch 10240
// CHECK: tile.kernel @[[F]]
// CHECK: tile.attention_fwd <1 x 300, heads = 2, kv_heads = 1, head_size = 128, section = 2>
// CHECK: tile.kernel @[[DQ]]
// CHECK: tile.attention_dq
// CHECK: tile.kernel @[[DKV]]
// CHECK: tile.attention_dkv

// Long sequences have one kernel for all gradients, after one of row statistics: those of
// 64 heads x 2048 rows, and for the heads of two sections a word for each block of 64 queries and as many sums of 64 x 128.
// LONG-LABEL: plan.func @attention_grad
// LONG: plan.launch @[[ROWS:.*]](%[[OPERANDS:.*]]) writes [5, 6, 7]
// LONG-NEXT: plan.launch @[[GRAD:.*]](%[[OPERANDS]]) writes [5, 6, 7]
// LONG: plan.kernel @[[ROWS]] params 8 grid 2048 scratch
// LONG: plan.kernel @[[GRAD]] params 8 grid 132 scratch 34611200
// LONG-NOT: tile.attention_dq
// LONG: tile.attention_grad <32 x 2048, heads = 2, kv_heads = 1, head_size = 128, section = 8>
// LONG-NOT: tile.attention_dkv

// From three tiles of 128 keys per multiprocessor on; one sequence less, one position less, or heads of 64 columns, and there
// are two.
// ONE: tile.attention_grad <25 x 2048, heads = 2, kv_heads = 1, head_size = 128
// PAIR-NOT: tile.attention_grad
// PAIR: tile.attention_dq
// PAIR: tile.attention_dkv
// PAIR-NOT: tile.attention_grad
