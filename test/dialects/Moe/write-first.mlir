// RUN: moec-opt %s -moe-write-first | FileCheck %s

moe.state @x batch : tensor<4x4xf32>
moe.state @grad.once gradient : tensor<4x4xf32>
moe.state @grad.tied gradient : tensor<4x4xf32>
moe.state @grad.layers gradient : tensor<4x4xf32> count 3
moe.state @grad.half gradient : tensor<4x4xf32> count 6
moe.state @grad.shared gradient : tensor<4x4xf32>
moe.state @grad.read gradient : tensor<4x4xf32>
moe.state @grad.unused gradient : tensor<4x4xf32>
moe.state @metric.loss metric : tensor<4x4xf32> logged "loss"

// CHECK-LABEL: func @begin_step()
func.func @begin_step() {
  %zero = arith.constant dense<0.0> : tensor<4x4xf32>
  %zeros = arith.constant dense<0.0> : tensor<3x4x4xf32>
  %more = arith.constant dense<0.0> : tensor<6x4x4xf32>
  // CHECK-NOT: @grad.once
  moe.write @grad.once, %zero : tensor<4x4xf32>
  // CHECK-NOT: @grad.tied
  moe.write @grad.tied, %zero : tensor<4x4xf32>
  // CHECK-NOT: @grad.layers
  moe.write @grad.layers, %zeros : tensor<3x4x4xf32>
  // CHECK: moe.write @grad.half
  moe.write @grad.half, %more : tensor<6x4x4xf32>
  // CHECK: moe.write @grad.shared
  moe.write @grad.shared, %zero : tensor<4x4xf32>
  // CHECK: moe.write @grad.read
  moe.write @grad.read, %zero : tensor<4x4xf32>
  // What nothing adds to must be zero.
  // CHECK: moe.write @grad.unused
  moe.write @grad.unused, %zero : tensor<4x4xf32>
  // CHECK: moe.write @metric.loss
  moe.write @metric.loss, %zero : tensor<4x4xf32>
  return
}

// CHECK-LABEL: func @forward_backward()
func.func @forward_backward() {
  %x = moe.read @x : tensor<4x4xf32>
  // CHECK: moe.accumulate @metric.loss
  moe.accumulate @metric.loss, %x : tensor<4x4xf32>
  // CHECK: moe.write @grad.once
  moe.accumulate @grad.once, %x : tensor<4x4xf32>
  // The second use adds to what the first wrote.
  // CHECK: moe.write @grad.tied
  moe.accumulate @grad.tied, %x : tensor<4x4xf32>
  // CHECK: moe.repeat
  moe.repeat reverse %l of 3 {
    // CHECK: moe.write @grad.layers[%{{.*}}]
    moe.accumulate @grad.layers[%l], %x : tensor<4x4xf32>
    // CHECK: moe.accumulate @grad.layers[%{{.*}}]
    moe.accumulate @grad.layers[%l], %x : tensor<4x4xf32>
    // Three of six copies: the others would keep what they had.
    // CHECK: moe.accumulate @grad.half
    moe.accumulate @grad.half[%l], %x : tensor<4x4xf32>
    // One copy, met three times.
    // CHECK: moe.accumulate @grad.shared
    moe.accumulate @grad.shared, %x : tensor<4x4xf32>
    moe.yield
  }
  // CHECK: moe.accumulate @grad.tied
  moe.accumulate @grad.tied, %x : tensor<4x4xf32>
  // CHECK: moe.accumulate @grad.read
  %g = moe.read @grad.read : tensor<4x4xf32>
  moe.accumulate @grad.read, %g : tensor<4x4xf32>
  return
}
