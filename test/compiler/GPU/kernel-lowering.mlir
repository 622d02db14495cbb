// RUN: env MOEC_PTXAS=none moec-translate --kernels-to-code %s | FileCheck %s
// RUN: env MOEC_PTXAS=none moec-translate --kernels-to-code --compile-threads=4 %s > %t.4
// RUN: env MOEC_PTXAS=none moec-translate --kernels-to-code %s | cmp - %t.4

// Kernels stand in modules of their own; none has local memory or calls a device library.
// CHECK-NOT: .local
// CHECK-NOT: __nv_

llvm.mlir.global external @moec_shared() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>

// CHECK: .extern .shared .align 1024 .b8 moec_shared[];
// CHECK: .visible .entry moec_row_{{[0-9a-f]+}}(
// CHECK: .reqntid 128, 1, 1
llvm.func @moec_row_0(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %s: !llvm.ptr<1>)
    attributes {nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>} {
  %m = llvm.mlir.addressof @moec_shared : !llvm.ptr<3>
  // CHECK: ld.global.v4.b32
  %v = llvm.load %x {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xbf16>
  // CHECK: cvt.f32.bf16
  %f = arith.extf %v : vector<8xbf16> to vector<8xf32>
  // CHECK-COUNT-8: ex2.approx.ftz.f32
  %e = math.exp %f : vector<8xf32>
  // CHECK-COUNT-8: rsqrt.approx.f32
  %r = math.rsqrt %e : vector<8xf32>
  // CHECK-COUNT-8: div.approx.f32
  %d = arith.divf %e, %r : vector<8xf32>
  // CHECK-COUNT-4: cvt.rn.bf16x2.f32
  %o = arith.truncf %d : vector<8xf32> to vector<8xbf16>
  // CHECK: st.global.v4.b32
  llvm.store %o, %y {alignment = 16 : i64} : vector<8xbf16>, !llvm.ptr<1>
  // CHECK: bar{{(rier)?}}{{.*}}.sync
  nvvm.barrier0
  // CHECK: ld.shared
  %z = llvm.load %m : !llvm.ptr<3> -> f32
  llvm.store %z, %s : f32, !llvm.ptr<1>
  llvm.return
}

// The second module. Shared memory is declared where it is used.
// CHECK: .version
// CHECK-NOT: moec_shared
// CHECK: .visible .entry moec_row_{{[0-9a-f]+}}(
llvm.func @moec_row_1(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>)
    attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
  %v = llvm.load %x : !llvm.ptr<1> -> f64
  // CHECK-NOT: call
  %e = math.exp %v : f64
  %l = math.log %e : f64
  %s = math.sin %l : f64
  %t = math.tanh %s : f64
  %f = arith.truncf %t : f64 to f32
  %c = math.cos %f : f32
  %p = math.powf %c, %f : f32
  %q = math.erf %p : f32
  %n = math.log1p %q : f32
  %m = math.expm1 %n : f32
  // CHECK: cvt.rn.bf16.f32
  %o = arith.truncf %m : f32 to bf16
  %b = arith.extf %o : bf16 to f32
  // CHECK: sqrt.rn.f32
  %k = math.sqrt %b : f32
  llvm.store %k, %y : f32, !llvm.ptr<1>
  // CHECK: ret
  llvm.return
}
