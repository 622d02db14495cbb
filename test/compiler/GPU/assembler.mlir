// What the assembler says of kernels becomes diagnostics; equal kernels are assembled once.
// REQUIRES: ptxas
// RUN: moec-translate --kernels-to-code --verbose-kernels %s -o %t 2>&1 | FileCheck %s
// RUN: not moec-translate --kernels-to-code --strict-kernels %s -o %t 2>&1 | FileCheck %s --check-prefix=STRICT

// CHECK: moec_sum_0 {{.*}} registers {{ *}}0 B spilled {{ *}}0 B stack also 1 more
// CHECK-NOT: moec_sum_1
// CHECK: moec_stack_2 {{.*}} registers
// CHECK: warning: kernel 'moec_stack_2' will be slow: 0 bytes of registers spilled, 800 bytes of stack
// STRICT: error: kernel 'moec_stack_2' will be slow

llvm.func @moec_sum_0(%x: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
  %v = llvm.load %x : !llvm.ptr<1> -> f32
  %s = arith.addf %v, %v : f32
  llvm.store %s, %x : f32, !llvm.ptr<1>
  llvm.return
}
llvm.func @moec_sum_1(%y: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
  %v = llvm.load %y : !llvm.ptr<1> -> f32
  %s = arith.addf %v, %v : f32
  llvm.store %s, %y : f32, !llvm.ptr<1>
  llvm.return
}
// An array indexed at run time has no registers.
llvm.func @moec_stack_2(%x: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
  %n = llvm.mlir.constant(200 : i64) : i64
  %zero = arith.constant 0 : i64
  %one = arith.constant 1 : i64
  %array = llvm.alloca %n x f32 : (i64) -> !llvm.ptr
  scf.for %k = %zero to %n step %one : i64 {
    %at = llvm.getelementptr %x[%k] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
    %v = llvm.load %at : !llvm.ptr<1> -> f32
    %slot = llvm.getelementptr %array[%k] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    llvm.store %v, %slot : f32, !llvm.ptr
  }
  %i = llvm.load %x : !llvm.ptr<1> -> i64
  %chosen = llvm.getelementptr %array[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
  %r = llvm.load %chosen : !llvm.ptr -> f32
  llvm.store %r, %x : f32, !llvm.ptr<1>
  llvm.return
}
