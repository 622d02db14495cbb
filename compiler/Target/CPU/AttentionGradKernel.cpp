// Causal softmax attention, backward. P is recomputed from lse, block by block:
//
//   P = exp(scale Q K^T - lse)    D = rowsum(dO * O)    dS = scale P * (dO V^T - D)
//   dQ = dS K    dK = dS^T Q    dV = P^T dO
//
//   workgroup = (sequence, key head): it owns dk, dv of that head and dq of all query heads that read it, so no sums
//   are added across workgroups
//     D, and dq = 0
//     for each block of keys: pack K^T, V^T, K; dK = dV = 0
//       for each query head; for each block of query rows from the diagonal to the window's end: pack Q, dO
//         for each tile of query rows:  P, dS tiles;  dq tile += dS K
//         for each tile of keys:        dV tile += P^T dO;  dK tile += dS^T Q
//       write dK, dV of the block
#include "compiler/Target/CPU/AttentionParts.h"
#include "compiler/Target/Kernel/Elementwise.h"

#include <cmath>

using namespace mlir;

namespace moec::cpu {

namespace {

class AttentionGradEmitter {
public:
  AttentionGradEmitter(KernelBuilder &kb, const AttentionSizes &sizes, const AttentionParams &params)
      : kb(kb), sizes(sizes), params(params), parts(kb, sizes) {}
  void emit();

private:
  // Row `row` (from the start of the sequence) of a head of an operand or a result.
  Value query(unsigned param, Value head, Value row) {
    return parts.at(kb.param(param), kb.add(kb.mul(kb.add(sequenceRow, row), kb.i64(sizes.queryStride())),
                                            kb.mul(head, kb.i64(sizes.headSize))));
  }
  Value key(unsigned param, Value row) {
    return parts.at(kb.param(param), kb.add(kb.mul(kb.add(sequenceRow, row), kb.i64(sizes.keyStride())),
                                            kb.mul(kvHead, kb.i64(sizes.headSize))));
  }
  Value head(Value member) { return kb.add(kb.mul(kvHead, kb.i64(sizes.group())), member); }
  Value lseAt(Value member, Value row) {
    return kb.add(kb.mul(kb.add(sequenceRow, row), kb.i64(sizes.heads)), head(member));
  }

  void emitRowSums();
  void emitQueryBlock(Value member, Value firstQuery, Value firstKey, Value keys);
  void emitProbabilities(Value member, Value firstQuery, Value firstKey, Value t, Value keys);
  void emitQueryGradient(Value member, Value firstQuery, Value t, Value existing, Value keys);
  void emitKeyGradients(Value rows, Value skipped, Value t);

  KernelBuilder &kb;
  const AttentionSizes &sizes;
  const AttentionParams &params;
  AttentionParts parts;

  // The steps come in pairs that differ only in pointers: (Q K^T, dO V^T), (dV, dK). Each pair is emitted once, as a
  // loop over both.
  void forPair(llvm::function_ref<void(Value)> pair) { kb.loop(kb.i64(0), kb.i64(2), 1, pair); }
  Value pairMember(Value pair, int64_t size, Value which) { return parts.at(pair, kb.mul(which, kb.i64(size))); }
  Value either(Value which, Value first, Value second) { return kb.select(kb.equal(which, kb.i64(0)), first, second); }

  Value kvHead, sequenceRow;
  Value rowSums;  // [group, S]
  Value columns;  // pair (K, V): transposed panels of the block of keys
  Value keyRows;  // K: row panels of the block of keys
  Value pairRows; // pair (dO, Q): row panels of the block of queries
  Value scores;   // pair (P, dS): [block, block]
  Value grads;    // pair (dV, dK): [block, headWidth]
};

void AttentionGradEmitter::emit() {
  int64_t S = sizes.positions, block = parts.block;
  Value zero = kb.i64(0);
  rowSums = kb.scratch(parts.bytes(sizes.group() * S));
  columns = kb.scratch(parts.bytes(2 * parts.transposedSize()));
  keyRows = kb.scratch(parts.bytes(parts.rowsSize()));
  pairRows = kb.scratch(parts.bytes(2 * parts.rowsSize()));
  scores = kb.scratch(parts.bytes(2 * block * block));
  grads = kb.scratch(parts.bytes(2 * parts.rowsSize()));
  kvHead = kb.rem(kb.workgroup(), kb.i64(sizes.kvHeads));
  sequenceRow = kb.mul(kb.div(kb.workgroup(), kb.i64(sizes.kvHeads)), kb.i64(S));

  emitRowSums();
  kb.loop(zero, kb.i64(S), block, [&](Value firstKey) {
    Value left = kb.sub(kb.i64(S), firstKey), keys = kb.min(kb.i64(block), left);
    Value k = key(params.inputs[1], firstKey), v = key(params.inputs[2], firstKey);
    forPair([&](Value which) {
      parts.packTransposed(pairMember(columns, parts.transposedSize(), which), either(which, k, v), sizes.keyStride(),
                           keys, left);
    });
    parts.packRows(keyRows, k, sizes.keyStride(), keys, left);
    kb.fillZero(grads, sizes.element, 2 * parts.rowsSize());
    kb.loop(zero, kb.i64(sizes.group()), 1, [&](Value member) {
      Value end = kb.i64(S);
      if (sizes.isWindowed())
        end = kb.min(end, parts.endOfQueries(firstKey));
      kb.loop(firstKey, end, block, [&](Value firstQuery) { emitQueryBlock(member, firstQuery, firstKey, keys); });
    });
    for (int64_t which : {0, 1}) {
      SmallVector<Value> pointers;
      for (unsigned param : params.results[2 - which])
        pointers.push_back(key(param, firstKey));
      parts.storeHeads(parts.at(grads, which * parts.rowsSize()), keys, pointers, sizes.keyStride(),
                       [](Value, Value vector) { return vector; });
    }
  });
}

void AttentionGradEmitter::emitRowSums() {
  Type element = sizes.element;
  kb.loop(kb.i64(0), kb.i64(sizes.group()), 1, [&](Value member) {
    kb.loop(kb.i64(0), kb.i64(sizes.positions), 1, [&](Value row) {
      Value o = query(params.inputs[3], head(member), row), grad = query(params.inputs[5], head(member), row);
      Value sum = kb.reduceVectors(
          element, sizes.headSize, kb.constant(element, 0),
          [&](Value i, int64_t lanes, Value total) {
            return kb.fma(kb.load(element, o, i, lanes), kb.load(element, grad, i, lanes), total);
          },
          [&](Value x, Value y) { return kb.fadd(x, y); }, [&](Value vector) { return kb.sumLanes(vector); });
      kb.store(sum, rowSums, kb.add(kb.mul(member, kb.i64(sizes.positions)), row));
      for (unsigned param : params.results[0])
        kb.fillZero(query(param, head(member), row), element, sizes.headSize);
    });
  });
}

void AttentionGradEmitter::emitQueryBlock(Value member, Value firstQuery, Value firstKey, Value keys) {
  int64_t block = parts.block, tileRows = parts.scores.rows(), stride = sizes.queryStride();
  Value left = kb.sub(kb.i64(sizes.positions), firstQuery), rows = kb.min(kb.i64(block), left);
  if (sizes.isWindowed())
    rows = kb.min(rows, kb.sub(parts.endOfQueries(firstKey), firstQuery));
  Value q = query(params.inputs[0], head(member), firstQuery), grad = query(params.inputs[5], head(member), firstQuery);
  forPair([&](Value which) {
    parts.packRows(pairMember(pairRows, parts.rowsSize(), which), either(which, grad, q), stride, rows, left);
  });
  kb.loop(kb.i64(0), rows, tileRows, [&](Value t) {
    Value existing = kb.sub(rows, t);
    Value lastRow = kb.add(kb.add(firstQuery, t), kb.min(kb.i64(tileRows), existing));
    Value seen = kb.min(keys, kb.sub(lastRow, firstKey));
    Value tile = kb.mul(t, kb.i64(block)), offset = kb.mul(t, kb.i64(stride));
    forPair([&](Value which) {
      parts.multiplyScores(parts.at(pairMember(scores, block * block, which), tile),
                           parts.at(either(which, q, grad), offset), stride, existing,
                           pairMember(columns, parts.transposedSize(), which), seen);
    });
    emitProbabilities(member, firstQuery, firstKey, t, seen);
    emitQueryGradient(member, firstQuery, t, existing, seen);
  });
  kb.loop(kb.i64(0), keys, tileRows, [&](Value t) {
    // On the diagonal, query rows before the first key of the tile see no key of it. Both numbers are multiples of the
    // tile's rows.
    Value skipped = kb.min(kb.max(kb.i64(0), kb.sub(kb.add(firstKey, t), firstQuery)), rows);
    emitKeyGradients(rows, skipped, t);
  });
}

// P and dS of a tile of query rows that sees `keys` keys; zeros where a row does not see a key or does not exist. Later
// keys are not written; on the diagonal nobody reads them, see `skipped`.
void AttentionGradEmitter::emitProbabilities(Value member, Value firstQuery, Value firstKey, Value t, Value keys) {
  Type element = sizes.element;
  int64_t block = parts.block, lanes = parts.scores.lanes();
  double scale = 1.0 / std::sqrt(static_cast<double>(sizes.headSize));
  Value scales = kb.splat(kb.constant(element, scale), lanes), nothing = kb.constant(scales.getType(), 0);
  Value probabilities = scores, scoreGrads = parts.at(scores, block * block);
  kb.loop(t, kb.add(t, kb.i64(parts.scores.rows())), 1, [&](Value r) {
    Value position = kb.add(firstQuery, r);
    Value exists = kb.less(position, kb.i64(sizes.positions));
    Value row = kb.min(position, kb.i64(sizes.positions - 1));
    Value seen = kb.select(exists, kb.add(kb.sub(position, firstKey), kb.i64(1)), kb.i64(0));
    Value lse = kb.load(element, kb.param(params.inputs[4]), lseAt(member, row));
    Value shift = kb.splat(kb.fsub(kb.constant(element, 0), lse), lanes);
    Value rowSum = kb.splat(kb.load(element, rowSums, kb.add(kb.mul(member, kb.i64(sizes.positions)), row)), lanes);
    Value start = kb.mul(r, kb.i64(block));
    kb.loop(kb.i64(0), parts.upToLanes(keys), lanes, [&](Value j) {
      Value mask = parts.visible(j, seen), at = kb.add(start, j);
      Value s = kb.load(element, probabilities, at, lanes), dp = kb.load(element, scoreGrads, at, lanes);
      Value p = kb.exp(kb.fma(s, scales, shift));
      Value ds = kb.fmul(kb.fmul(p, scales), kb.fsub(dp, rowSum));
      kb.store(kb.select(mask, p, nothing), probabilities, at);
      kb.store(kb.select(mask, ds, nothing), scoreGrads, at);
    });
  });
}

void AttentionGradEmitter::emitQueryGradient(Value member, Value firstQuery, Value t, Value existing, Value keys) {
  const MicroTile &heads = parts.heads;
  Type element = sizes.element;
  int64_t stride = sizes.queryStride(), lanes = heads.lanes();
  bool partial = sizes.headSize % heads.columns() != 0;
  Value a = parts.at(scores, kb.add(kb.i64(parts.block * parts.block), kb.mul(t, kb.i64(parts.block))));
  kb.loop(kb.i64(0), kb.i64(parts.headWidth / heads.columns()), 1, [&](Value p) {
    Value first = kb.mul(p, kb.i64(heads.columns())), valid = kb.sub(kb.i64(sizes.headSize), first);
    SmallVector<Value> sums = heads.multiply(heads.zeros(), parts.upToSteps(keys), a, parts.block,
                                             parts.panel(keyRows, p, parts.block, heads), /*wholeSteps=*/true);
    for (unsigned param : params.results[0]) {
      Value tile = parts.at(query(param, head(member), kb.add(firstQuery, t)), first);
      for (int64_t r = 0; r < heads.rows(); ++r) {
        auto addRow = [&] {
          for (int64_t i = 0; i < heads.vectors(); ++i) {
            Value at = kb.i64(r * stride + i * lanes), sum = sums[r * heads.vectors() + i];
            if (!partial) {
              kb.store(kb.fadd(kb.load(element, tile, at, lanes), sum), tile, at);
              continue;
            }
            Value count = kb.sub(valid, kb.i64(i * lanes));
            kb.storePart(kb.fadd(kb.loadPart(element, tile, at, lanes, count), sum), tile, at, count);
          }
        };
        if (parts.evenRows)
          addRow();
        else
          kb.when(kb.less(kb.i64(r), existing), addRow);
      }
    }
  });
}

void AttentionGradEmitter::emitKeyGradients(Value rows, Value skipped, Value t) {
  const MicroTile &heads = parts.heads;
  int64_t block = parts.block;
  Value depth = kb.sub(parts.upToSteps(rows), skipped);
  kb.loop(kb.i64(0), kb.i64(parts.headWidth / heads.columns()), 1, [&](Value p) {
    Value first = kb.add(kb.mul(t, kb.i64(parts.headWidth)), kb.mul(p, kb.i64(heads.columns())));
    forPair([&](Value which) {
      Value a = parts.at(pairMember(scores, block * block, which), kb.add(kb.mul(skipped, kb.i64(block)), t));
      Value tile = parts.at(pairMember(grads, parts.rowsSize(), which), first);
      Value panel = parts.at(parts.panel(pairMember(pairRows, parts.rowsSize(), which), p, block, heads),
                             kb.mul(skipped, kb.i64(heads.columns())));
      heads.store(heads.multiply(
                      heads.load(tile, parts.headWidth), depth,
                      [&](Value k) {
                        Value row = parts.at(a, kb.mul(k, kb.i64(block)));
                        SmallVector<Value> pointers;
                        for (int64_t r = 0; r < heads.rows(); ++r)
                          pointers.push_back(parts.at(row, r));
                        return pointers;
                      },
                      panel, /*wholeSteps=*/true),
                  tile, parts.headWidth);
    });
  });
}

} // namespace

FailureOr<KernelInfo> emitAttentionGradKernel(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
                                              const CpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::AttentionGradOp>(findRoot(body));
  if (!op)
    return failure();
  FailureOr<AttentionParams> params = findAttentionParams(body, op);
  if (failed(params))
    return failure();
  AttentionSizes sizes(op);

  KernelBuilder kb(kernels, dispatch.getLoc(), symbol, body.numParams(), target);
  AttentionGradEmitter(kb, sizes, *params).emit();
  kb.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = sizes.sequences * sizes.kvHeads;
  info.scratchBytes = kb.scratchBytes();
  info.flops = 5.0 * 2.0 * sizes.sequences * sizes.heads * sizes.headSize * sizes.pairs();
  for (const moe::DispatchParam &param : body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  return info;
}

} // namespace moec::cpu
