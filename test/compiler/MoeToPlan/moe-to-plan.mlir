// RUN: moec-opt %s -split-input-file -pass-pipeline='builtin.module(moec-moe-to-plan)' | FileCheck %s

// A launch names inputs, then states, then results, and says which it writes. Results get a buffer.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @"layers.{}.w#1" parameter : tensor<4x4xf32> count 3 layers [1, 2] named "layers.{}.w" saved
moe.state @metric.loss metric : tensor<1x1xf32> logged "loss" role loss
// CHECK: plan.state @x batch : tensor<8x4xf32> count 1{{$}}
// CHECK: plan.state @y output : tensor<8x4xf32> count 1{{$}}
// What the runtime is to know of a state goes with it.
// CHECK: plan.state @"layers.{}.w#1" parameter : tensor<4x4xf32> count 3 layers [1, 2] named "layers.{}.w" saved{{$}}
// CHECK: plan.state @metric.loss metric : tensor<1x1xf32> count 1 logged "loss" role loss{{$}}
// CHECK-LABEL: plan.func @launch
// CHECK-NEXT: %[[X:.*]] = plan.address @x : !plan.buffer<128>
// CHECK-NEXT: %[[R:.*]] = plan.alloc {{"[^"]*"}} : tensor<8x4xf32> -> !plan.buffer<128>
// CHECK-NEXT: plan.launch @[[EXP:.*]](%[[X]], %[[R]]) writes [1]
// CHECK-NEXT: %[[Y:.*]] = plan.address @y
// CHECK-NEXT: plan.launch @[[ADD:.*]](%[[R]], %[[Y]]) writes [1]
// CHECK-NEXT: }
// CHECK: plan.kernel @[[EXP]] params 2 grid {{.*}} "map" note "why not"
// CHECK: plan.kernel @[[ADD]] params 2 grid {{.*}} "map + accumulate"
// CHECK: module @kernels
// CHECK: func.func @[[EXP]](
// CHECK: func.func @[[ADD]](
func.func @launch() {
  %r = moe.dispatch "row" note "why not" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> () {
    %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    moe.accumulate @y, %e : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// Dispatches that differ in nothing but the names of states and the copy share a kernel, in all functions. Another constant is another kernel.
moe.state @x batch : tensor<8x4xf32> count 3
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @shared
// CHECK: %[[X:.*]] = plan.address @x : !plan.buffer<384>
// CHECK: %[[COPY:.*]] = plan.slice %[[X]][%{{.*}}] offset 0 stride 128 : !plan.buffer<384> -> !plan.buffer<128>
// CHECK: plan.launch @[[K:.*]](%[[COPY]]) writes [0]
// CHECK: plan.address @y
// CHECK: plan.launch @[[K]](
// CHECK-LABEL: plan.func @elsewhere
// CHECK: plan.launch @[[K]](
// CHECK-NOT: plan.launch @[[K]](
// CHECK: plan.launch @[[OTHER:.*]](
// CHECK-COUNT-2: func.func @moec_row
// CHECK-NOT: func.func
func.func @shared() {
  moe.repeat %l of 3 {
    moe.dispatch "row" (%i = %l) : (index) -> () {
      %x = moe.read @x[%i] : tensor<8x4xf32>
      %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      ^bb0(%s: f32):
        %c = arith.constant 2.0 : f32
        %t = arith.mulf %s, %c : f32
        moe.yield %t : f32
      }
      moe.write @x[%i], %e : tensor<8x4xf32>
      moe.yield
    }
    moe.yield
  }
  moe.dispatch "row" () : () -> () {
    %x = moe.read @y : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %c = arith.constant 2.0 : f32
      %t = arith.mulf %s, %c : f32
      moe.yield %t : f32
    }
    moe.write @y, %e : tensor<8x4xf32>
    moe.yield
  }
  return
}
func.func @elsewhere() {
  moe.dispatch "row" () : () -> () {
    %x = moe.read @y : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %c = arith.constant 2.0 : f32
      %t = arith.mulf %s, %c : f32
      moe.yield %t : f32
    }
    moe.write @y, %e : tensor<8x4xf32>
    moe.yield
  }
  moe.dispatch "row" () : () -> () {
    %x = moe.read @y : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %c = arith.constant 3.0 : f32
      %t = arith.mulf %s, %c : f32
      moe.yield %t : f32
    }
    moe.write @y, %e : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// What a loop carries is made in place, and stacked results in their slice; the carried value is stacked before it changes.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
moe.state @z output : tensor<3x8x4xf32>
// CHECK-LABEL: plan.func @in_place
// CHECK: %[[C:.*]] = plan.alloc {{"[^"]*"}} : tensor<8x4xf32>
// CHECK: plan.copy %[[C]], %{{.*}}
// CHECK-DAG: %[[S0:.*]] = plan.alloc {{"[^"]*"}} : tensor<3x8x4xf32>
// CHECK-DAG: %[[S1:.*]] = plan.alloc {{"[^"]*"}} : tensor<3x8x4xf32>
// CHECK: plan.repeat 3 {
// CHECK-NEXT: ^bb0(%[[L:.*]]: index):
// CHECK-NEXT: %[[T0:.*]] = plan.slice %[[S0]][%[[L]]] offset 0 stride 128
// CHECK-NEXT: %[[T1:.*]] = plan.slice %[[S1]][%[[L]]] offset 0 stride 128
// CHECK-NEXT: plan.copy %[[T1]], %[[C]]
// CHECK-NEXT: plan.launch @[[EXP:.*]](%[[C]], %[[T0]]) writes [1]
// CHECK-NEXT: plan.launch @[[ADD:.*]](%[[C]], %[[T0]], %[[C]]) writes [2]
// CHECK-NEXT: }
func.func @in_place() {
  %x = moe.read @x : tensor<8x4xf32>
  %r, %s0, %s1 = moe.repeat %l of 3 carry(%c = %x : tensor<8x4xf32>) -> (tensor<3x8x4xf32>, tensor<3x8x4xf32>) {
    %h = moe.dispatch "row" (%a = %c) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      ^bb0(%s: f32):
        %t = math.exp %s : f32
        moe.yield %t : f32
      }
      moe.yield %e : tensor<8x4xf32>
    }
    %n = moe.dispatch "row" (%a = %c, %b = %h) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
      %e = moe.map(%a, %b) : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<8x4xf32> {
      ^bb0(%s: f32, %u: f32):
        %t = arith.addf %s, %u : f32
        moe.yield %t : f32
      }
      moe.yield %e : tensor<8x4xf32>
    }
    moe.yield %n, %h, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// The old value is read after the new one is made: the new one goes elsewhere and is copied at the end.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @old_read_later
// CHECK: %[[C:.*]] = plan.alloc {{"[^"]*"}}
// CHECK: plan.repeat 3 {
// CHECK: %[[N:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%[[C]], %[[N]]) writes [1]
// CHECK: plan.launch @{{.*}}(%[[C]], %{{.*}}) writes [1]
// CHECK-NEXT: plan.copy %[[C]], %[[N]]
func.func @old_read_later() {
  %x = moe.read @x : tensor<8x4xf32>
  %r = moe.repeat %l of 3 carry(%c = %x : tensor<8x4xf32>) {
    %n = moe.dispatch "row" (%a = %c) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      ^bb0(%s: f32):
        %t = math.exp %s : f32
        moe.yield %t : f32
      }
      moe.yield %e : tensor<8x4xf32>
    }
    moe.dispatch "row" (%a = %c) : (tensor<8x4xf32>) -> () {
      moe.accumulate @y, %a : tensor<8x4xf32>
      moe.yield
    }
    moe.yield %n : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> () {
    moe.write @x, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A product reads all of what is carried, so it cannot be made in its place.
moe.state @x batch : tensor<4x4xf32>
moe.state @w parameter : tensor<4x4xf32>
// CHECK-LABEL: plan.func @product
// CHECK: %[[C:.*]] = plan.alloc {{"[^"]*"}}
// CHECK: plan.repeat 3 {
// CHECK: %[[N:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%[[C]], %{{.*}}, %[[N]]) writes [2]
// CHECK-NEXT: plan.copy %[[C]], %[[N]]
func.func @product() {
  %x = moe.read @x : tensor<4x4xf32>
  %r = moe.repeat %l of 3 carry(%c = %x : tensor<4x4xf32>) {
    %n = moe.dispatch "matmul" (%a = %c) : (tensor<4x4xf32>) -> tensor<4x4xf32> {
      %w = moe.read @w : tensor<4x4xf32>
      %p = moe.matmul %a, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
      moe.yield %p : tensor<4x4xf32>
    }
    moe.yield %n : tensor<4x4xf32>
  }
  moe.dispatch "row" (%a = %r) : (tensor<4x4xf32>) -> () {
    moe.write @x, %a : tensor<4x4xf32>
    moe.yield
  }
  return
}

// -----

// Two carried values that change places go through temporaries.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @swap
// CHECK: %[[A:.*]] = plan.alloc {{"[^"]*"}}
// CHECK: %[[B:.*]] = plan.alloc {{"[^"]*"}}
// CHECK: plan.repeat 3 {
// CHECK: %[[T0:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.copy %[[T0]], %[[B]]
// CHECK-NEXT: %[[T1:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.copy %[[T1]], %[[A]]
// CHECK-NEXT: plan.copy %[[A]], %[[T0]]
// CHECK-NEXT: plan.copy %[[B]], %[[T1]]
// CHECK-NEXT: }
func.func @swap() {
  %x = moe.read @x : tensor<8x4xf32>
  %y = moe.read @y : tensor<8x4xf32>
  %r:2 = moe.repeat %l of 3 carry(%a = %x : tensor<8x4xf32>, %b = %y : tensor<8x4xf32>) {
    moe.yield %b, %a : tensor<8x4xf32>, tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r#0) : (tensor<8x4xf32>) -> () {
    moe.write @x, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A carried value that becomes zero is zeroed when nobody needs the old one any more.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @shift
// CHECK: %[[A:.*]] = plan.alloc {{"[^"]*"}}
// CHECK: %[[B:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.fill %[[B]]
// CHECK: plan.repeat 3 {
// CHECK: %[[T:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.copy %[[T]], %[[A]]
// CHECK-NEXT: plan.copy %[[B]], %[[T]]
// CHECK-NEXT: plan.fill %[[A]]
// CHECK-NEXT: }
func.func @shift() {
  %x = moe.read @x : tensor<8x4xf32>
  %zero = arith.constant dense<0.0> : tensor<8x4xf32>
  %r:2 = moe.repeat %l of 3 carry(%a = %x : tensor<8x4xf32>, %b = %zero : tensor<8x4xf32>) {
    moe.yield %zero, %a : tensor<8x4xf32>, tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r#1) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// Zeros written to states need no kernel; minus zero does.
moe.state @x batch : tensor<8x4xf32>
moe.state @n counter : tensor<1x4xi64> count 2
// CHECK-LABEL: plan.func @zeros
// CHECK-NEXT: %[[X:.*]] = plan.address @x
// CHECK-NEXT: plan.fill %[[X]] : !plan.buffer<128>
// CHECK-NEXT: %[[N:.*]] = plan.address @n
// CHECK-NEXT: plan.fill %[[N]] : !plan.buffer<64>
// CHECK: plan.launch
// CHECK-NOT: plan.launch
func.func @zeros() {
  moe.dispatch "row" () : () -> () {
    %zero = arith.constant dense<0.0> : tensor<8x4xf32>
    moe.write @x, %zero : tensor<8x4xf32>
    moe.yield
  }
  moe.dispatch "row" () : () -> () {
    %zero = arith.constant dense<0> : tensor<2x1x4xi64>
    moe.write @n, %zero : tensor<2x1x4xi64>
    moe.yield
  }
  moe.dispatch "row" () : () -> () {
    %zero = moe.map() : () -> tensor<8x4xf32> {
      %c = arith.constant -0.0 : f32
      moe.yield %c : f32
    }
    moe.write @x, %zero : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// The only reader of a value may carry it in its own place, unless that reader is inside another loop: it comes back for it.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @inits
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @[[EXP:.*]](%{{.*}}, %[[E]]) writes [1]
// CHECK-NEXT: plan.repeat 3 {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: %[[C:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.copy %[[C]], %[[E]]
// CHECK-NEXT: plan.repeat 2 {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: plan.launch @{{.*}}(%[[C]], %[[C]]) writes [1]
// CHECK: %[[F:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @[[EXP]](%{{.*}}, %[[F]]) writes [1]
// CHECK-NEXT: plan.repeat 2 reverse {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: plan.launch @{{.*}}(%[[F]], %[[F]]) writes [1]
func.func @inits() {
  %e = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  moe.repeat %l of 3 {
    %r = moe.repeat %m of 2 carry(%c = %e : tensor<8x4xf32>) {
      %n = moe.dispatch "row" (%a = %c) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
        %d = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
        ^bb0(%s: f32):
          %t = arith.addf %s, %s : f32
          moe.yield %t : f32
        }
        moe.yield %d : tensor<8x4xf32>
      }
      moe.yield %n : tensor<8x4xf32>
    }
    moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> () {
      moe.accumulate @y, %a : tensor<8x4xf32>
      moe.yield
    }
    moe.yield
  }
  %f = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e2 = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e2 : tensor<8x4xf32>
  }
  %r = moe.repeat reverse %m of 2 carry(%c = %f : tensor<8x4xf32>) {
    %n = moe.dispatch "row" (%a = %c) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      %d = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
      ^bb0(%s: f32):
        %t = arith.addf %s, %s : f32
        moe.yield %t : f32
      }
      moe.yield %d : tensor<8x4xf32>
    }
    moe.yield %n : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A result of a row kernel takes the memory of a value that nobody reads afterwards.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @last_use
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%{{.*}}, %[[E]]) writes [1]
// CHECK-NEXT: plan.launch @{{.*}}(%[[E]], %[[E]]) writes [1]
// CHECK-NOT: plan.alloc
func.func @last_use() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %d = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %d) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A value that is read once more keeps its memory; the reader after that takes it.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @used_again
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @[[EXP:.*]](%{{.*}}, %[[E]]) writes [1]
// CHECK-NEXT: %[[D:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @[[TWICE:.*]](%[[E]], %[[D]]) writes [1]
// CHECK-NEXT: plan.launch @[[TWICE]](%[[E]], %[[E]]) writes [1]
func.func @used_again() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %d = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %f = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %d) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  moe.dispatch "row" (%a = %f) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// One value's memory goes to one result.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @two_results
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch
// CHECK-NEXT: %[[N:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%[[E]], %[[E]], %[[N]]) writes [1, 2]
func.func @two_results() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %d:2 = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
    %f:2 = moe.map(%a) : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      %u = arith.mulf %s, %s : f32
      moe.yield %t, %u : f32, f32
    }
    moe.yield %f#0, %f#1 : tensor<8x4xf32>, tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %d#0) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  moe.dispatch "row" (%a = %d#1) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A sum over rows is begun before they are read: not in place.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @sum_over_rows
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch
// CHECK-NEXT: %[[S:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%[[E]], %[[S]]) writes [1]
func.func @sum_over_rows() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %d = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %e = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    %r = moe.col_reduce %e : tensor<8x4xf32> -> tensor<8x4xf32>
    moe.yield %r : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %d) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// Rows that are gathered may be stored before they are read: not in place.
moe.state @x batch : tensor<8x4xf32>
moe.state @rows batch : tensor<8x1xi32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @rows_from_elsewhere
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch
// CHECK: %[[G:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch @{{.*}}(%[[E]], %{{.*}}, %[[G]]) writes [2]
func.func @rows_from_elsewhere() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %g = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %i = moe.read @rows : tensor<8x1xi32>
    %h = moe.gather_rows %a, %i : tensor<8x4xf32>, tensor<8x1xi32> -> tensor<8x4xf32>
    moe.yield %h : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %g) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// So may a reader that the result does not depend on.
moe.state @x batch : tensor<8x4xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @reader_beside
// CHECK: %[[E:.*]] = plan.alloc {{"[^"]*"}}
// CHECK-NEXT: plan.launch
// CHECK: %[[N:.*]] = plan.alloc {{"[^"]*"}} : tensor<8x4xf32>
// CHECK: plan.launch @{{.*}}(%[[E]], %[[N]], %{{.*}}) writes [1, 2]
func.func @reader_beside() {
  %made = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %d, %r = moe.dispatch "row" (%a = %made) : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf32>) {
    %f = moe.map(%a) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = arith.addf %s, %s : f32
      moe.yield %t : f32
    }
    %m = moe.row_reduce max %a : tensor<8x4xf32> -> tensor<8x1xf32>
    moe.yield %f, %m : tensor<8x4xf32>, tensor<8x1xf32>
  }
  moe.dispatch "row" (%a = %d) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  moe.dispatch "row" (%a = %r) : (tensor<8x1xf32>) -> () {
    %w = moe.map(%a) : (tensor<8x1xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      moe.yield %s : f32
    }
    moe.accumulate @y, %w : tensor<8x4xf32>
    moe.yield
  }
  return
}

// -----

// A row op that reads an element other than the one it stores does not take over the memory of its own operand.
moe.state @x batch : tensor<8x4xf32>
moe.state @cos constant : tensor<4x2xf32>
moe.state @sin constant : tensor<4x2xf32>
moe.state @y output : tensor<8x4xf32>
// CHECK-LABEL: plan.func @own_operand
// CHECK: %[[A:.*]] = plan.alloc
// CHECK: plan.launch @{{.*}}(%{{.*}}, %[[A]])
// CHECK: %[[B:.*]] = plan.alloc
// CHECK: plan.launch @{{.*}}(%[[A]], {{.*}}, %[[B]]) writes
func.func @own_operand() {
  %r = moe.dispatch "row" () : () -> tensor<8x4xf32> {
    %x = moe.read @x : tensor<8x4xf32>
    %e = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    ^bb0(%s: f32):
      %t = math.exp %s : f32
      moe.yield %t : f32
    }
    moe.yield %e : tensor<8x4xf32>
  }
  %t = moe.dispatch "row" (%a = %r) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
    %c = moe.read @cos : tensor<4x2xf32>
    %s = moe.read @sin : tensor<4x2xf32>
    %o = moe.rope %a, %c, %s : tensor<8x4xf32>, tensor<4x2xf32>
    moe.yield %o : tensor<8x4xf32>
  }
  moe.dispatch "row" (%a = %t) : (tensor<8x4xf32>) -> () {
    moe.write @y, %a : tensor<8x4xf32>
    moe.yield
  }
  return
}
