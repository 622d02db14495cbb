// Causal softmax attention, forward: O = softmax(scale * Q K^T) V by blocks of keys, never a full score matrix (Dao et
// al. 2022).
//
//   workgroup = (sequence, query head, block of query rows)
//     O block = 0, m = -big, l = 0
//     for each block of keys from the first in the window up to the diagonal: pack K^T and V into panels; for each tile
//     of MR rows:
//       s = Q tile * K^T; m' = max(m, rows of s); a = exp(m - m'); p = exp(s - m'); l = l a + sum p; O = O a + p V
//     result = O / l;  lse = m + log l
#include "compiler/Target/CPU/AttentionParts.h"
#include "compiler/Target/Kernel/Elementwise.h"

#include <cmath>

using namespace mlir;

namespace moec::cpu {

namespace {
// Below every score that can occur, and finite, so that no difference of two scores is NaN.
constexpr double kLowest = -1e30;
} // namespace

FailureOr<KernelInfo> emitAttentionKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                          const CpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::AttentionOp>(findRoot(body));
  if (!op)
    return failure();
  FailureOr<AttentionParams> params = findAttentionParams(body, op);
  if (failed(params))
    return failure();

  AttentionSizes sizes(op);

  KernelBuilder kb(kernels, dispatch.getLoc(), symbol, body.numParams(), target);
  AttentionParts parts(kb, sizes);
  Type element = sizes.element;
  int64_t S = sizes.positions, block = parts.block, tileRows = parts.scores.rows(), lanes = parts.scores.lanes();
  int64_t blocks = llvm::divideCeil(S, block), queryStride = sizes.queryStride(), keyStride = sizes.keyStride();
  Value scale = kb.constant(element, 1.0 / std::sqrt(static_cast<double>(sizes.headSize)));
  Value scales = kb.splat(scale, lanes);
  Type vectorType = scales.getType();
  Value zero = kb.i64(0);

  Value keyPanels = kb.scratch(parts.bytes(parts.transposedSize()));
  Value valuePanels = kb.scratch(parts.bytes(parts.rowsSize())), out = kb.scratch(parts.bytes(parts.rowsSize()));
  Value tile = kb.scratch(parts.bytes(tileRows * block));
  Value maxima = kb.scratch(parts.bytes(block)), sums = kb.scratch(parts.bytes(block));
  Value factors = kb.scratch(parts.bytes(tileRows)), partials = kb.scratch(parts.bytes(tileRows * lanes));

  Value queryBlock = kb.rem(kb.workgroup(), kb.i64(blocks)), rest = kb.div(kb.workgroup(), kb.i64(blocks));
  Value head = kb.rem(rest, kb.i64(sizes.heads)), sequence = kb.div(rest, kb.i64(sizes.heads));
  Value kvHead = kb.div(head, kb.i64(sizes.group()));
  Value firstQuery = kb.mul(queryBlock, kb.i64(block)), sequenceRow = kb.mul(sequence, kb.i64(S));
  Value rows = kb.min(kb.i64(block), kb.sub(kb.i64(S), firstQuery));
  Value end = kb.add(firstQuery, rows);
  auto headAt = [&](Value base, Value row, int64_t stride, Value which) {
    return parts.at(base, kb.add(kb.mul(row, kb.i64(stride)), kb.mul(which, kb.i64(sizes.headSize))));
  };
  Value queryRow = kb.add(sequenceRow, firstQuery);
  Value q = headAt(kb.param(params->inputs[0]), queryRow, queryStride, head);
  Value k = headAt(kb.param(params->inputs[1]), sequenceRow, keyStride, kvHead);
  Value v = headAt(kb.param(params->inputs[2]), sequenceRow, keyStride, kvHead);

  kb.fillZero(out, element, parts.rowsSize());
  kb.fillZero(sums, element, block);
  kb.loop(zero, kb.i64(block), 1, [&](Value r) { kb.store(kb.constant(element, kLowest), maxima, r); });

  kb.loop(parts.firstKeyBlock(firstQuery), end, block, [&](Value firstKey) {
    Value keys = kb.min(kb.i64(block), kb.sub(end, firstKey));
    Value left = kb.sub(kb.i64(S), firstKey), keyOffset = kb.mul(firstKey, kb.i64(keyStride));
    parts.packTransposed(keyPanels, parts.at(k, keyOffset), keyStride, keys, left);
    parts.packRows(valuePanels, parts.at(v, keyOffset), keyStride, keys, left);
    // Rows before the first key, and rows whose window begins after the last key, see no key of the block. A row that
    // has seen no key yet keeps the lowest maximum and a sum of 0.
    Value lastRows = rows;
    if (sizes.isWindowed())
      lastRows = kb.min(rows, kb.sub(parts.endOfQueries(firstKey), firstQuery));
    kb.loop(kb.max(zero, kb.sub(firstKey, firstQuery)), lastRows, tileRows, [&](Value t) {
      Value rowsLeft = kb.sub(rows, t);
      Value tileKeys =
          kb.min(kb.i64(block), kb.sub(kb.add(kb.add(firstQuery, t), kb.min(kb.i64(tileRows), rowsLeft)), firstKey));
      parts.multiplyScores(tile, parts.at(q, kb.mul(t, kb.i64(queryStride))), queryStride, rowsLeft, keyPanels,
                           tileKeys);
      Value tileMaxima = parts.at(maxima, t), tileSums = parts.at(sums, t);
      // Row t + r sees keys up to itself.
      auto visible = [&](Value r, Value j) {
        return parts.visible(j, kb.add(kb.sub(kb.add(kb.add(firstQuery, t), r), firstKey), kb.i64(1)));
      };
      // One vector per row is kept, so that the rows of the tile are reduced side by side.
      auto reduceRows = [&](Value start, llvm::function_ref<Value(Value row, Value r, Value j, Value)> body,
                            llvm::function_ref<Value(Value, Value)> join) {
        kb.loop(zero, kb.i64(tileRows), 1, [&](Value r) {
          Value row = parts.at(tile, kb.mul(r, kb.i64(block)));
          Value partial =
              kb.loop(zero, parts.upToLanes(tileKeys), lanes, ValueRange{start},
                      [&](Value j, ValueRange carried) { return SmallVector<Value>{body(row, r, j, carried[0])}; })[0];
          kb.store(partial, partials, kb.mul(r, kb.i64(lanes)));
        });
        SmallVector<Value> vectors;
        for (int64_t r = 0; r < tileRows; ++r)
          vectors.push_back(kb.load(element, partials, kb.i64(r * lanes), lanes));
        return parts.joinRows(vectors, join);
      };
      auto larger = [&](Value x, Value y) { return parts.larger(x, y); };
      Value oldMaxima = kb.load(element, tileMaxima, zero, tileRows);
      Value newMaxima = reduceRows(
          kb.constant(vectorType, kLowest),
          [&](Value row, Value r, Value j, Value most) {
            Value s = kb.load(element, row, j, lanes);
            return kb.select(visible(r, j), larger(s, most), most);
          },
          larger);
      newMaxima = larger(kb.fmul(newMaxima, kb.splat(scale, tileRows)), oldMaxima);
      kb.store(newMaxima, tileMaxima, zero);
      Value factor = kb.exp(kb.fsub(oldMaxima, newMaxima));
      kb.store(factor, factors, zero);
      Value newSums = reduceRows(
          kb.constant(vectorType, 0),
          [&](Value row, Value r, Value j, Value total) {
            Value shift = kb.splat(kb.fsub(kb.constant(element, 0), kb.load(element, tileMaxima, r)), lanes);
            Value p = kb.select(visible(r, j), kb.exp(kb.fma(kb.load(element, row, j, lanes), scales, shift)),
                                kb.constant(vectorType, 0));
            kb.store(p, row, j);
            return kb.fadd(total, p);
          },
          [&](Value x, Value y) { return kb.fadd(x, y); });
      kb.store(kb.fma(kb.load(element, tileSums, zero, tileRows), factor, newSums), tileSums, zero);
      kb.loop(zero, kb.i64(parts.headWidth / parts.heads.columns()), 1, [&](Value p) {
        const MicroTile &heads = parts.heads;
        Value at = parts.at(out, kb.add(kb.mul(t, kb.i64(parts.headWidth)), kb.mul(p, kb.i64(heads.columns()))));
        SmallVector<Value> accumulators = heads.load(at, parts.headWidth);
        for (int64_t r = 0; r < tileRows; ++r) {
          Value factor = kb.splat(kb.load(element, factors, kb.i64(r)), lanes);
          for (int64_t i = 0; i < heads.vectors(); ++i) {
            Value &accumulator = accumulators[r * heads.vectors() + i];
            accumulator = kb.fmul(accumulator, factor);
          }
        }
        // Probabilities beyond the tile's keys are zeros, so the sum may run on to a whole step.
        heads.store(heads.multiply(accumulators, parts.upToSteps(tileKeys), tile, block,
                                   parts.panel(valuePanels, p, block, heads), /*wholeSteps=*/true),
                    at, parts.headWidth);
      });
    });
  });

  SmallVector<Value> results;
  for (unsigned param : params->results[0])
    results.push_back(headAt(kb.param(param), queryRow, queryStride, head));
  parts.storeHeads(out, rows, results, queryStride, [&](Value row, Value vector) {
    return kb.fdiv(vector, kb.splat(kb.load(element, sums, row), lanes));
  });
  kb.loop(zero, rows, 1, [&](Value row) {
    Value lse = kb.fadd(kb.load(element, maxima, row), kb.log(kb.load(element, sums, row)));
    for (unsigned param : params->results[1])
      kb.store(lse, kb.param(param), kb.add(kb.mul(kb.add(queryRow, row), kb.i64(sizes.heads)), head));
  });
  kb.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = sizes.sequences * sizes.heads * blocks;
  info.scratchBytes = kb.scratchBytes();
  info.flops = 2.0 * 2.0 * sizes.sequences * sizes.heads * sizes.headSize * sizes.pairs();
  for (const moe::DispatchParam &param : body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  return info;
}

} // namespace moec::cpu
