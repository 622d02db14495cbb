// RUN: moec-opt %s -verify-diagnostics -moe-narrow-storage

// An op that says nothing of itself is not taken for one whose results are wide.
func.func @foreign(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %y = moe.dispatch "row" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    // expected-error @+1 {{'arith.addf' op internal: has no facts, so nothing says how its results lie in memory}}
    %z = arith.addf %a, %a : tensor<8x4xf32>
    moe.yield %z : tensor<8x4xf32>
  }
  return %y : tensor<8x4xf32>
}
