// RUN: moec-opt %s -moe-assign-remat=policy=none | FileCheck %s --check-prefix=NONE
// RUN: moec-opt %s -moe-assign-remat | FileCheck %s --check-prefix=SELECTIVE
// RUN: moec-opt %s -moe-assign-remat=policy=full | FileCheck %s --check-prefix=FULL

moe.state @w parameter : tensor<4x4xf32> count 3

// NONE-NOT: moe.remat

// SELECTIVE-LABEL: func @layers
// FULL-LABEL: func @layers
func.func @layers(%x0: tensor<8x4xf32>) {
  // Outside of repeats nothing is kept more than once.
  // SELECTIVE: moe.softmax %{{.*}} : tensor<8x4xf32>
  // FULL: moe.softmax %{{.*}} : tensor<8x4xf32>
  %s0 = moe.softmax %x0 : tensor<8x4xf32>
  %y = moe.repeat %l of 3 carry(%x = %s0 : tensor<8x4xf32>) {
    // SELECTIVE: moe.read @w[%{{.*}}] : tensor<4x4xf32>
    // FULL: moe.read @w[%{{.*}}] : tensor<4x4xf32>
    %w = moe.read @w[%l] : tensor<4x4xf32>
    // SELECTIVE: moe.matmul %{{.*}}, %{{.*}} : tensor
    // FULL: moe.matmul %{{.*}}, %{{.*}} {moe.remat} :
    %h = moe.matmul %x, %w : tensor<8x4xf32>, tensor<4x4xf32> -> tensor<8x4xf32>
    // SELECTIVE: moe.softmax %{{.*}} {moe.remat} :
    // FULL: moe.softmax %{{.*}} {moe.remat} :
    %p = moe.softmax %h : tensor<8x4xf32>
    // SELECTIVE: moe.top_k %{{.*}} : tensor
    // FULL: moe.top_k %{{.*}} : tensor
    %ids = moe.top_k %p : tensor<8x4xf32> -> tensor<8x2xi32>
    // SELECTIVE: moe.column_kth %{{.*}} n 2 : tensor
    // FULL: moe.column_kth %{{.*}} n 2 : tensor
    %kth = moe.column_kth %p n 2 : tensor<8x4xf32> -> tensor<1x4xf32>
    // SELECTIVE: moe.permute %{{.*}} experts 4 align 4 :
    // FULL: moe.permute %{{.*}} experts 4 align 4 :
    %off, %cnt, %rt, %rs, %sr = moe.permute %ids experts 4 align 4 : tensor<8x2xi32> -> tensor<1x5xi32>, tensor<1x4xi32>, tensor<28x1xi32>
    // SELECTIVE: moe.gather_rows {{.*}} {moe.remat} :
    // FULL: moe.gather_rows {{.*}} {moe.remat} :
    %g = moe.gather_rows %p, %rt : tensor<8x4xf32>, tensor<28x1xi32> -> tensor<28x4xf32>
    // SELECTIVE: moe.combine_rows %{{.*}}, %{{.*}} : tensor
    // FULL: moe.combine_rows %{{.*}}, %{{.*}} {moe.remat} :
    %c = moe.combine_rows %g, %sr : tensor<28x4xf32>, tensor<8x2xi32> -> tensor<8x4xf32>
    moe.yield %c : tensor<8x4xf32>
  }
  return
}

// What floats decide on is an integer, and is kept: a second comparison could round otherwise.
// SELECTIVE-LABEL: func.func @decision
// FULL-LABEL: func.func @decision
func.func @decision(%x: tensor<8x4xf32>, %t: tensor<1x4xf32>) -> tensor<8x4xf32> {
  %y = moe.repeat %l of 2 carry(%a = %x : tensor<8x4xf32>) {
    // SELECTIVE: moe.map(%{{.*}}, %{{.*}}) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xi32>
    // FULL: moe.map(%{{.*}}, %{{.*}}) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xi32>
    %ids = moe.map(%a, %t) : (tensor<8x4xf32>, tensor<1x4xf32>) -> tensor<8x4xi32> {
    ^bb0(%s: f32, %k: f32):
      %above = arith.cmpf ogt, %s, %k : f32
      %id = arith.extui %above : i1 to i32
      moe.yield %id : i32
    }
    // SELECTIVE: moe.map(%{{.*}}) {moe.remat} : (tensor<8x4xi32>)
    // FULL: moe.map(%{{.*}}) {moe.remat} : (tensor<8x4xi32>)
    %b = moe.map(%ids) : (tensor<8x4xi32>) -> tensor<8x4xf32> {
    ^bb0(%i: i32):
      %f = arith.sitofp %i : i32 to f32
      moe.yield %f : f32
    }
    moe.yield %b : tensor<8x4xf32>
  }
  return %y : tensor<8x4xf32>
}
