// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s

// 256 columns are one block's; the rows are shared out, and the last block to arrive joins the parts. What is bf16 in
// memory is read as it lies there and added in f32.
moe.state @x batch : tensor<32768x256xbf16>
moe.state @y gradient : tensor<1x256xf32>
// CHECK-LABEL: plan.func @columns
// CHECK: plan.kernel @{{.*}} params 2 grid 128
// CHECK: llvm.func @moec_col_reduce
// CHECK: llvm.load {{.*}}alignment = 16{{.*}} -> vector<8xbf16>
// CHECK: arith.extf {{.*}} : vector<8xbf16> to vector<8xf32>
// CHECK: llvm.fence syncscope("device") acq_rel
// CHECK: nvvm.barrier0
// CHECK: llvm.atomicrmw add {{.*}} syncscope("device") monotonic
func.func @columns() {
  moe.dispatch "col_reduce" () : () -> () {
    %x = moe.read @x : tensor<32768x256xbf16>
    %c = moe.cast %x : tensor<32768x256xbf16> -> tensor<32768x256xf32>
    %r = moe.col_reduce %c : tensor<32768x256xf32> -> tensor<1x256xf32>
    moe.accumulate @y, %r : tensor<1x256xf32>
    moe.yield
  }
  return
}

// -----

// Few rows: one block per group, and nothing to wait for.
moe.state @x batch : tensor<64x32xf32>
moe.state @y output : tensor<2x32xf32>
// CHECK-LABEL: plan.func @groups
// CHECK: plan.kernel @{{.*}} params 2 grid 2
// CHECK: llvm.func @moec_col_reduce
// CHECK-NOT: atomicrmw
// CHECK: llvm.return
func.func @groups() {
  moe.dispatch "col_reduce" () : () -> () {
    %x = moe.read @x : tensor<64x32xf32>
    %r = moe.col_reduce %x : tensor<64x32xf32> -> tensor<2x32xf32>
    moe.write @y, %r : tensor<2x32xf32>
    moe.yield
  }
  return
}

// -----

// Sums of embed_grad are the state itself: no workspace. The ids of a block are found by votes, floats never added
// atomically.
moe.state @g batch : tensor<4096x64xf32>
moe.state @ids batch : tensor<4096x1xi32>
moe.state @e gradient : tensor<1000x64xf32>
// CHECK-LABEL: plan.func @embed
// CHECK: llvm.func @moec_embed_grad
// CHECK: nvvm.vote.sync ballot
// CHECK-NOT: atomicrmw
// CHECK: llvm.return
func.func @embed() {
  moe.dispatch "embed_grad" () : () -> () {
    %g = moe.read @g : tensor<4096x64xf32>
    %i = moe.read @ids : tensor<4096x1xi32>
    %r = moe.embed_grad %g, %i : tensor<4096x64xf32>, tensor<4096x1xi32> -> tensor<1000x64xf32>
    moe.accumulate @e, %r : tensor<1000x64xf32>
    moe.yield
  }
  return
}

// -----

// A large permute is a grid with a barrier of its own, never of more blocks than stay resident; a small one is one block.
moe.state @ids batch : tensor<32768x8xi32>
moe.state @few batch : tensor<16x2xi32>
// CHECK-LABEL: plan.func @sort
// CHECK: plan.kernel @{{.*}} params 6 grid 128
// CHECK: plan.kernel @{{.*}} params 6 grid 1 scratch 0
// CHECK: llvm.func @moec_permute
// CHECK: scf.while
// CHECK: llvm.load {{.*}} atomic syncscope("device") acquire
// CHECK: nvvm.match.sync any
// CHECK: llvm.func @moec_permute
// CHECK-NOT: scf.while
// CHECK: nvvm.match.sync any
func.func @sort() {
  %a:5 = moe.dispatch "permute" () : () -> (tensor<1x65xi32>, tensor<1x64xi32>, tensor<266176x1xi32>, tensor<266176x1xi32>, tensor<32768x8xi32>) {
    %i = moe.read @ids : tensor<32768x8xi32>
    %0, %1, %2, %3, %4 = moe.permute %i experts 64 align 64 : tensor<32768x8xi32> -> tensor<1x65xi32>, tensor<1x64xi32>, tensor<266176x1xi32>
    moe.yield %0, %1, %2, %3, %4 : tensor<1x65xi32>, tensor<1x64xi32>, tensor<266176x1xi32>, tensor<266176x1xi32>, tensor<32768x8xi32>
  }
  %b:5 = moe.dispatch "permute" () : () -> (tensor<1x5xi32>, tensor<1x4xi32>, tensor<320x1xi32>, tensor<320x1xi32>, tensor<16x2xi32>) {
    %i = moe.read @few : tensor<16x2xi32>
    %0, %1, %2, %3, %4 = moe.permute %i experts 4 align 64 : tensor<16x2xi32> -> tensor<1x5xi32>, tensor<1x4xi32>, tensor<320x1xi32>
    moe.yield %0, %1, %2, %3, %4 : tensor<1x5xi32>, tensor<1x4xi32>, tensor<320x1xi32>, tensor<320x1xi32>, tensor<16x2xi32>
  }
  return
}

// -----

// A block for each column, which is read once; no workspace, and nothing that blocks wait for.
moe.state @x batch : tensor<32768x64xbf16>
moe.state @y balance : tensor<1x64xf32>
// CHECK-LABEL: plan.func @kth
// CHECK: plan.kernel @{{.*}} params 2 grid 64 scratch 0
// CHECK: llvm.func @moec_column_kth{{.*}}nvvm.reqntid = array<i32: 1024, 1, 1>
// CHECK-COUNT-32: llvm.load {{.*}} -> bf16
// CHECK-NOT: -> bf16
// CHECK: scf.for
// CHECK-COUNT-32: arith.cmpi uge, {{.*}} : i32
// CHECK-NOT: atomicrmw
// CHECK: llvm.store {{.*}} : f32
func.func @kth() {
  moe.dispatch "column_kth" () : () -> () {
    %x = moe.read @x : tensor<32768x64xbf16>
    %c = moe.cast %x : tensor<32768x64xbf16> -> tensor<32768x64xf32>
    %r = moe.column_kth %c n 4096 : tensor<32768x64xf32> -> tensor<1x64xf32>
    moe.write @y, %r : tensor<1x64xf32>
    moe.yield
  }
  return
}

// -----

// One block solves; for the zeros of all other steps there is a grid.
moe.state @x batch : tensor<32768x64xf32>
moe.state @now counter : tensor<1x1xi64>
moe.state @p balance : tensor<32768x64xf32>
// CHECK-LABEL: plan.func @plan_of_rows
// CHECK: plan.kernel @{{.*}} params 3 grid 128 scratch {{[1-9]}}
// CHECK: llvm.func @moec_sinkhorn{{.*}}nvvm.reqntid = array<i32: 512, 1, 1>
// CHECK: %[[NOW:.*]] = llvm.load {{.*}} -> i64
// CHECK: %[[IS:.*]] = arith.cmpi ne, %[[NOW]]
// CHECK: scf.if %[[IS]]
// CHECK: scf.while
// CHECK: scf.condition
// CHECK-NOT: atomicrmw
// CHECK: llvm.return
func.func @plan_of_rows() {
  moe.dispatch "sinkhorn" () : () -> () {
    %x = moe.read @x : tensor<32768x64xf32>
    %now = moe.read @now : tensor<1x1xi64>
    %r = moe.sinkhorn %x if %now xi 0.05 max_iters 100 tol 1.0e-3 : tensor<32768x64xf32>, tensor<1x1xi64>
    moe.write @p, %r : tensor<32768x64xf32>
    moe.yield
  }
  return
}

// -----

// A block a matrix, and more of them for copies; with the state itself as the result there is nothing to copy.
moe.state @a optimizer : tensor<4x1024x1024xf32>
moe.state @q optimizer : tensor<4x1024x1024xbf16>
moe.state @now counter : tensor<1x1xi64>
// CHECK-LABEL: plan.func @bases
// CHECK: plan.kernel @{{.*}} params 3 grid 128
// CHECK: plan.kernel @{{.*}} params 4 grid 128
// CHECK: llvm.func @moec_eigh
// CHECK-NOT: llvm.load {{.*}} -> bf16
// CHECK: llvm.store {{.*}} : bf16
// CHECK: llvm.func @moec_qr
// CHECK: llvm.load {{.*}} -> bf16
func.func @bases() {
  moe.dispatch "eigh" () : () -> () {
    %x = moe.read @a : tensor<4x1024x1024xf32>
    %q = moe.read @q : tensor<4x1024x1024xbf16>
    %wide = moe.cast %q : tensor<4x1024x1024xbf16> -> tensor<4x1024x1024xf32>
    %now = moe.read @now : tensor<1x1xi64>
    %v, %l = moe.eigh %x previous %wide if %now : tensor<4x1024x1024xf32>, tensor<1x1xi64> -> tensor<4x1024xf32>
    %narrow = moe.cast %v : tensor<4x1024x1024xf32> -> tensor<4x1024x1024xbf16>
    moe.write @q, %narrow : tensor<4x1024x1024xbf16>
    moe.yield
  }
  %o = moe.dispatch "qr" () : () -> tensor<4x1024x1024xf32> {
    %x = moe.read @a : tensor<4x1024x1024xf32>
    %q = moe.read @q : tensor<4x1024x1024xbf16>
    %wide = moe.cast %q : tensor<4x1024x1024xbf16> -> tensor<4x1024x1024xf32>
    %now = moe.read @now : tensor<1x1xi64>
    %v = moe.qr %x previous %wide if %now : tensor<4x1024x1024xf32>, tensor<1x1xi64>
    moe.yield %v : tensor<4x1024x1024xf32>
  }
  return
}

// -----

// The shared memory of one block holds what is known of 1024 experts; 2000 are two blocks of 1000. A block counts ids from
// its first expert on, leaves slots of other experts alone, and the first one answers for those of nobody.
moe.state @ids batch : tensor<4096x4xi32>
moe.state @weights batch : tensor<4096x4xf32>
// CHECK-LABEL: plan.func @limit
// CHECK: plan.kernel @{{.*}} params 3 grid 1 scratch 0 {{.*}}shared = 208896 : i64
// CHECK: plan.kernel @{{.*}} params 3 grid 2 scratch 0 {{.*}}shared = 204000 : i64
// CHECK: plan.kernel @{{.*}} params 3 grid 2 scratch 0 {{.*}}shared = 204000 : i64
// CHECK: llvm.func @moec_limit_capacity
// CHECK-NOT: arith.constant 1000 : i32
// CHECK: llvm.func @moec_limit_capacity
// CHECK: %[[BLOCK32:.*]] = nvvm.read.ptx.sreg.ctaid.x
// CHECK: %[[BLOCK:.*]] = arith.extsi %[[BLOCK32]]
// CHECK: %[[FIRST64:.*]] = arith.muli %[[BLOCK]], %{{.*}} : i64
// CHECK: %[[FIRST:.*]] = arith.trunci %[[FIRST64]] : i64 to i32
// CHECK: arith.subi %{{.*}}, %[[FIRST]] : i32
// CHECK: nvvm.match.sync any
// CHECK: %[[HOME:.*]] = arith.cmpi eq, %[[BLOCK]], %{{.*}} : i64
// CHECK: %[[NOBODY:.*]] = arith.cmpi slt, %{{.*}} : i32
// CHECK: %[[OURS:.*]] = arith.andi %[[HOME]], %[[NOBODY]]
// CHECK: %[[STORES:.*]] = arith.ori %{{.*}}, %[[OURS]]
// CHECK: scf.if %[[STORES]]
// CHECK: llvm.store %{{.*}} : i32, !llvm.ptr<1>
func.func @limit() {
  %0 = moe.dispatch "limit_capacity" () : () -> tensor<4096x4xi32> {
    %i = moe.read @ids : tensor<4096x4xi32>
    %w = moe.read @weights : tensor<4096x4xf32>
    %r = moe.limit_capacity lowest_weight %i, %w experts 1024 capacity 32 : tensor<4096x4xi32>, tensor<4096x4xf32>
    moe.yield %r : tensor<4096x4xi32>
  }
  %1 = moe.dispatch "limit_capacity" () : () -> tensor<4096x4xi32> {
    %i = moe.read @ids : tensor<4096x4xi32>
    %w = moe.read @weights : tensor<4096x4xf32>
    %r = moe.limit_capacity lowest_weight %i, %w experts 2000 capacity 32 : tensor<4096x4xi32>, tensor<4096x4xf32>
    moe.yield %r : tensor<4096x4xi32>
  }
  %2 = moe.dispatch "limit_capacity" () : () -> tensor<4096x4xi32> {
    %i = moe.read @ids : tensor<4096x4xi32>
    %w = moe.read @weights : tensor<4096x4xf32>
    %r = moe.limit_capacity position %i, %w experts 2000 capacity 32 : tensor<4096x4xi32>, tensor<4096x4xf32>
    moe.yield %r : tensor<4096x4xi32>
  }
  return
}
