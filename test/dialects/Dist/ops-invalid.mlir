// RUN: moec-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{'dist.mesh' op has 2 axes and 1 sizes, expected as many, and at least one}}
dist.mesh @mesh ["data", "expert"] sizes [4]

// -----

// expected-error @+1 {{'dist.mesh' op has 0 axes and 0 sizes, expected as many, and at least one}}
dist.mesh @mesh [] sizes []

// -----

// expected-error @+1 {{'dist.mesh' op has axis "data" of size 0, expected at least 1}}
dist.mesh @mesh ["data"] sizes [0]

// -----

// expected-error @+1 {{'dist.mesh' op has two axes called "data"}}
dist.mesh @mesh ["data", "data"] sizes [2, 2]

// -----

// expected-error @+1 {{'dist.mesh' op deals out batches along "expert", expected one of ["data"]}}
dist.mesh @mesh ["data"] sizes [2] batches "expert"

// -----

// The syntax has no empty list; a pass that makes one is refused as well.
// expected-error @+2 {{expected attribute value}}
// expected-error @+1 {{failed to parse Dist_PartialAttr parameter 'axes'}}
moe.state @partial_c1 gradient : tensor<4xf32, #dist.partial<[]>>

// -----

// expected-error @+1 {{names axis "data" twice}}
moe.state @partial_c1 gradient : tensor<4xf32, #dist.partial<["data", "data"]>>

// -----

func.func @no_mesh() {
  // expected-error @+1 {{'dist.coordinate' op needs a dist.mesh @mesh in the module}}
  %c = dist.coordinate ["data"] : index
  return
}

// -----

// expected-note @+1 {{which has ["data"]}}
dist.mesh @mesh ["data"] sizes [2]
func.func @coordinate_c1() {
  // expected-error @+1 {{'dist.coordinate' op runs along ["expert"], expected axes of the mesh, each once}}
  %c = dist.coordinate ["expert"] : index
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @sum_of_whole(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.sum' op sums along ["data"] a value of type 'tensor<4x4xf32>', expected one that is partial along these axes}}
  %s = dist.sum %x along ["data"] : tensor<4x4xf32> -> tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data", "expert"] sizes [2, 2]
func.func @sum_c1(%x: tensor<4x4xf32, #dist.partial<["data", "expert"]>>) {
  // expected-error @+1 {{'dist.sum' op sums along ["data"] a value of type 'tensor<4x4xf32, #dist.partial<["data", "expert"]>>', expected one that is partial along these axes}}
  %s = dist.sum %x along ["data"] : tensor<4x4xf32, #dist.partial<["data", "expert"]>> -> tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @sum_c2(%x: tensor<4x4xf32, #dist.partial<["data"]>>) {
  // expected-error @+1 {{'dist.sum' op returns 'tensor<4x8xf32>', expected 'tensor<4x4xf32>'}}
  %s = dist.sum %x along ["data"] : tensor<4x4xf32, #dist.partial<["data"]>> -> tensor<4x8xf32>
  return
}

// -----

// expected-note @+1 {{which has ["expert"]}}
dist.mesh @mesh ["expert"] sizes [2]
func.func @sum_c3(%x: tensor<4x4xf32, #dist.partial<["data"]>>) {
  // expected-error @+1 {{'dist.sum' op runs along ["data"], expected axes of the mesh, each once}}
  %s = dist.sum %x along ["data"] : tensor<4x4xf32, #dist.partial<["data"]>> -> tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_c1(%x: tensor<6x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op has 3 results, expected one for each of 2 ranks, all of one type}}
  %s:3 = dist.all_to_all %x along ["data"] : tensor<6x4xf32> -> tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op has 2 results, expected one for each of 2 ranks, all of one type}}
  %s:2 = dist.all_to_all %x along ["data"] : tensor<4x4xf32> -> tensor<2x4xf32>, tensor<4x2xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_one_result(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op has a result of type 'tensor<2x4xf32>', expected 16 elements of 'f32': 1 times 'tensor<4x4xf32>'}}
  %s = dist.all_to_all %x along ["data"] : tensor<4x4xf32> -> tensor<2x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_c2(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op has an operand of type 'tensor<4x4xf32>', expected 32 elements of 'f32': 2 times 'tensor<4x4xf32>'}}
  %s:2 = dist.all_to_all %x along ["data"] : tensor<4x4xf32> -> tensor<4x4xf32>, tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_c2(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op has an operand of type 'tensor<4x4xf32>', expected 16 elements of 'f64'}}
  %s:2 = dist.all_to_all %x along ["data"] : tensor<4x4xf32> -> tensor<2x4xf64>, tensor<2x4xf64>
  return
}

// -----

// expected-note @+1 {{which has ["data"]}}
dist.mesh @mesh ["data"] sizes [2]
func.func @all_to_all_c3(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_to_all' op runs along [], expected axes of the mesh, each once}}
  %s:2 = dist.all_to_all %x along [] : tensor<4x4xf32> -> tensor<2x4xf32>, tensor<2x4xf32>
  return
}

// -----

// expected-note @+1 {{which has ["data"]}}
dist.mesh @mesh ["data"] sizes [2]
func.func @axis_twice(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_gather' op runs along ["data", "data"], expected axes of the mesh, each once}}
  %s = dist.all_gather %x along ["data", "data"] : tensor<4x4xf32> -> tensor<16x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [4]
func.func @all_gather_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_gather' op has 2 results, expected one, or one like the operand for each of 4 ranks}}
  %s:2 = dist.all_gather %x along ["data"] : tensor<4x4xf32> -> tensor<4x4xf32>, tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_gather_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_gather' op has 2 results, expected one, or one like the operand for each of 2 ranks}}
  %s:2 = dist.all_gather %x along ["data"] : tensor<4x4xf32> -> tensor<4x4xf32>, tensor<2x8xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @all_gather_c2(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_gather' op has a result of type 'tensor<4x4xf32>', expected 32 elements of 'f32': 2 times 'tensor<4x4xf32>'}}
  %s = dist.all_gather %x along ["data"] : tensor<4x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @all_gather_c3(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_gather' op needs a dist.mesh @mesh in the module}}
  %s = dist.all_gather %x along ["data"] : tensor<4x4xf32> -> tensor<8x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
moe.state @w output : tensor<4x4xf32>
func.func @gather_into_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.gather_into' op has a state of type 'tensor<1x4x4xf32>', expected 32 elements of 'f32': 2 times 'tensor<4x4xf32>'}}
  dist.gather_into @w, %x along ["data"] : tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @gather_into_nothing(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.gather_into' op refers to @w, which is not a state}}
  dist.gather_into @w, %x along ["data"] : tensor<4x4xf32>
  return
}

// -----

// expected-note @+1 {{which has ["data"]}}
dist.mesh @mesh ["data"] sizes [2]
moe.state @w output : tensor<8x4xf32>
func.func @gather_into_c2(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.gather_into' op runs along ["expert"], expected axes of the mesh, each once}}
  dist.gather_into @w, %x along ["expert"] : tensor<4x4xf32>
  return
}

// -----

// No op of moe takes a part for the whole.
moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
func.func @part_in_a_map() {
  %g = moe.read @grad.w : tensor<4x4xf32, #dist.partial<["data"]>>
  // expected-error @+1 {{'moe.map' op operand #0 must be variadic of}}
  %y = moe.map(%g) : (tensor<4x4xf32, #dist.partial<["data"]>>) -> tensor<4x4xf32> {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
func.func @part_in_a_product(%x: tensor<4x4xf32>) {
  %g = moe.read @grad.w : tensor<4x4xf32, #dist.partial<["data"]>>
  // expected-error @+1 {{'moe.matmul' op operand #1 must be}}
  %y = moe.matmul %x, %g : tensor<4x4xf32>, tensor<4x4xf32, #dist.partial<["data"]>> -> tensor<4x4xf32>
  return
}

// -----

moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
func.func @part_in_a_view() {
  %g = moe.read @grad.w : tensor<4x4xf32, #dist.partial<["data"]>>
  // expected-error @+1 {{'moe.reshape' op operand #0 must be}}
  %y = moe.reshape %g : tensor<4x4xf32, #dist.partial<["data"]>> -> tensor<2x8xf32>
  return
}

// -----

moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
moe.state @w output : tensor<4x4xf32>
func.func @part_stored() {
  %g = moe.read @grad.w : tensor<4x4xf32, #dist.partial<["data"]>>
  // expected-error @+1 {{'moe.write' op operand #0 must be whole tensor}}
  moe.write @w, %g : tensor<4x4xf32, #dist.partial<["data"]>>
  return
}

// -----

// expected-note @+1 {{state declared here}}
moe.state @grad.w gradient : tensor<4x4xf32, #dist.partial<["data"]>>
func.func @part_read_as_whole() {
  // expected-error @+1 {{'moe.read' op}}
  %g = moe.read @grad.w : tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @sum_part_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.sum_part' op sums along ["data"] a value of type 'tensor<4x4xf32>', expected one that is partial along these axes}}
  %s = dist.sum_part %x along ["data"] : tensor<4x4xf32> -> tensor<2x4xf32>
  return
}

// -----

dist.mesh @mesh ["data"] sizes [2]
func.func @sum_part_c2(%x: tensor<4x4xf32, #dist.partial<["data"]>>) {
  // expected-error @+1 {{expected 32 elements of 'f32': 2 times 'tensor<4x4xf32>'}}
  %s = dist.sum_part %x along ["data"] : tensor<4x4xf32, #dist.partial<["data"]>> -> tensor<4x4xf32>
  return
}

// -----

// expected-note @+1 {{which has ["data"]}}
dist.mesh @mesh ["data"] sizes [2]
func.func @all_sum_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.all_sum' op runs along ["expert"], expected axes of the mesh, each once}}
  %s = dist.all_sum %x along ["expert"] : tensor<4x4xf32>
  return
}

// -----

func.func @share_c1(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{'dist.share' op needs a dist.mesh @mesh in the module}}
  %s = dist.share %x along ["expert"] : tensor<4x4xf32>
  return
}

// -----

dist.mesh @mesh ["expert"] sizes [2]
func.func @exchange_rows_c1(%x: tensor<8x4xf32>, %s: tensor<1x6xi32>, %r: tensor<2x3xi32>) {
  // expected-error @+1 {{'dist.exchange_rows' op moves rows of 'tensor<8x4xf32>' into 'tensor<16x2xf32>', expected rows of one width and type}}
  %y = dist.exchange_rows %x sends %s receives %r along ["expert"] : tensor<8x4xf32>, tensor<1x6xi32>, tensor<2x3xi32> -> tensor<16x2xf32>
  return
}

// -----

dist.mesh @mesh ["expert"] sizes [4]
func.func @exchange_rows_c2(%x: tensor<8x4xf32>, %s: tensor<1x8xi32>, %r: tensor<2x3xi32>) {
  // expected-error @+1 {{'dist.exchange_rows' op has counts of type 'tensor<2x3xi32>', expected i32, as many for each of 4 ranks}}
  %y = dist.exchange_rows %x sends %s receives %r along ["expert"] : tensor<8x4xf32>, tensor<1x8xi32>, tensor<2x3xi32> -> tensor<16x4xf32>
  return
}

// -----

dist.mesh @mesh ["expert"] sizes [2]
func.func @exchange_rows_counts(%x: tensor<8x4xf32>, %s: tensor<1x8xi64>, %r: tensor<2x3xi32>) {
  // expected-error @+1 {{'dist.exchange_rows' op has counts of type 'tensor<1x8xi64>', expected i32, as many for each of 2 ranks}}
  %y = dist.exchange_rows %x sends %s receives %r along ["expert"] : tensor<8x4xf32>, tensor<1x8xi64>, tensor<2x3xi32> -> tensor<16x4xf32>
  return
}
