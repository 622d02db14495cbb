#ifndef MOEC_DIALECTS_TILE_IR_TILEKERNELOPS_TD
#define MOEC_DIALECTS_TILE_IR_TILEKERNELOPS_TD

include "dialects/Tile/IR/TileBase.td"
include "dialects/Tile/IR/TileInterfaces.td"

//===--- Kernel and memory ----------------------------------------------------------------------------------------===//

def Tile_KernelOp : Tile_Op<"kernel", [Symbol, IsolatedFromAbove, NoTerminator, SingleBlock]> {
  let summary = "A kernel: the computation of one output tile, and the schedule of all tiles";
  let description = [{
    It has the GPU kernel ABI of docs/plan-format.md: `params` pointers, the scratch pointer, then one tensor map for
    each `tile.map` of its body, in order. The schedule is a separate attribute, so that the templates of attention
    share the op.

    Constraints: (C1) producer + consumers x consumer registers stay within 3 x 168, the registers that a block of 384
    threads starts with (with more the device hangs); (C2) the body has exactly one work op; (C3) shared memory <=
    232448 bytes; (C4) registers are multiples of 8 within 24..240; (C5) a schedule with lanes has grouped work, and
    nothing is gathered or fetched.
    ```mlir
    tile.kernel @gemm params 3 <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2> {
      %a = tile.map 0 : bf16 dims [2048, 4096] strides [4096] box [64, 128] swizzle 128
      %b = tile.map 1 : bf16 dims [2048, 4096] strides [4096] box [64, 256] swizzle 128
      %c = tile.map 2 : bf16 dims [4096, 4096] strides [8192] box [64, 64] swizzle 128
      tile.dense 4096 x 4096
      %x = tile.load %a : !tile.slices<128, 64, bf16, k>
      %y = tile.load %b : !tile.slices<256, 64, bf16, k>
      %p = tile.mma (%x) by (%y) depth [2048]
        : (!tile.slices<128, 64, bf16, k>), (!tile.slices<256, 64, bf16, k>) -> !tile.fragment<128, 256>
      tile.store %p, %c : !tile.fragment<128, 256>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$params, Tile_ScheduleAttr:$schedule);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `params` $params $schedule attr-dict-with-keyword $body";
  let hasRegionVerifier = 1; // after the ops inside have been found good
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    WorkOpInterface getWork();
    int64_t getSharedBytes() { return getWork().getSharedBytes(getSchedule()); }
  }];
}

def Tile_MapOp : Tile_Op<"map", [Pure]> {
  let summary = "A tensor map over a parameter; the plan's launch record holds the same";
  let description = [{
    The innermost dimension comes first. `strides` are in bytes, for all dimensions except the innermost.

    Constraints: (C1) there are 1 to 5 dimensions, one stride fewer, and as many sides of the box; (C2) strides are
    multiples of 16 bytes; (C3) a side of the box has 1..256 elements; (C4) the innermost side of the box fills the
    swizzle (128, 64 or 32 bytes; 0 is none); (C5) `param` is one of the kernel's.
  }];
  let arguments = (ins I64Attr:$param, TypeAttr:$element, DenseI64ArrayAttr:$dims, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$box, I64Attr:$swizzle, DefaultValuedAttr<I64Attr, "0">:$offset);
  let results = (outs Tile_MapType:$result);
  let assemblyFormat = [{
    $param `:` $element `dims` $dims `strides` $strides `box` $box `swizzle` $swizzle (`offset` $offset^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Tile_OperandOp : Tile_Op<"operand", [Pure]> {
  let summary = "A parameter that is read or written through its pointer";
  let description = "(C1) `param` is one of the kernel's.";
  let arguments = (ins I64Attr:$param);
  let results = (outs RankedTensorOf<[F32, BF16, F8E4M3FN, I32], [HasStaticShapePred]>:$result);
  let assemblyFormat = "$param attr-dict `:` type($result)";
  let hasVerifier = 1;
}

#endif
