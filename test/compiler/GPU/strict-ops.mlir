// No kernel of these ops spills or has a stack, at the sizes of real models.
// REQUIRES: ptxas
// RUN: moec-kernels %s --strict-kernels

func.func @kth(%x: tensor<32768x64xf32>, %y: tensor<4096x64xf64>) {
  %a, %c = moe.dispatch "column_kth" (%p = %x) : (tensor<32768x64xf32>) -> (tensor<1x64xf32>, tensor<1x64xi32>) {
    %r, %s = moe.column_kth %p n 4096 : tensor<32768x64xf32> -> tensor<1x64xf32>, tensor<1x64xi32>
    moe.yield %r, %s : tensor<1x64xf32>, tensor<1x64xi32>
  }
  %b = moe.dispatch "column_kth" (%p = %y) : (tensor<4096x64xf64>) -> tensor<1x64xf64> {
    %r = moe.column_kth %p n 512 : tensor<4096x64xf64> -> tensor<1x64xf64>
    moe.yield %r : tensor<1x64xf64>
  }
  return
}
func.func @plan(%x: tensor<32768x64xf32>, %now: tensor<1x1xi64>) {
  %a = moe.dispatch "sinkhorn" (%p = %x, %n = %now) : (tensor<32768x64xf32>, tensor<1x1xi64>) -> tensor<32768x64xf32> {
    %r = moe.sinkhorn %p if %n xi 0.05 max_iters 100 tol 1.0e-3 : tensor<32768x64xf32>, tensor<1x1xi64>
    moe.yield %r : tensor<32768x64xf32>
  }
  return
}
func.func @bases(%x: tensor<4x1024x1024xf32>, %old: tensor<4x1024x1024xf32>, %now: tensor<1x1xi64>) {
  %a, %b = moe.dispatch "eigh" (%p = %x, %q = %old, %n = %now) : (tensor<4x1024x1024xf32>, tensor<4x1024x1024xf32>, tensor<1x1xi64>) -> (tensor<4x1024x1024xf32>, tensor<4x1024xf32>) {
    %v, %l = moe.eigh %p previous %q if %n : tensor<4x1024x1024xf32>, tensor<1x1xi64> -> tensor<4x1024xf32>
    moe.yield %v, %l : tensor<4x1024x1024xf32>, tensor<4x1024xf32>
  }
  %c = moe.dispatch "qr" (%p = %x, %q = %old, %n = %now) : (tensor<4x1024x1024xf32>, tensor<4x1024x1024xf32>, tensor<1x1xi64>) -> tensor<4x1024x1024xf32> {
    %v = moe.qr %p previous %q if %n : tensor<4x1024x1024xf32>, tensor<1x1xi64>
    moe.yield %v : tensor<4x1024x1024xf32>
  }
  return
}
func.func @sums_of_parts(%x: tensor<4096x512xf32>, %w: tensor<8x512x1408xf32>, %v: tensor<8x512x1408xf32>, %o: tensor<1x9xi32>, %n: tensor<1x8xi32>, %x2: tensor<4096x512xf64>, %w2: tensor<8x512x1408xf64>) {
  %y, %s = moe.dispatch "matmul" (%a = %x, %b = %w, %c = %v, %off = %o, %cnt = %n) : (tensor<4096x512xf32>, tensor<8x512x1408xf32>, tensor<8x512x1408xf32>, tensor<1x9xi32>, tensor<1x8xi32>) -> (tensor<4096x1408xf32>, tensor<4096x22xf32>) {
    %g = moe.grouped_matmul %a, %b, %off, %cnt : tensor<4096x512xf32>, tensor<8x512x1408xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<4096x1408xf32>
    %u = moe.grouped_matmul %a, %c, %off, %cnt : tensor<4096x512xf32>, tensor<8x512x1408xf32>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<4096x1408xf32>
    %m:2 = moe.map(%g, %u) : (tensor<4096x1408xf32>, tensor<4096x1408xf32>) -> (tensor<4096x1408xf32>, tensor<4096x1408xf32>) {
    ^bb0(%p: f32, %q: f32):
      %e = arith.mulf %p, %q : f32
      %f = arith.addf %p, %q : f32
      moe.yield %e, %f : f32, f32
    }
    %r = moe.row_reduce sum %m#1 every 64 : tensor<4096x1408xf32> -> tensor<4096x22xf32>
    moe.yield %m#0, %r : tensor<4096x1408xf32>, tensor<4096x22xf32>
  }
  %y2, %s2 = moe.dispatch "matmul" (%a = %x2, %b = %w2, %off = %o, %cnt = %n) : (tensor<4096x512xf64>, tensor<8x512x1408xf64>, tensor<1x9xi32>, tensor<1x8xi32>) -> (tensor<4096x1408xf64>, tensor<4096x22xf64>) {
    %g = moe.grouped_matmul %a, %b, %off, %cnt : tensor<4096x512xf64>, tensor<8x512x1408xf64>, tensor<1x9xi32>, tensor<1x8xi32> -> tensor<4096x1408xf64>
    %r = moe.row_reduce sum %g every 64 : tensor<4096x1408xf64> -> tensor<4096x22xf64>
    moe.yield %g, %r : tensor<4096x1408xf64>, tensor<4096x22xf64>
  }
  return
}
