// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s

// f32 is not for tensor cores. 300 x 100: five tiles of rows, one panel of columns; 16-byte loads where columns divide.
moe.state @a batch : tensor<300x64xf32>
moe.state @b batch : tensor<64x100xf32>
moe.state @c output : tensor<300x100xf32>
// CHECK-LABEL: plan.func @product
// CHECK: plan.kernel @{{.*}} params 3 grid 5 scratch 0 flops 3840000
// CHECK: llvm.func @moec_matmul
// CHECK: llvm.load {{.*}}alignment = 16{{.*}} -> vector<4xf32>
// CHECK: math.fma
// CHECK-NOT: atomicrmw
// CHECK: llvm.return
func.func @product() {
  moe.dispatch "matmul" () : () -> () {
    %a = moe.read @a : tensor<300x64xf32>
    %b = moe.read @b : tensor<64x100xf32>
    %r = moe.matmul %a, %b : tensor<300x64xf32>, tensor<64x100xf32> -> tensor<300x100xf32>
    moe.write @c, %r : tensor<300x100xf32>
    moe.yield
  }
  return
}

// -----

// A small result with a long K: eight blocks share it, and leave 64 x 64 sums each in the workspace.
moe.state @a batch : tensor<4096x64xf32>
moe.state @b batch : tensor<4096x64xf32>
moe.state @c gradient : tensor<64x64xf32>
// CHECK-LABEL: plan.func @long
// CHECK: plan.kernel @{{.*}} params 3 grid 8 scratch 135168
// CHECK: llvm.atomicrmw add {{.*}} syncscope("device") monotonic
func.func @long() {
  moe.dispatch "matmul" () : () -> () {
    %a = moe.read @a : tensor<4096x64xf32>
    %b = moe.read @b : tensor<4096x64xf32>
    %r = moe.matmul ta %a, %b : tensor<4096x64xf32>, tensor<4096x64xf32> -> tensor<64x64xf32>
    moe.accumulate @c, %r : tensor<64x64xf32>
    moe.yield
  }
  return
}

// -----

// Sums of every 64 columns, of what a map makes and nobody else wants: two to a panel of 128, one in the last. The
// values lie where the products were; a warp adds up a part.
moe.state @a batch : tensor<300x64xf32>
moe.state @b batch : tensor<64x192xf32>
moe.state @c output : tensor<300x192xf32>
moe.state @s output : tensor<300x3xf32>
// CHECK-LABEL: plan.func @sums
// CHECK: plan.kernel @{{.*}} params 4 grid 10 scratch 0 {{.*}} launch {maps = [], shared = 45568 : i64
// CHECK: llvm.store {{.*}} : vector<4xf32>, !llvm.ptr<1>
// CHECK: llvm.store {{.*}} : vector<4xf32>, !llvm.ptr<3>
// CHECK: nvvm.barrier0
// CHECK: scf.for
// CHECK: llvm.load {{.*}} : !llvm.ptr<3> -> f32
// CHECK-COUNT-5: nvvm.shfl.sync bfly
// CHECK: llvm.store {{.*}} : f32, !llvm.ptr<1>
// CHECK: nvvm.barrier0
func.func @sums() {
  moe.dispatch "matmul" () : () -> () {
    %a = moe.read @a : tensor<300x64xf32>
    %b = moe.read @b : tensor<64x192xf32>
    %p = moe.matmul %a, %b : tensor<300x64xf32>, tensor<64x192xf32> -> tensor<300x192xf32>
    %m:2 = moe.map(%p) : (tensor<300x192xf32>) -> (tensor<300x192xf32>, tensor<300x192xf32>) {
    ^bb0(%x: f32):
      %y = arith.negf %x : f32
      %z = arith.mulf %x, %x : f32
      moe.yield %y, %z : f32, f32
    }
    %r = moe.row_reduce sum %m#1 every 64 : tensor<300x192xf32> -> tensor<300x3xf32>
    moe.write @c, %m#0 : tensor<300x192xf32>
    moe.write @s, %r : tensor<300x3xf32>
    moe.yield
  }
  return
}

// -----

// Two sequences of 100 positions, 4 heads: two blocks of query rows each. The gradient has blocks of keys beside them.
moe.state @q batch : tensor<200x64xf32>
moe.state @k batch : tensor<200x32xf32>
moe.state @v batch : tensor<200x32xf32>
moe.state @o output : tensor<200x64xf32>
moe.state @l output : tensor<200x4xf32>
moe.state @dq output : tensor<200x64xf32>
moe.state @dk output : tensor<200x32xf32>
moe.state @dv output : tensor<200x32xf32>
// CHECK-LABEL: plan.func @attention
// CHECK: plan.kernel @{{.*}} params 5 grid 16 scratch 0
// CHECK: plan.kernel @{{.*}} params 8 grid 24 scratch 0
// CHECK: llvm.func @moec_attention
// CHECK: nvvm.shfl.sync bfly
// CHECK: math.exp
// CHECK: math.log
func.func @attention() {
  moe.dispatch "attention" () : () -> () {
    %q = moe.read @q : tensor<200x64xf32>
    %k = moe.read @k : tensor<200x32xf32>
    %v = moe.read @v : tensor<200x32xf32>
    %r, %l = moe.attention %q, %k, %v heads 4 kv_heads 2 seq_len 100 : tensor<200x64xf32>, tensor<200x32xf32> -> tensor<200x4xf32>
    moe.write @o, %r : tensor<200x64xf32>
    moe.write @l, %l : tensor<200x4xf32>
    moe.yield
  }
  moe.dispatch "attention_grad" () : () -> () {
    %q = moe.read @q : tensor<200x64xf32>
    %k = moe.read @k : tensor<200x32xf32>
    %v = moe.read @v : tensor<200x32xf32>
    %o = moe.read @o : tensor<200x64xf32>
    %l = moe.read @l : tensor<200x4xf32>
    %dq, %dk, %dv = moe.attention_grad %q, %k, %v, %o, %l, %o heads 4 kv_heads 2 seq_len 100 : tensor<200x64xf32>, tensor<200x32xf32>, tensor<200x4xf32>
    moe.write @dq, %dq : tensor<200x64xf32>
    moe.write @dk, %dk : tensor<200x32xf32>
    moe.write @dv, %dv : tensor<200x32xf32>
    moe.yield
  }
  return
}
