// RUN: moec-opt %s -split-input-file -verify-diagnostics -moe-form-dispatches

// An op whose facts name no kernel is refused; nothing is taken for a row op.

func.func @expanded(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  // expected-error @+1 {{'moe.softmax' op internal: has no kernel template, expected an op whose facts name one; moe-decompose replaces it}}
  %y = moe.softmax %x : tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}

// -----

func.func @loss(%x: tensor<1x1xf32>) {
  // expected-error @+1 {{'moe.loss' op internal: has no kernel template, expected an op whose facts name one}}
  moe.loss %x scale 1.0 : tensor<1x1xf32>
  return
}

// -----

func.func @foreign(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  // expected-error @+1 {{'arith.addf' op internal: has no kernel template, expected an op whose facts name one}}
  %y = arith.addf %x, %x : tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}

// -----

func.func @in_a_repeat(%x0: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %y = moe.repeat %l of 3 carry(%x = %x0 : tensor<8x4xf32>) {
    // expected-error @+1 {{'moe.softmax' op internal: has no kernel template}}
    %p = moe.softmax %x : tensor<8x4xf32>
    moe.yield %p : tensor<8x4xf32>
  }
  return %y : tensor<8x4xf32>
}

// -----

moe.state @table constant : tensor<2x1xi64>
func.func @several_numbers() {
  // expected-error @+1 {{'arith.constant' op internal: holds several numbers, which no kernel can store; expected a map of the position}}
  %t = arith.constant dense<[[0], [4]]> : tensor<2x1xi64>
  moe.write @table, %t : tensor<2x1xi64>
  return
}
