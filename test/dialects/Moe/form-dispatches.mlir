// RUN: moec-opt %s -split-input-file -moe-form-dispatches | FileCheck %s

// Row ops of the same rows are one kernel; its results are what others read.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @row_fusion()
func.func @row_fusion() {
  // CHECK-NEXT: moe.dispatch "row" () : () -> () {
  // CHECK-NEXT: %[[X:.*]] = moe.read @x
  // CHECK-NEXT: %[[M:.*]] = moe.row_reduce max %[[X]]
  // CHECK-NEXT: %[[Y:.*]] = moe.map(%[[X]], %[[M]])
  // CHECK: moe.write @y, %[[Y]]
  // CHECK-NEXT: moe.yield
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %x = moe.read @x : tensor<8x4xf32>
  %m = moe.row_reduce max %x : tensor<8x4xf32> -> tensor<8x1xf32>
  %y = moe.map(%x, %m) : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %d = arith.subf %a, %b : f32
    moe.yield %d : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}

// -----

// Other rows start another kernel, and the first says so.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<1x1xf32>
// CHECK-LABEL: func @other_rows()
func.func @other_rows() {
  // CHECK: %[[R:.*]] = moe.dispatch "row" note "moe.col_reduce not fused: it starts a kernel of its own" () : () -> tensor<8x1xf32> {
  // CHECK: moe.dispatch "col_reduce" (%[[IN:.*]] = %[[R]]) : (tensor<8x1xf32>) -> () {
  // CHECK-NEXT: %[[SUM:.*]] = moe.col_reduce %[[IN]]
  // CHECK-NEXT: %[[ROOT:.*]] = moe.map(%[[SUM]])
  // CHECK: moe.write @y, %[[ROOT]]
  %x = moe.read @x : tensor<8x4xf32>
  %r = moe.row_reduce sum %x : tensor<8x4xf32> -> tensor<8x1xf32>
  %t = moe.col_reduce %r : tensor<8x1xf32> -> tensor<1x1xf32>
  %y = moe.map(%t) : (tensor<1x1xf32>) -> tensor<1x1xf32> {
  ^bb0(%a: f32):
    %s = math.sqrt %a : f32
    moe.yield %s : f32
  }
  moe.write @y, %y : tensor<1x1xf32>
  return
}

// -----

// Products of one A share it, and take what is done with their results; a third is one too many.
moe.state @x batch : tensor<8x4xf32>
moe.state @gate parameter : tensor<4x6xf32>
moe.state @up parameter : tensor<4x6xf32>
moe.state @other parameter : tensor<4x6xf32>
moe.state @y output : tensor<8x6xf32>
moe.state @z output : tensor<8x6xf32>
// CHECK-LABEL: func @gated()
func.func @gated() {
  %x = moe.read @x : tensor<8x4xf32>
  %wg = moe.read @gate : tensor<4x6xf32>
  %wu = moe.read @up : tensor<4x6xf32>
  %wo = moe.read @other : tensor<4x6xf32>
  // CHECK-NEXT: moe.dispatch "matmul" () : () -> () {
  // CHECK-DAG: %[[G:.*]] = moe.matmul %{{.*}}, %[[WG:.*]] : tensor<8x4xf32>
  // CHECK-DAG: %[[WG]] = moe.read @gate
  // CHECK-DAG: %[[U:.*]] = moe.matmul %{{.*}}, %[[WU:.*]] : tensor<8x4xf32>
  // CHECK-DAG: %[[WU]] = moe.read @up
  // CHECK: %[[H:.*]] = moe.map(%[[G]], %[[U]])
  // CHECK: moe.accumulate @y, %[[H]]
  // CHECK: moe.dispatch "matmul" () : () -> () {
  // CHECK: %[[O:.*]] = moe.matmul
  // CHECK: moe.write @z, %[[O]]
  // CHECK-NOT: moe.dispatch
  %g = moe.matmul %x, %wg : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %u = moe.matmul %x, %wu : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %o = moe.matmul %x, %wo : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %h = moe.map(%g, %u) : (tensor<8x6xf32>, tensor<8x6xf32>) -> tensor<8x6xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  moe.accumulate @y, %h : tensor<8x6xf32>
  moe.write @z, %o : tensor<8x6xf32>
  return
}

// -----

// The first product is stored before the second is made: one kernel all the same, for the write is to another state than all
// that the second reads.
moe.state @x batch : tensor<8x4xf32>
moe.state @du batch : tensor<8x6xf32>
moe.state @dg batch : tensor<8x6xf32>
moe.state @up gradient : tensor<4x6xf32>
moe.state @gate gradient : tensor<4x6xf32>
// CHECK-LABEL: func @stored_between()
func.func @stored_between() {
  // CHECK: moe.dispatch "matmul" () : () -> () {
  // CHECK: %[[U:.*]] = moe.matmul ta
  // CHECK: moe.write @up, %[[U]]
  // CHECK: %[[G:.*]] = moe.matmul ta
  // CHECK: moe.accumulate @gate, %[[G]]
  // CHECK-NOT: moe.dispatch
  // CHECK: return
  %x = moe.read @x : tensor<8x4xf32>
  %du = moe.read @du : tensor<8x6xf32>
  %dg = moe.read @dg : tensor<8x6xf32>
  %u = moe.matmul ta %x, %du : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  moe.write @up, %u : tensor<4x6xf32>
  %g = moe.matmul ta %x, %dg : tensor<8x4xf32>, tensor<8x6xf32> -> tensor<4x6xf32>
  moe.accumulate @gate, %g : tensor<4x6xf32>
  return
}

// -----

// Not when the second reads what the first wrote: then it starts after it. Nor when it reads what the first is to replace.
moe.state @x batch : tensor<6x6xf32>
moe.state @w parameter : tensor<6x6xf32>
moe.state @y output : tensor<6x6xf32>
// CHECK-LABEL: func @reads_what_was_stored()
func.func @reads_what_was_stored() {
  // CHECK: moe.dispatch "matmul"
  // CHECK: moe.write @w
  // CHECK: moe.dispatch "matmul"
  // CHECK: moe.read @w
  // CHECK: moe.write @y
  %x = moe.read @x : tensor<6x6xf32>
  %u = moe.matmul ta %x, %x : tensor<6x6xf32>, tensor<6x6xf32> -> tensor<6x6xf32>
  moe.write @w, %u : tensor<6x6xf32>
  %w = moe.read @w : tensor<6x6xf32>
  %g = moe.matmul ta %x, %w : tensor<6x6xf32>, tensor<6x6xf32> -> tensor<6x6xf32>
  moe.write @y, %g : tensor<6x6xf32>
  return
}

// -----

// Two writes of one state stay in their order.
moe.state @x batch : tensor<6x6xf32>
moe.state @z batch : tensor<6x6xf32>
moe.state @w output : tensor<6x6xf32>
// CHECK-LABEL: func @stored_twice()
func.func @stored_twice() {
  // CHECK: moe.dispatch "matmul" () : () -> () {
  // CHECK: moe.write @w
  // CHECK: moe.dispatch "matmul" () : () -> () {
  // CHECK: moe.accumulate @w
  %x = moe.read @x : tensor<6x6xf32>
  %z = moe.read @z : tensor<6x6xf32>
  %u = moe.matmul ta %x, %x : tensor<6x6xf32>, tensor<6x6xf32> -> tensor<6x6xf32>
  moe.write @w, %u : tensor<6x6xf32>
  %g = moe.matmul ta %x, %z : tensor<6x6xf32>, tensor<6x6xf32> -> tensor<6x6xf32>
  moe.accumulate @w, %g : tensor<6x6xf32>
  return
}

// -----

// An epilogue is elementwise: a reduction of the rows of a product is another kernel.
moe.state @x batch : tensor<8x4xf32>
moe.state @w parameter : tensor<4x6xf32>
moe.state @y output : tensor<8x1xf32>
// CHECK-LABEL: func @no_epilogue()
func.func @no_epilogue() {
  // CHECK: %[[H:.*]] = moe.dispatch "matmul" note "moe.row_reduce not fused: the matmul template only takes elementwise epilogues of its own shape"
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[H]])
  %x = moe.read @x : tensor<8x4xf32>
  %w = moe.read @w : tensor<4x6xf32>
  %h = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x6xf32> -> tensor<8x6xf32>
  %r = moe.row_reduce sum %h : tensor<8x6xf32> -> tensor<8x1xf32>
  moe.write @y, %r : tensor<8x1xf32>
  return
}

// -----

// A gather that only feeds products happens in their loads; what it gathers from is made before. One that is also read otherwise is stored.
moe.state @x batch : tensor<8x4xf32>
moe.state @rows batch : tensor<12x1xi32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @w parameter : tensor<2x4x6xf32>
moe.state @y output : tensor<12x6xf32>
moe.state @z output : tensor<12x4xf32>
// CHECK-LABEL: func @gather()
func.func @gather() {
  // CHECK: %[[E:.*]] = moe.dispatch "row" note "moe.gather_rows not fused: it has other rows" () : () -> tensor<8x4xf32> {
  // CHECK: moe.dispatch "matmul" (%[[IN:.*]] = %[[E]]) : (tensor<8x4xf32>) -> () {
  // CHECK: %[[G:.*]] = moe.gather_rows %[[IN]]
  // CHECK: moe.grouped_matmul all_rows %[[G]]
  // CHECK: moe.write @y
  // CHECK: moe.dispatch "row" (%[[IN2:.*]] = %[[E]])
  // CHECK: %[[G2:.*]] = moe.gather_rows %[[IN2]]
  // CHECK: moe.write @z, %[[G2]]
  %x = moe.read @x : tensor<8x4xf32>
  %rows = moe.read @rows : tensor<12x1xi32>
  %offsets = moe.read @offsets : tensor<1x3xi32>
  %counts = moe.read @counts : tensor<1x2xi32>
  %w = moe.read @w : tensor<2x4x6xf32>
  %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %g = moe.gather_rows %e, %rows : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  %h = moe.grouped_matmul all_rows %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  moe.write @y, %h : tensor<12x6xf32>
  %g2 = moe.gather_rows %e, %rows : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  moe.write @z, %g2 : tensor<12x4xf32>
  return
}

// -----

// A whole operand exists before the kernel starts, though the rows would agree.
moe.state @x batch : tensor<8x4xf32>
moe.state @rows batch : tensor<8x1xi32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @whole_operand()
func.func @whole_operand() {
  // CHECK: %[[E:.*]] = moe.dispatch "row" note "moe.gather_rows not fused: it needs a whole operand that this kernel makes"
  // CHECK: moe.dispatch "row" (%[[IN:.*]] = %[[E]])
  // CHECK: moe.gather_rows %[[IN]]
  %x = moe.read @x : tensor<8x4xf32>
  %rows = moe.read @rows : tensor<8x1xi32>
  %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %g = moe.gather_rows %e, %rows : tensor<8x4xf32>, tensor<8x1xi32> -> tensor<8x4xf32>
  moe.write @y, %g : tensor<8x4xf32>
  return
}

// -----

// A state may be read and written in one kernel when each element is read first. Its value behind the write is another one.
moe.state @p parameter : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @read_write_read()
func.func @read_write_read() {
  // CHECK-NEXT: moe.dispatch "row" () : () -> () {
  // CHECK: %[[OLD:.*]] = moe.read @p
  // CHECK: %[[NEW:.*]] = moe.map(%[[OLD]])
  // CHECK: moe.write @p, %[[NEW]]
  // CHECK: moe.dispatch "row" () : () -> () {
  // CHECK: %[[AGAIN:.*]] = moe.read @p
  // CHECK: %[[Y:.*]] = moe.map(%[[AGAIN]])
  // CHECK: moe.write @y, %[[Y]]
  %old = moe.read @p : tensor<8x4xf32>
  %new = moe.map(%old) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = arith.negf %a : f32
    moe.yield %s : f32
  }
  moe.write @p, %new : tensor<8x4xf32>
  %again = moe.read @p : tensor<8x4xf32>
  %y = moe.map(%again) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}

// -----

// A value that was read before a write and is used after it gets a copy, which may be stored where it is made.
moe.state @p parameter : tensor<8x4xf32>
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @stale_read()
func.func @stale_read() {
  // CHECK-NEXT: moe.dispatch "row" () : () -> () {
  // CHECK-NEXT: %[[OLD:.*]] = moe.read @p
  // CHECK-NEXT: %[[COPY:.*]] = moe.map(%[[OLD]])
  // CHECK: moe.write @y, %[[COPY]]
  // CHECK: moe.dispatch "row" () : () -> () {
  // CHECK-NEXT: %[[X:.*]] = moe.read @x
  // CHECK-NEXT: moe.write @p, %[[X]]
  %old = moe.read @p : tensor<8x4xf32>
  %x = moe.read @x : tensor<8x4xf32>
  moe.write @p, %x : tensor<8x4xf32>
  moe.write @y, %old : tensor<8x4xf32>
  return
}

// -----

// So does one that a gather passes on to a product behind the write.
moe.state @p parameter : tensor<8x4xf32>
moe.state @x batch : tensor<8x4xf32>
moe.state @rows batch : tensor<12x1xi32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @w parameter : tensor<2x4x6xf32>
moe.state @y output : tensor<12x6xf32>
// CHECK-LABEL: func @stale_gather()
func.func @stale_gather() {
  // CHECK: %[[COPY:.*]] = moe.dispatch "row" {{.*}}() : () -> tensor<8x4xf32> {
  // CHECK: moe.read @p
  // CHECK: moe.write @p
  // CHECK: moe.dispatch "matmul" (%[[IN:.*]] = %[[COPY]]
  // CHECK: moe.gather_rows %[[IN]]
  %old = moe.read @p : tensor<8x4xf32>
  %x = moe.read @x : tensor<8x4xf32>
  %rows = moe.read @rows : tensor<12x1xi32>
  %offsets = moe.read @offsets : tensor<1x3xi32>
  %counts = moe.read @counts : tensor<1x2xi32>
  %w = moe.read @w : tensor<2x4x6xf32>
  %g = moe.gather_rows %old, %rows : tensor<8x4xf32>, tensor<12x1xi32> -> tensor<12x4xf32>
  moe.write @p, %x : tensor<8x4xf32>
  %h = moe.grouped_matmul all_rows %g, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  moe.write @y, %h : tensor<12x6xf32>
  return
}

// -----

// A product reads all of its operands: it cannot write one of them.
moe.state @x batch : tensor<4x4xf32>
moe.state @w parameter : tensor<4x4xf32>
// CHECK-LABEL: func @product_over_operand()
func.func @product_over_operand() {
  // CHECK: %[[P:.*]] = moe.dispatch "matmul" note "moe.write not fused: the state @w is used in between"
  // CHECK: moe.dispatch "row" (%[[IN:.*]] = %[[P]])
  // CHECK-NEXT: moe.write @w, %[[IN]]
  %x = moe.read @x : tensor<4x4xf32>
  %w = moe.read @w : tensor<4x4xf32>
  %p = moe.matmul %x, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  moe.write @w, %p : tensor<4x4xf32>
  return
}

// -----

// A write stays behind the loop that captures what it replaces, though its value is made before.
moe.state @x batch : tensor<8x4xf32>
moe.state @p parameter : tensor<8x4xf32>
// CHECK-LABEL: func @captured_before_write()
func.func @captured_before_write() {
  // CHECK: %[[E:.*]] = moe.dispatch "row" note "moe.write not fused: the state @p is used in between"
  // CHECK: %[[P:.*]] = moe.read @p
  // CHECK: moe.repeat %[[L:.*]] of 3 carry(%[[C:.*]] = %{{.*}} : tensor<8x4xf32>) {
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[C]], %{{.*}} = %[[P]])
  // CHECK: moe.dispatch "row" (%[[IN:.*]] = %[[E]])
  // CHECK-NEXT: moe.write @p, %[[IN]]
  %x = moe.read @x : tensor<8x4xf32>
  %p = moe.read @p : tensor<8x4xf32>
  %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %z = moe.repeat %l of 3 carry(%c = %x : tensor<8x4xf32>) {
    %n = moe.map(%c, %p) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%a: f32, %b: f32):
      %s = arith.addf %a, %b : f32
      moe.yield %s : f32
    }
    moe.yield %n : tensor<8x4xf32>
  }
  moe.write @p, %e : tensor<8x4xf32>
  moe.write @x, %z : tensor<8x4xf32>
  return
}

// -----

// A loop that changes what it captured gets a copy: its second iteration must not see what the first one wrote.
moe.state @p parameter : tensor<8x4xf32>
// CHECK-LABEL: func @captured_and_written()
func.func @captured_and_written() {
  // CHECK: %[[COPY:.*]] = moe.dispatch "row" () : () -> tensor<8x4xf32> {
  // CHECK-NEXT: moe.read @p
  // CHECK: moe.repeat
  // CHECK: moe.dispatch "row" (%[[IN:.*]] = %[[COPY]])
  // CHECK: %[[D:.*]] = moe.map(%[[IN]])
  // CHECK: moe.accumulate @p, %[[D]]
  %p = moe.read @p : tensor<8x4xf32>
  moe.repeat %l of 3 {
    %d = moe.map(%p) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%a: f32):
      %s = arith.addf %a, %a : f32
      moe.yield %s : f32
    }
    moe.accumulate @p, %d : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A captured value is an operand of the dispatches that use it; a copy of a stacked state goes by the loop's index. Nothing is fused across a loop.
moe.state @x batch : tensor<8x4xf32>
moe.state @s parameter : tensor<1x4xf32> count 3
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @repeat()
func.func @repeat() {
  // CHECK: %[[E:.*]] = moe.dispatch "row" () : () -> tensor<8x4xf32> {
  // CHECK: moe.yield %{{.*}} : tensor<8x4xf32>
  // CHECK: %[[X:.*]] = moe.read @x
  // CHECK: %[[R:.*]] = moe.repeat %[[L:.*]] of 3 carry(%[[C:.*]] = %[[X]] : tensor<8x4xf32>) {
  // CHECK-NEXT: %[[N:.*]] = moe.dispatch "row" (%[[A0:.*]] = %[[C]], %[[A1:.*]] = %[[L]], %[[A2:.*]] = %[[E]]) : (tensor<8x4xf32>, index, tensor<8x4xf32>) -> tensor<8x4xf32> {
  // CHECK: %[[S:.*]] = moe.read @s[%[[A1]]]
  // CHECK: moe.map(%[[A0]], %[[S]], %[[A2]])
  // CHECK: moe.yield %[[N]]
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[R]])
  // CHECK: moe.write @y
  %x = moe.read @x : tensor<8x4xf32>
  %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %r = moe.repeat %l of 3 carry(%c = %x : tensor<8x4xf32>) {
    %scale = moe.read @s[%l] : tensor<1x4xf32>
    %n = moe.map(%c, %scale, %e) : (tensor<8x4xf32>, tensor<1x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%a: f32, %b: f32, %d: f32):
      %s = math.fma %a, %b, %d : f32
      moe.yield %s : f32
    }
    moe.yield %n : tensor<8x4xf32>
  }
  %y = moe.map(%r) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}

// -----

// A reshape is no obstacle between a value and its store.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<4x8xf32>
// CHECK-LABEL: func @reshaped_store()
func.func @reshaped_store() {
  // CHECK-NEXT: moe.dispatch "row" () : () -> () {
  // CHECK: %[[E:.*]] = moe.map
  // CHECK: moe.write @y, %[[E]]
  %x = moe.read @x : tensor<8x4xf32>
  %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    %s = math.exp %a : f32
    moe.yield %s : f32
  }
  %flat = moe.reshape %e : tensor<8x4xf32> -> tensor<4x8xf32>
  moe.write @y, %flat : tensor<4x8xf32>
  return
}

// -----

// Quantising columns is a kernel of its own, which stores what it makes.
moe.state @w parameter : tensor<2x4x6xf32>
moe.state @q copy : tensor<2x6x4xf32>
moe.state @s copy : tensor<2x6xf32>
// CHECK-LABEL: func @quantised_columns()
func.func @quantised_columns() {
  // CHECK-NEXT: moe.dispatch "quantize_columns" () : () -> () {
  // CHECK-NEXT: %[[W:.*]] = moe.read @w
  // CHECK-NEXT: %[[Q:.*]], %[[S:.*]] = moe.quantize_columns %[[W]]
  // CHECK-NEXT: moe.write @q, %[[Q]]
  // CHECK-NEXT: moe.write @s, %[[S]]
  // CHECK: return
  %w = moe.read @w : tensor<2x4x6xf32>
  %q, %s = moe.quantize_columns %w : tensor<2x4x6xf32> -> tensor<2x6x4xf32>, tensor<2x6xf32>
  moe.write @q, %q : tensor<2x6x4xf32>
  moe.write @s, %s : tensor<2x6xf32>
  return
}

// -----

// CHECK-LABEL: func @empty()
func.func @empty() {
  // CHECK-NEXT: return
  return
}

// -----

// A threshold of whole columns is a kernel of its own, which may write it to a state; what uses it comes after.
moe.state @x batch : tensor<8x4xf32>
moe.state @t balance : tensor<1x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: func @thresholds()
func.func @thresholds() {
  // CHECK-NEXT: %[[T:.*]] = moe.dispatch "column_kth" note "moe.map not fused: nothing can follow inside the column_kth template" () : () -> tensor<1x4xf32> {
  // CHECK-NEXT: %[[X:.*]] = moe.read @x
  // CHECK-NEXT: %[[R:.*]] = moe.column_kth %[[X]] n 3
  // CHECK-NEXT: moe.write @t, %[[R]]
  // CHECK-NEXT: moe.yield %[[R]]
  // CHECK: moe.dispatch "row" (%{{.*}} = %[[T]])
  %x = moe.read @x : tensor<8x4xf32>
  %t = moe.column_kth %x n 3 : tensor<8x4xf32> -> tensor<1x4xf32>
  moe.write @t, %t : tensor<1x4xf32>
  %y = moe.map(%x, %t) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32, %b: f32):
    %d = arith.subf %a, %b : f32
    moe.yield %d : f32
  }
  moe.write @y, %y : tensor<8x4xf32>
  return
}

// -----

// A basis that is kept while nothing new is due is written in place: `previous` is read where the result is written.
// That of a product is read again.
moe.state @a optimizer : tensor<2x6x6xf32>
moe.state @q optimizer : tensor<2x6x6xf32>
moe.state @now counter : tensor<1x1xi64>
// CHECK-LABEL: func @in_place()
func.func @in_place() {
  // CHECK-NEXT: moe.dispatch "eigh" () : () -> () {
  // CHECK-DAG: %[[A:.*]] = moe.read @a
  // CHECK-DAG: %[[Q:.*]] = moe.read @q
  // CHECK-DAG: %[[N:.*]] = moe.read @now
  // CHECK: %[[V:.*]], %{{.*}} = moe.eigh %[[A]] previous %[[Q]] if %[[N]]
  // CHECK-NEXT: moe.write @q, %[[V]]
  // CHECK-NEXT: moe.yield
  // CHECK: moe.dispatch "qr" () : () -> () {
  // CHECK: %[[P:.*]] = moe.read @q
  // CHECK: %[[O:.*]] = moe.qr %{{.*}} previous %[[P]] if %{{.*}}
  // CHECK-NEXT: moe.write @q, %[[O]]
  %a = moe.read @a : tensor<2x6x6xf32>
  %q = moe.read @q : tensor<2x6x6xf32>
  %now = moe.read @now : tensor<1x1xi64>
  %v, %l = moe.eigh %a previous %q if %now : tensor<2x6x6xf32>, tensor<1x1xi64> -> tensor<2x6xf32>
  moe.write @q, %v : tensor<2x6x6xf32>
  %p = moe.read @q : tensor<2x6x6xf32>
  %o = moe.qr %a previous %p if %now : tensor<2x6x6xf32>, tensor<1x1xi64>
  moe.write @q, %o : tensor<2x6x6xf32>
  return
}

// -----

// What is decomposed and written to the same state is read whole first: the write waits for a kernel of its own.
moe.state @a optimizer : tensor<2x6x6xf32>
moe.state @q optimizer : tensor<2x6x6xf32>
moe.state @now counter : tensor<1x1xi64>
// CHECK-LABEL: func @not_in_place()
func.func @not_in_place() {
  // CHECK-NEXT: %[[O:.*]] = moe.dispatch "qr" note "moe.write not fused: the state @a is used in between" () : () -> tensor<2x6x6xf32> {
  // CHECK: moe.dispatch "row" (%[[IN:.*]] = %[[O]])
  // CHECK-NEXT: moe.write @a, %[[IN]]
  %a = moe.read @a : tensor<2x6x6xf32>
  %q = moe.read @q : tensor<2x6x6xf32>
  %now = moe.read @now : tensor<1x1xi64>
  %o = moe.qr %a previous %q if %now : tensor<2x6x6xf32>, tensor<1x1xi64>
  moe.write @a, %o : tensor<2x6x6xf32>
  return
}

// -----

// Groups may have no rows, or not all: what has to happen for every row stays out of the product's kernel. A choice
// that takes the other value where there is none is needed in all rows; a plain map of the product is not.
moe.state @a batch : tensor<12x4xf32>
moe.state @w parameter : tensor<2x4x6xf32>
moe.state @offsets batch : tensor<1x3xi32>
moe.state @counts batch : tensor<1x2xi32>
moe.state @due batch : tensor<1x1xf32>
moe.state @m optimizer : tensor<12x6xf32>
moe.state @u parameter : tensor<2x6x6xf32>
moe.state @z output : tensor<12x6xf32>
// CHECK-LABEL: func @left_rows()
func.func @left_rows() {
  // CHECK: moe.dispatch "matmul" note "moe.map not fused: it is needed in rows that the product may leave out"
  // CHECK: moe.grouped_matmul
  // CHECK-NOT: moe.map
  // CHECK: moe.dispatch "row"
  // CHECK: arith.select
  // CHECK: moe.write @m
  %a = moe.read @a : tensor<12x4xf32>
  %w = moe.read @w : tensor<2x4x6xf32>
  %offsets = moe.read @offsets : tensor<1x3xi32>
  %counts = moe.read @counts : tensor<1x2xi32>
  %due = moe.read @due : tensor<1x1xf32>
  %old = moe.read @m : tensor<12x6xf32>
  %new = moe.grouped_matmul %a, %w, %offsets, %counts
    : tensor<12x4xf32>, tensor<2x4x6xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<12x6xf32>
  %m = moe.map(%due, %new, %old) : (tensor<1x1xf32>, tensor<12x6xf32>, tensor<12x6xf32>) -> tensor<12x6xf32> {
  ^bb0(%d: f32, %n: f32, %o: f32):
    %zero = arith.constant 0.0 : f32
    %is = arith.cmpf ogt, %d, %zero : f32
    %r = arith.select %is, %n, %o : f32
    moe.yield %r : f32
  }
  moe.write @m, %m : tensor<12x6xf32>
  return
}
