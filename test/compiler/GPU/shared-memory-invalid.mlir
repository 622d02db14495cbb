// RUN: moec-opt %s -verify-diagnostics -pass-pipeline='builtin.module(moec-moe-to-plan{target=sm_90a})'

// A permutation keeps counts of every expert; beyond some thousands they do not fit a block.
moe.state @ids batch : tensor<4096x4xi32>
func.func @many_experts() {
  // expected-error @+1 {{'moe.dispatch' op of kind 'permute' needs 360464 bytes of shared memory per block, and sm_90a has 232448}}
  %a:5 = moe.dispatch "permute" () : () -> (tensor<1x8193xi32>, tensor<1x8192xi32>, tensor<16384x1xi32>, tensor<16384x1xi32>, tensor<4096x4xi32>) {
    %i = moe.read @ids : tensor<4096x4xi32>
    %0, %1, %2, %3, %4 = moe.permute %i experts 8192 align 1 : tensor<4096x4xi32> -> tensor<1x8193xi32>, tensor<1x8192xi32>, tensor<16384x1xi32>
    moe.yield %0, %1, %2, %3, %4 : tensor<1x8193xi32>, tensor<1x8192xi32>, tensor<16384x1xi32>, tensor<16384x1xi32>, tensor<4096x4xi32>
  }
  return
}
