// Causal softmax attention, backward, for any element type. P is recomputed from lse, block by block:
//
//   P = exp(scale Q K^T - lse)    D = rowsum(dO * O)    dS = scale P * (dO V^T - D)
//   dQ = dS K    dK = dS^T Q    dV = P^T dO
//
// A launch has two kinds of blocks, so that no sums are added across blocks. The first kind owns a block of keys of a
// key head, and goes over the query rows from the diagonal on, of all query heads that read it. The other kind owns a
// block of query rows, and goes over the keys up to the diagonal. So scores are computed twice. Blocks outside of the
// window are not visited.
#include "compiler/Target/GPU/AttentionTiles.h"
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"

#include <cmath>

using namespace mlir;

namespace moec::gpu {

namespace {
constexpr int64_t kHeadTiles = 4, kScoreTiles = 2;

class AttentionGradEmitter {
public:
  AttentionGradEmitter(AttentionTiles &tiles, const kernel::AttentionParams &params)
      : tiles(tiles), k(tiles.k), sizes(tiles.sizes), params(params),
        blocks(llvm::divideCeil(sizes.positions, tiles.block)) {}

  void emit();
  int64_t grid() const { return blocks * sizes.sequences * (sizes.heads + sizes.kvHeads); }

private:
  void emitKeyGradients(Value index);
  void emitQueryGradient(Value index);
  void loadQueries(Value firstQuery);
  void loadKeys(Value firstKey);
  /// D and lse of this thread's rows, once the queries are loaded.
  struct RowSums {
    SmallVector<Value> products, lse;
  };
  RowSums sumRows(Value firstQuery);
  /// Computes P (if `needsP`) and dS of one pair of blocks into their tiles; zeros where a row does not see a key or
  /// does not exist.
  void emitScores(Value firstQuery, Value firstKey, const RowSums &rowSums, bool needsP);

  AttentionTiles &tiles;
  SimtBuilder &k;
  const kernel::AttentionSizes &sizes;
  const kernel::AttentionParams &params;
  int64_t blocks;

  Value sequence, head, queryStart, keyStart;
  Value queries, grads, keys, values;  // tiles
  Value probabilities, scoreGradients; // tiles
};

void AttentionGradEmitter::loadQueries(Value firstQuery) {
  tiles.loadHeads(params.inputs[0], queryStart, sizes.queryStride(), firstQuery, queries);
  tiles.loadHeads(params.inputs[5], queryStart, sizes.queryStride(), firstQuery, grads);
}

void AttentionGradEmitter::loadKeys(Value firstKey) {
  tiles.loadHeads(params.inputs[1], keyStart, sizes.keyStride(), firstKey, keys);
  tiles.loadHeads(params.inputs[2], keyStart, sizes.keyStride(), firstKey, values);
}

AttentionGradEmitter::RowSums AttentionGradEmitter::sumRows(Value firstQuery) {
  RowSums sums;
  for (int64_t i = 0; i < tiles.rows; ++i) {
    sums.products.push_back(tiles.dotRow(grads, params.inputs[3], queryStart, sizes.queryStride(), firstQuery, i));
    Value position = k.min(tiles.rowAt(firstQuery, i), k.i64(sizes.positions - 1));
    Value row = k.add(k.mul(sequence, k.i64(sizes.positions)), position);
    Value at = k.add(k.mul(row, k.i64(sizes.heads)), head);
    Type storage = tiles.body.storageOf(params.inputs[4]);
    sums.lse.push_back(k.convert(k.load(storage, k.param(params.inputs[4]), at), tiles.element));
  }
  return sums;
}

void AttentionGradEmitter::emitScores(Value firstQuery, Value firstKey, const RowSums &rowSums, bool needsP) {
  int64_t rows = tiles.rows;
  Value scale = k.constant(tiles.element, 1.0 / std::sqrt(static_cast<double>(sizes.headSize)));
  Value zero = k.constant(tiles.element, 0);
  SmallVector<Value> s = tiles.multiplyRows(queries, keys), ds = tiles.multiplyRows(grads, values);
  for (int64_t i = 0; i < rows; ++i) {
    Value position = tiles.rowAt(firstQuery, i), exists = k.less(position, k.i64(sizes.positions));
    Value shift = k.fsub(zero, rowSums.lse[i]);
    for (int64_t j = 0; j < rows; ++j) {
      Value sees = k.less(tiles.columnAt(firstKey, j), k.add(position, k.i64(1)));
      if (sizes.isWindowed())
        sees = k.both(sees, tiles.inWindow(position, tiles.columnAt(firstKey, j)));
      Value p = k.exp(k.fma(s[i * rows + j], scale, shift));
      Value gradient = k.fmul(k.fmul(p, scale), k.fsub(ds[i * rows + j], rowSums.products[i]));
      s[i * rows + j] = k.select(k.both(sees, exists), p, zero);
      ds[i * rows + j] = k.select(k.both(sees, exists), gradient, zero);
    }
  }
  if (needsP)
    tiles.storeScores(s, probabilities);
  tiles.storeScores(ds, scoreGradients);
}

void AttentionGradEmitter::emitKeyGradients(Value index) {
  int64_t keyHeads = sizes.sequences * sizes.kvHeads;
  Value keyBlock = k.div(index, k.i64(keyHeads)), rest = k.rem(index, k.i64(keyHeads)); // the first ones see most
  Value keyHead = k.rem(rest, k.i64(sizes.kvHeads));
  sequence = k.div(rest, k.i64(sizes.kvHeads));
  keyStart = tiles.headStart(sequence, keyHead, sizes.keyStride());
  Value firstKey = k.mul(keyBlock, k.i64(tiles.block));
  loadKeys(firstKey);

  SmallVector<Value> carried = tiles.zeroSums(); // dV, then dK
  size_t numSums = carried.size();
  llvm::append_range(carried, tiles.zeroSums());
  Value firstHead = k.mul(keyHead, k.i64(sizes.group()));
  carried = k.loop(firstHead, k.add(firstHead, k.i64(sizes.group())), 1, carried, [&](Value member, ValueRange sums) {
    head = member;
    queryStart = tiles.headStart(sequence, head, sizes.queryStride());
    return k.loop(firstKey, tiles.endOfQueries(firstKey), tiles.block, sums, [&](Value firstQuery, ValueRange so) {
      k.barrier(); // the tiles may be written again
      loadQueries(firstQuery);
      k.barrier();
      emitScores(firstQuery, firstKey, sumRows(firstQuery), /*needsP=*/true);
      k.barrier();
      SmallVector<Value> next = tiles.addTransposedTimesHeads(probabilities, grads, so.take_front(numSums));
      llvm::append_range(next, tiles.addTransposedTimesHeads(scoreGradients, queries, so.drop_front(numSums)));
      return next;
    });
  });
  tiles.storeHeads(ArrayRef(carried).drop_front(numSums), params.results[1], keyStart, sizes.keyStride(), firstKey);
  tiles.storeHeads(ArrayRef(carried).take_front(numSums), params.results[2], keyStart, sizes.keyStride(), firstKey);
}

void AttentionGradEmitter::emitQueryGradient(Value index) {
  int64_t heads = sizes.sequences * sizes.heads;
  Value queryBlock = k.sub(k.i64(blocks - 1), k.div(index, k.i64(heads))), rest = k.rem(index, k.i64(heads));
  head = k.rem(rest, k.i64(sizes.heads));
  sequence = k.div(rest, k.i64(sizes.heads));
  queryStart = tiles.headStart(sequence, head, sizes.queryStride());
  keyStart = tiles.headStart(sequence, k.div(head, k.i64(sizes.group())), sizes.keyStride());
  Value firstQuery = k.mul(queryBlock, k.i64(tiles.block));
  loadQueries(firstQuery);
  k.barrier();
  RowSums rowSums = sumRows(firstQuery);
  SmallVector<Value> sums = k.loop(tiles.firstKeyBlock(firstQuery), k.add(firstQuery, k.i64(1)), tiles.block,
                                   tiles.zeroSums(), [&](Value firstKey, ValueRange so) {
                                     k.barrier(); // the tiles may be written again
                                     loadKeys(firstKey);
                                     k.barrier();
                                     emitScores(firstQuery, firstKey, rowSums, /*needsP=*/false);
                                     k.barrier();
                                     return tiles.addScoresTimesHeads(scoreGradients, keys, so);
                                   });
  tiles.storeHeads(sums, params.results[0], queryStart, sizes.queryStride(), firstQuery);
}

void AttentionGradEmitter::emit() {
  k.promiseAlignedVectors();
  queries = tiles.headTile();
  grads = tiles.headTile();
  keys = tiles.headTile();
  values = tiles.headTile();
  probabilities = tiles.scoreTile();
  scoreGradients = tiles.scoreTile();
  Value keyBlocks = k.i64(blocks * sizes.sequences * sizes.kvHeads);
  k.when(
      k.less(k.workgroup(), keyBlocks), [&] { emitKeyGradients(k.workgroup()); },
      [&] { emitQueryGradient(k.sub(k.workgroup(), keyBlocks)); });
}
} // namespace

FailureOr<KernelInfo> emitAttentionGradKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                              const GpuTarget &target) {
  kernel::DispatchBody body(dispatch);
  auto op = cast_if_present<moe::AttentionGradOp>(kernel::findRoot(body));
  if (!op)
    return failure();
  FailureOr<kernel::AttentionParams> params = findAttentionParams(body, op);
  if (failed(params))
    return failure();
  kernel::AttentionSizes sizes(op);
  int64_t block = AttentionTiles::chooseBlock(sizes, kHeadTiles, kScoreTiles, target);
  if (!block)
    return op.emitOpError("has heads of ") << sizes.headSize << " columns, too wide for the shared memory";

  SimtBuilder k(kernels, dispatch.getLoc(), symbol, body.numParams(), AttentionTiles::kThreads, target);
  AttentionTiles tiles(k, body, sizes, block);
  AttentionGradEmitter emitter(tiles, *params);
  emitter.emit();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = emitter.grid();
  info.flops = 5.0 * 2.0 * sizes.sequences * sizes.heads * sizes.headSize * sizes.pairs();
  for (const moe::DispatchParam &param : body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
