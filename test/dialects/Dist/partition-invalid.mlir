// RUN: moec-opt %s -split-input-file -verify-diagnostics -dist-partition='data=2 micro-batches=4'

// Nothing to divide.
// expected-error @+1 {{has no function forward_backward or update to divide}}
module {
}

// -----

// One micro-batch leaves what the next one reads.
moe.state @prices balance : tensor<1x8xf32> named "layers.0.prices"
func.func @forward_backward() {
  // expected-error @+1 {{MOEC-S083: a micro-batch reads "layers.0.prices", which the one before it changes, but 2 data ranks run micro-batches at the same time; set parallel.data to 1, or choose a method or scope whose state changes once per step}}
  %p = moe.read @prices : tensor<1x8xf32>
  moe.write @prices, %p : tensor<1x8xf32>
  return
}
func.func @update() {
  return
}

// -----

// A sum of the step so far, read inside the step.
moe.state @counts counter : tensor<1x8xf32>
moe.state @x batch : tensor<1x8xf32>
func.func @forward_backward() {
  %x = moe.read @x : tensor<1x8xf32>
  moe.accumulate @counts, %x : tensor<1x8xf32>
  // expected-error @+1 {{MOEC-S083: a micro-batch reads "counts"}}
  %p = moe.read @counts : tensor<1x8xf32>
  return
}
func.func @update() {
  return
}

// -----

// Of two micro-batches that write, the last would win: which one that is depends on luck.
moe.state @last output : tensor<1x8xf32>
moe.state @x batch : tensor<1x8xf32>
func.func @forward_backward() {
  %x = moe.read @x : tensor<1x8xf32>
  // expected-error @+1 {{MOEC-S083: a micro-batch reads "last"}}
  moe.write @last, %x : tensor<1x8xf32>
  return
}
func.func @update() {
  return
}

// -----

// expected-error @+1 {{internal: counts micro-batches, expected to be cleared once in begin_step}}
moe.state @counter.micro_batch counter : tensor<1x1xi64> {moe.micro_batch_index}
func.func @init() {
  return
}
func.func @begin_step() {
  return
}
func.func @forward_backward() {
  return
}
func.func @update() {
  return
}

// -----

// Each rank would write the number into its part, and the sum would be two of it.
moe.state @counts counter : tensor<1x8xf32>
moe.state @x batch : tensor<1x8xf32>
func.func @forward_backward() {
  %x = moe.read @x : tensor<1x8xf32>
  moe.accumulate @counts, %x : tensor<1x8xf32>
  return
}
func.func @update() {
  %one = arith.constant dense<1.0> : tensor<1x8xf32>
  // expected-error @+1 {{internal: writes numbers to "counts", of which each rank holds a part}}
  moe.write @counts, %one : tensor<1x8xf32>
  return
}

// -----

moe.state @counts counter : tensor<1x8xf32>
moe.state @x batch : tensor<1x8xf32>
func.func @forward_backward() {
  %x = moe.read @x : tensor<1x8xf32>
  moe.accumulate @counts, %x : tensor<1x8xf32>
  return
}
func.func @update() {
  %one = arith.constant dense<1.0> : tensor<1x8xf32>
  // expected-error @+1 {{internal: every rank adds to "counts", of which each rank holds a part}}
  moe.accumulate @counts, %one : tensor<1x8xf32>
  return
}
