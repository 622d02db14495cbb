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
    With a schedule whose `split` is more than 1, that many blocks share a tile's depth; partial sums go through scratch
    and are added in order of depth by the block that comes last.
  }];
  let arguments = (ins I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns attr-dict";
}

def Tile_GroupedOp : Tile_Op<"grouped", [workOp]> {
  let summary = "Work: one product for each group e of rows offsets[e] .. offsets[e+1]";
  let description = [{
    offsets i32 [1, E+1] are multiples of 64; `rows` is the most that offsets[E] can be. Right operands are stacks:
    their maps have the group as third dimension. Rows of a group are all computed, rows beyond offsets[E] are not
    written.
  }];
  let arguments = (ins Tile_Offsets:$offsets, I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns `by` $offsets attr-dict `:` type($offsets)";
}

def Tile_RaggedOp : Tile_Op<"ragged", [workOp]> {
  let summary = "Work: for each group e the product [rows, columns] whose depth is offsets[e] .. offsets[e+1]";
  let description = [{
    offsets as for `tile.grouped`. Both operands are MN-major. Results are stacks [E, rows, columns]; a group without
    rows gives zeros.
  }];
  let arguments = (ins Tile_Offsets:$offsets, I64Attr:$rows, I64Attr:$columns);
  let assemblyFormat = "$rows `x` $columns `by` $offsets attr-dict `:` type($offsets)";
}

//===--- Mainloop -------------------------------------------------------------------------------------------------===//

def Tile_LoadOp : Tile_Op<"load", [Pure]> {
  let summary = "Streams the k-slices of an operand's tile to shared memory by TMA";
  let description = [{
    K-major slices take boxes of [k, rows], 128 bytes wide, MN-major ones boxes of [64 rows, k]. What lies outside the
    map reads as zero.

    Constraints: (C1) the map's element is the slices'; (C2) swizzle 128; (C3) the box is the tile's (K-major) or 64
    wide (MN-major).
  }];
  let arguments = (ins Tile_MapType:$map);
  let results = (outs Tile_SlicesType:$result);
  let assemblyFormat = "$map attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_GatherOp : Tile_Op<"gather", [Pure]> {
  let summary = "Streams slices of gathered rows: row i of the operand is row rows[i] of `source`, or zeros where that "
    "is negative";
  let description = [{
    K-major: the rows of the tile are gathered (grouped and dense work). MN-major: the depth is (ragged work). The
    producer's 128 threads copy 16 bytes each. With `slots` n the row is rows[i] / n: numbers count n slots of each row
    of `source`. (C1) source is [rows, columns] of the slices' element with rows of whole 16 bytes; (C2) 128 rows a
    tile; (C3) slots is positive.
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
    `depth` counts elements of each term. Terms run one after the other into one accumulator. A kernel may have several
    products over the same left operands; their tiles stand side by side.

    Constraints: (C1) as many left as right operands as depths; (C2) one element type and one majorness a side; (C3) the
    fragment is [left rows, right rows]; (C4) f8E4M3FN operands are K-major.
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
  let summary = "The part of a matrix that lies where the tile of results lies, through the stages of the mainloop"
                " to registers";
  let description = [{
    For epilogues that read whole matrices. Behind the last slice of a tile the producer asks for 64 columns a stage, of
    all fetched matrices, so they are there when the products end; a load by threads (`tile.operand`) would start then,
    and take half of each sector of memory. Results in bf16 take the places of fetched matrices, in the order of stores.

    Constraints: (C1) the map is of bf16 in boxes of 64 x the tile's rows with swizzle 128; (C2) the work is dense and
    not split, or grouped; (C3) a stage has room for 128 bytes of each row of all fetched tiles; (C4) the fragment is a
    product's; (C5) results that are left over have two sets of buffers, so that one can be written while stores read
    the other.
  }];
  let arguments = (ins Tile_MapType:$map);
  let results = (outs Tile_FragmentType:$result);
  let assemblyFormat = "$map attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tile_EpilogueOp : Tile_Op<"epilogue", [Pure, SingleBlock, IsolatedFromAbove, AttrSizedOperandSegments]> {
  let summary = "Scalar f32 computation on every element of the products";
  let description = [{
    The region's arguments are the element of each fragment (a product's or a fetched one), then that of each operand:
    [rows, columns] element by element, [1, columns], [rows, 1] or [1, 1] broadcast (a stack counts as [E * rows,
    columns]); in grouped work [E, 1, columns] is one row for each group. math.exp and divisions take the fast
    instructions of the machine (2 ulp). (C1) the region takes and yields f32, one for each operand and result; (C2)
    only arith and math ops inside.
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
    (C1) the map is of bf16 in boxes of 64 x 64, or of f32 in boxes of 32 columns x 64 rows, with swizzle 128; (C2) the
    schedule has store buffers. With `accumulate` the cache adds, in the map's type: the fragment is rounded to it, and
    so is the sum. With `transposed` rows of the fragment are columns in memory: (C3) boxes then are 64 x 64 of bf16 or
    32 x 32 of f32; (C4) nothing is fetched.
  }];
  let arguments = (ins Tile_FragmentType:$value, Tile_MapType:$map, UnitAttr:$accumulate, UnitAttr:$transposed);
  let assemblyFormat = [{
    (`accumulate` $accumulate^)? (`transposed` $transposed^)? $value `,` $map attr-dict `:` type($value)
  }];
  let hasVerifier = 1;
}

def Tile_RowSumsOp : Tile_Op<"row_sums", [MemoryEffects<[MemWrite]>]> {
  let summary = "Stores the sums of each 64 columns of a fragment's rows";
  let description = [{
    A thread adds its 16 elements in the order of columns, then lanes 1 and 2 apart are added. (C1) `sums` is a matrix
    read through its pointer (`tile.operand`); (C2) it is f32 [rows, columns / 64], and columns of the work are a
    multiple of 64; (C3) the work is not ragged.
  }];
  let arguments = (ins Tile_FragmentType:$value, RankedTensorOf<[F32]>:$sums);
  let assemblyFormat = "$value `,` $sums attr-dict `:` type($value) `,` type($sums)";
  let hasVerifier = 1;
}

#endif
