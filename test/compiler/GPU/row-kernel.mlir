// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s

// A row of medium width: its block keeps it in registers between the sum and the scaling, so it is loaded once, 16
// bytes at a time. Memory holds bf16, the arithmetic is in f32.
moe.state @norm_x batch : tensor<64x2048xbf16>
moe.state @norm_y output : tensor<64x2048xbf16>
moe.state @norm_scale parameter : tensor<1x2048xf32>
// CHECK-LABEL: plan.func @norm
// CHECK: plan.kernel {{.*}} grid 64
// CHECK: llvm.func @{{.*}}nvvm.reqntid = array<i32: 128, 1, 1>
// The scales' loads, too, come before the sum; were they invariant, LLVM would move them behind the barrier.
// CHECK-COUNT-2: llvm.load %{{[0-9]+}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xbf16>
// CHECK-NOT: llvm.load %{{.*}} -> vector<8xbf16>
// CHECK: llvm.load %{{[0-9]+}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xf32>
// CHECK-COUNT-5: nvvm.shfl.sync bfly
// CHECK: nvvm.barrier0
// The factor of a row is one number.
// CHECK: math.rsqrt %{{.*}} : f32
// CHECK-NOT: math.rsqrt
// CHECK-NOT: llvm.load %{{.*}} -> vector<8xbf16>
// CHECK-COUNT-2: llvm.store %{{.*}} {alignment = 16 : i64} : vector<8xbf16>
// CHECK: llvm.return
func.func @norm() {
  moe.dispatch "row" () : () -> () {
    %n = moe.read @norm_x : tensor<64x2048xbf16>
    %x = moe.cast %n : tensor<64x2048xbf16> -> tensor<64x2048xf32>
    %s = moe.read @norm_scale : tensor<1x2048xf32>
    %q = moe.map(%x) : (tensor<64x2048xf32>) -> tensor<64x2048xf32> {
    ^bb0(%a: f32):
      %p = arith.mulf %a, %a : f32
      moe.yield %p : f32
    }
    %r = moe.row_reduce sum %q : tensor<64x2048xf32> -> tensor<64x1xf32>
    %y = moe.map(%x, %s, %r) : (tensor<64x2048xf32>, tensor<1x2048xf32>, tensor<64x1xf32>) -> tensor<64x2048xf32> {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %f = math.rsqrt %c : f32
      %p = arith.mulf %a, %f : f32
      %z = arith.mulf %p, %b : f32
      moe.yield %z : f32
    }
    %o = moe.cast %y : tensor<64x2048xf32> -> tensor<64x2048xbf16>
    moe.write @norm_y, %o : tensor<64x2048xbf16>
    moe.yield
  }
  return
}

// -----

// A row too wide for registers: maximum and sum of exponentials in one loop. An exponential is a fused multiply-add and a
// power of two.
moe.state @logits batch : tensor<4x50304xf32>
moe.state @lse output : tensor<4x1xf32>
// CHECK-LABEL: plan.func @log_sum_exp
// CHECK: llvm.func @{{.*}}nvvm.reqntid = array<i32: 256, 1, 1>
// CHECK: scf.for
// CHECK-COUNT-4: llvm.load %{{[0-9]+}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
// CHECK: arith.maximumf
// CHECK: [[EXPONENT:%.*]] = math.fma %{{.*}} : vector<4xf32>
// CHECK-NEXT: math.exp2 [[EXPONENT]] : vector<4xf32>
// CHECK-NOT: scf.for
// CHECK: llvm.return
func.func @log_sum_exp() {
  moe.dispatch "row" () : () -> () {
    %x = moe.read @logits : tensor<4x50304xf32>
    %m = moe.row_reduce max %x : tensor<4x50304xf32> -> tensor<4x1xf32>
    %e = moe.map(%x, %m) : (tensor<4x50304xf32>, tensor<4x1xf32>) -> tensor<4x50304xf32> {
    ^bb0(%a: f32, %b: f32):
      %d = arith.subf %a, %b : f32
      %z = math.exp %d : f32
      moe.yield %z : f32
    }
    %s = moe.row_reduce sum %e : tensor<4x50304xf32> -> tensor<4x1xf32>
    %l = moe.map(%m, %s) : (tensor<4x1xf32>, tensor<4x1xf32>) -> tensor<4x1xf32> {
    ^bb0(%a: f32, %b: f32):
      %g = math.log %b : f32
      %z = arith.addf %a, %g : f32
      moe.yield %z : f32
    }
    moe.write @lse, %l : tensor<4x1xf32>
    moe.yield
  }
  return
}

// -----

// The sum of a wide row and what is stored without waiting for it are one loop.
moe.state @p parameter : tensor<4x16384xf32>
moe.state @m optimizer : tensor<4x16384xf32>
moe.state @g gradient : tensor<4x16384xf32>
moe.state @norms output : tensor<4x1xf32>
// CHECK-LABEL: plan.func @update
// CHECK: scf.for
// CHECK-COUNT-6: llvm.load %{{[0-9]+}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
// CHECK-NOT: llvm.load
// CHECK-COUNT-4: llvm.store {{.*}} : vector<4xf32>
// CHECK: scf.yield
// CHECK-NOT: vector<4xf32>, !llvm.ptr<1>
// CHECK-NOT: scf.for
// CHECK: llvm.return
func.func @update() {
  moe.dispatch "row" () : () -> () {
    %p = moe.read @p : tensor<4x16384xf32>
    %m = moe.read @m : tensor<4x16384xf32>
    %g = moe.read @g : tensor<4x16384xf32>
    %q = moe.map(%g) : (tensor<4x16384xf32>) -> tensor<4x16384xf32> {
    ^bb0(%a: f32):
      %z = arith.mulf %a, %a : f32
      moe.yield %z : f32
    }
    %s = moe.row_reduce sum %q : tensor<4x16384xf32> -> tensor<4x1xf32>
    %n:2 = moe.map(%p, %m, %g) : (tensor<4x16384xf32>, tensor<4x16384xf32>, tensor<4x16384xf32>) -> (tensor<4x16384xf32>, tensor<4x16384xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %d = arith.addf %b, %c : f32
      %e = arith.subf %a, %d : f32
      moe.yield %e, %d : f32, f32
    }
    moe.write @p, %n#0 : tensor<4x16384xf32>
    moe.write @m, %n#1 : tensor<4x16384xf32>
    moe.write @norms, %s : tensor<4x1xf32>
    moe.yield
  }
  return
}

// -----

// No op looks at the whole row: rows are cut, and the one id of a row is compared with columns instead of a row of
// zeros being stored.
moe.state @logits batch : tensor<4x50304xf32>
moe.state @ids batch : tensor<4x1xi32>
moe.state @gradient output : tensor<4x50304xf32>
// CHECK-LABEL: plan.func @one_hot
// CHECK: plan.kernel {{.*}} grid 52
// CHECK-NOT: scf.for
// CHECK: arith.cmpi eq, %{{.*}} : vector<4xi32>
// CHECK-NOT: scf.for
// CHECK: llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xf32>
// CHECK: llvm.return
func.func @one_hot() {
  moe.dispatch "row" () : () -> () {
    %x = moe.read @logits : tensor<4x50304xf32>
    %i = moe.read @ids : tensor<4x1xi32>
    %one = arith.constant dense<1.0> : tensor<4x1xf32>
    %h = moe.put %one, %i : tensor<4x1xf32>, tensor<4x1xi32> -> tensor<4x50304xf32>
    %g = moe.map(%x, %h) : (tensor<4x50304xf32>, tensor<4x50304xf32>) -> tensor<4x50304xf32> {
    ^bb0(%a: f32, %b: f32):
      %z = arith.subf %a, %b : f32
      moe.yield %z : f32
    }
    moe.write @gradient, %g : tensor<4x50304xf32>
    moe.yield
  }
  return
}

// -----

// Narrow rows: 8 lanes for each, no barrier, every choice a reduction over those lanes.
moe.state @scores batch : tensor<1024x64xf32>
moe.state @chosen output : tensor<1024x2xi32>
// CHECK-LABEL: plan.func @choose
// CHECK: plan.kernel {{.*}} grid 32
// CHECK: llvm.func @{{.*}}nvvm.reqntid = array<i32: 256, 1, 1>
// CHECK-NOT: nvvm.barrier
// CHECK-COUNT-2: llvm.load %{{.*}} -> vector<4xf32>
// Two halves of an i64, three steps, two choices.
// CHECK-COUNT-12: nvvm.shfl.sync bfly
// CHECK-NOT: nvvm.shfl
// CHECK-NOT: nvvm.barrier
// CHECK: llvm.return
func.func @choose() {
  moe.dispatch "row" () : () -> () {
    %x = moe.read @scores : tensor<1024x64xf32>
    %t = moe.top_k %x : tensor<1024x64xf32> -> tensor<1024x2xi32>
    moe.write @chosen, %t : tensor<1024x2xi32>
    moe.yield
  }
  return
}

// -----

// The rows of all slots are on their way before the first is added.
moe.state @table batch : tensor<256x1024xf32>
moe.state @slots batch : tensor<64x4xi32>
moe.state @sum output : tensor<64x1024xf32>
// CHECK-LABEL: plan.func @combine
// CHECK-COUNT-8: llvm.load %{{.*}} invariant {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
// CHECK: arith.addf %{{.*}} : vector<4xf32>
// CHECK-NOT: -> vector<4xf32>
// CHECK: llvm.return
func.func @combine() {
  moe.dispatch "row" () : () -> () {
    %x = moe.read @table : tensor<256x1024xf32>
    %i = moe.read @slots : tensor<64x4xi32>
    %c = moe.combine_rows %x, %i : tensor<256x1024xf32>, tensor<64x4xi32> -> tensor<64x1024xf32>
    moe.write @sum, %c : tensor<64x1024xf32>
    moe.yield
  }
  return
}

// -----

// A step counter: all threads read what one of them writes, so they meet in between.
moe.state @step counter : tensor<1x1xi64>
moe.state @rate output : tensor<1x64xf32>
// CHECK-LABEL: plan.func @count
// CHECK: llvm.load %{{.*}} -> i64
// CHECK: nvvm.bar.warp.sync
// CHECK: llvm.store %{{.*}} : i64
func.func @count() {
  moe.dispatch "row" () : () -> () {
    %s = moe.read @step : tensor<1x1xi64>
    %n = moe.map(%s) : (tensor<1x1xi64>) -> tensor<1x1xi64> {
    ^bb0(%a: i64):
      %c = arith.constant 1 : i64
      %z = arith.addi %a, %c : i64
      moe.yield %z : i64
    }
    %r = moe.map(%n) : (tensor<1x1xi64>) -> tensor<1x64xf32> {
    ^bb0(%a: i64):
      %z = arith.sitofp %a : i64 to f32
      moe.yield %z : f32
    }
    moe.write @step, %n : tensor<1x1xi64>
    moe.write @rate, %r : tensor<1x64xf32>
    moe.yield
  }
  return
}

// -----

// A row kernel that sums rows on its way: a block for each sum of 32 rows, whose partial sums it carries from row to row.
// What the threads of a row share is free before the next row writes it.
moe.state @x batch : tensor<64x2048xbf16>
moe.state @y output : tensor<64x2048xbf16>
moe.state @total output : tensor<2x2048xf32>
// CHECK-LABEL: plan.func @sums
// CHECK: plan.kernel {{.*}} grid 2
// CHECK: llvm.func @{{.*}}nvvm.minctasm = 4 : i32, nvvm.reqntid = array<i32: 256, 1, 1>
// CHECK: [[SUMS:%.*]] = scf.for {{.*}} iter_args([[SO:%.*]] = %{{.*}}) -> (vector<8xf32>)
// CHECK: llvm.load {{.*}} -> vector<8xbf16>
// CHECK-NOT: llvm.load {{.*}} -> vector<8xbf16>
// CHECK: nvvm.barrier0
// CHECK: nvvm.barrier0
// CHECK: [[NEXT:%.*]] = arith.addf [[SO]], %{{.*}} : vector<8xf32>
// CHECK: llvm.store {{.*}} : vector<8xbf16>
// CHECK: scf.yield [[NEXT]]
// CHECK-NOT: nvvm.barrier0
// CHECK: llvm.store [[SUMS]], %{{.*}} {alignment = 16 : i64} : vector<8xf32>
func.func @sums() {
  moe.dispatch "row" () : () -> () {
    %n = moe.read @x : tensor<64x2048xbf16>
    %x = moe.cast %n : tensor<64x2048xbf16> -> tensor<64x2048xf32>
    %r = moe.row_reduce max %x : tensor<64x2048xf32> -> tensor<64x1xf32>
    %y = moe.map(%x, %r) : (tensor<64x2048xf32>, tensor<64x1xf32>) -> tensor<64x2048xf32> {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      moe.yield %p : f32
    }
    %o = moe.cast %y : tensor<64x2048xf32> -> tensor<64x2048xbf16>
    moe.write @y, %o : tensor<64x2048xbf16>
    %s = moe.col_reduce %y : tensor<64x2048xf32> -> tensor<2x2048xf32>
    moe.write @total, %s : tensor<2x2048xf32>
    moe.yield
  }
  return
}
