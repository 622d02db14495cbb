// RUN: moec-opt %s -verify-diagnostics -moe-assign-remat=policy=full

// An op that says nothing of itself is not taken for one that may be computed again.
func.func @foreign(%x0: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %y = moe.repeat %l of 3 carry(%x = %x0 : tensor<8x4xf32>) {
    // expected-error @+1 {{'arith.addf' op internal: has no facts, so nothing says whether it may be computed again}}
    %z = arith.addf %x, %x : tensor<8x4xf32>
    moe.yield %z : tensor<8x4xf32>
  }
  return %y : tensor<8x4xf32>
}
