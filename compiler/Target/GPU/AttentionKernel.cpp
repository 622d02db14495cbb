// Causal softmax attention, forward, for any element type: O = softmax(scale * Q K^T) V by blocks of keys (Dao et al.
// 2022).
//
//   block = (block of query rows, sequence, query head); the longest come first
//     for each block of keys from the first in the window up to the diagonal: K and V to shared memory
//       s = Q K^T; m' = max(m, rows of s); a = exp(m - m'); p = exp(s - m'); l = l a + sum p; O = O a + p V
//     result = O / l;  lse = m + log l
#include "compiler/Target/GPU/AttentionTiles.h"
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"

#include <cmath>

using namespace mlir;

namespace moec::gpu {

namespace {
// Below every score that can occur, and finite, so that no difference of two scores is NaN.
constexpr double kLowest = -1e30;
constexpr int64_t kHeadTiles = 3, kScoreTiles = 1;

void emitForward(AttentionTiles &tiles, const kernel::AttentionParams &params) {
  SimtBuilder &k = tiles.k;
  const kernel::AttentionSizes &sizes = tiles.sizes;
  int64_t block = tiles.block, rows = tiles.rows, blocks = llvm::divideCeil(sizes.positions, block);
  Type element = tiles.element;
  k.promiseAlignedVectors();
  Value queries = tiles.headTile(), keys = tiles.headTile(), values = tiles.headTile(), scores = tiles.scoreTile();

  int64_t heads = sizes.sequences * sizes.heads;
  Value queryBlock = k.sub(k.i64(blocks - 1), k.div(k.workgroup(), k.i64(heads)));
  Value rest = k.rem(k.workgroup(), k.i64(heads));
  Value head = k.rem(rest, k.i64(sizes.heads)), sequence = k.div(rest, k.i64(sizes.heads));
  Value keyHead = k.div(head, k.i64(sizes.group()));
  Value queryStart = tiles.headStart(sequence, head, sizes.queryStride());
  Value keyStart = tiles.headStart(sequence, keyHead, sizes.keyStride());
  Value firstQuery = k.mul(queryBlock, k.i64(block));
  tiles.loadHeads(params.inputs[0], queryStart, sizes.queryStride(), firstQuery, queries);

  Value scale = k.constant(element, 1.0 / std::sqrt(static_cast<double>(sizes.headSize)));
  Value lowest = k.constant(element, kLowest), zero = k.constant(element, 0);
  SmallVector<Value> carried = tiles.zeroSums(); // O, then m and l of each row
  size_t numSums = carried.size();
  carried.append(rows, lowest);
  carried.append(rows, zero);
  // A row that sees no key of its first block sums up the whole block under the lowest maximum. The first real maximum
  // scales this sum to 0, and every row has a real maximum on the diagonal.
  Value firstBlock = tiles.firstKeyBlock(firstQuery);
  carried = k.loop(firstBlock, k.add(firstQuery, k.i64(1)), block, carried, [&](Value firstKey, ValueRange so) {
    k.barrier(); // the tiles may be written again
    tiles.loadHeads(params.inputs[1], keyStart, sizes.keyStride(), firstKey, keys);
    tiles.loadHeads(params.inputs[2], keyStart, sizes.keyStride(), firstKey, values);
    k.barrier();
    SmallVector<Value> s = tiles.multiplyRows(queries, keys), sums(so.take_front(numSums)), maxima, totals;
    for (int64_t i = 0; i < rows; ++i) {
      Value position = tiles.rowAt(firstQuery, i), most = so[numSums + i], before = most;
      for (int64_t j = 0; j < rows; ++j) {
        Value hidden = k.less(position, tiles.columnAt(firstKey, j));
        s[i * rows + j] = k.select(hidden, lowest, k.fmul(s[i * rows + j], scale));
        if (sizes.isWindowed())
          s[i * rows + j] = k.select(tiles.inWindow(position, tiles.columnAt(firstKey, j)), s[i * rows + j], lowest);
        most = k.fmax(most, s[i * rows + j]);
      }
      most = tiles.joinRow(most, [&](Value a, Value b) { return k.fmax(a, b); });
      Value factor = k.exp(k.fsub(before, most)), total = zero;
      for (int64_t j = 0; j < rows; ++j) {
        s[i * rows + j] = k.exp(k.fsub(s[i * rows + j], most));
        total = k.fadd(total, s[i * rows + j]);
      }
      total = tiles.joinRow(total, [&](Value a, Value b) { return k.fadd(a, b); });
      maxima.push_back(most);
      totals.push_back(k.fma(so[numSums + rows + i], factor, total));
      for (int64_t p = 0; p < tiles.pieces; ++p) {
        Value &sum = sums[i * tiles.pieces + p];
        sum = k.fmul(sum, k.splat(factor, AttentionTiles::kLanes));
      }
    }
    tiles.storeScores(s, scores);
    k.barrier();
    SmallVector<Value> next = tiles.addScoresTimesHeads(scores, values, sums);
    llvm::append_range(next, maxima);
    llvm::append_range(next, totals);
    return next;
  });

  for (int64_t i = 0; i < rows; ++i) {
    Value most = carried[numSums + i], total = carried[numSums + rows + i];
    for (int64_t p = 0; p < tiles.pieces; ++p) {
      Value &sum = carried[i * tiles.pieces + p];
      sum = k.fdiv(sum, k.splat(total, AttentionTiles::kLanes));
    }
    Value position = tiles.rowAt(firstQuery, i);
    Value writes = k.both(k.equal(tiles.x, k.i64(0)), k.less(position, k.i64(sizes.positions)));
    k.when(writes, [&] {
      Value row = k.add(k.mul(sequence, k.i64(sizes.positions)), position);
      Value at = k.add(k.mul(row, k.i64(sizes.heads)), head), lse = k.fadd(most, k.log(total));
      for (unsigned param : params.results[1])
        k.store(k.convert(lse, tiles.body.storageOf(param)), k.param(param), at);
    });
  }
  tiles.storeHeads(ArrayRef(carried).take_front(numSums), params.results[0], queryStart, sizes.queryStride(),
                   firstQuery);
}
} // namespace

FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                          const GpuTarget &target) {
  kernel::DispatchBody body(dispatch);
  auto op = cast_if_present<moe::AttentionOp>(kernel::findRoot(body));
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
  emitForward(tiles, *params);
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = sizes.sequences * sizes.heads * llvm::divideCeil(sizes.positions, block);
  info.flops = 2.0 * 2.0 * sizes.sequences * sizes.heads * sizes.headSize * sizes.pairs();
  for (const moe::DispatchParam &param : body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
