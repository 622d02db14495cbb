// RUN: moec-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{'plan.state' op has 0 copies; expected 1 or more}}
plan.state @state_c1 parameter : tensor<4xf32> count 0

// -----

// expected-error @+1 {{'plan.state' op stands at byte 8, which is not a multiple of 64}}
plan.state @state_c2 parameter : tensor<4xf32> count 1 at 8

// -----

// expected-error @+1 {{'plan.state' op layers has 1 numbers; expected first and step}}
plan.state @state_layers parameter : tensor<4xf32> count 1 layers [1]

// -----

// expected-error @+1 {{'plan.state' op is saved, and of kind batch; expected parameter, optimizer, balance or counter}}
plan.state @state_c3 batch : tensor<4xi32> count 1 saved

// -----

// expected-error @+1 {{'plan.state' op is of kind metric; expected what the log calls it}}
plan.state @state_c4 metric : tensor<4xf32> count 1

// -----

// expected-error @+1 {{'plan.state' op is of kind output; only a metric is logged}}
plan.state @state_c4 output : tensor<4xf32> count 1 logged "state"

// -----

// expected-error @+1 {{'plan.state' op is of kind batch; the role token_losses asks for output}}
plan.state @state_c5 batch : tensor<4xf32> count 1 role token_losses

// -----

// expected-error @+1 {{'plan.kernel' op has grid 0, params 1, scratch 0; expected a grid of 1 or more and no negative number}}
plan.kernel @kernel_c1 params 1 grid 0 scratch 0 flops 0 bytes 0 "map"

// -----

plan.func @address_unknown {
  // expected-error @+1 {{'plan.address' op names @nothing, which is not a plan.state}}
  %0 = plan.address @nothing : !plan.buffer<16>
}

// -----

// expected-note @+1 {{state declared here}}
plan.state @s parameter : tensor<4xf32> count 2
plan.func @address_size {
  // expected-error @+1 {{'plan.address' op has 16 bytes but @s has 32}}
  %0 = plan.address @s : !plan.buffer<16>
}

// -----

plan.func @alloc_c1 {
  // expected-error @+1 {{'plan.alloc' op has 8 bytes but its tensor takes 16}}
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<8>
}

// -----

plan.func @slice_c1 {
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<16>
  // expected-error @+1 {{'plan.slice' op takes bytes 8..24 of a buffer of 16}}
  %1 = plan.slice %0 offset 8 stride 0 : !plan.buffer<16> -> !plan.buffer<16>
}

// -----

plan.func @slice_index {
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<16>
  // expected-error @+1 {{'plan.slice' op has a stride of 4 but no index}}
  %1 = plan.slice %0 offset 0 stride 4 : !plan.buffer<16> -> !plan.buffer<4>
}

// -----

// expected-note @+1 {{kernel declared here}}
plan.kernel @k params 2 grid 1 scratch 0 flops 0 bytes 0 "map"
plan.func @launch_c1 {
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<16>
  // expected-error @+1 {{'plan.launch' op has 1 operands but @k takes 2}}
  plan.launch @k (%0) writes [0] : !plan.buffer<16>
}

// -----

plan.kernel @k params 1 grid 1 scratch 0 flops 0 bytes 0 "map"
plan.func @launch_c2 {
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<16>
  // expected-error @+1 {{'plan.launch' op writes operand 1 of 1}}
  plan.launch @k (%0) writes [1] : !plan.buffer<16>
}

// -----

plan.func @launch_unknown {
  // expected-error @+1 {{'plan.launch' op names @nothing, which is not a plan.kernel}}
  plan.launch @nothing () writes []
}

// -----

plan.func @copy_c1 {
  %0 = plan.alloc "x" : tensor<4xf32> -> !plan.buffer<16>
  %1 = plan.alloc "y" : tensor<2xf32> -> !plan.buffer<8>
  // expected-error @+1 {{'plan.copy' op copies 8 bytes to a buffer of 16}}
  plan.copy %0, %1 : !plan.buffer<16>, !plan.buffer<8>
}

// -----

plan.func @repeat_c1 {
  // expected-error @+1 {{'plan.repeat' op repeats 0 times; expected 1 or more}}
  plan.repeat 0 {
  ^bb0(%i: index):
  }
}

// -----

plan.program "call_unknown" {
  // expected-error @+1 {{'plan.call' op names @nothing, which is not a plan.func}}
  plan.call @nothing
}

// -----

// expected-error @+1 {{'plan.mesh' op has axes ["data", "expert"] and 1 sizes; expected a size of 1 or more for each axis}}
plan.mesh @mesh ["data", "expert"] sizes [2]

// -----

// expected-error @+1 {{'plan.mesh' op has axes [] and 0 sizes; expected a size of 1 or more for each axis}}
plan.mesh @mesh [] sizes []

// -----

// expected-error @+1 {{'plan.mesh' op has axes ["data"] and 1 sizes; expected a size of 1 or more for each axis}}
plan.mesh @mesh ["data"] sizes [0]

// -----

// expected-error @+1 {{'plan.mesh' op deals out batches along "expert"; expected one of ["data"]}}
plan.mesh @mesh ["data"] sizes [2] batches "expert"

// -----

// expected-error @+1 {{'plan.mesh' op has two axes called "data"}}
plan.mesh @mesh ["data", "data"] sizes [2, 2]

// -----

// expected-note @+1 {{which has ["data"]}}
plan.mesh @mesh ["data"] sizes [2]
plan.func @coordinate_c1 {
  // expected-error @+1 {{'plan.coordinate' op names ["expert"]; expected axes of the plan.mesh, each once}}
  %c = plan.coordinate ["expert"] : index
}

// -----

plan.func @start_without_mesh {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op names ["data"]; expected axes of the plan.mesh, each once}}
  %r = plan.start all_to_all along ["data"] %0, %0 : !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
}

// -----

// expected-note @+1 {{which has ["data"]}}
plan.mesh @mesh ["data"] sizes [2]
plan.func @start_c1 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op names ["data", "data"]; expected axes of the plan.mesh, each once}}
  %r = plan.start all_to_all along ["data", "data"] %0, %0 : !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_c2 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op moves 32 bytes into 32 among 2 ranks; expected the source's bytes once for each rank}}
  %r = plan.start all_gather along ["data"] %0, %0 : !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
}

// -----

plan.mesh @mesh ["data"] sizes [3]
plan.func @start_c2 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op moves 32 bytes into 32 among 3 ranks; expected as many, and the same for each rank}}
  %r = plan.start all_to_all along ["data"] %0, %1 : !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_c3 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op is waited for 0 times in its block; expected one plan.wait there}}
  %r = plan.start all_to_all along ["data"] %0, %1 : !plan.buffer<32>, !plan.buffer<32>
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_c3 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op is waited for 2 times in its block; expected one plan.wait there}}
  %r = plan.start all_to_all along ["data"] %0, %1 : !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
  plan.wait %r
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_c3 {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op is waited for 1 times in its block; expected one plan.wait there}}
  %r = plan.start all_to_all along ["data"] %0, %1 : !plan.buffer<32>, !plan.buffer<32>
  plan.repeat 2 {
  ^bb0(%i: index):
    plan.wait %r
  }
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_rows {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  // expected-error @+1 {{'plan.start' op moves rows of 12 bytes among 2 ranks with 2 counts; expected whole rows, and two counts with as many for each rank}}
  %r = plan.start rows along ["data"] %0, %1 counts %0, %0 row_bytes 12 : !plan.buffer<32>, !plan.buffer<32>, !plan.buffer<32>, !plan.buffer<32>
  plan.wait %r
}

// -----

plan.mesh @mesh ["data"] sizes [2]
plan.func @start_rows_counts {
  %0 = plan.alloc "x" : tensor<8xf32> -> !plan.buffer<32>
  %1 = plan.alloc "y" : tensor<8xf32> -> !plan.buffer<32>
  %2 = plan.alloc "n" : tensor<3xi32> -> !plan.buffer<12>
  // expected-error @+1 {{'plan.start' op moves rows of 16 bytes among 2 ranks with 2 counts; expected whole rows, and two counts with as many for each rank}}
  %r = plan.start rows along ["data"] %0, %1 counts %0, %2 row_bytes 16 : !plan.buffer<32>, !plan.buffer<32>, !plan.buffer<32>, !plan.buffer<12>
  plan.wait %r
}
