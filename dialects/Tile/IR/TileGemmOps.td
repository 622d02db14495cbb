// Matrix products: what tiles there are, loads, products, the epilogue, stores.
#ifndef MOEC_DIALECTS_TILE_IR_TILEGEMMOPS_TD
#define MOEC_DIALECTS_TILE_IR_TILEGEMMOPS_TD

include "dialects/Tile/IR/TileBase.td"
include "dialects/Tile/IR/TileInterfaces.td"

defvar workOp = DeclareOpInterfaceMethods<Tile_WorkOpInterface, ["verifyWork"]>;
def Tile_Offsets : RankedTensorOf<[I32], [HasStaticShapePred]>;

//===--- Work -----------------------------------------------------------------------------------------------------===//

def Tile_DenseOp : Tile_Op<"dense", [workOp]> {
  let summary = "Work: all tiles of one product [rows, columns]";
  let description = [{
    If the schedule's `split` is more than 1, that many blocks share the depth of a tile. Partial sums go through
    scratch memory, and the block that finishes last adds them in order of depth.

    Constraint: (C1) a split schedule has at most 1024 counters: one for each consumer of each tile.
  }];
  let arguments = (ins I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns attr-dict";
}

def Tile_GroupedOp : Tile_Op<"grouped", [workOp]> {
  let summary = "Work: one product for each group e of rows offsets[e] .. offsets[e+1]";
  let description = [{
    offsets i32 [1, E+1] are multiples of 64; `rows` is the largest value that offsets[E] can have. Right operands are
    stacks: their maps have the group as third dimension. All rows of a group are computed; rows beyond offsets[E] are
    not written.
  }];
  let arguments = (ins Tile_Offsets:$offsets, I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns `by` $offsets attr-dict `:` type($offsets)";
}

def Tile_RaggedOp : Tile_Op<"ragged", [workOp]> {
  let summary = "Work: for each group e the product [rows, columns] whose depth is offsets[e] .. offsets[e+1]";
  let description = [{
    offsets are as for `tile.grouped`. Both operands are MN-major. Results are stacks [E, rows, columns]; a group
    without rows gives zeros. If the schedule's `split` is more than 1 and the groups are skewed, pieces of equal depth
    take the place of groups. Partial sums are added as in `tile.dense`.

    Constraint: (C1) a split schedule has at most 1024 counters: one for each consumer, piece and tile of a group.
  }];
  let arguments = (ins Tile_Offsets:$offsets, I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns `by` $offsets attr-dict `:` type($offsets)";
}

//===--- Mainloop -------------------------------------------------------------------------------------------------===//

def Tile_LoadOp : Tile_Op<"load", [Pure]> {
  let summary = "Streams the k-slices of an operand's tile to shared memory by TMA";
  let description = [{
    K-major slices take boxes of [k, rows], 128 bytes wide; MN-major slices take boxes of [64 rows, k]. Elements outside
    the map read as zero.

    Constraints: (C1) map and slices have the same element type; (C2) swizzle 128; (C3) the box is the tile's (K-major)
    or 64 wide (MN-major).
  }];
  let arguments = (ins Tile_MapType:$map);
  let results = (outs Tile_SlicesType:$result);
  let assemblyFormat = "$map attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_GatherOp : Tile_Op<"gather", [Pure]> {
  let summary = "Streams slices of gathered rows: row i of the operand is row rows[i] of `source`";
  let description = [{
    A negative rows[i] gives zeros. K-major slices gather the rows of the tile (grouped and dense work); MN-major slices
    gather the depth (ragged work). The producer's 128 threads copy 16 bytes each. With `slots` n the row is rows[i] /
    n: the numbers count n slots in each row of `source`.

    Constraints: (C1) source is [rows, columns] of the slices' element type, and its rows are whole multiples of 16
    bytes; (C2) a tile has 128 rows; (C3) slots is positive.
  }];
  let arguments = (ins RankedTensorOf<[AnyType]>:$source, RankedTensorOf<[I32]>:$rows,
                       DefaultValuedAttr<I64Attr, "1">:$slots);
  let results = (outs Tile_SlicesType:$result);
  let assemblyFormat = [{
    $source `rows` $rows (`slots` $slots^)? attr-dict `:` type($source) `,` type($rows) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Tile_MmaOp : Tile_Op<"mma", [Pure, AttrSizedOperandSegments]> {
  let summary = "The sum of products lhs[i] x rhs[i] over their depth, in f32";
  let description = [{
    `depth` is the number of elements of depth of each term. Terms are added one after the other into one accumulator. A
    kernel may have several products with the same left operands; their tiles lie side by side.

    Constraints: (C1) there are as many left operands as right operands and depths; (C2) the operands of a side have one
    element type and one majorness; (C3) the fragment is [left rows, right rows]; (C4) f8E4M3FN operands are K-major.
  }];
  let arguments = (ins Variadic<Tile_SlicesType>:$lhs, Variadic<Tile_SlicesType>:$rhs, DenseI64ArrayAttr:$depth);
  let results = (outs Tile_FragmentType:$result);
  let assemblyFormat = [{
    `(` $lhs `)` `by` `(` $rhs `)` `depth` $depth attr-dict `:` `(` type($lhs) `)` `,` `(` type($rhs) `)` `->`
    type($result)
  }];
  let hasVerifier = 1;
}

//===--- Epilogue -------------------------------------------------------------------------------------------------===//

def Tile_FetchOp : Tile_Op<"fetch", [Pure]> {
  let summary = "Loads the part of a matrix under the tile of results, through the stages of the mainloop";
  let description = [{
    Epilogues use it to read whole matrices. After the last slice of a tile the producer requests all fetched matrices,
    64 columns per stage, so they have arrived when the products end. A load by threads (`tile.operand`) would only
    start then, and would use half of each memory sector. Results in bf16 take the places of the fetched matrices, in
    the order of stores.

    Constraints: (C1) the map is of bf16 in boxes of 64 x the tile's rows with swizzle 128; (C2) the work is grouped, or
    dense and not split; (C3) a stage has room for 128 bytes of each row of all fetched tiles; (C4) the fragment has the
    shape of a product; (C5) results without such a place have two sets of buffers, so that one can be written while
    stores read the other.
  }];
  let arguments = (ins Tile_MapType:$map);
  let results = (outs Tile_FragmentType:$result);
  let assemblyFormat = "$map attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_EpilogueOp : Tile_Op<"epilogue", [Pure, SingleBlock, IsolatedFromAbove, AttrSizedOperandSegments]> {
  let summary = "Scalar f32 computation on every element of the products";
  let description = [{
    The region's arguments are one element of each fragment (a product's or a fetched one), then one element of each
    operand. An operand of [rows, columns] is read element by element; [1, columns], [rows, 1] and [1, 1] are broadcast;
    a stack counts as [E * rows, columns]; in grouped work [E, 1, columns] is one row for each group. math.exp and
    divisions become the fast instructions of the machine (2 ulp).

    Constraints: (C1) the region takes and yields f32, one for each operand and result; (C2) it holds only arith and
    math ops.
  }];
  let arguments = (ins Variadic<Tile_FragmentType>:$fragments, Variadic<AnyRankedTensor>:$elements);
  let results = (outs Variadic<Tile_FragmentType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $fragments `)` (`with` `(` $elements^ `:` type($elements) `)`)? attr-dict `:`
    functional-type($fragments, results) $body
  }];
  let hasVerifier = 1;
}

def Tile_YieldOp : Tile_Op<"yield", [Pure, Terminator, ParentOneOf<["EpilogueOp"]>]> {
  let summary = "The results of an epilogue for one element";
  let arguments = (ins Variadic<F32>:$values);
  let assemblyFormat = "$values attr-dict `:` type($values)";
}

def Tile_StoreOp : Tile_Op<"store", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "Stores a fragment through shared memory by TMA, or adds it to what is there";
  let description = [{
    With `accumulate` the L2 cache adds in the map's type: the fragment is rounded to it, and so is the sum. With
    `transposed` the rows of the fragment are columns in memory.

    Constraints: (C1) the map is of bf16 in boxes of 64 x 64, or of f32 in boxes of 32 columns x 64 rows, with swizzle
    128; (C2) the schedule has store buffers; with `transposed`: (C3) boxes are 64 x 64 of bf16 or 32 x 32 of f32; (C4)
    nothing is fetched.
  }];
  let arguments = (ins Tile_FragmentType:$value, Tile_MapType:$map, UnitAttr:$accumulate, UnitAttr:$transposed);
  let assemblyFormat = [{
    (`accumulate` $accumulate^)? (`transposed` $transposed^)? $value `,` $map attr-dict `:` type($value)
  }];
  let hasVerifier = 1;
}

def Tile_RowSumsOp : Tile_Op<"row_sums", [MemoryEffects<[MemWrite]>]> {
  let summary = "Stores the sums of every 64 columns of a fragment's rows";
  let description = [{
    A thread adds its 16 elements in the order of columns; then the sums of lanes that are 1 apart are added, then of
    those 2 apart.

    Constraints: (C1) `sums` is a matrix read through its pointer (`tile.operand`); (C2) it is f32 [rows, columns / 64],
    and the columns of the work are a multiple of 64; (C3) the work is not ragged.
  }];
  let arguments = (ins Tile_FragmentType:$value, RankedTensorOf<[F32]>:$sums);
  let assemblyFormat = "$value `,` $sums attr-dict `:` type($value) `,` type($sums)";
  let hasVerifier = 1;
}

#endif
