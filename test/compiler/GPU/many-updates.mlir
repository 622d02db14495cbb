// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})' | FileCheck %s

// Fourteen updates in one kernel want more registers than a thread has to spare: thirteen are stored, then the last is
// computed.
moe.state @p0 parameter : tensor<1x64xf32>
moe.state @g0 gradient : tensor<1x64xf32>
moe.state @p1 parameter : tensor<1x64xf32>
moe.state @g1 gradient : tensor<1x64xf32>
moe.state @p2 parameter : tensor<1x64xf32>
moe.state @g2 gradient : tensor<1x64xf32>
moe.state @p3 parameter : tensor<1x64xf32>
moe.state @g3 gradient : tensor<1x64xf32>
moe.state @p4 parameter : tensor<1x64xf32>
moe.state @g4 gradient : tensor<1x64xf32>
moe.state @p5 parameter : tensor<1x64xf32>
moe.state @g5 gradient : tensor<1x64xf32>
moe.state @p6 parameter : tensor<1x64xf32>
moe.state @g6 gradient : tensor<1x64xf32>
moe.state @p7 parameter : tensor<1x64xf32>
moe.state @g7 gradient : tensor<1x64xf32>
moe.state @p8 parameter : tensor<1x64xf32>
moe.state @g8 gradient : tensor<1x64xf32>
moe.state @p9 parameter : tensor<1x64xf32>
moe.state @g9 gradient : tensor<1x64xf32>
moe.state @p10 parameter : tensor<1x64xf32>
moe.state @g10 gradient : tensor<1x64xf32>
moe.state @p11 parameter : tensor<1x64xf32>
moe.state @g11 gradient : tensor<1x64xf32>
moe.state @p12 parameter : tensor<1x64xf32>
moe.state @g12 gradient : tensor<1x64xf32>
moe.state @p13 parameter : tensor<1x64xf32>
moe.state @g13 gradient : tensor<1x64xf32>
// CHECK-LABEL: plan.func @apart
// CHECK: llvm.func @moec_row
// CHECK-COUNT-26: llvm.load
// CHECK-NOT: llvm.load
// CHECK-COUNT-13: llvm.store
// CHECK-NOT: llvm.store
// CHECK-COUNT-2: llvm.load
// CHECK: llvm.store
// CHECK: llvm.return
func.func @apart() {
  moe.dispatch "row" () : () -> () {
    %p0 = moe.read @p0 : tensor<1x64xf32>
    %g0 = moe.read @g0 : tensor<1x64xf32>
    %s0 = moe.map(%p0, %g0) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p0, %s0 : tensor<1x64xf32>
    %p1 = moe.read @p1 : tensor<1x64xf32>
    %g1 = moe.read @g1 : tensor<1x64xf32>
    %s1 = moe.map(%p1, %g1) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p1, %s1 : tensor<1x64xf32>
    %p2 = moe.read @p2 : tensor<1x64xf32>
    %g2 = moe.read @g2 : tensor<1x64xf32>
    %s2 = moe.map(%p2, %g2) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p2, %s2 : tensor<1x64xf32>
    %p3 = moe.read @p3 : tensor<1x64xf32>
    %g3 = moe.read @g3 : tensor<1x64xf32>
    %s3 = moe.map(%p3, %g3) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p3, %s3 : tensor<1x64xf32>
    %p4 = moe.read @p4 : tensor<1x64xf32>
    %g4 = moe.read @g4 : tensor<1x64xf32>
    %s4 = moe.map(%p4, %g4) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p4, %s4 : tensor<1x64xf32>
    %p5 = moe.read @p5 : tensor<1x64xf32>
    %g5 = moe.read @g5 : tensor<1x64xf32>
    %s5 = moe.map(%p5, %g5) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p5, %s5 : tensor<1x64xf32>
    %p6 = moe.read @p6 : tensor<1x64xf32>
    %g6 = moe.read @g6 : tensor<1x64xf32>
    %s6 = moe.map(%p6, %g6) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p6, %s6 : tensor<1x64xf32>
    %p7 = moe.read @p7 : tensor<1x64xf32>
    %g7 = moe.read @g7 : tensor<1x64xf32>
    %s7 = moe.map(%p7, %g7) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p7, %s7 : tensor<1x64xf32>
    %p8 = moe.read @p8 : tensor<1x64xf32>
    %g8 = moe.read @g8 : tensor<1x64xf32>
    %s8 = moe.map(%p8, %g8) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p8, %s8 : tensor<1x64xf32>
    %p9 = moe.read @p9 : tensor<1x64xf32>
    %g9 = moe.read @g9 : tensor<1x64xf32>
    %s9 = moe.map(%p9, %g9) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p9, %s9 : tensor<1x64xf32>
    %p10 = moe.read @p10 : tensor<1x64xf32>
    %g10 = moe.read @g10 : tensor<1x64xf32>
    %s10 = moe.map(%p10, %g10) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p10, %s10 : tensor<1x64xf32>
    %p11 = moe.read @p11 : tensor<1x64xf32>
    %g11 = moe.read @g11 : tensor<1x64xf32>
    %s11 = moe.map(%p11, %g11) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p11, %s11 : tensor<1x64xf32>
    %p12 = moe.read @p12 : tensor<1x64xf32>
    %g12 = moe.read @g12 : tensor<1x64xf32>
    %s12 = moe.map(%p12, %g12) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p12, %s12 : tensor<1x64xf32>
    %p13 = moe.read @p13 : tensor<1x64xf32>
    %g13 = moe.read @g13 : tensor<1x64xf32>
    %s13 = moe.map(%p13, %g13) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p13, %s13 : tensor<1x64xf32>
    moe.yield
  }
  return
}

// -----

// The last one reads what the first one writes, as it was: all are computed before anything is stored.
moe.state @p0 parameter : tensor<1x64xf32>
moe.state @g0 gradient : tensor<1x64xf32>
moe.state @p1 parameter : tensor<1x64xf32>
moe.state @g1 gradient : tensor<1x64xf32>
moe.state @p2 parameter : tensor<1x64xf32>
moe.state @g2 gradient : tensor<1x64xf32>
moe.state @p3 parameter : tensor<1x64xf32>
moe.state @g3 gradient : tensor<1x64xf32>
moe.state @p4 parameter : tensor<1x64xf32>
moe.state @g4 gradient : tensor<1x64xf32>
moe.state @p5 parameter : tensor<1x64xf32>
moe.state @g5 gradient : tensor<1x64xf32>
moe.state @p6 parameter : tensor<1x64xf32>
moe.state @g6 gradient : tensor<1x64xf32>
moe.state @p7 parameter : tensor<1x64xf32>
moe.state @g7 gradient : tensor<1x64xf32>
moe.state @p8 parameter : tensor<1x64xf32>
moe.state @g8 gradient : tensor<1x64xf32>
moe.state @p9 parameter : tensor<1x64xf32>
moe.state @g9 gradient : tensor<1x64xf32>
moe.state @p10 parameter : tensor<1x64xf32>
moe.state @g10 gradient : tensor<1x64xf32>
moe.state @p11 parameter : tensor<1x64xf32>
moe.state @g11 gradient : tensor<1x64xf32>
moe.state @p12 parameter : tensor<1x64xf32>
moe.state @g12 gradient : tensor<1x64xf32>
moe.state @p13 parameter : tensor<1x64xf32>
moe.state @g13 gradient : tensor<1x64xf32>
// CHECK-LABEL: plan.func @together
// CHECK: llvm.func @moec_row
// CHECK-COUNT-28: llvm.load
// CHECK-NOT: llvm.load
// CHECK-COUNT-14: llvm.store
// CHECK: llvm.return
func.func @together() {
  moe.dispatch "row" () : () -> () {
    %g13 = moe.read @p0 : tensor<1x64xf32>
    %p0 = moe.read @p0 : tensor<1x64xf32>
    %g0 = moe.read @g0 : tensor<1x64xf32>
    %s0 = moe.map(%p0, %g0) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p0, %s0 : tensor<1x64xf32>
    %p1 = moe.read @p1 : tensor<1x64xf32>
    %g1 = moe.read @g1 : tensor<1x64xf32>
    %s1 = moe.map(%p1, %g1) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p1, %s1 : tensor<1x64xf32>
    %p2 = moe.read @p2 : tensor<1x64xf32>
    %g2 = moe.read @g2 : tensor<1x64xf32>
    %s2 = moe.map(%p2, %g2) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p2, %s2 : tensor<1x64xf32>
    %p3 = moe.read @p3 : tensor<1x64xf32>
    %g3 = moe.read @g3 : tensor<1x64xf32>
    %s3 = moe.map(%p3, %g3) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p3, %s3 : tensor<1x64xf32>
    %p4 = moe.read @p4 : tensor<1x64xf32>
    %g4 = moe.read @g4 : tensor<1x64xf32>
    %s4 = moe.map(%p4, %g4) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p4, %s4 : tensor<1x64xf32>
    %p5 = moe.read @p5 : tensor<1x64xf32>
    %g5 = moe.read @g5 : tensor<1x64xf32>
    %s5 = moe.map(%p5, %g5) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p5, %s5 : tensor<1x64xf32>
    %p6 = moe.read @p6 : tensor<1x64xf32>
    %g6 = moe.read @g6 : tensor<1x64xf32>
    %s6 = moe.map(%p6, %g6) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p6, %s6 : tensor<1x64xf32>
    %p7 = moe.read @p7 : tensor<1x64xf32>
    %g7 = moe.read @g7 : tensor<1x64xf32>
    %s7 = moe.map(%p7, %g7) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p7, %s7 : tensor<1x64xf32>
    %p8 = moe.read @p8 : tensor<1x64xf32>
    %g8 = moe.read @g8 : tensor<1x64xf32>
    %s8 = moe.map(%p8, %g8) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p8, %s8 : tensor<1x64xf32>
    %p9 = moe.read @p9 : tensor<1x64xf32>
    %g9 = moe.read @g9 : tensor<1x64xf32>
    %s9 = moe.map(%p9, %g9) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p9, %s9 : tensor<1x64xf32>
    %p10 = moe.read @p10 : tensor<1x64xf32>
    %g10 = moe.read @g10 : tensor<1x64xf32>
    %s10 = moe.map(%p10, %g10) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p10, %s10 : tensor<1x64xf32>
    %p11 = moe.read @p11 : tensor<1x64xf32>
    %g11 = moe.read @g11 : tensor<1x64xf32>
    %s11 = moe.map(%p11, %g11) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p11, %s11 : tensor<1x64xf32>
    %p12 = moe.read @p12 : tensor<1x64xf32>
    %g12 = moe.read @g12 : tensor<1x64xf32>
    %s12 = moe.map(%p12, %g12) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p12, %s12 : tensor<1x64xf32>
    %p13 = moe.read @p13 : tensor<1x64xf32>
    %s13 = moe.map(%p13, %g13) : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32> {
    ^bb0(%p: f32, %g: f32):
      %s = arith.subf %p, %g : f32
      moe.yield %s : f32
    }
    moe.write @p13, %s13 : tensor<1x64xf32>
    moe.yield
  }
  return
}
