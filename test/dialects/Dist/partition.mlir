// RUN: moec-opt %s -split-input-file -dist-partition='data=4 micro-batches=8' | FileCheck %s
// RUN: moec-opt %s -split-input-file -dist-partition='data=1 micro-batches=8' | FileCheck %s --check-prefix=ONE --implicit-check-not=dist.

// What micro-batches add up is a part; who reads it outside reads the sum, once per function.
// CHECK: dist.mesh @mesh ["data"] sizes [4] batches "data"
// CHECK: moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
// CHECK: moe.state @grad.layers gradient : tensor<4x4xf32, #dist.partial<["data"]>> count 3
// A gradient to which nothing is added is a part like the others.
// CHECK: moe.state @grad.idle gradient : tensor<4x4xf32, #dist.partial<["data"]>>
// CHECK: moe.state @w parameter : tensor<4x4xf32>{{ }}
// ONE: moe.state @grad.w gradient : tensor<4x4xf32>{{$}}
moe.state @grad.w gradient : tensor<4x4xf32>
moe.state @grad.layers gradient : tensor<4x4xf32> count 3
moe.state @grad.idle gradient : tensor<4x4xf32>
moe.state @w parameter : tensor<4x4xf32> gradient @grad.w
moe.state @x batch : tensor<4x4xf32>
moe.state @norm output : tensor<4x4xf32>

// Zeros are written to the part.
// CHECK-LABEL: func @begin_step
// CHECK: moe.write @grad.w, %{{.*}} : tensor<4x4xf32>
// CHECK-NOT: dist.
func.func @begin_step() {
  %zero = arith.constant dense<0.0> : tensor<4x4xf32>
  moe.write @grad.w, %zero : tensor<4x4xf32>
  return
}

// forward_backward stays as it is.
// CHECK-LABEL: func @forward_backward
// CHECK-NEXT: %[[X:.*]] = moe.read @x : tensor<4x4xf32>
// CHECK-NEXT: moe.read @w : tensor<4x4xf32>
// CHECK-NEXT: moe.accumulate @grad.w, %[[X]] : tensor<4x4xf32>
func.func @forward_backward() {
  %x = moe.read @x : tensor<4x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  moe.accumulate @grad.w, %x : tensor<4x4xf32>
  moe.repeat %l of 3 {
    moe.accumulate @grad.layers[%l], %x : tensor<4x4xf32>
    moe.yield
  }
  return
}

// CHECK-LABEL: func @update
// CHECK: %[[PART:.*]] = moe.read @grad.w : tensor<4x4xf32, #dist.partial<["data"]>>
// CHECK-NEXT: %[[SUM:.*]] = dist.sum %[[PART]] along ["data"]
// The second reader takes the sum that is there.
// CHECK-NOT: moe.read @grad.w
// CHECK: moe.accumulate @norm, %[[SUM]]
// CHECK-NEXT: moe.accumulate @w, %[[SUM]]
// Copies that a loop reads one by one have sums of their own.
// CHECK: moe.repeat
// CHECK-NEXT: %[[COPY:.*]] = moe.read @grad.layers[%{{.*}}] : tensor<4x4xf32, #dist.partial<["data"]>>
// CHECK-NEXT: %[[EACH:.*]] = dist.sum %[[COPY]] along ["data"]
// CHECK-NEXT: moe.accumulate @w, %[[EACH]]
func.func @update() {
  %g = moe.read @grad.w : tensor<4x4xf32>
  moe.accumulate @norm, %g : tensor<4x4xf32>
  %h = moe.read @grad.w : tensor<4x4xf32>
  moe.accumulate @w, %h : tensor<4x4xf32>
  moe.repeat %l of 3 {
    %c = moe.read @grad.layers[%l] : tensor<4x4xf32>
    moe.accumulate @w, %c : tensor<4x4xf32>
    moe.yield
  }
  return
}

// -----

// A metric is what the log shows, so it stays whole; the parts have a state of their own.
// CHECK: moe.state @parts.metric.loss counter : tensor<1x1xf32, #dist.partial<["data"]>>{{$}}
// CHECK-NEXT: moe.state @metric.loss metric : tensor<1x1xf32> logged "loss" role loss
// CHECK: moe.state @parts.metric.counts counter : tensor<1x8xi64, #dist.partial<["data"]>> count 2{{.*$}}
// CHECK-NEXT: moe.state @metric.counts metric : tensor<1x8xi64> count 2
moe.state @metric.loss metric : tensor<1x1xf32> logged "loss" role loss
moe.state @metric.counts metric : tensor<1x8xi64> count 2 layers [0, 1] logged "counts"
// A metric that update alone writes needs none.
// CHECK-NOT: parts.metric.norm
moe.state @metric.norm metric : tensor<1x1xf32> logged "norm"
moe.state @x batch : tensor<1x1xf32>
moe.state @chosen batch : tensor<1x8xi64>

// CHECK-LABEL: func @begin_step
// CHECK: moe.write @parts.metric.loss, %{{.*}} : tensor<1x1xf32>
func.func @begin_step() {
  %zero = arith.constant dense<0.0> : tensor<1x1xf32>
  moe.write @metric.loss, %zero : tensor<1x1xf32>
  return
}
// CHECK-LABEL: func @forward_backward
// CHECK: moe.accumulate @parts.metric.loss, %{{.*}} : tensor<1x1xf32>
// CHECK: moe.accumulate @parts.metric.counts[%{{.*}}], %{{.*}} : tensor<1x8xi64>
func.func @forward_backward() {
  %x = moe.read @x : tensor<1x1xf32>
  %n = moe.read @chosen : tensor<1x8xi64>
  moe.accumulate @metric.loss, %x : tensor<1x1xf32>
  moe.repeat %l of 2 {
    moe.accumulate @metric.counts[%l], %n : tensor<1x8xi64>
    moe.yield
  }
  return
}
// The sums come first, so whoever reads the metric in update reads the whole.
// CHECK-LABEL: func @update
// CHECK-DAG: %[[LOSS:.*]] = dist.sum %{{.*}} along ["data"] : tensor<1x1xf32, #dist.partial<["data"]>> -> tensor<1x1xf32>
// CHECK-DAG: moe.write @metric.loss, %[[LOSS]] : tensor<1x1xf32>
// CHECK-DAG: %[[N:.*]] = dist.sum %{{.*}} along ["data"] : tensor<2x1x8xi64, #dist.partial<["data"]>> -> tensor<2x1x8xi64>
// CHECK-DAG: moe.write @metric.counts, %[[N]] : tensor<2x1x8xi64>
// CHECK: moe.read @metric.loss : tensor<1x1xf32>
// CHECK-NEXT: moe.write @metric.norm
func.func @update() {
  %l = moe.read @metric.loss : tensor<1x1xf32>
  moe.write @metric.norm, %l : tensor<1x1xf32>
  return
}

// -----

// The index of a micro-batch begins with the rank's own: of 8 micro-batches ranks 0 to 3 begin with 0, 2, 4 and 6.
// CHECK: moe.state @constant.first_micro_batch constant : tensor<1x1xi64> count 4
// CHECK-NEXT: moe.state @counter.micro_batch counter : tensor<1x1xi64> {moe.micro_batch_index}
moe.state @counter.micro_batch counter : tensor<1x1xi64> {moe.micro_batch_index}
// CHECK-LABEL: func @init
// CHECK: %[[TABLE:.*]] = moe.map
// CHECK: arith.constant 2 : i64
// CHECK: arith.muli
// CHECK: moe.write @constant.first_micro_batch, %{{.*}} : tensor<4x1x1xi64>
func.func @init() {
  return
}
// CHECK-LABEL: func @begin_step
// CHECK: %[[RANK:.*]] = dist.coordinate ["data"] : index
// CHECK-NEXT: %[[FIRST:.*]] = moe.read @constant.first_micro_batch[%[[RANK]]] : tensor<1x1xi64>
// CHECK-NEXT: moe.write @counter.micro_batch, %[[FIRST]]
func.func @begin_step() {
  %zero = arith.constant dense<0> : tensor<1x1xi64>
  moe.write @counter.micro_batch, %zero : tensor<1x1xi64>
  return
}
// It is no sum, though a micro-batch reads it and adds to it.
// CHECK-LABEL: func @forward_backward
// CHECK-NOT: dist.
func.func @forward_backward() {
  %one = arith.constant dense<1> : tensor<1x1xi64>
  %i = moe.read @counter.micro_batch : tensor<1x1xi64>
  moe.accumulate @counter.micro_batch, %one : tensor<1x1xi64>
  return
}
func.func @update() {
  return
}
