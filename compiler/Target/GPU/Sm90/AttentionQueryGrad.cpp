// Causal attention, backward: dQ, and the row statistics for dK and dV. A tile is 128 query rows of one head, its
// blocks of 128 keys run from the diagonal to the first.
//
//   D = rowsum(dO * O), nlse = -log2 e * lse; written to the workspace, a row of padding has 0 and -inf
//   for each block:  issue S = Q K^T (dQ of the block before still runs); wait for that dQ; issue dP = dO V^T
//                    P = exp2(c S + nlse); dS = P (dP - D); issue dQ += dS K
//   result = scale dQ                                              c = scale * log2 e
//
// K serves twice: rows as columns of S, and transposed as the second factor of dQ. Registers: S, dP, dQ 64 each, dS 32.
#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

namespace {

constexpr AttentionSchedule kSchedule{/*stages=*/2, /*producerRegisters=*/40, /*consumerRegisters=*/232,
                                      /*section=*/0};
constexpr int64_t kSectionBytes = 32 << 20; // as in the forward

enum Map { kQ, kDO, kK, kV, kDQ };

class QueryGradient : AttentionKernel {
public:
  struct Pointers {
    Value result, grad, lse; // parameters
    Value shifts, rowSums;   // of the workspace: nlse and D, f32 [B*H, padded S]
  };
  QueryGradient(Sm90Builder &k, const AttentionShape &shape, const AttentionSchedule &schedule, Pointers pointers)
      : AttentionKernel(k, shape, schedule), pointers(pointers) {
    tile = tileBytes(AttentionShape::kBlock);
    panel = AttentionShape::kBlock * 128;
    queries = reserve(tile);
    grads = reserve(tile);
    int64_t keyData = reserve(tile * schedule.stages), valueData = reserve(tile * schedule.stages);
    staging = reserve(tile);
    keys = reserveRing(keyData, tile);
    values = reserveRing(valueData, tile);
  }
  int64_t emit(int64_t tiles) {
    emitRoles(tiles);
    return sharedBytes();
  }

private:
  Value produce(Value tileNumber, Value step) override;
  Value consume(Value tileNumber, Value step) override;
  void prepareConsumer() override;

  struct Rows { // of this thread's two rows
    Value shift[2], rowSum[2];
  };
  Rows statistics(const Position &at);
  /// What the next block must wait for.
  struct Running {
    Values sums, scoreGrads; // dQ and the dS that it reads
    Value keysEmpty;         // barrier of the keys that it reads
  };
  Running block(Value number, const Running *before, const Rows &rows);

  Pointers pointers;
  int64_t tile, panel, queries, grads, staging;
  Ring keys, values;
  Value queryRows, gradRows; // descriptors
  Value out, scale;
};

Value QueryGradient::produce(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.heads, /*descending=*/true);
  Value keyHead = k.div(at.head, shape.group()), firstRow = k.mul(at.block, AttentionShape::kBlock);
  k.arriveExpecting(address(tileFull), 2 * tile);
  copyTile(kQ, address(queries), address(tileFull), AttentionShape::kBlock, firstRow, at.head, at.sequence);
  copyTile(kDO, address(grads), address(tileFull), AttentionShape::kBlock, firstRow, at.head, at.sequence);
  Value blocks = k.add(at.block, 1);
  k.loop(blocks, {}, [&](Value i, ArrayRef<Value>) {
    Value number = k.add(step, i), row = k.mul(k.sub(at.block, i), AttentionShape::kBlock);
    for (auto [map, ring] : {std::pair(kK, keys), std::pair(kV, values)}) {
      Stage to = stage(ring, number);
      acquire(to, tile);
      copyTile(map, to.data, to.full, AttentionShape::kBlock, row, keyHead, at.sequence);
    }
    return Values();
  });
  return k.add(step, blocks);
}

void QueryGradient::prepareConsumer() {
  Value mine = k.mul(consumer, 64 * 128);
  queryRows = k.descriptor(k.add(address(queries), mine));
  gradRows = k.descriptor(k.add(address(grads), mine));
  out = k.add(address(staging), k.mul(consumer, tile / kConsumers));
  scale = k.f32(shape.scale() * M_LOG2E);
}

QueryGradient::Rows QueryGradient::statistics(const Position &at) {
  constexpr int64_t kChunk = 8; // elements of a 16-byte load
  Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type(), four = VectorType::get(4, i32);
  Value quarter = k.bitAnd(lane, 3);
  Rows rows;
  for (int64_t r : {0, 1}) {
    Value position = k.add(k.add(k.mul(at.block, AttentionShape::kBlock), k.mul(consumer, 64)), k.add(row, 8 * r));
    Value headRow = k.add(k.mul(k.add(k.mul(at.sequence, shape.positions), position), shape.heads), at.head);
    Values found = k.choose(
        k.less(position, shape.positions),
        [&] {
          // The four threads of a row take every fourth chunk of it.
          Value first = k.add(k.mul(k.widen(headRow), shape.headSize), k.widen(k.mul(quarter, kChunk)));
          Value sums[2] = {k.f32(0), k.f32(0)};
          SmallVector<std::pair<Value, Value>> chunks; // all loads first
          for (int64_t i = 0; i < shape.headSize; i += 4 * kChunk)
            for (Value base : {pointers.result, pointers.grad}) {
              Value chunk = k.loadConstant(four, k.at(base, k.add(first, i), k.b.getBF16Type()), 16);
              if (base == pointers.result)
                chunks.push_back({chunk, Value()});
              else
                chunks.back().second = chunk;
            }
          for (auto [o, grad] : chunks)
            for (int64_t j = 0; j < 4; ++j) {
              auto [oLow, oHigh] = k.unpackBf16(k.element(o, j));
              auto [gradLow, gradHigh] = k.unpackBf16(k.element(grad, j));
              sums[0] = k.fma(oLow, gradLow, sums[0]);
              sums[1] = k.fma(oHigh, gradHigh, sums[1]);
            }
          Value lse = k.loadConstant(f32, k.at(pointers.lse, headRow, f32));
          return Values{k.fmul(lse, k.f32(-M_LOG2E)), k.fadd(sums[0], sums[1])};
        },
        [&] { return Values{k.f32(-INFINITY), k.f32(0)}; });
    rows.shift[r] = found[0];
    rows.rowSum[r] = joinQuad(found[1], [&](Value x, Value y) { return k.fadd(x, y); });
    k.when(k.equal(quarter, 0), [&] {
      Value index = k.add(k.mul(at.flatHead, shape.paddedPositions()), position);
      k.store(rows.shift[r], k.at(pointers.shifts, index, f32));
      k.store(rows.rowSum[r], k.at(pointers.rowSums, index, f32));
    });
  }
  return rows;
}

QueryGradient::Running QueryGradient::block(Value number, const Running *before, const Rows &rows) {
  SmallVector<int64_t> steps = Sm90Builder::steps(shape.headSize, panel);
  Stage theseKeys = stage(keys, number), theseValues = stage(values, number);
  k.waitBarrier(theseKeys.full, theseKeys.parity);
  Values scores = k.multiply(AttentionShape::kBlock, queryRows, steps, k.descriptor(theseKeys.data), steps);
  Running next;
  if (before) {
    next.sums = k.wait(1, before->sums, before->scoreGrads);
    release(before->keysEmpty);
  } else {
    next.sums.assign(shape.headSize / 2, k.f32(0));
  }
  k.waitBarrier(theseValues.full, theseValues.parity);
  Values gradients = k.multiply(AttentionShape::kBlock, gradRows, steps, k.descriptor(theseValues.data), steps);
  scores = k.wait(1, scores);
  if (!before)
    scores = maskDiagonal(scores, k.add(k.mul(consumer, 64), row), arith::CmpIPredicate::sgt);
  Values p;
  for (auto [i, score] : llvm::enumerate(scores))
    p.push_back(k.exp2(k.fma(score, scale, rows.shift[(i >> 1) & 1])));
  gradients = k.wait(0, gradients);
  release(theseValues.empty);
  for (auto [i, gradient] : llvm::enumerate(gradients))
    gradient = k.fmul(p[i], k.fsub(gradient, rows.rowSum[(i >> 1) & 1]));
  next.scoreGrads = k.packBf16(gradients);
  next.sums = k.multiplyRegisters(next.scoreGrads, k.descriptorTransposed(theseKeys.data, panel),
                                  Sm90Builder::stepsTransposed(AttentionShape::kBlock), next.sums);
  next.keysEmpty = theseKeys.empty;
  return next;
}

Value QueryGradient::consume(Value tileNumber, Value step) {
  Position at = position(tileNumber, shape.heads, /*descending=*/true);
  Rows rows = statistics(at);
  auto close = [](const Running &running) {
    Values all(running.sums);
    all.append(running.scoreGrads);
    all.push_back(running.keysEmpty);
    return all;
  };
  auto open = [&](ArrayRef<Value> all) {
    size_t sums = shape.headSize / 2;
    return Running{Values(all.take_front(sums)), Values(all.drop_front(sums).drop_back()), all.back()};
  };
  Running running = block(step, nullptr, rows);
  Values left = k.loop(at.block, close(running), [&](Value i, ArrayRef<Value> all) {
    Running before = open(all);
    return close(block(k.add(k.add(step, i), 1), &before, rows));
  });
  releaseTile();
  running = open(left);
  Values sums = k.wait(0, running.sums, running.scoreGrads);
  release(running.keysEmpty);
  Value factor = k.f32(shape.scale());
  for (Value &sum : sums)
    sum = k.fmul(sum, factor);
  beginStaging();
  stageRows(out, sums);
  endStaging([&] {
    Value first = k.add(k.mul(at.block, AttentionShape::kBlock), k.mul(consumer, 64));
    copyRowsOut(kDQ, out, first, at.head, at.sequence);
  });
  return k.add(k.add(step, at.block), 1);
}

} // namespace

FailureOr<KernelInfo> emitQueryGradient(const AttentionDispatch &dispatch, ModuleOp kernels, StringRef symbol,
                                        const gpu::GpuTarget &target) {
  const AttentionShape &shape = dispatch.shape;
  AttentionSchedule schedule = kSchedule;
  int64_t inCache = std::max<int64_t>(1, kSectionBytes / (shape.positions * shape.headSize * 4));
  schedule.section = AttentionShape::section(shape.sequences * shape.heads, shape.group() * inCache);
  int64_t block = AttentionShape::kBlock;
  ArrayRef<unsigned> inputs = dispatch.inputs; // q, k, v, result, lse, grad
  Sm90Builder k(kernels, dispatch.body.dispatch->getLoc(), symbol, dispatch.body.numParams(),
                {shape.queryMap(inputs[0], block), shape.queryMap(inputs[5], block), shape.keyMap(inputs[1], block),
                 shape.keyMap(inputs[2], block), shape.queryMap(*dispatch.results[0], 64)},
                3 * Sm90Builder::kWarpgroup);
  int64_t tiles = shape.sequences * shape.heads * shape.blocks();
  auto [shifts, rowSums] = shape.statistics(k);
  QueryGradient gradient(k, shape, schedule,
                         {k.param(inputs[3]), k.param(inputs[5]), k.param(inputs[4]), shifts, rowSums});
  int64_t sharedBytes = gradient.emit(tiles);
  k.finish();

  KernelInfo info = dispatch.info(symbol, /*products=*/2);
  info.grid = std::min(tiles, target.numSms);
  info.scratchBytes = Sm90Builder::kCounterBytes + shape.statisticsBytes();
  info.launch = k.launch(sharedBytes);
  return info;
}

} // namespace moec::sm90
