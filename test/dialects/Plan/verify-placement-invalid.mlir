// RUN: moec-opt %s -split-input-file -verify-diagnostics --moec-plan-verify-placement

module attributes {plan.arena_bytes = 256 : i64, plan.state_bytes = 0 : i64} {
  plan.kernel @k params 2 grid 1 scratch 0 flops 0 bytes 0 "map"
  plan.func @overlap {
    // expected-note @+1 {{by this one at 0..64}}
    %0 = plan.alloc "a" : tensor<16xf32> at 0 from 0 to 2 -> !plan.buffer<64>
    // expected-error @+1 {{'plan.alloc' op takes bytes 0..64, which are in use at the same time}}
    %1 = plan.alloc "b" : tensor<16xf32> at 0 from 1 to 2 -> !plan.buffer<64>
    plan.launch @k (%0, %1) writes [1] : !plan.buffer<64>, !plan.buffer<64>
  }
}

// -----

module attributes {plan.arena_bytes = 64 : i64, plan.state_bytes = 0 : i64} {
  plan.func @outside {
    // expected-error @+1 {{'plan.alloc' op is not placed between bytes 0 and 64}}
    %0 = plan.alloc "a" : tensor<16xf32> at 64 from 0 to 0 -> !plan.buffer<64>
  }
}

// -----

module attributes {plan.arena_bytes = 128 : i64, plan.state_bytes = 128 : i64} {
  // expected-note @+1 {{by this one at 0..128}}
  plan.state @a parameter : tensor<32xf32> count 1 at 0
  // expected-error @+1 {{'plan.state' op takes bytes 64..128, which are in use at the same time}}
  plan.state @b parameter : tensor<16xf32> count 1 at 64
}

// -----

// States that are not declared side by side.
module attributes {plan.arena_bytes = 192 : i64, plan.state_bytes = 192 : i64} {
  // expected-note @+1 {{by this one at 0..128}}
  plan.state @a parameter : tensor<32xf32> count 1 at 0
  plan.state @b parameter : tensor<16xf32> count 1 at 128
  // expected-error @+1 {{'plan.state' op takes bytes 64..128, which are in use at the same time}}
  plan.state @c parameter : tensor<16xf32> count 1 at 64
}

// -----

// expected-error @+1 {{has no plan.arena_bytes; run moec-plan-place first}}
module {
}
