// One case for each rule of a verifier; the function names the op and the rule.
// RUN: moec-opt %s -split-input-file -verify-diagnostics

// state
// expected-error @+1 {{has type 'tensor<?x4xf32>', expected a tensor of static shape}}
moe.state @s metric : tensor<?x4xf32>

// -----

// state
// expected-error @+1 {{has element type 'index', expected a float or an integer}}
moe.state @s metric : tensor<1x4xindex>

// -----

// state
// expected-error @+1 {{has count 0, expected at least 1}}
moe.state @s metric : tensor<1x4xf32> count 0

// -----

// state
// expected-error @+1 {{has 1 numbers in layers, expected 2: first and step}}
moe.state @s metric : tensor<1x4xf32> count 2 layers [0]

// -----

// state
// expected-error @+1 {{has layers but no count}}
moe.state @s metric : tensor<1x4xf32> layers [0, 1]

// -----

// state
// expected-error @+1 {{is of kind metric, only a parameter names a gradient}}
moe.state @s metric : tensor<1x4xf32> gradient @g

// -----

// state
// expected-error @+1 {{names gradient @g, which is not a state}}
moe.state @s parameter : tensor<1x4xf32> gradient @g

// -----

// state C3
// expected-error @+1 {{is saved, and of kind gradient, expected parameter, optimizer, balance or counter}}
moe.state @s gradient : tensor<1x4xf32> saved

// -----

// state C3
// expected-error @+1 {{is saved, and of kind metric, expected parameter, optimizer, balance or counter}}
moe.state @s metric : tensor<1x4xf32> logged "s" saved

// -----

// state C4
// expected-error @+1 {{is of kind metric, expected `logged` with its key in the log}}
moe.state @s metric : tensor<1x4xf32>

// -----

// state C4
// expected-error @+1 {{is of kind counter, only a metric is logged}}
moe.state @s counter : tensor<1x4xf32> logged "s"

// -----

// state C5
// expected-error @+1 {{is of kind output, expected batch for the role batch_sources}}
moe.state @s output : tensor<4x1xi32> role batch_sources

// -----

// state C5
// expected-error @+1 {{is of kind counter, expected metric for the role expert_tokens}}
moe.state @s counter : tensor<1x8xi64> role expert_tokens

// -----

// state C5
// expected-error @+1 {{has element type 'i64', expected i32 for the role generate_position}}
moe.state @s batch : tensor<1x1xi64> role generate_position

// -----

// state C5
// expected-error @+1 {{has element type 'i32', expected a float for the role generate_logits}}
moe.state @s output : tensor<1x256xi32> role generate_logits

// -----

// state C5
// expected-error @+1 {{has element type 'f32', expected i64 for the role expert_tokens}}
moe.state @s metric : tensor<1x8xf32> logged "s" role expert_tokens

// -----

// state C5
// expected-error @+1 {{is the step counter, expected `saved`: a run that goes on starts from it}}
moe.state @s counter : tensor<1x1xi64> role step_counter

// -----

// state C6
// expected-error @+1 {{is named "", expected a name with one {} at most}}
moe.state @s parameter : tensor<1x4xf32> named ""

// -----

// state C6
// expected-error @+1 {{is named "layers.{}.{}", expected a name with one {} at most}}
moe.state @s parameter : tensor<1x4xf32> count 2 layers [0, 1] named "layers.{}.{}"

// -----

// state C6
// expected-error @+1 {{is named "layers.{}.w", expected `layers` that fill {}}}
moe.state @s parameter : tensor<1x4xf32> count 2 named "layers.{}.w"

// -----

// state C1
// expected-note @+1 {{gradient declared here}}
moe.state @g metric : tensor<1x4xf32> logged "g"
// expected-error @+1 {{names gradient @g of kind metric, expected kind gradient}}
moe.state @s parameter : tensor<1x4xf32> gradient @g

// -----

// state C1
// expected-note @+1 {{gradient declared here}}
moe.state @g gradient : tensor<1x5xf32>
// expected-error @+1 {{has type 'tensor<1x4xf32>', but its gradient @g has 'tensor<1x5xf32>'}}
moe.state @s parameter : tensor<1x4xf32> gradient @g

// -----

// state C1
// expected-note @+1 {{gradient declared here}}
moe.state @g gradient : tensor<1x4xf32> count 2
// expected-error @+1 {{has 1 copies, but its gradient @g has 2}}
moe.state @s parameter : tensor<1x4xf32> gradient @g

// -----

moe.state @w parameter : tensor<4x4xf32> count 3
func.func @access(%i: index) {
  // expected-error @+1 {{refers to @v, which is not a state}}
  %0 = moe.read @v : tensor<4x4xf32>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @w parameter : tensor<4x4xf32> count 3
func.func @access(%i: index) {
  // expected-error @+1 {{has type 'tensor<4x4xf32>', expected 'tensor<3x4x4xf32>' for state @w}}
  %0 = moe.read @w : tensor<4x4xf32>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @w parameter : tensor<4x4xf32> count 3
func.func @access(%i: index) {
  // expected-error @+1 {{has type 'tensor<3x4x4xf32>', expected 'tensor<4x4xf32>' for one copy of state @w}}
  %0 = moe.read @w[%i] : tensor<3x4x4xf32>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @w parameter : tensor<4x4xf32> count 3
func.func @access(%i: index, %v: tensor<4x5xf32>) {
  // expected-error @+1 {{has type 'tensor<4x5xf32>', expected 'tensor<4x4xf32>' for one copy of state @w}}
  moe.write @w[%i], %v : tensor<4x5xf32>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @w parameter : tensor<4x4xf32> count 3
func.func @access(%i: index, %v: tensor<4x4xf64>) {
  // expected-error @+1 {{has type 'tensor<4x4xf64>', expected 'tensor<4x4xf32>' for one copy of state @w}}
  moe.accumulate @w[%i], %v : tensor<4x4xf64>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @w parameter : tensor<4x4xf32>
func.func @access(%i: index) {
  // expected-error @+1 {{has an index, but state @w has no count}}
  %0 = moe.read @w[%i] : tensor<4x4xf32>
  return
}

// -----

func.func @loss(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{total is [8, 4], expected [1, 1]}}
  moe.loss %x scale 1.0 : tensor<8x4xf32>
  return
}

// -----

func.func @repeat_c1(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{carries value 0 as 'tensor<8x4xf32>', but its yielded value is 'tensor<8x1xf32>'}}
  %0 = moe.repeat %l of 3 carry(%a = %x : tensor<8x4xf32>) {
    %b = moe.row_reduce sum %a : tensor<8x4xf32> -> tensor<8x1xf32>
    moe.yield %b : tensor<8x1xf32>
  }
  return
}

// -----

func.func @repeat_c2_operand(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{stacked operand 0 is 'tensor<8x4xf32>', expected 3 slices}}
  moe.repeat %l of 3 stacked(%a = %x : tensor<8x4xf32>) {
    moe.yield
  }
  return
}

// -----

func.func @repeat_c2_result(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{stacked result 0 is 'tensor<3x8x5xf32>', but its slice is 'tensor<8x4xf32>'}}
  %0 = moe.repeat %l of 3 -> (tensor<3x8x5xf32>) {
    moe.yield %x : tensor<8x4xf32>
  }
  return
}

// -----

func.func @repeat_c3() {
  // expected-error @+1 {{has count 0, expected at least 1}}
  moe.repeat %l of 0 {
    moe.yield
  }
  return
}

// -----

func.func @repeat_yield(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{yields 0 values, expected 1}}
  %0 = moe.repeat %l of 3 carry(%a = %x : tensor<8x4xf32>) {
    moe.yield
  }
  return
}

// -----

func.func @dispatch_c1(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{operand 0 is 'tensor<8x4xf32>', but its block argument is 'tensor<8x1xf32>'}}
  "moe.dispatch"(%x) <{kind = "row"}> ({
  ^bb0(%a: tensor<8x1xf32>):
    "moe.yield"() : () -> ()
  }) : (tensor<8x4xf32>) -> ()
  return
}

// -----

func.func @dispatch_c2(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result 0 is 'tensor<8x1xf32>', but the body yields 'tensor<8x4xf32>'}}
  %0 = moe.dispatch "row" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x1xf32> {
    moe.yield %a : tensor<8x4xf32>
  }
  return
}

// -----

moe.state @w parameter : tensor<4x4xf32> count 3
func.func @dispatch_c3() {
  moe.dispatch "row" () : () -> () {
    %i = arith.constant 1 : index
    // expected-error @+1 {{has a computed index inside a dispatch, expected a block argument}}
    %0 = moe.read @w[%i] : tensor<4x4xf32>
    moe.yield
  }
  return
}

// -----

func.func @reshape_c1(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{makes 40 elements of 32}}
  %0 = moe.reshape %x : tensor<8x4xf32> -> tensor<8x5xf32>
  return
}

// -----

func.func @reshape_element(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is of 'f64', but input is of 'f32'}}
  %0 = moe.reshape %x : tensor<8x4xf32> -> tensor<4x8xf64>
  return
}

// -----

func.func @map_c1_rows(%x: tensor<3x4xf32>) {
  // expected-error @+1 {{operand 0 has 3 rows, which do not divide 8}}
  %0 = moe.map(%x) : (tensor<3x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

func.func @map_c1_columns(%x: tensor<8x2xf32>) {
  // expected-error @+1 {{operand 0 has 2 columns, expected 1 or 4}}
  %0 = moe.map(%x) : (tensor<8x2xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

func.func @map_c2(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{yields 'f32' as value 0, expected 'f64'}}
  %0 = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf64> {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

func.func @map_arguments(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{block argument 0 is 'f64', expected 'f32'}}
  %0 = moe.map(%x) : (tensor<8x4xf32>) -> tensor<8x4xf32> {
  ^bb0(%a: f64):
    %b = arith.truncf %a : f64 to f32
    moe.yield %b : f32
  }
  return
}

// -----

func.func @sigmoid(%x: i32) {
  // expected-error @+1 {{operand #0 must be floating-point or vector of floating-point values}}
  %0 = moe.sigmoid %x : i32
  return
}

// -----

func.func @map_c3() {
  %0 = moe.map() : () -> tensor<8x4xf32> {
    // expected-error @+1 {{is not allowed in a map, expected arith, math or moe.sigmoid on scalars}}
    %a = func.call @f() : () -> f32
    moe.yield %a : f32
  }
  return
}
func.func private @f() -> f32

// -----

func.func @row_reduce_parts(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{takes every 3 of 4 columns; expected a sum of a divisor of them}}
  %0 = moe.row_reduce sum %x every 3 : tensor<8x4xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @row_reduce(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is [8, 2], expected [8, 1]}}
  %0 = moe.row_reduce sum %x : tensor<8x4xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @rms_norm(%x: tensor<8x4xf32>, %s: tensor<1x3xf32>) {
  // expected-error @+1 {{scale is [1, 3], expected [1, 4]}}
  %0 = moe.rms_norm %x, %s {eps = 1.0 : f64} : tensor<8x4xf32>, tensor<1x3xf32>
  return
}

// -----

func.func @log_sum_exp(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is [4, 1], expected [8, 1]}}
  %0 = moe.log_sum_exp %x : tensor<8x4xf32> -> tensor<4x1xf32>
  return
}

// -----

func.func @top_k_c1(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{chooses 5 of 4 columns}}
  %0 = moe.top_k %x : tensor<8x4xf32> -> tensor<8x5xi32>
  return
}

// -----

func.func @take(%x: tensor<8x4xf32>, %i: tensor<7x2xi32>) {
  // expected-error @+1 {{ids is [7, 2], expected [8, 2]}}
  %0 = moe.take %x, %i : tensor<8x4xf32>, tensor<7x2xi32> -> tensor<7x2xf32>
  return
}

// -----

func.func @put(%x: tensor<8x4xf32>, %i: tensor<8x2xi32>) {
  // expected-error @+1 {{values is [8, 4], expected [8, 2]}}
  %0 = moe.put %x, %i : tensor<8x4xf32>, tensor<8x2xi32> -> tensor<8x6xf32>
  return
}

// -----

func.func @rope_c1(%x: tensor<8x4xf32>, %c: tensor<4x3xf32>) {
  // expected-error @+1 {{head size 6 does not divide columns 4}}
  %0 = moe.rope %x, %c, %c : tensor<8x4xf32>, tensor<4x3xf32>
  return
}

// -----

func.func @rope_c2(%x: tensor<8x4xf32>, %c: tensor<3x2xf32>) {
  // expected-error @+1 {{sequence length times heads 3 does not divide rows 8}}
  %0 = moe.rope %x, %c, %c : tensor<8x4xf32>, tensor<3x2xf32>
  return
}

// -----

func.func @gather_rows(%x: tensor<8x4xf32>, %r: tensor<6x1xi32>, %s: tensor<7x2xi32>) {
  // expected-error @+1 {{slot_row is [7, 2], expected [8, 2]}}
  %0 = moe.gather_rows %x, %r slot_row %s : tensor<7x2xi32> : tensor<8x4xf32>, tensor<6x1xi32> -> tensor<6x4xf32>
  return
}

// -----

func.func @combine_rows(%x: tensor<8x4xf32>, %s: tensor<3x2xi32>, %w: tensor<3x1xf32>) {
  // expected-error @+1 {{weights is [3, 1], expected [3, 2]}}
  %0 = moe.combine_rows %x, %s weights %w : tensor<3x1xf32> : tensor<8x4xf32>, tensor<3x2xi32> -> tensor<3x4xf32>
  return
}

// -----

func.func @spread_rows(%x: tensor<8x4xf32>, %s: tensor<6x1xi32>, %w: tensor<8x3xf32>) {
  // expected-error @+1 {{weights is [8, 3], expected [8, 2]}}
  %0 = moe.spread_rows %x, %s weights %w : tensor<8x3xf32> top_k 2 : tensor<8x4xf32>, tensor<6x1xi32> -> tensor<6x4xf32>
  return
}

// -----

func.func @dot_rows(%x: tensor<8x4xf32>, %r: tensor<6x5xf32>, %s: tensor<8x2xi32>) {
  // expected-error @+1 {{rows is [6, 5], expected [6, 4]}}
  %0 = moe.dot_rows %x, %r, %s : tensor<8x4xf32>, tensor<6x5xf32>, tensor<8x2xi32> -> tensor<8x2xf32>
  return
}

// -----

func.func @embed(%x: tensor<8x4xf32>, %i: tensor<6x2xi32>) {
  // expected-error @+1 {{ids is [6, 2], expected [6, 1]}}
  %0 = moe.embed %x, %i : tensor<8x4xf32>, tensor<6x2xi32> -> tensor<6x4xf32>
  return
}

// -----

func.func @embed_grad(%x: tensor<8x4xf32>, %i: tensor<8x1xi32>) {
  // expected-error @+1 {{result is [9, 5], expected [9, 4]}}
  %0 = moe.embed_grad %x, %i : tensor<8x4xf32>, tensor<8x1xi32> -> tensor<9x5xf32>
  return
}

// -----

func.func @col_reduce_c1(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{number of groups 3 does not divide rows 8}}
  %0 = moe.col_reduce %x : tensor<8x4xf32> -> tensor<3x4xf32>
  return
}

// -----

func.func @matmul_sum(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{sums over 4 elements of a, but 8 of b}}
  %0 = moe.matmul %x, %x : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<8x4xf32>
  return
}

// -----

func.func @matmul_result(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is [8, 4], expected [4, 4]}}
  %0 = moe.matmul ta %x, %x : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<8x4xf32>
  return
}

// -----

func.func @grouped_matmul_sum(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>) {
  // expected-error @+1 {{sums over 4 elements of a, but 6 of w}}
  %0 = moe.grouped_matmul tb %x, %w, %o, %c : tensor<8x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x4xf32>
  return
}

// -----

func.func @grouped_matmul_offsets(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>) {
  // expected-error @+1 {{offsets is [1, 3], expected [1, 4]}}
  %0 = moe.grouped_matmul %x, %w, %c, %c : tensor<8x4xf32>, tensor<3x4x6xf32>, tensor<1x3xi32>, tensor<1x3xi32> -> tensor<8x6xf32>
  return
}

// -----

func.func @grouped_matmul_scales(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>, %s: tensor<8x1xf32>) {
  // expected-error @+1 {{has 1 scales, expected one of rows and one of columns}}
  %0 = moe.grouped_matmul %x, %w, %o, %c scales %s : tensor<8x1xf32> : tensor<8x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x6xf32>
  return
}

// -----

func.func @grouped_matmul_row_scale(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>, %t: tensor<3x6xf32>) {
  // expected-error @+1 {{scale of rows is [3, 6], expected [8, 1]}}
  %0 = moe.grouped_matmul %x, %w, %o, %c scales %t, %t : tensor<3x6xf32>, tensor<3x6xf32> : tensor<8x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x6xf32>
  return
}

// -----

func.func @grouped_matmul_column_scale(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>, %s: tensor<8x1xf32>) {
  // expected-error @+1 {{scale of columns is [8, 1], expected [3, 6]}}
  %0 = moe.grouped_matmul %x, %w, %o, %c scales %s, %s : tensor<8x1xf32>, tensor<8x1xf32> : tensor<8x4xf32>, tensor<3x4x6xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<8x6xf32>
  return
}

// -----

func.func @quantize_rows_none() {
  // expected-error @+1 {{has 0 inputs and 0 values, expected at least one and as many}}
  %0 = moe.quantize_rows : () -> tensor<8x1xf32>
  return
}

// -----

func.func @quantize_rows_types(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{quantises 'tensor<8x4xf32>' together with 'tensor<8x5xf32>'}}
  %0, %1 = moe.quantize_rows %x : (tensor<8x4xf32>) -> (tensor<8x5xf32>, tensor<8x1xf32>)
  return
}

// -----

func.func @quantize_rows_rows(%x: tensor<8x4xf32>, %y: tensor<7x4xf32>) {
  // expected-error @+1 {{quantises 'tensor<8x4xf32>' together with 'tensor<7x4xf32>'}}
  %0:3 = moe.quantize_rows %x, %y : (tensor<8x4xf32>, tensor<7x4xf32>) -> (tensor<8x4xf32>, tensor<7x4xf32>, tensor<8x1xf32>)
  return
}

// -----

func.func @quantize_rows_element(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{scale is of 'f64', but input is of 'f32'}}
  %0, %1 = moe.quantize_rows %x : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf64>)
  return
}

// -----

func.func @quantize_rows_scale(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{scale is [8, 2], expected [8, 1]}}
  %0, %1 = moe.quantize_rows %x : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x2xf32>)
  return
}

// -----

func.func @quantize_columns_values(%w: tensor<3x4x6xf32>) {
  // expected-error @+1 {{values is [3, 4, 6], expected [3, 6, 4]}}
  %0, %1 = moe.quantize_columns %w : tensor<3x4x6xf32> -> tensor<3x4x6xf32>, tensor<3x6xf32>
  return
}

// -----

func.func @quantize_columns_scale(%w: tensor<3x4x6xf32>) {
  // expected-error @+1 {{scale is [3, 4], expected [3, 6]}}
  %0, %1 = moe.quantize_columns %w : tensor<3x4x6xf32> -> tensor<3x6x4xf32>, tensor<3x4xf32>
  return
}

// -----

func.func @quantize_columns_element(%w: tensor<3x4x6xf32>) {
  // expected-error @+1 {{scale is of 'f64', but input is of 'f32'}}
  %0, %1 = moe.quantize_columns %w : tensor<3x4x6xf32> -> tensor<3x6x4xf32>, tensor<3x6xf64>
  return
}

// -----

func.func @grouped_outer(%x: tensor<8x4xf32>, %w: tensor<3x4x6xf32>, %o: tensor<1x4xi32>, %c: tensor<1x3xi32>) {
  // expected-error @+1 {{result is [3, 4, 6], expected [3, 4, 4]}}
  %0 = moe.grouped_outer %x, %x, %o, %c : tensor<8x4xf32>, tensor<8x4xf32>, tensor<1x4xi32>, tensor<1x3xi32> -> tensor<3x4x6xf32>
  return
}

// -----

func.func @attention_heads(%x: tensor<8x4xf32>, %k: tensor<8x2xf32>) {
  // expected-error @+1 {{heads 3 does not divide columns of q 4}}
  %0, %1 = moe.attention %x, %k, %k heads 3 kv_heads 1 seq_len 4 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @attention_k(%x: tensor<8x4xf32>, %k: tensor<8x2xf32>) {
  // expected-error @+1 {{k is [8, 2], expected [8, 4]}}
  %0, %1 = moe.attention %x, %k, %k heads 2 kv_heads 2 seq_len 4 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @attention_window(%x: tensor<8x4xf32>, %k: tensor<8x2xf32>) {
  // expected-error @+1 {{'moe.attention' op has a window of 0; expected at least 1: a query sees its own position}}
  %0, %1 = moe.attention %x, %k, %k heads 2 kv_heads 1 seq_len 4 window 0 : tensor<8x4xf32>, tensor<8x2xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @attention_grad_window(%x: tensor<8x4xf32>, %k: tensor<8x2xf32>) {
  // expected-error @+1 {{'moe.attention_grad' op has a window of -3; expected at least 1: a query sees its own position}}
  %0, %1, %2 = moe.attention_grad %x, %k, %k, %x, %k, %x heads 2 kv_heads 1 seq_len 4 window -3 : tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x2xf32>
  return
}

// -----

func.func @permute_rows(%i: tensor<8x2xi32>) {
  // expected-error @+1 {{row_token is [24, 1], expected [28, 1]}}
  %0:5 = moe.permute %i experts 3 align 4 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<24x1xi32>
  return
}

// -----

func.func @permute_experts(%i: tensor<8x2xi32>) {
  // expected-error @+1 {{has 3 experts and align 0, expected at least 1 of each}}
  %0:5 = moe.permute %i experts 3 align 0 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<24x1xi32>
  return
}

// -----

func.func @permute_limit(%i: tensor<8x2xi32>) {
  // expected-error @+1 {{has limit 17, expected 1 to the number of slots 16}}
  %0:5 = moe.permute %i experts 3 align 4 limit 17 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<28x1xi32>
  return
}

// -----

func.func @permute_limited_rows(%i: tensor<8x2xi32>) {
  // expected-error @+1 {{row_token is [28, 1], expected [16, 1]}}
  %0:5 = moe.permute %i experts 3 align 4 limit 6 : tensor<8x2xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<28x1xi32>
  return
}

// -----

func.func @column_kth_groups(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{number of groups 3 does not divide rows 8}}
  %0 = moe.column_kth %x n 1 : tensor<8x4xf32> -> tensor<3x4xf32>
  return
}

// -----

func.func @column_kth_n(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{asks for entry 5 of groups of 4 rows, expected 1 to 4}}
  %0 = moe.column_kth %x n 5 : tensor<8x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @column_kth_none(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{asks for entry 0 of groups of 4 rows, expected 1 to 4}}
  %0 = moe.column_kth %x n 0 : tensor<8x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @column_kth_columns(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is [2, 3], expected [2, 4]}}
  %0 = moe.column_kth %x n 1 : tensor<8x4xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @column_kth_element(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{result is of 'f64', but input is of 'f32'}}
  %0 = moe.column_kth %x n 1 : tensor<8x4xf32> -> tensor<2x4xf64>
  return
}

// -----

func.func @column_kth_row(%x: tensor<8x4xf32>) {
  // expected-error @+1 {{row is [1, 4], expected [2, 4]}}
  %0, %1 = moe.column_kth %x n 1 : tensor<8x4xf32> -> tensor<2x4xf32>, tensor<1x4xi32>
  return
}

// -----

func.func @column_kth_rank(%x: tensor<8x4xf32>, %n: tensor<2x1xi64>) {
  // expected-error @+1 {{rank is [2, 1], expected [1, 1]}}
  %0 = moe.column_kth %x n 1 rank %n : tensor<8x4xf32>, tensor<2x1xi64> -> tensor<2x4xf32>
  return
}

// -----

func.func @sinkhorn_enabled(%x: tensor<8x4xf32>, %now: tensor<8x1xf32>) {
  // expected-error @+1 {{enabled is [8, 1], expected [1, 1]}}
  %0 = moe.sinkhorn %x if %now xi 0.5 max_iters 10 tol 0.0 : tensor<8x4xf32>, tensor<8x1xf32>
  return
}

// -----

func.func @sinkhorn_xi(%x: tensor<8x4xf32>, %now: tensor<1x1xf32>) {
  // expected-error @+1 {{has xi 0.000000e+00, tol 1.000000e-03 and max_iters 10, expected xi above 0, tol of at least 0 and max_iters of at least 1}}
  %0 = moe.sinkhorn %x if %now xi 0.0 max_iters 10 tol 1.0e-3 : tensor<8x4xf32>, tensor<1x1xf32>
  return
}

// -----

func.func @eigh_square(%x: tensor<2x6x4xf32>, %now: tensor<1x1xf32>) {
  // expected-error @+1 {{has matrices of 6 rows and 4 columns, expected square ones}}
  %0, %1 = moe.eigh %x previous %x if %now : tensor<2x6x4xf32>, tensor<1x1xf32> -> tensor<2x6xf32>
  return
}

// -----

func.func @eigh_values(%x: tensor<2x6x6xf32>, %now: tensor<1x1xf32>) {
  // expected-error @+1 {{values is [2, 4], expected [2, 6]}}
  %0, %1 = moe.eigh %x previous %x if %now : tensor<2x6x6xf32>, tensor<1x1xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @eigh_element(%x: tensor<2x6x6xf32>, %now: tensor<1x1xf32>) {
  // expected-error @+1 {{values is of 'f64', but input is of 'f32'}}
  %0, %1 = moe.eigh %x previous %x if %now : tensor<2x6x6xf32>, tensor<1x1xf32> -> tensor<2x6xf64>
  return
}

// -----

func.func @eigh_enabled(%x: tensor<2x6x6xf32>, %now: tensor<1x2xf32>) {
  // expected-error @+1 {{enabled is [1, 2], expected [1, 1]}}
  %0, %1 = moe.eigh %x previous %x if %now : tensor<2x6x6xf32>, tensor<1x2xf32> -> tensor<2x6xf32>
  return
}

// -----

func.func @qr_wide(%x: tensor<2x4x6xf32>, %now: tensor<1x1xf32>) {
  // expected-error @+1 {{has matrices of 4 rows and 6 columns, expected no more columns than rows}}
  %0 = moe.qr %x previous %x if %now : tensor<2x4x6xf32>, tensor<1x1xf32>
  return
}

// -----

func.func @qr_enabled(%x: tensor<2x6x4xf32>, %now: tensor<2x1xf32>) {
  // expected-error @+1 {{enabled is [2, 1], expected [1, 1]}}
  %0 = moe.qr %x previous %x if %now : tensor<2x6x4xf32>, tensor<2x1xf32>
  return
}

// -----

func.func @limit_capacity(%i: tensor<8x2xi32>, %w: tensor<8x1xf32>) {
  // expected-error @+1 {{weights is [8, 1], expected [8, 2]}}
  %0 = moe.limit_capacity position %i, %w experts 3 capacity 4 : tensor<8x2xi32>, tensor<8x1xf32>
  return
}

// -----

func.func @limit_capacity_none(%i: tensor<8x2xi32>, %w: tensor<8x2xf32>) {
  // expected-error @+1 {{has 3 experts and capacity 0, expected at least 1 of each}}
  %0 = moe.limit_capacity position %i, %w experts 3 capacity 0 : tensor<8x2xi32>, tensor<8x2xf32>
  return
}

// -----

func.func @limit_capacity_room(%i: tensor<8x2xi32>, %w: tensor<8x2xf32>, %n: tensor<1x3xi64>) {
  // expected-error @+1 {{room is [1, 3], expected [1, 1]}}
  %0 = moe.limit_capacity position %i, %w experts 3 capacity 4 room %n : tensor<8x2xi32>, tensor<8x2xf32>, tensor<1x3xi64>
  return
}

// -----

func.func @count_ids(%i: tensor<8x2xi32>) {
  // expected-error @+1 {{number of groups 3 does not divide rows 8}}
  %0 = moe.count_ids %i : tensor<8x2xi32> -> tensor<3x4xi64>
  return
}

// -----

func.func @slice_columns(%i: tensor<2x9xi32>) {
  // expected-error @+1 {{takes columns 2 to 9, but the input has 9}}
  %0 = moe.slice_columns %i first 2 : tensor<2x9xi32> -> tensor<2x8xi32>
  return
}
