// RUN: moec-translate --plan-to-manifest %s -split-input-file -verify-diagnostics -allow-unregistered-dialect

// An op that no one knows is never left out in silence.
plan.func @function {
  // expected-error @+1 {{internal: has no instruction in a function of a plan}}
  "plan_next.exchange"() : () -> ()
}

// -----

// A program's op is none of a function.
plan.func @mixed {
  // expected-error @+1 {{'plan.save' op internal: has no instruction in a function of a plan}}
  plan.save
}

// -----

plan.func @step {
}
plan.program "train" {
  plan.repeat 2 {
    // expected-error @+1 {{internal: has no instruction in a program of a plan}}
    "plan_next.grow"() : () -> ()
  }
}

// -----

// expected-error @+1 {{'plan.fill' op internal: has no place in the manifest}}
"plan.fill"(%0) : (!plan.buffer<64>) -> ()
// expected-error @+1 {{'plan.alloc' op internal: has no place in the manifest}}
%0 = plan.alloc "lost" : tensor<16xf32> at 0 from 0 to 0 -> !plan.buffer<64>

// -----

// expected-error @+1 {{'plan.state' op internal: has no place yet; plan-place gives it one}}
plan.state @w parameter : tensor<4xf32> count 1

// -----

// expected-error @+1 {{'plan.state' op internal: plan files have no element type f16}}
plan.state @w parameter : tensor<4xf16> count 1 at 0

// -----

// expected-error @+1 {{'plan.kernel' op internal: a launch record holds what JSON does not}}
plan.kernel @moec_k params 0 grid 1 scratch 0 flops 0 bytes 0 "map" launch {threads = 1.5 : f64}

// -----

plan.state @first batch : tensor<4x9xi32> count 1 role batch_tokens at 0
// expected-error @+1 {{'plan.state' op internal: has the role batch_tokens, as @first has}}
plan.state @second batch : tensor<4x9xi32> count 1 role batch_tokens at 192
