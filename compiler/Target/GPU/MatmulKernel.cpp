// Template of dispatches around matrix products for any element type, on the ordinary arithmetic units.
// kernel::ProductBody describes the products, groups and epilogues. Arithmetic is that of the products' type (f32 or
// f64); factors may be narrower in memory.
//
//   block = (expert, tile of 64 rows, panel of 64 or 128 columns), panels fastest
//     for each product:
//       for each 16 of K: A and B tiles to shared memory, k outermost (the next ones are on their way meanwhile)
//                         each thread: 4 rows x 4 or 8 columns of sums in registers
//       sums -> C tile in shared memory
//     for each piece of a row of the C tile: maps, stores
//     for each part of a row of the C tile that is added up (moe.row_reduce every n): a warp
//
// If the result has too few tiles to fill the device and K is long, K is divided among blocks. Each block leaves its
// sums in the workspace, and the last to arrive adds them up in the order of the blocks.
//
// Blocks of a grouped product take every n-th tile of their expert.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/ProductBody.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;
using kernel::Elementwise;
using kernel::Factor;
using kernel::Grouping;
using kernel::Product;
using Piece = SimtBuilder::Piece;

constexpr int64_t kThreads = 256, kThreadColumns = 16; // threads of a block: 16 x 16
constexpr int64_t kLanes = 4;
constexpr int64_t kTileRows = 64, kTileDepth = 16;
constexpr int64_t kLeastShare = 512; // of K, that is worth a block
constexpr int64_t kPad = 4;          // lanes after a row of a shared tile, against bank conflicts

// Brings tiles [kTileDepth, extent] of one factor to shared memory, whatever the layout of the factor in memory.
class TileLoader {
public:
  TileLoader(SimtBuilder &k, const DispatchBody &body, const Factor &factor, bool alongDepth, int64_t extent,
             Type element)
      : k(k), factor(factor), alongDepth(alongDepth), extent(extent), element(element),
        storage(body.storageOf(factor.param)), pieces(extent * kTileDepth / kLanes / kThreads),
        tile(k.shared(kTileDepth * stride() * element.getIntOrFloatBitWidth() / 8)) {}

  int64_t stride() const { return extent + kPad; }
  Value pointer() const { return tile; }

  /// This thread's share of the elements that begin at (row, column) of the factor; zeros from row `rowEnd` on.
  SmallVector<Value> load(Value base, Value row, Value column, Value rowEnd) const;
  void store(ArrayRef<Value> values) const;
  unsigned count() const { return pieces; }

private:
  // Row and column, within the tile as it lies in memory, of this thread's piece `i`.
  std::pair<Value, Value> placeOf(int64_t i) const {
    int64_t width = (alongDepth ? kTileDepth : extent) / kLanes;
    Value index = k.add(k.thread(), k.i64(i * kThreads));
    return {k.div(index, k.i64(width)), k.mul(k.rem(index, k.i64(width)), k.i64(kLanes))};
  }

  SimtBuilder &k;
  const Factor &factor;
  bool alongDepth; // K runs along the factor's rows
  int64_t extent;
  Type element, storage;
  int64_t pieces;
  Value tile;
};

SmallVector<Value> TileLoader::load(Value base, Value tileRow, Value tileColumn, Value rowEnd) const {
  SmallVector<Value> values;
  Type wide = VectorType::get(kLanes, element);
  for (int64_t i = 0; i < pieces; ++i) {
    auto [rowInTile, columnInTile] = placeOf(i);
    Value row = k.add(tileRow, rowInTile), column = k.add(tileColumn, columnInTile);
    Value exists = k.less(row, rowEnd);
    row = k.min(row, k.i64(factor.rows - 1));
    if (factor.rowMap) {
      row = k.toI64(k.load(k.b.getI32Type(), k.param(*factor.rowMap), row));
      exists = k.both(exists, k.less(k.i64(-1), row));
      row = k.max(row, k.i64(0));
      if (factor.slots > 1)
        row = k.div(row, k.i64(factor.slots));
    }
    Value start = k.mul(row, k.i64(factor.columns));
    if (factor.columns % kLanes == 0) {
      exists = k.both(exists, k.less(column, k.i64(factor.columns)));
      Value at = k.add(start, k.min(column, k.i64(factor.columns - kLanes)));
      Value value = k.convert(k.load(storage, base, at, kLanes), element);
      values.push_back(k.select(exists, value, k.constant(wide, 0)));
      continue;
    }
    Value value = k.constant(wide, 0);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      Value own = k.add(column, k.i64(lane));
      Value inside = k.both(exists, k.less(own, k.i64(factor.columns)));
      Value at = k.add(start, k.min(own, k.i64(factor.columns - 1)));
      Value scalar = k.convert(k.load(storage, base, at), element);
      scalar = k.select(inside, scalar, k.constant(element, 0));
      value = vector::InsertOp::create(k.b, scalar, value, lane);
    }
    values.push_back(value);
  }
  return values;
}

void TileLoader::store(ArrayRef<Value> values) const {
  for (auto [i, value] : llvm::enumerate(values)) {
    auto [row, column] = placeOf(static_cast<int64_t>(i));
    if (!alongDepth) {
      k.store(value, tile, k.add(k.mul(row, k.i64(stride())), column));
      continue;
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      Value at = k.add(k.mul(k.add(column, k.i64(lane)), k.i64(stride())), row);
      k.store(vector::ExtractOp::create(k.b, value, lane), tile, at);
    }
  }
}

class MatmulEmitter : kernel::ProductBody {
public:
  explicit MatmulEmitter(moe::DispatchOp dispatch) : ProductBody(dispatch) {}

  LogicalResult analyse();
  KernelInfo emit(ModuleOp kernels, StringRef symbol, const GpuTarget &target);

private:
  void emitTile(Value row);
  SmallVector<Value> multiply(const Product &product, const TileLoader &a, const TileLoader &b, Value row);
  SmallVector<Value> multiplyTiles(const TileLoader &a, const TileLoader &b, ValueRange sums);
  void emitEpilogue(Value row);
  void emitRowSums(Value row, Value rowLimit);
  int64_t tileElements() const { return kTileRows * panelColumns; }
  int64_t elementBytes() const { return element.getIntOrFloatBitWidth() / 8; }
  void chooseSplits(int64_t numSms);

  int64_t panelColumns = 0, panels = 1, tiles = 1; // tiles: blocks along the rows of an expert
  int64_t splits = 1;                              // blocks that share K

  SimtBuilder *k = nullptr;
  Type wide;                                        // kLanes of `element`
  SmallVector<TileLoader> loadersA, loadersB;       // by product
  SmallVector<Value> sumTiles;                      // [kTileRows, panelColumns] in shared memory, by product
  SmallVector<Value> summedTiles;                   // the same for terms of row sums, by row sum
  Value threadRow, threadColumn;                    // this thread's first row and column within a tile
  Value column;                                     // first of the panel
  Value split, tileIndex;                           // when K is shared
  Value expert, groupBegin, groupCount, groupLimit; // groupLimit: where the next group starts
};

LogicalResult MatmulEmitter::analyse() {
  if (failed(ProductBody::analyse()))
    return failure();
  panelColumns = kThreadColumns * kLanes * (elementBytes() == 4 && columns > kThreadColumns * kLanes ? 2 : 1);
  panels = llvm::divideCeil(columns, panelColumns);
  for (const kernel::RowSums &sums : rowSums)
    if (panels > 1 && panelColumns % sums.every != 0)
      return dispatch.emitOpError("adds up every ")
             << sums.every << " columns of a product; this template has " << panelColumns << " at once";
  return success();
}

// sums[row of the thread][piece of its columns], after one tile of K.
SmallVector<Value> MatmulEmitter::multiplyTiles(const TileLoader &a, const TileLoader &b, ValueRange carried) {
  SmallVector<Value> sums(carried);
  int64_t pieces = panelColumns / kLanes / kThreadColumns;
  for (int64_t depth = 0; depth < kTileDepth; ++depth) {
    Value left = k->load(element, a.pointer(), k->add(k->i64(depth * a.stride()), threadRow), kLanes);
    SmallVector<Value> right;
    for (int64_t j = 0; j < pieces; ++j) {
      Value at = k->add(k->i64(depth * b.stride() + j * kThreadColumns * kLanes), threadColumn);
      right.push_back(k->load(element, b.pointer(), at, kLanes));
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      Value factor = k->splat(vector::ExtractOp::create(k->b, left, i), kLanes);
      for (int64_t j = 0; j < pieces; ++j)
        sums[i * pieces + j] = k->fma(factor, right[j], sums[i * pieces + j]);
    }
  }
  return sums;
}

SmallVector<Value> MatmulEmitter::multiply(const Product &product, const TileLoader &a, const TileLoader &b,
                                           Value row) {
  Value zero = k->i64(0), baseA = k->param(product.a.param), baseB = k->param(product.b.param);
  if (grouping == Grouping::Rows)
    baseB = k->at(baseB, k->mul(expert, k->i64(product.b.rows * product.b.columns)), body.storageOf(product.b.param));
  // The beginning and end of K, counted in rows if K runs across the rows of a factor.
  Value depth = k->i64(product.depth), depthBegin = zero;
  if (grouping == Grouping::Depth) {
    depth = groupCount;
    depthBegin = groupBegin;
  }
  Value depthEnd = k->add(depthBegin, depth);
  Value rowEnd = grouping == Grouping::Rows ? groupLimit : k->i64(product.a.rows);
  auto load = [&](Value from) {
    Value across = k->add(depthBegin, from);
    SmallVector<Value> values = product.ta ? a.load(baseA, across, row, depthEnd) : a.load(baseA, row, from, rowEnd);
    llvm::append_range(values, product.tb ? b.load(baseB, column, from, k->i64(product.b.rows))
                                          : b.load(baseB, across, column, depthEnd));
    return values;
  };

  unsigned numSums = kLanes * panelColumns / kLanes / kThreadColumns;
  SmallVector<Value> carried(numSums, k->constant(wide, 0));
  Value begin = zero, end = depth;
  if (splits > 1) {
    int64_t share = llvm::alignTo(llvm::divideCeil(product.depth, splits), kTileDepth);
    begin = k->mul(split, k->i64(share));
    end = k->min(k->add(begin, k->i64(share)), depth);
  }
  llvm::append_range(carried, load(begin));
  carried = k->loop(begin, end, kTileDepth, carried, [&](Value from, ValueRange so) {
    SmallVector<Value> tiles(so.drop_front(numSums));
    a.store(ArrayRef(tiles).take_front(a.count()));
    b.store(ArrayRef(tiles).drop_front(a.count()));
    k->barrier();
    SmallVector<Value> next = load(k->add(from, k->i64(kTileDepth)));
    SmallVector<Value> sums = multiplyTiles(a, b, so.take_front(numSums));
    k->barrier(); // the tiles may be written again
    llvm::append_range(sums, next);
    return sums;
  });
  carried.truncate(numSums);
  return carried;
}

void MatmulEmitter::emitTile(Value row) {
  int64_t pieces = panelColumns / kLanes / kThreadColumns;
  for (auto [p, product] : llvm::enumerate(products)) {
    SmallVector<Value> sums = multiply(product, loadersA[p], loadersB[p], row);
    for (int64_t i = 0; i < kLanes; ++i)
      for (int64_t j = 0; j < pieces; ++j) {
        Value at = k->mul(k->add(threadRow, k->i64(i)), k->i64(panelColumns));
        at = k->add(at, k->add(threadColumn, k->i64(j * kThreadColumns * kLanes)));
        k->store(sums[i * pieces + j], sumTiles[p], at);
      }
  }
  k->barrier();
  if (splits == 1) {
    emitEpilogue(row);
    k->barrier(); // the sums may be written again
    return;
  }
  Value workspace = k->workspace(panels * tiles * splits * products.size() * tileElements() * elementBytes());
  auto partOf = [&](Value part, size_t p) {
    Value index = k->add(k->mul(k->add(k->mul(tileIndex, k->i64(splits)), part), k->i64(products.size())), k->i64(p));
    return k->at(workspace, k->mul(index, k->i64(tileElements())), element);
  };
  auto forPieces = [&](llvm::function_ref<void(size_t, Value)> visit) {
    k->loop(k->mul(k->thread(), k->i64(kLanes)), k->i64(tileElements()), kThreads * kLanes, [&](Value i) {
      for (size_t p = 0; p < products.size(); ++p)
        visit(p, i);
    });
  };
  forPieces([&](size_t p, Value i) { k->store(k->load(element, sumTiles[p], i, kLanes), partOf(split, p), i); });
  k->whenLast(tileIndex, splits, [&] {
    forPieces([&](size_t p, Value i) {
      Value sum = k->loop(k->i64(0), k->i64(splits), 1, k->constant(wide, 0), [&](Value part, ValueRange so) {
        return SmallVector<Value>{k->fadd(so[0], k->load(element, partOf(part, p), i, kLanes))};
      })[0];
      k->store(sum, sumTiles[p], i);
    });
    k->barrier();
    emitEpilogue(row);
  });
}

void MatmulEmitter::emitEpilogue(Value row) {
  int64_t lanes = columns % kLanes == 0 ? kLanes : 1, width = panelColumns / lanes;
  Value rowLimit = grouping == Grouping::Rows ? groupLimit : k->i64(rows);
  k->loop(k->thread(), k->i64(kTileRows * width), kThreads, [&](Value i) {
    Value inTile = k->div(i, k->i64(width)), first = k->mul(k->rem(i, k->i64(width)), k->i64(lanes));
    Value ownRow = k->add(row, inTile), ownColumn = k->add(column, first);
    k->when(k->both(k->less(ownRow, rowLimit), k->less(ownColumn, k->i64(columns))), [&] {
      if (grouping == Grouping::Depth)
        ownRow = k->add(k->mul(expert, k->i64(rows)), ownRow);
      Elementwise here(*k, body);
      here.moveTo(resultRows(), ownRow, ownColumn, Piece{lanes, lanes});
      Value at = k->add(k->mul(inTile, k->i64(panelColumns)), first);
      for (auto [p, product] : llvm::enumerate(products))
        here.bind(product.value,
                  scaled(*k, product, k->load(element, sumTiles[p], at, lanes), expert, ownRow, ownColumn));
      SmallVector<Value> summed; // read before a state from which they come changes
      for (const kernel::RowSums &sums : rowSums)
        summed.push_back(here.get(sums.of));
      here.store(sinks);
      for (auto [value, tile] : llvm::zip_equal(summed, summedTiles))
        k->store(value, tile, at);
    });
  });
  if (!rowSums.empty())
    emitRowSums(row, rowLimit);
}

/// A lane adds up every 32nd column, then the lanes are joined.
void MatmulEmitter::emitRowSums(Value row, Value rowLimit) {
  constexpr int64_t kWarp = SimtBuilder::kWarp;
  k->barrier();
  for (auto [sums, summedTile] : llvm::zip_equal(rowSums, summedTiles)) {
    Type type = cast<RankedTensorType>(sums.of.getType()).getElementType(), storage = body.storageOf(sums.param);
    Value tile = summedTile, pointer = k->param(sums.param);
    int64_t every = sums.every, allParts = columns / every, parts = std::min(panelColumns / every, allParts);
    auto join = [&](Value a, Value b) { return isa<FloatType>(type) ? k->fadd(a, b) : k->add(a, b); };
    k->loop(k->warp(), k->i64(kTileRows * parts), kThreads / kWarp, [&](Value i) {
      Value inTile = k->div(i, k->i64(parts)), inPanel = k->rem(i, k->i64(parts));
      Value ownRow = k->add(row, inTile), part = k->add(k->div(column, k->i64(every)), inPanel);
      k->when(k->both(k->less(ownRow, rowLimit), k->less(part, k->i64(allParts))), [&] {
        Value first = k->add(k->mul(inTile, k->i64(panelColumns)), k->mul(inPanel, k->i64(every)));
        Value sum = k->loop(k->lane(), k->i64(every), kWarp, k->constant(type, 0), [&](Value j, ValueRange so) {
          return SmallVector<Value>{join(so[0], k->load(type, tile, k->add(first, j)))};
        })[0];
        sum = k->reduce(sum, join, /*wholeBlock=*/false);
        if (grouping == Grouping::Depth)
          ownRow = k->add(k->mul(expert, k->i64(rows)), ownRow);
        k->when(k->equal(k->lane(), k->i64(0)),
                [&] { k->store(k->convert(sum, storage), pointer, k->add(k->mul(ownRow, k->i64(allParts)), part)); });
      });
    });
  }
}

void MatmulEmitter::chooseSplits(int64_t numSms) {
  int64_t depth = 0, blocks = tiles * panels;
  for (const Product &product : products)
    depth = std::max(depth, product.depth);
  if (grouping != Grouping::None || blocks > numSms)
    return;
  splits = std::clamp<int64_t>(2 * numSms / blocks, 1, std::max<int64_t>(1, depth / kLeastShare));
}

KernelInfo MatmulEmitter::emit(ModuleOp kernels, StringRef symbol, const GpuTarget &target) {
  SimtBuilder builder(kernels, dispatch.getLoc(), symbol, body.numParams(), kThreads, target);
  k = &builder;
  k->promiseAlignedVectors();
  // By default, the assembler gives a thread 64 or 80 registers and spills some sums of a pair; a step of
  // specs/base/small in f32 took 20 % longer.
  k->keepResident(2);
  wide = VectorType::get(kLanes, element);
  tiles = llvm::divideCeil(rows, kTileRows);
  if (grouping == Grouping::Rows)
    tiles = llvm::divideCeil(tiles, experts);
  chooseSplits(target.numSms);

  for (const Product &product : products) {
    loadersA.emplace_back(*k, body, product.a, !product.ta, kTileRows, element);
    loadersB.emplace_back(*k, body, product.b, product.tb, panelColumns, element);
    sumTiles.push_back(k->shared(tileElements() * elementBytes()));
  }
  // A thread has read the products of its piece before it writes the terms of row sums there.
  for (auto [s, sums] : llvm::enumerate(rowSums)) {
    Type type = cast<RankedTensorType>(sums.of.getType()).getElementType();
    summedTiles.push_back(s < products.size() && type == element
                              ? sumTiles[s]
                              : k->shared(tileElements() * type.getIntOrFloatBitWidth() / 8));
  }
  threadRow = k->mul(k->div(k->thread(), k->i64(kThreadColumns)), k->i64(kLanes));
  threadColumn = k->mul(k->rem(k->thread(), k->i64(kThreadColumns)), k->i64(kLanes));
  Value panel = k->rem(k->workgroup(), k->i64(panels)), rest = k->div(k->workgroup(), k->i64(panels));
  if (splits > 1) {
    split = k->div(rest, k->i64(tiles));
    tileIndex = k->rem(k->workgroup(), k->i64(tiles * panels));
  }
  column = k->mul(panel, k->i64(panelColumns));
  Value tile = k->rem(rest, k->i64(tiles));
  if (grouping != Grouping::None) {
    expert = k->div(rest, k->i64(tiles));
    Type i32 = k->b.getI32Type();
    groupBegin = k->toI64(k->load(i32, k->param(offsets), expert));
    groupCount = k->toI64(k->load(i32, k->param(counts), expert));
    groupLimit = k->toI64(k->load(i32, k->param(offsets), k->add(expert, k->i64(1))));
  }
  Value firstRow = k->mul(tile, k->i64(kTileRows));
  if (grouping == Grouping::Rows)
    k->loop(k->add(groupBegin, firstRow), groupLimit, tiles * kTileRows, [&](Value row) { emitTile(row); });
  else
    emitTile(firstRow);
  k->finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = experts * tiles * panels * splits;
  info.scratchBytes = k->scratchBytes();
  info.flops = flops();
  info.bytes = bytes();
  info.launch = k->launch();
  return info;
}
} // namespace

FailureOr<KernelInfo> emitMatmulKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                       const GpuTarget &target) {
  MatmulEmitter emitter(dispatch);
  if (failed(emitter.analyse()))
    return failure();
  return emitter.emit(kernels, symbol, target);
}

} // namespace moec::gpu
