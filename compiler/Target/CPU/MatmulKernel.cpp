// Template of dispatches around matrix products: products with results of one shape, then maps, then stores.
//
//   product   A [M, K] (or its transpose, or gathered rows) x B [K, N] (or its transpose) -> [M, N]
//   grouped   rows offsets[e] .. offsets[e+1] of A x w[e]; M counts the rows of all experts
//   outer     A_e^T B_e for every expert e: M = columns of A, K = rows of the expert; the result is [E, M, N]
//
//   workgroup = (expert, chunk of rows, panel of columns), panels fastest: a chunk of A stays in the second-level cache
//     pack the panel of B of each product                                     [K, NR] in scratch
//     for each tile of MR rows:  accumulators = A tile * panel -> C tile      [MR, NR] in scratch
//                                for each row of the C tile: maps, stores     (the epilogue)
//   or, when K is long or counted at run time ("blocked"):
//     C chunk = 0
//     for each product, for each block of K: pack the block; for each tile: C tile += A tile * block
//     the epilogue
//
// If parts of rows are added up (moe.row_reduce every n), a workgroup has as many panels as whole parts need, side by
// side in the C tile. The epilogue leaves the terms in scratch. A part is then added up like a row: vectors onto
// vectors, then lanes, then the elements that do not fill a vector. The order does not depend on the threads.
//
// The C tile passes through scratch, so that the code of the epilogue is for one row, not for MR rows, and any number
// of rows is possible. Prefetching the next panel and the lines of C between tiles gave 0-3 %, within the noise of a
// busy machine, so it is not done.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/CPU/MicroTile.h"
#include "compiler/Target/Kernel/ProductBody.h"
#include <numeric>

using namespace mlir;

namespace moec::cpu {

namespace {

// A packed block of B should leave room for the A tile in a first-level cache of 32-48 KiB, or at worst stream from the
// second level.
constexpr int64_t kPanelBytes = 64 * 1024;
constexpr int64_t kChunkRows = 256;
constexpr int64_t kChunkBytes = 512 * 1024; // of A: half of a second-level cache
constexpr int64_t kLeastChunkRows = 64;     // below it, packing B would cost some 5 %
constexpr int64_t kWantedGrid = 16;

using kernel::Factor;
using kernel::Grouping;
using kernel::Product;

class MatmulEmitter : kernel::ProductBody {
public:
  MatmulEmitter(moe::DispatchOp dispatch, const CpuTarget &target) : ProductBody(dispatch), target(target) {}

  using ProductBody::analyse;
  KernelInfo emit(ModuleOp kernels, StringRef symbol);

private:
  void chooseBlocks();
  /// Visits the panels of the workgroup's block with their first column in the block; meanwhile `column` and `valid`
  /// are those of the panel.
  void forPanels(llvm::function_ref<void(Value first)> visit);

  Value rowPointer(const Factor &factor, Value row, Value group);
  void pack(const Product &product, Value first, Value count, Value panel);
  SmallVector<Value> multiply(const Product &product, ValueRange accumulators, Value row, Value first, Value count,
                              Value panel);
  void emitDirect(Value rowBegin, Value rowEnd);
  void emitBlocked(Value rowBegin, Value rowEnd);
  void emitEpilogue(Value row, ArrayRef<Value> rowsOfTiles);
  void emitVector(Value row, ArrayRef<Value> rowsOfTiles, Value inBlock, int64_t vector);
  void emitRowSums(Value row);
  Value mapOperand(Value operand, int64_t mapRows, Value row, Value column, int64_t vector);
  Value tileEnd(Value row);

  const CpuTarget &target;

  bool blocked = false;
  int64_t depthBlock = 0, chunkRows = 0, chunks = 1;
  int64_t blockColumns = 0, blocks = 1; // a workgroup's columns: a panel, or several if parts of rows are summed

  KernelBuilder *kb = nullptr;
  const MicroTile *tile = nullptr;
  Value expert, groupBegin;
  Value groupCount;    // of sums along the rows of a group
  Value rowLimit;      // the workgroup may not read or write rows from here on; null: tiles never reach it
  Value column, valid; // first column of the block or panel; columns that exist from there on, null: all always
  Value zeroRow;
  SmallVector<Value> panelOf, tileOf; // scratch, by product
  SmallVector<Value> summedRows;      // scratch, by row sum: the terms, for a block's columns
};

void MatmulEmitter::chooseBlocks() {
  blockColumns = tile->columns();
  for (const kernel::RowSums &sums : rowSums)
    blockColumns = std::lcm(blockColumns, sums.every);
  blockColumns = std::min<int64_t>(blockColumns, llvm::alignTo(columns, tile->columns()));
  blocks = llvm::divideCeil(columns, blockColumns);
  depthBlock = kPanelBytes / (tile->columns() * tile->elementBytes());
  int64_t most = kChunkRows;
  for (const Product &product : products) {
    blocked |= grouping == Grouping::Depth || product.depth > depthBlock;
    if (!product.ta)
      most = std::min(most, kChunkBytes / (product.depth * tile->elementBytes()));
  }
  most = llvm::alignTo(std::max(most, kLeastChunkRows), tile->rows());
  if (grouping == Grouping::Rows) {
    chunkRows = most; // of C; a workgroup goes through all rows of its expert
    return;
  }
  int64_t wanted = llvm::divideCeil(kWantedGrid, blocks * experts);
  chunkRows = std::clamp<int64_t>(llvm::divideCeil(rows, wanted), kLeastChunkRows, most);
  chunks = llvm::divideCeil(rows, chunkRows);
  chunkRows = llvm::alignTo(llvm::divideCeil(rows, chunks), tile->rows());
  chunks = llvm::divideCeil(rows, chunkRows);
}

void MatmulEmitter::forPanels(llvm::function_ref<void(Value first)> visit) {
  if (blockColumns == tile->columns())
    return visit(kb->i64(0));
  Value blockColumn = column, blockValid = valid;
  Value end = blockValid ? kb->min(blockValid, kb->i64(blockColumns)) : kb->i64(blockColumns);
  kb->loop(kb->i64(0), end, tile->columns(), [&](Value first) {
    column = kb->add(blockColumn, first);
    valid = blockValid ? kb->sub(blockValid, first) : Value();
    visit(first);
  });
  column = blockColumn;
  valid = blockValid;
}

//===--- Mainloop -------------------------------------------------------------------------------------------------===//

// Row `row` of a factor; `base` (may be null) points to the factor within its parameter.
Value MatmulEmitter::rowPointer(const Factor &factor, Value row, Value base) {
  Value start = base ? base : kb->param(factor.param);
  if (!factor.rowMap)
    return kb->at(start, kb->mul(row, kb->i64(factor.columns)), element);
  Value mapped = kb->toI64(kb->load(kb->b.getI32Type(), kb->param(*factor.rowMap), row));
  Value number = kb->max(mapped, kb->i64(0));
  if (factor.slots > 1)
    number = kb->div(number, kb->i64(factor.slots));
  Value pointer = kb->at(start, kb->mul(number, kb->i64(factor.columns)), element);
  // Row number -1 stands for a row of zeros. Only padding has it, so loops along the rows of a group, which end before
  // its padding, never meet it.
  if (grouping != Grouping::Depth)
    pointer = kb->select(kb->less(mapped, kb->i64(0)), zeroRow, pointer);
  return pointer;
}

void MatmulEmitter::pack(const Product &product, Value first, Value count, Value panel) {
  const Factor &b = product.b;
  Value base = kb->param(b.param);
  if (grouping == Grouping::Rows)
    base = kb->at(base, kb->mul(expert, kb->i64(b.rows * b.columns)), element);
  if (product.tb) {
    Value source = kb->at(base, kb->add(kb->mul(column, kb->i64(b.columns)), first), element);
    tile->packColumns(panel, count, source, b.columns, valid);
    return;
  }
  Value rowBegin = grouping == Grouping::Depth ? kb->add(groupBegin, first) : first;
  tile->packRows(
      panel, count, [&](Value k) { return kb->at(rowPointer(b, kb->add(rowBegin, k), base), column, element); }, valid);
}

SmallVector<Value> MatmulEmitter::multiply(const Product &product, ValueRange accumulators, Value row, Value first,
                                           Value count, Value panel) {
  const Factor &a = product.a;
  SmallVector<Value> index;
  for (int64_t r = 0; r < tile->rows(); ++r) {
    Value i = kb->add(row, kb->i64(r));
    index.push_back(rowLimit ? kb->min(i, kb->sub(rowLimit, kb->i64(1))) : i);
  }
  if (product.ta) {
    Value rowBegin = grouping == Grouping::Depth ? kb->add(groupBegin, first) : first;
    return tile->multiply(
        accumulators, count,
        [&](Value k) {
          Value from = rowPointer(a, kb->add(rowBegin, k), Value());
          SmallVector<Value> pointers;
          for (Value i : index)
            pointers.push_back(kb->at(from, i, element));
          return pointers;
        },
        panel);
  }
  SmallVector<Value> starts;
  for (Value i : index)
    starts.push_back(kb->at(rowPointer(a, i, Value()), first, element));
  return tile->multiply(
      accumulators, count,
      [&](Value k) {
        SmallVector<Value> pointers;
        for (Value start : starts)
          pointers.push_back(kb->at(start, k, element));
        return pointers;
      },
      panel);
}

Value MatmulEmitter::tileEnd(Value row) {
  Value end = kb->add(row, kb->i64(tile->rows()));
  return rowLimit ? kb->min(end, rowLimit) : end;
}

void MatmulEmitter::emitDirect(Value rowBegin, Value rowEnd) {
  auto panelAt = [&](size_t p, Value first) {
    return kb->at(panelOf[p], kb->mul(first, kb->i64(products[p].depth)), element);
  };
  forPanels([&](Value first) {
    for (auto [p, product] : llvm::enumerate(products))
      pack(product, kb->i64(0), kb->i64(product.depth), panelAt(p, first));
  });
  kb->loop(rowBegin, rowEnd, tile->rows(), [&](Value row) {
    forPanels([&](Value first) {
      for (auto [p, product] : llvm::enumerate(products))
        tile->store(multiply(product, tile->zeros(), row, kb->i64(0), kb->i64(product.depth), panelAt(p, first)),
                    kb->at(tileOf[p], first, element), blockColumns);
    });
    kb->loop(row, tileEnd(row), 1, [&](Value r) {
      SmallVector<Value> rowsOfTiles;
      for (Value start : tileOf)
        rowsOfTiles.push_back(kb->at(start, kb->mul(kb->sub(r, row), kb->i64(blockColumns)), element));
      emitEpilogue(r, rowsOfTiles);
    });
  });
}

void MatmulEmitter::emitBlocked(Value rowBegin, Value rowEnd) {
  for (auto [p, product] : llvm::enumerate(products)) {
    kb->fillZero(tileOf[p], element, chunkRows * blockColumns);
    bool known = grouping != Grouping::Depth;
    Value depth = known ? kb->i64(product.depth) : groupCount;
    forPanels([&](Value firstColumn) {
      Value tiles = kb->at(tileOf[p], firstColumn, element);
      kb->loop(kb->i64(0), depth, depthBlock, [&](Value first) {
        Value count = kb->i64(std::min(depthBlock, product.depth));
        if (!known || (product.depth > depthBlock && product.depth % depthBlock != 0))
          count = kb->min(kb->i64(depthBlock), kb->sub(depth, first));
        pack(product, first, count, panelOf[p]);
        kb->loop(rowBegin, rowEnd, tile->rows(), [&](Value row) {
          Value c = kb->at(tiles, kb->mul(kb->sub(row, rowBegin), kb->i64(blockColumns)), element);
          tile->store(multiply(product, tile->load(c, blockColumns), row, first, count, panelOf[p]), c, blockColumns);
        });
      });
    });
  }
  kb->loop(rowBegin, rowEnd, tile->rows(), [&](Value row) {
    kb->loop(row, tileEnd(row), 1, [&](Value r) {
      SmallVector<Value> rowsOfTiles;
      for (Value start : tileOf)
        rowsOfTiles.push_back(kb->at(start, kb->mul(kb->sub(r, rowBegin), kb->i64(blockColumns)), element));
      emitEpilogue(r, rowsOfTiles);
    });
  });
}

//===--- Epilogue -------------------------------------------------------------------------------------------------===//

// An operand of a map that lies in memory, for the vector that starts at `column`. Shapes broadcast as moe.map says.
Value MatmulEmitter::mapOperand(Value operand, int64_t mapRows, Value row, Value column, int64_t vector) {
  auto type = cast<RankedTensorType>(operand.getType());
  int64_t operandRows = type.getDimSize(0), operandColumns = type.getDimSize(1), lanes = tile->lanes();
  Type scalar = type.getElementType();
  Value pointer = kb->param(*body.paramOf(operand));
  Value operandRow = operandRows == 1 ? kb->i64(0) : kb->div(row, kb->i64(mapRows / operandRows));
  if (operandColumns == 1 && columns != 1)
    return kb->splat(kb->load(scalar, pointer, operandRow), lanes);
  Value offset = kb->add(kb->mul(operandRow, kb->i64(operandColumns)), column);
  if (valid)
    return kb->loadPart(scalar, pointer, offset, lanes, kb->sub(valid, kb->i64(vector * lanes)));
  return kb->load(scalar, pointer, offset, lanes);
}

void MatmulEmitter::emitEpilogue(Value row, ArrayRef<Value> rowsOfTiles) {
  if (grouping == Grouping::Depth)
    row = kb->add(kb->mul(expert, kb->i64(rows)), row);
  forPanels([&](Value first) {
    for (int64_t v = 0; v < tile->vectors(); ++v)
      emitVector(row, rowsOfTiles, kb->add(first, kb->i64(v * tile->lanes())), v);
  });
  emitRowSums(row);
}

/// Vector `vector` of a panel, which is at `inBlock` of the block.
void MatmulEmitter::emitVector(Value row, ArrayRef<Value> rowsOfTiles, Value inBlock, int64_t vector) {
  int64_t lanes = tile->lanes(), mapRows = resultRows();
  Value first = kb->i64(vector * lanes);
  Value at = kb->add(column, first);
  Value count = valid ? kb->sub(valid, first) : Value();
  llvm::SmallDenseMap<Value, Value> computed;
  for (auto [p, product] : llvm::enumerate(products))
    computed[product.value] =
        scaled(*kb, product, kb->load(element, rowsOfTiles[p], inBlock, lanes), expert, row, at, count);
  for (moe::MapOp map : maps) {
    SmallVector<Value> results = emitMap(*kb, map, lanes, row, at, [&](unsigned i) {
      Value operand = map.getInputs()[i];
      if (Value value = computed.lookup(DispatchBody::stripViews(operand)))
        return value;
      return mapOperand(operand, mapRows, row, at, vector);
    });
    for (auto [result, value] : llvm::zip(map.getResults(), results))
      computed[result] = value;
  }
  Value offset = kb->add(kb->mul(row, kb->i64(columns)), at);
  for (const DispatchBody::Sink &sink : sinks) {
    Value value = computed.lookup(sink.value), pointer = kb->param(sink.param);
    Type scalar = KernelBuilder::elementOf(value.getType());
    if (sink.accumulates) {
      Value old =
          count ? kb->loadPart(scalar, pointer, offset, lanes, count) : kb->load(scalar, pointer, offset, lanes);
      value = isa<FloatType>(scalar) ? kb->fadd(old, value) : kb->add(old, value);
    }
    if (count)
      kb->storePart(value, pointer, offset, count);
    else
      kb->store(value, pointer, offset);
  }
  for (auto [sums, summedRow] : llvm::zip_equal(rowSums, summedRows))
    kb->store(computed.lookup(sums.of), summedRow, inBlock);
}

void MatmulEmitter::emitRowSums(Value row) {
  for (auto [sums, summedRow] : llvm::zip_equal(rowSums, summedRows)) {
    Type type = cast<RankedTensorType>(sums.of.getType()).getElementType();
    Value every = kb->i64(sums.every), pointer = kb->param(sums.param), start = summedRow;
    Value end = valid ? kb->min(valid, kb->i64(blockColumns)) : kb->i64(blockColumns);
    Value first = kb->add(kb->mul(row, kb->i64(columns / sums.every)), kb->div(column, every));
    auto join = [&](Value a, Value b) { return isa<FloatType>(type) ? kb->fadd(a, b) : kb->add(a, b); };
    kb->loop(kb->i64(0), kb->div(end, every), 1, [&](Value part) {
      Value values = kb->at(start, kb->mul(part, every), type);
      Value sum = kb->reduceVectors(
          type, sums.every, kb->constant(type, 0),
          [&](Value i, int64_t lanes, Value so) { return join(so, kb->load(type, values, i, lanes)); }, join,
          [&](Value vector) { return kb->sumLanes(vector); });
      kb->store(sum, pointer, kb->add(first, part));
    });
  }
}

//===--- Kernel ---------------------------------------------------------------------------------------------------===//

KernelInfo MatmulEmitter::emit(ModuleOp kernels, StringRef symbol) {
  KernelBuilder builder(kernels, dispatch.getLoc(), symbol, body.numParams(), target);
  MicroTile micro(builder, element, rows, columns);
  kb = &builder;
  tile = &micro;
  chooseBlocks();

  int64_t zeroColumns = 0, panelBytes = tile->columns() * tile->elementBytes(),
          blockBytes = blockColumns * tile->elementBytes();
  for (const Product &product : products) {
    // Blocked products run one after the other and share the panel.
    panelOf.push_back(blocked && !panelOf.empty()
                          ? panelOf.front()
                          : kb->scratch(blocked ? depthBlock * panelBytes : product.depth * blockBytes));
    tileOf.push_back(kb->scratch((blocked ? chunkRows : tile->rows()) * blockBytes));
    for (const Factor *factor : {&product.a, &product.b})
      if (factor->rowMap && grouping != Grouping::Depth)
        zeroColumns = std::max(zeroColumns, factor->columns);
  }
  for (const kernel::RowSums &sums : rowSums)
    summedRows.push_back(kb->scratch(
        blockColumns * cast<RankedTensorType>(sums.of.getType()).getElementType().getIntOrFloatBitWidth() / 8));
  if (zeroColumns) {
    zeroRow = kb->scratch(zeroColumns * tile->elementBytes());
    kb->fillZero(zeroRow, element, zeroColumns);
  }

  Value block = kb->rem(kb->workgroup(), kb->i64(blocks)), rest = kb->div(kb->workgroup(), kb->i64(blocks));
  column = kb->mul(block, kb->i64(blockColumns));
  if (columns % tile->columns() != 0)
    valid = kb->sub(kb->i64(columns), column);
  if (grouping != Grouping::None) {
    expert = kb->div(rest, kb->i64(chunks));
    Type i32 = kb->b.getI32Type();
    groupBegin = kb->toI64(kb->load(i32, kb->param(offsets), expert));
    if (grouping == Grouping::Depth)
      groupCount = kb->toI64(kb->load(i32, kb->param(counts), expert));
  }
  auto emitRows = [&](Value rowBegin, Value rowEnd) {
    blocked ? emitBlocked(rowBegin, rowEnd) : emitDirect(rowBegin, rowEnd);
  };
  if (grouping == Grouping::Rows) {
    rowLimit = kb->toI64(kb->load(kb->b.getI32Type(), kb->param(offsets), kb->add(expert, kb->i64(1))));
    kb->when(kb->less(groupBegin, rowLimit), [&] {
      if (!blocked)
        return emitRows(groupBegin, rowLimit);
      kb->loop(groupBegin, rowLimit, chunkRows,
               [&](Value rowBegin) { emitRows(rowBegin, kb->min(kb->add(rowBegin, kb->i64(chunkRows)), rowLimit)); });
    });
  } else {
    if (rows % tile->rows() != 0)
      rowLimit = kb->i64(rows);
    Value rowBegin = kb->mul(kb->rem(rest, kb->i64(chunks)), kb->i64(chunkRows));
    Value rowEnd = kb->add(rowBegin, kb->i64(chunkRows));
    emitRows(rowBegin, rows % chunkRows == 0 ? rowEnd : kb->min(rowEnd, kb->i64(rows)));
  }
  kb->finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = experts * chunks * blocks;
  info.scratchBytes = kb->scratchBytes();
  info.flops = flops();
  info.bytes = bytes();
  return info;
}

} // namespace

FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                       const CpuTarget &target) {
  MatmulEmitter emitter(dispatch, target);
  if (failed(emitter.analyse()))
    return failure();
  return emitter.emit(kernels, symbol);
}

} // namespace moec::cpu
