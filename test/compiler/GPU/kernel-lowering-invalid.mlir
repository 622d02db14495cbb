// RUN: not env MOEC_PTXAS=none moec-translate --kernels-to-code %s 2>&1 | FileCheck %s

// CHECK: error: 'math.erf' op on 'bf16' has no expansion for GPUs
llvm.func @moec_row_0(%x: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
  %v = llvm.load %x : !llvm.ptr<1> -> bf16
  %e = math.erf %v : bf16
  llvm.store %e, %x : bf16, !llvm.ptr<1>
  llvm.return
}
