#ifndef MOEC_DIALECTS_TILE_IR_TILEBASE_TD
#define MOEC_DIALECTS_TILE_IR_TILEBASE_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::moec::tile";
  let summary = "One tensor-core kernel of a GPU: what it loads, multiplies, computes and stores, and its schedule";
  let description = [{
    A `tile.kernel` says what one output tile is and how the tiles are walked; it holds no loops, barriers or thread
    numbers. `moec-tile-to-nvvm` expands it with one template: a persistent, warp-specialised pipeline
    (docs/dialects/Tile.md).

    ```
    moe.dispatch --choice of schedule--> tile.kernel --moec-tile-to-nvvm--> llvm.func over scf/arith/nvvm
    ```

    Types. `!tile.map` is a tensor map that the runtime encodes. `!tile.slices<r x k x type>` is the stream of k-slices
    of an operand's tile through shared memory, K-major or MN-major. `!tile.fragment<m x n>` is a tile of f32 in the
    registers of the consumers. Memory without a tensor map is a builtin tensor (`tile.operand`).
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

//===--- Attributes -----------------------------------------------------------------------------------------------===//

def Tile_ScheduleAttr : AttrDef<Tile_Dialect, "Schedule"> {
  let mnemonic = "schedule";
  let summary = "How a kernel's tiles are computed";
  let description = [{
    Output tiles are `m` x `n`, where n counts the columns of all accumulators together. A stage holds `k` elements of
    depth, and shared memory holds `stages` stages. The one producer warpgroup keeps `producer` registers per thread;
    each of the m / 64 consumer warpgroups takes `consumer`. `raster` is how many tiles of rows are walked for each
    column of tiles. `buffers` is the number of boxes of 8 KiB per consumer that stage the stores. `split` blocks share
    the depth of one tile of dense work. In ragged work the depth of all groups together is cut into `split` pieces of
    equal length, if the largest group is more than 1.25 times the average; a tile of a group has as many parts as there
    are pieces that reach into the group.

    `lanes` is for grouped work alone. With it, two consumers take tiles of m = 64 rows in turns, each a whole tile: one
    multiplies while the other stores. The rows of all groups are cut into this many lanes of equal length. A block goes
    down one column of tiles of a lane and keeps the slices of the right operand as long as the group stays the same;
    `stages` then are slices of the left operand.
  }];
  let parameters = (ins "int64_t":$m, "int64_t":$n, "int64_t":$k, "int64_t":$stages, "int64_t":$producer,
                        "int64_t":$consumer,
                        DefaultValuedParameter<"int64_t", "8">:$raster, DefaultValuedParameter<"int64_t", "0">:$buffers,
                        DefaultValuedParameter<"int64_t", "1">:$split,
                        DefaultValuedParameter<"int64_t", "0">:$lanes);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getConsumers() const { return getLanes() ? 2 : getM() / 64; }
    int64_t getThreads() const { return 128 * (1 + getConsumers()); }
  }];
}

def Tile_Major : I32EnumAttr<"Major", "which direction of an operand's tile is contiguous", [
    I32EnumAttrCase<"k", 0>, I32EnumAttrCase<"mn", 1>]> {
  let cppNamespace = "::moec::tile";
  let genSpecializedAttr = 0;
}
def Tile_MajorAttr : EnumAttr<Tile_Dialect, Tile_Major, "major"> { let assemblyFormat = "$value"; }

//===--- Types ----------------------------------------------------------------------------------------------------===//

def Tile_MapType : TypeDef<Tile_Dialect, "Map"> {
  let mnemonic = "map";
  let summary = "A tensor map: a matrix or a stack of matrices in memory, and the box that one copy moves";
}

def Tile_SlicesType : TypeDef<Tile_Dialect, "Slices"> {
  let mnemonic = "slices";
  let summary = "The k-slices of an operand's tile, one per stage: [rows, depth] elements each";
  let parameters = (ins "int64_t":$rows, "int64_t":$depth, "::mlir::Type":$element, EnumParameter<Tile_Major>:$major);
  let assemblyFormat = "`<` $rows `,` $depth `,` $element `,` $major `>`";
}

def Tile_FragmentType : TypeDef<Tile_Dialect, "Fragment"> {
  let mnemonic = "fragment";
  let summary = "A tile of f32 values spread over the registers of the consumers";
  let parameters = (ins "int64_t":$rows, "int64_t":$columns);
  let assemblyFormat = "`<` $rows `,` $columns `>`";
}

#endif
