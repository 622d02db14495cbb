// Causal softmax attention. Each op is the whole work of its kernel and has a template of its own.
#ifndef MOEC_DIALECTS_TILE_IR_TILEATTENTIONOPS_TD
#define MOEC_DIALECTS_TILE_IR_TILEATTENTIONOPS_TD

include "dialects/Tile/IR/TileBase.td"
include "dialects/Tile/IR/TileInterfaces.td"

def Tile_AttentionAttr : AttrDef<Tile_Dialect, "Attention"> {
  let mnemonic = "attention";
  let summary = "The shape of an attention, and the order of its tiles";
  let description = [{
    `heads` query heads read `kv_heads` key heads of `head_size` columns, in `sequences` sequences of `positions`
    positions. Tiles run section by section, each of `section` heads, and longest first within a section. A section
    counts heads of all sequences together: query heads, or key heads for the gradients of k and v. A query at position
    i sees the keys max(0, i - window + 1) .. i; with window 0, which is not written, it sees all keys up to its own.

    Constraints: (C1) kv_heads divides heads; (C2) section divides the number of heads that it counts, over all
    sequences (checked with the op); (C3) 0 <= window < positions.
  }];
  let parameters = (ins "int64_t":$sequences, "int64_t":$positions, "int64_t":$heads, "int64_t":$kvHeads,
                        "int64_t":$headSize, "int64_t":$section, OptionalParameter<"int64_t">:$window);
  let assemblyFormat = [{
    `<` $sequences `x` $positions `,` `heads` `=` $heads `,` `kv_heads` `=` $kvHeads `,` `head_size` `=` $headSize `,`
    `section` `=` $section
    (`,` `window` `=` $window^)? `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getGroup() const { return getHeads() / getKvHeads(); } // query heads of one key head
    int64_t getBlocks() const { return (getPositions() + 127) / 128; }
    int64_t getPaddedPositions() const { return getBlocks() * 128; }
    bool isWindowed() const { return getWindow() > 0; }
    /// The row statistics that the kernel of q's gradient leaves for those of k and v: -log2 e * lse, then rowsum(dO *
    /// O), f32 [sequences * heads, padded positions] each, at the start of the workspace.
    int64_t getStatisticsBytes() const { return 2 * getSequences() * getHeads() * getPaddedPositions() * 4; }
    /// After them, `tile.attention_grad` keeps a word for each block of 64 queries of the heads in flight, then f32
    /// sums of gradients, 64 x head_size each. Heads of two sections are in flight at once.
    int64_t getQueryBlocks() const { return (getPositions() + 63) / 64; }
    int64_t getHeadsInFlight() const { return std::min(getSequences() * getKvHeads(), 2 * getSection()) * getGroup(); }
    int64_t getTurns() const { return getHeadsInFlight() * getQueryBlocks(); }
    int64_t getTurnBytes() const { return (getTurns() * 4 + 255) / 256 * 256; }
    int64_t getSumBytes() const { return getTurns() * 64 * getHeadSize() * 4; }
  }];
}

class Tile_AttentionOp<string mnemonic>
    : Tile_Op<mnemonic, [DeclareOpInterfaceMethods<Tile_WorkOpInterface, ["verifyWork"]>]> {
  code constraints = [{
    Constraints: (C1) head_size is 64 or 128; (C2) maps are bf16 [head_size, positions, heads, sequences] with
    boxes of 64 columns, swizzle 128; (C3) the schedule's m is 128, its n is the number of rows in a block (see the op),
    its k the head size; (C4) accumulators and operands leave at least 8 of a consumer's registers for addresses.
  }];
}

def Tile_AttentionFwdOp : Tile_AttentionOp<"attention_fwd"> {
  let summary = "Work: softmax attention, one tile for each 128 query rows of a head";
  let description = [{
    Keys come in blocks of n = 128 rows, from the diagonal down to the first block that the window reaches. lse f32
    [sequences * positions, heads] is the log-sum-exp of the scaled scores. Scores never leave registers.
  }] # constraints;
  let arguments = (ins Tile_AttentionAttr:$shape, Tile_MapType:$q, Tile_MapType:$k, Tile_MapType:$v,
                       Tile_MapType:$result, Optional<RankedTensorOf<[F32]>>:$lse);
  let assemblyFormat = "$shape `(` $q `,` $k `,` $v `)` `->` $result (`,` $lse^ `:` type($lse))? attr-dict";
}

def Tile_AttentionDqOp : Tile_AttentionOp<"attention_dq"> {
  let summary = "Work: the gradient of attention with respect to q, and row statistics for those of k and v";
  let description = [{
    Blocks are as in `tile.attention_fwd`. `result` and `grad_rows` are the result and its gradient as rows: a tile
    begins by computing rowsum(dO * O) from them.
  }] # constraints;
  let arguments = (ins Tile_AttentionAttr:$shape, Tile_MapType:$q, Tile_MapType:$k, Tile_MapType:$v, Tile_MapType:$grad,
                       RankedTensorOf<[BF16]>:$result, RankedTensorOf<[BF16]>:$grad_rows, RankedTensorOf<[F32]>:$lse,
                       Tile_MapType:$dq);
  let assemblyFormat = [{
    $shape `(` $q `,` $k `,` $v `,` $grad `)` `rows` `(` $result `,` $grad_rows `,` $lse `)` `->` $dq attr-dict
    `:` type($result) `,` type($grad_rows) `,` type($lse)
  }];
}

def Tile_AttentionDkvOp : Tile_AttentionOp<"attention_dkv"> {
  let summary = "Work: the gradients of attention with respect to k and v, one tile for each 128 keys of a key head";
  let description = [{
    Queries come in blocks of n = 64 rows, over the query heads of the group, from the diagonal up to the last block
    that the window reaches. So every sum has one owner and one order. The row statistics are in the workspace, where
    `tile.attention_dq` left them. (C5) the schedule has 3 stages or more. With 2 stages, the second warpgroup would
    wait forever, because it skips the first block of a head while it holds a stage. The first warpgroup would wait
    forever in the same way at the end of a window.
  }] # constraints;
  let arguments = (ins Tile_AttentionAttr:$shape, Tile_MapType:$q, Tile_MapType:$k, Tile_MapType:$v,
                       Tile_MapType:$grad, Tile_MapType:$dk, Tile_MapType:$dv);
  let assemblyFormat = "$shape `(` $q `,` $k `,` $v `,` $grad `)` `->` $dk `,` $dv attr-dict";
}

def Tile_AttentionGradOp : Tile_AttentionOp<"attention_grad"> {
  let summary = "Work: the gradients of attention, one tile for each 128 keys of a key head";
  let description = [{
    Queries come in blocks of n = 64 rows, with all query heads of the group at each block. So the sums of k and v have
    one owner and one order. Parts of the gradient of q are added in the workspace, in the order of the tiles. The
    workspace must hold the row statistics, followed by words that are zero. A window is not supported.
  }] # constraints;
  let arguments = (ins Tile_AttentionAttr:$shape, Tile_MapType:$q, Tile_MapType:$k, Tile_MapType:$v, Tile_MapType:$grad,
                       Tile_MapType:$dq, Tile_MapType:$dk, Tile_MapType:$dv);
  let assemblyFormat = "$shape `(` $q `,` $k `,` $v `,` $grad `)` `->` $dq `,` $dk `,` $dv attr-dict";
}

#endif
