// RUN: moec-opt %s -split-input-file -moe-narrow-storage | FileCheck %s
// RUN: moec-opt %s -split-input-file -moe-narrow-storage=narrow=false | FileCheck %s --check-prefix=WIDE
// RUN: moec-opt %s -split-input-file -moe-narrow-storage='master=true optimizer=true gradients=true' | FileCheck %s --check-prefix=ALL

// A parameter that a product reads has a copy, written wherever the parameter is. The product's result is narrow, and so
// is what a map makes of it.
moe.state @x batch : tensor<8x4xf32>
moe.state @grad.w gradient : tensor<4x4xf32>
moe.state @w parameter : tensor<4x4xf32> gradient @grad.w named "weights"
moe.state @optimizer.m.w optimizer : tensor<4x4xf32>
moe.state @s output : tensor<8x1xf32>

// CHECK: moe.state @grad.w gradient : tensor<4x4xf32>
// CHECK: moe.state @w parameter : tensor<4x4xf32> gradient @grad.w
// CHECK-NEXT: moe.state @copy.w copy : tensor<4x4xbf16> named "copy.weights"{{$}}
// CHECK-NEXT: moe.state @optimizer.m.w optimizer : tensor<4x4xf32>

// WIDE: moe.state @copy.w copy : tensor<4x4xf32>
// WIDE-NOT: bf16

// ALL: moe.state @grad.w gradient : tensor<4x4xbf16>
// ALL: moe.state @w parameter : tensor<4x4xbf16> gradient @grad.w
// ALL-NEXT: moe.state @optimizer.m.w optimizer : tensor<4x4xbf16>
// ALL-NOT: @copy.w

// CHECK-LABEL: func @forward()
func.func @forward() {
  // CHECK-NEXT: %[[X:.*]] = moe.dispatch "row" () : () -> tensor<8x4xbf16> {
  // CHECK-NEXT: moe.read @x : tensor<8x4xf32>
  // CHECK-NEXT: %[[D:.*]] = moe.map
  // CHECK: %[[N:.*]] = moe.cast %[[D]] : tensor<8x4xf32> -> tensor<8x4xbf16>
  // CHECK-NEXT: moe.yield %[[N]] : tensor<8x4xbf16>
  %x = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %r = moe.read @x : tensor<8x4xf32>
    %d = moe.map(%r) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%a: f32):
      %y = arith.addf %a, %a : f32
      moe.yield %y : f32
    }
    moe.yield %d : tensor<8x4xf32>
  }
  // CHECK: moe.dispatch "matmul" (%[[A:.*]] = %[[X]]) : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x4xf32>) {
  // CHECK-NEXT: %[[AF:.*]] = moe.cast %[[A]] : tensor<8x4xbf16> -> tensor<8x4xf32>
  // CHECK-NEXT: %[[W:.*]] = moe.read @copy.w : tensor<4x4xbf16>
  // CHECK-NEXT: %[[WF:.*]] = moe.cast %[[W]] : tensor<4x4xbf16> -> tensor<4x4xf32>
  // CHECK-NEXT: %[[P:.*]] = moe.matmul %[[AF]], %[[WF]]
  // CHECK-NEXT: %[[Q:.*]] = moe.matmul %[[AF]], %[[WF]] {moe.full_precision}
  // CHECK-NEXT: %[[PN:.*]] = moe.cast %[[P]]
  // CHECK-NEXT: moe.yield %[[PN]], %[[Q]] : tensor<8x4xbf16>, tensor<8x4xf32>
  %y, %z = moe.dispatch "matmul" (%a = %x) : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
    %w = moe.read @w : tensor<4x4xf32>
    %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    %q = moe.matmul %a, %w {moe.full_precision} : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    moe.yield %p, %q : tensor<8x4xf32>, tensor<8x4xf32>
  }
  // A row op of its own shape is narrow, a sum over columns is not, nor is a map of wide values.
  // CHECK: moe.dispatch "row" (%{{.*}}) : (tensor<8x4xbf16>, tensor<8x4xf32>) -> (tensor<8x4xbf16>, tensor<8x1xf32>, tensor<8x4xf32>) {
  %u, %v, %t = moe.dispatch "row" (%b = %y, %c = %z) : (tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf32>, tensor<8x4xf32>) {
    %m = moe.map(%b, %c) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%e: f32, %f: f32):
      %g = arith.mulf %e, %f : f32
      moe.yield %g : f32
    }
    %s = moe.row_reduce sum %m : tensor<8x4xf32> -> tensor<8x1xf32>
    %n = moe.map(%c, %s) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
    ^bb0(%e: f32, %f: f32):
      %g = arith.mulf %e, %f : f32
      moe.yield %g : f32
    }
    moe.yield %m, %s, %n : tensor<8x4xf32>, tensor<8x1xf32>, tensor<8x4xf32>
  }
  // A sum of gradients is in the state's type; it is added in f32 and rounded once.
  // CHECK: moe.dispatch "matmul"
  // CHECK: %[[G:.*]] = moe.matmul ta
  // CHECK-NEXT: moe.accumulate @grad.w, %[[G]] : tensor<4x4xf32>
  // ALL: %[[G:.*]] = moe.matmul ta
  // ALL-NEXT: %[[GN:.*]] = moe.cast %[[G]]
  // ALL-NEXT: moe.accumulate @grad.w, %[[GN]] : tensor<4x4xbf16>
  moe.dispatch "matmul" (%a = %x, %d = %u) : (tensor<8x4xf32>, tensor<8x4xf32>) -> () {
    %g = moe.matmul ta %a, %d : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
    moe.accumulate @grad.w, %g : tensor<4x4xf32>
    moe.yield
  }
  moe.dispatch "row" (%a = %t, %b = %v) : (tensor<8x4xf32>, tensor<8x1xf32>) -> () {
    %s = moe.row_reduce sum %a : tensor<8x4xf32> -> tensor<8x1xf32>
    %n = moe.map(%s, %b) : (tensor<8x1xf32>, tensor<8x1xf32>) -> tensor<8x1xf32> {
    ^bb0(%e: f32, %f: f32):
      %g = arith.mulf %e, %f : f32
      moe.yield %g : f32
    }
    moe.write @s, %n : tensor<8x1xf32>
    moe.yield
  }
  return
}

// CHECK-LABEL: func @update()
func.func @update() {
  // CHECK: moe.read @w : tensor<4x4xf32>
  // CHECK: %[[NEW:.*]] = moe.map
  // CHECK: moe.write @w, %[[NEW]] : tensor<4x4xf32>
  // CHECK-NEXT: %[[COPY:.*]] = moe.cast %[[NEW]]
  // CHECK-NEXT: moe.write @copy.w, %[[COPY]] : tensor<4x4xbf16>
  // Zeros stay a constant, so that the write is a fill.
  // ALL-LABEL: func @update()
  // ALL: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<4x4xbf16>
  // ALL-NEXT: moe.write @optimizer.m.w, %[[ZERO]] : tensor<4x4xbf16>
  moe.dispatch "row" () : () -> () {
    %w = moe.read @w : tensor<4x4xf32>
    %n = moe.map(%w) : (tensor<4x4xf32>) -> tensor<4x4xf32> {
    ^bb0(%a: f32):
      %y = arith.addf %a, %a : f32
      moe.yield %y : f32
    }
    moe.write @w, %n : tensor<4x4xf32>
    moe.yield
  }
  moe.dispatch "row" () : () -> () {
    %zero = arith.constant dense<0.0> : tensor<4x4xf32>
    moe.write @optimizer.m.w, %zero : tensor<4x4xf32>
    moe.yield
  }
  return
}

// CHECK-LABEL: func.func @refresh()
// CHECK-NEXT: moe.dispatch "row" () : () -> () {
// CHECK-NEXT: %[[MASTER:.*]] = moe.read @w : tensor<4x4xf32>
// CHECK-NEXT: %[[ROUNDED:.*]] = moe.cast %[[MASTER]]
// CHECK-NEXT: moe.write @copy.w, %[[ROUNDED]] : tensor<4x4xbf16>
// WIDE-LABEL: func.func @refresh()
// WIDE-NEXT: moe.dispatch "row" () : () -> () {
// WIDE-NEXT: %[[MASTER:.*]] = moe.read @w : tensor<4x4xf32>
// WIDE-NEXT: moe.write @copy.w, %[[MASTER]] : tensor<4x4xf32>

// -----

// What a repeat carries is one value: narrow at its start when it is narrow inside. Stacked results and views follow.
moe.state @w parameter : tensor<4x4xf32> count 3 layers [0, 1]
moe.state @out output : tensor<8x4xf32>
// CHECK-LABEL: func @carried()
func.func @carried() {
  // CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<8x4xbf16>
  %zero = arith.constant dense<0.0> : tensor<8x4xf32>
  // CHECK: moe.repeat %{{.*}} of 3 carry(%[[H:.*]] = %[[ZERO]] : tensor<8x4xbf16>) -> (tensor<3x8x4xbf16>) {
  // CHECK-NEXT: %[[R:.*]] = moe.dispatch "matmul" (%{{.*}} = %[[H]], %{{.*}}) : (tensor<8x4xbf16>, index) -> tensor<8x4xbf16>
  // CHECK: moe.read @copy.w[%{{.*}}] : tensor<4x4xbf16>
  // CHECK: moe.yield %[[R]], %[[R]] : tensor<8x4xbf16>, tensor<8x4xbf16>
  %last, %all = moe.repeat %l of 3 carry(%h = %zero : tensor<8x4xf32>) -> (tensor<3x8x4xf32>) {
    %r = moe.dispatch "matmul" (%a = %h, %i = %l) : (tensor<8x4xf32>, index) -> tensor<8x4xf32> {
      %w = moe.read @w[%i] : tensor<4x4xf32>
      %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
      moe.yield %p : tensor<8x4xf32>
    }
    moe.yield %r, %r : tensor<8x4xf32>, tensor<8x4xf32>
  }
  // CHECK: %[[FLAT:.*]] = moe.reshape %{{.*}} : tensor<3x8x4xbf16> -> tensor<24x4xbf16>
  %flat = moe.reshape %all : tensor<3x8x4xf32> -> tensor<24x4xf32>
  // A sum is wide, whatever it adds up.
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[FLAT]]) : (tensor<24x4xbf16>) -> tensor<24x1xf32> {
  %sum = moe.dispatch "row" (%a = %flat) : (tensor<24x4xf32>) -> tensor<24x1xf32> {
    %s = moe.row_reduce sum %a : tensor<24x4xf32> -> tensor<24x1xf32>
    moe.yield %s : tensor<24x1xf32>
  }
  moe.dispatch "row" (%a = %last) : (tensor<8x4xf32>) -> () {
    moe.write @out, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// What was rounded to eight bits lies so, and what a gather makes of it; its scale stays wide. Functions that make
// quantised copies go on making the others.
moe.state @w parameter : tensor<4x4xf32>
moe.state @copy.v.rows copy : tensor<8x4xf32> {moe.quantized}
moe.state @copy.v.rows.scale copy : tensor<8x1xf32> {moe.full_precision}

// CHECK-DAG: moe.state @copy.v.rows copy : tensor<8x4xf8E4M3FN> {moe.quantized}
// CHECK-DAG: moe.state @copy.v.rows.scale copy : tensor<8x1xf32> {moe.full_precision}
// CHECK-LABEL: func @forward
// WIDE-LABEL: func @forward
// WIDE-NOT: f8E4M3FN>
// CHECK: moe.dispatch "row" (%{{.*}}) : (tensor<8x4xf32>) -> tensor<8x4xf8E4M3FN> {
// CHECK: %[[Q:.*]] = moe.map
// CHECK: %[[N:.*]] = moe.cast %[[Q]] : tensor<8x4xf32> -> tensor<8x4xf8E4M3FN>
// CHECK: moe.write @copy.v.rows, %{{.*}} : tensor<8x4xf8E4M3FN>
// CHECK: moe.dispatch "row" (%{{.*}}) : (tensor<8x4xf8E4M3FN>, tensor<16x1xi32>) -> tensor<16x4xf8E4M3FN>
// CHECK: moe.dispatch "quantize_columns" (%{{.*}}) : (tensor<2x4x6xf32>) -> (tensor<2x6x4xf8E4M3FN>, tensor<2x6xf32>)
func.func @forward(%x: tensor<8x4xf32>, %rows: tensor<16x1xi32>, %v: tensor<2x4x6xf32>) {
  %q = moe.dispatch "row" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %r = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%b: f32):
      %t = arith.truncf %b : f32 to f8E4M3FN
      %e = arith.extf %t : f8E4M3FN to f32
      moe.yield %e : f32
    }
    moe.write @copy.v.rows, %r : tensor<8x4xf32>
    moe.yield %r : tensor<8x4xf32>
  }
  %g = moe.dispatch "row" (%a = %q, %b = %rows) : (tensor<8x4xf32>, tensor<16x1xi32>) -> tensor<16x4xf32> {
    %r = moe.gather_rows %a, %b : tensor<8x4xf32>, tensor<16x1xi32> -> tensor<16x4xf32>
    moe.yield %r : tensor<16x4xf32>
  }
  %c, %s = moe.dispatch "quantize_columns" (%a = %v) : (tensor<2x4x6xf32>) -> (tensor<2x6x4xf32>, tensor<2x6xf32>) {
    %r, %t = moe.quantize_columns %a : tensor<2x4x6xf32> -> tensor<2x6x4xf32>, tensor<2x6xf32>
    moe.yield %r, %t : tensor<2x6x4xf32>, tensor<2x6xf32>
  }
  moe.dispatch "matmul" (%a = %x) : (tensor<8x4xf32>) -> () {
    %w = moe.read @w : tensor<4x4xf32>
    %p = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    moe.yield
  }
  return
}
// CHECK-LABEL: func @refresh
// CHECK: moe.write @copy.v.rows.scale
// CHECK: moe.write @copy.w
func.func @refresh() {
  moe.dispatch "row" () : () -> () {
    %one = arith.constant dense<1.0> : tensor<8x1xf32>
    moe.write @copy.v.rows.scale, %one : tensor<8x1xf32>
    moe.yield
  }
  return
}

// -----

// Thresholds, plans and bases are wide where they are made, also from narrow scores, and in the optimizer's wide states.
// A product reads a rounded copy of a basis.
moe.state @grad.w gradient : tensor<4x4xf32>
moe.state @w parameter : tensor<4x4xf32> gradient @grad.w
moe.state @x batch : tensor<4x4xf32>
moe.state @optimizer.q optimizer : tensor<1x4x4xf32>
moe.state @now counter : tensor<1x1xi64>
// CHECK-LABEL: func @wide
// CHECK: %[[S:.*]] = moe.dispatch "matmul" () : () -> tensor<4x4xbf16>
// CHECK: moe.dispatch "column_kth" (%{{.*}} = %[[S]]) : (tensor<4x4xbf16>) -> tensor<4x4xf32>
// CHECK: moe.dispatch "sinkhorn" (%{{.*}} = %[[S]]) : (tensor<4x4xbf16>) -> tensor<4x4xf32>
// CHECK: %[[Q:.*]] = moe.dispatch "eigh" () : () -> tensor<1x4x4xbf16> {
// CHECK: %[[V:.*]], %{{.*}} = moe.eigh
// CHECK-NEXT: moe.write @optimizer.q, %[[V]] : tensor<1x4x4xf32>
// CHECK-NEXT: %[[N:.*]] = moe.cast %[[V]]
// CHECK-NEXT: moe.yield %[[N]]
// CHECK: moe.dispatch "matmul" (%{{.*}} = %[[Q]],
func.func @wide(%offsets: tensor<1x2xi32>, %counts: tensor<1x1xi32>, %r: tensor<4x4xf32>) {
  %s = moe.dispatch "matmul" () : () -> tensor<4x4xf32> {
    %x = moe.read @x : tensor<4x4xf32>
    %w = moe.read @w : tensor<4x4xf32>
    %p = moe.matmul %x, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
    moe.yield %p : tensor<4x4xf32>
  }
  %k = moe.dispatch "column_kth" (%a = %s) : (tensor<4x4xf32>) -> tensor<4x4xf32> {
    %t = moe.column_kth %a n 1 : tensor<4x4xf32> -> tensor<4x4xf32>
    moe.yield %t : tensor<4x4xf32>
  }
  %plan = moe.dispatch "sinkhorn" (%a = %s) : (tensor<4x4xf32>) -> tensor<4x4xf32> {
    %now = moe.read @now : tensor<1x1xi64>
    %t = moe.sinkhorn %a if %now xi 0.1 max_iters 10 tol 0.0 : tensor<4x4xf32>, tensor<1x1xi64>
    moe.yield %t : tensor<4x4xf32>
  }
  %q = moe.dispatch "eigh" () : () -> tensor<1x4x4xf32> {
    %now = moe.read @now : tensor<1x1xi64>
    %old = moe.read @optimizer.q : tensor<1x4x4xf32>
    %v, %l = moe.eigh %old previous %old if %now : tensor<1x4x4xf32>, tensor<1x1xi64> -> tensor<1x4xf32>
    moe.write @optimizer.q, %v : tensor<1x4x4xf32>
    moe.yield %v : tensor<1x4x4xf32>
  }
  moe.dispatch "matmul" (%b = %q, %a = %r, %o = %offsets, %c = %counts) : (tensor<1x4x4xf32>, tensor<4x4xf32>, tensor<1x2xi32>, tensor<1x1xi32>) -> () {
    %p = moe.grouped_matmul %a, %b, %o, %c : tensor<4x4xf32>, tensor<1x4x4xf32>, tensor<1x2xi32>, tensor<1x1xi32> -> tensor<4x4xf32>
    moe.yield
  }
  return
}

// -----

// What a product's map makes is summed before it is rounded, and the sums of parts of rows stay wide; so does what is
// made of them.
moe.state @x batch : tensor<8x4xf32>
moe.state @w copy : tensor<4x4xf32>
// CHECK-LABEL: func @sums_of_parts()
func.func @sums_of_parts() {
  // CHECK: moe.dispatch "matmul" () : () -> (tensor<8x4xbf16>, tensor<8x2xf32>) {
  // CHECK: %[[M:.*]] = moe.map
  // CHECK: %[[S:.*]] = moe.row_reduce sum %[[M]] every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
  // CHECK-NEXT: %[[N:.*]] = moe.cast %[[M]] : tensor<8x4xf32> -> tensor<8x4xbf16>
  // CHECK-NEXT: moe.yield %[[N]], %[[S]] : tensor<8x4xbf16>, tensor<8x2xf32>
  %y, %s = moe.dispatch "matmul" () : () -> (tensor<8x4xf32>, tensor<8x2xf32>) {
    %x = moe.read @x : tensor<8x4xf32>
    %w = moe.read @w : tensor<4x4xf32>
    %p = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    %m = moe.map(%p) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%e: f32):
      %g = arith.mulf %e, %e : f32
      moe.yield %g : f32
    }
    %r = moe.row_reduce sum %m every 2 : tensor<8x4xf32> -> tensor<8x2xf32>
    moe.yield %m, %r : tensor<8x4xf32>, tensor<8x2xf32>
  }
  // CHECK: moe.dispatch "row" (%{{.*}}) : (tensor<8x2xf32>) -> (tensor<8x2xf32>, tensor<8x1xf32>) {
  %t:2 = moe.dispatch "row" (%a = %s) : (tensor<8x2xf32>) -> (tensor<8x2xf32>, tensor<8x1xf32>) {
    %m = moe.map(%a) : (tensor<8x2xf32>) -> tensor<8x2xf32> {
    ^bb0(%e: f32):
      %g = arith.mulf %e, %e : f32
      moe.yield %g : f32
    }
    %r = moe.row_reduce sum %a : tensor<8x2xf32> -> tensor<8x1xf32>
    moe.yield %m, %r : tensor<8x2xf32>, tensor<8x1xf32>
  }
  return
}

// -----

// Parts of a sum over rows stay wide beside the narrow rows that they are made of.
moe.state @a batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x4xf32>
moe.state @grad.s gradient : tensor<1x4xf32>

// CHECK-LABEL: func @parts()
// CHECK: %[[P:.*]] = moe.dispatch "matmul" {{.*}} -> tensor<8x4xbf16> {
// CHECK: %[[R:.*]]:2 = moe.dispatch "row" (%{{.*}} = %[[P]]) : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<2x4xf32>) {
// CHECK: moe.dispatch "col_reduce" (%{{.*}} = %[[R]]#1) : (tensor<2x4xf32>) -> () {
func.func @parts() {
  %p = moe.dispatch "matmul" () : () -> tensor<8x4xf32> {
    %a = moe.read @a : tensor<8x4xf32>
    %w = moe.read @w : tensor<4x4xf32>
    %t = moe.matmul %a, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    moe.yield %t : tensor<8x4xf32>
  }
  %r:2 = moe.dispatch "row" (%a = %p) : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<2x4xf32>) {
    %m = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%x: f32):
      %y = arith.mulf %x, %x : f32
      moe.yield %y : f32
    }
    %s = moe.col_reduce %m : tensor<8x4xf32> -> tensor<2x4xf32>
    moe.yield %m, %s : tensor<8x4xf32>, tensor<2x4xf32>
  }
  moe.dispatch "col_reduce" (%b = %r#1) : (tensor<2x4xf32>) -> () {
    %s = moe.col_reduce %b : tensor<2x4xf32> -> tensor<1x4xf32>
    moe.accumulate @grad.s, %s : tensor<1x4xf32>
    moe.yield
  }
  moe.dispatch "matmul" (%c = %r#0) : (tensor<8x4xf32>) -> () {
    %w = moe.read @w : tensor<4x4xf32>
    %t = moe.matmul %c, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    moe.yield
  }
  return
}
