#include "compiler/Target/GPU/AttentionTiles.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace moec::gpu {

int64_t AttentionTiles::chooseBlock(const kernel::AttentionSizes &sizes, int64_t headTiles, int64_t scoreTiles,
                                    const GpuTarget &target) {
  int64_t bytes = sizes.element.getIntOrFloatBitWidth() / 8, width = llvm::alignTo(sizes.headSize, kLanes) + kLanes;
  for (int64_t block = 4 * kSide; block >= kSide; block /= 2)
    if (block * bytes * (headTiles * width + scoreTiles * (block + kLanes)) <= target.sharedBytes)
      return block;
  return 0;
}

AttentionTiles::AttentionTiles(SimtBuilder &k, const kernel::DispatchBody &body, const kernel::AttentionSizes &sizes,
                               int64_t block)
    : k(k), body(body), sizes(sizes), block(block), rows(block / kSide),
      headWidth(llvm::alignTo(sizes.headSize, kLanes)), pieces(llvm::divideCeil(headWidth, kSide * kLanes)),
      element(sizes.element), piece(VectorType::get(kLanes, sizes.element)) {
  firstRow = k.mul(k.div(k.thread(), k.i64(kSide)), k.i64(rows));
  x = k.rem(k.thread(), k.i64(kSide));
  firstColumn = k.mul(x, k.i64(kLanes));
}

Value AttentionTiles::columnOf(int64_t p) const {
  return k.min(k.add(firstColumn, k.i64(p * kSide * kLanes)), k.i64(headWidth - kLanes));
}

Value AttentionTiles::headStart(Value sequence, Value head, int64_t stride) const {
  return k.add(k.mul(sequence, k.i64(sizes.positions * stride)), k.mul(head, k.i64(sizes.headSize)));
}

// A piece of a head, whose first element is `offset`, from `column` on; zeros after the head's end.
Value AttentionTiles::loadPiece(unsigned param, Value offset, Value column) const {
  Type storage = body.storageOf(param);
  Value pointer = k.param(param);
  if (sizes.headSize % kLanes == 0)
    return k.convert(k.load(storage, pointer, k.add(offset, column), kLanes), element);
  Value value = k.constant(piece, 0);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    Value own = k.add(column, k.i64(lane));
    Value at = k.add(offset, k.min(own, k.i64(sizes.headSize - 1)));
    Value scalar = k.convert(k.load(storage, pointer, at), element);
    scalar = k.select(k.less(own, k.i64(sizes.headSize)), scalar, k.constant(element, 0));
    value = vector::InsertOp::create(k.b, scalar, value, lane);
  }
  return value;
}

void AttentionTiles::loadHeads(unsigned param, Value start, int64_t stride, Value first, Value tile) const {
  int64_t width = headWidth / kLanes;
  k.loop(k.thread(), k.i64(block * width), kThreads, [&](Value i) {
    Value row = k.div(i, k.i64(width)), column = k.mul(k.rem(i, k.i64(width)), k.i64(kLanes));
    Value position = k.min(k.add(first, row), k.i64(sizes.positions - 1));
    Value value = loadPiece(param, k.add(start, k.mul(position, k.i64(stride))), column);
    k.store(value, tile, k.add(k.mul(row, k.i64(headStride())), column));
  });
}

void AttentionTiles::storeScores(ValueRange scores, Value tile) const {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < rows; ++j) {
      Value row = k.mul(k.add(firstRow, k.i64(i)), k.i64(scoreStride()));
      k.store(scores[i * rows + j], tile, k.add(row, k.add(x, k.i64(j * kSide))));
    }
}

namespace {
Value laneOf(SimtBuilder &k, Value vector, int64_t lane) {
  return isa<VectorType>(vector.getType()) ? vector::ExtractOp::create(k.b, vector, lane).getResult() : vector;
}
} // namespace

Value AttentionTiles::inWindow(Value query, Value key) const { return k.less(query, k.add(key, k.i64(sizes.window))); }

Value AttentionTiles::firstKeyBlock(Value firstQuery) const {
  if (!sizes.isWindowed())
    return k.i64(0);
  Value first = k.max(k.i64(0), k.sub(firstQuery, k.i64(sizes.window - 1)));
  return k.mul(k.div(first, k.i64(block)), k.i64(block));
}

Value AttentionTiles::endOfQueries(Value firstKey) const {
  Value end = k.i64(sizes.positions);
  return sizes.isWindowed() ? k.min(end, k.add(firstKey, k.i64(block + sizes.window - 1))) : end;
}

AttentionTiles::Values AttentionTiles::multiplyRows(Value a, Value b) const {
  Values sums(rows * rows, k.constant(element, 0));
  return k.loop(k.i64(0), k.i64(headWidth), kLanes, sums, [&](Value d, ValueRange carried) {
    Values next(carried), left, right;
    for (int64_t i = 0; i < rows; ++i)
      left.push_back(k.load(element, a, k.add(k.mul(k.add(firstRow, k.i64(i)), k.i64(headStride())), d), kLanes));
    for (int64_t j = 0; j < rows; ++j)
      right.push_back(k.load(element, b, k.add(k.mul(k.add(x, k.i64(j * kSide)), k.i64(headStride())), d), kLanes));
    for (int64_t lane = 0; lane < kLanes; ++lane)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < rows; ++j)
          next[i * rows + j] = k.fma(laneOf(k, left[i], lane), laneOf(k, right[j], lane), next[i * rows + j]);
    return next;
  });
}

AttentionTiles::Values AttentionTiles::addScoresTimesHeads(Value scores, Value heads, ValueRange sums) const {
  return k.loop(k.i64(0), k.i64(block), kLanes, sums, [&](Value depth, ValueRange carried) {
    Values next(carried), left;
    for (int64_t i = 0; i < rows; ++i)
      left.push_back(
          k.load(element, scores, k.add(k.mul(k.add(firstRow, k.i64(i)), k.i64(scoreStride())), depth), kLanes));
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      Value row = k.mul(k.add(depth, k.i64(lane)), k.i64(headStride()));
      for (int64_t p = 0; p < pieces; ++p) {
        Value right = k.load(element, heads, k.add(row, columnOf(p)), kLanes);
        for (int64_t i = 0; i < rows; ++i)
          next[i * pieces + p] = k.fma(k.splat(laneOf(k, left[i], lane), kLanes), right, next[i * pieces + p]);
      }
    }
    return next;
  });
}

AttentionTiles::Values AttentionTiles::addTransposedTimesHeads(Value scores, Value heads, ValueRange sums) const {
  return k.loop(k.i64(0), k.i64(block), 1, sums, [&](Value depth, ValueRange carried) {
    Values next(carried);
    Value left = k.load(element, scores, k.add(k.mul(depth, k.i64(scoreStride())), firstRow), rows);
    for (int64_t p = 0; p < pieces; ++p) {
      Value right = k.load(element, heads, k.add(k.mul(depth, k.i64(headStride())), columnOf(p)), kLanes);
      for (int64_t i = 0; i < rows; ++i)
        next[i * pieces + p] = k.fma(k.splat(laneOf(k, left, i), kLanes), right, next[i * pieces + p]);
    }
    return next;
  });
}

Value AttentionTiles::joinRow(Value value, llvm::function_ref<Value(Value, Value)> join) const {
  for (int64_t mask = kSide / 2; mask > 0; mask /= 2)
    value = join(value, k.shuffleXor(value, mask));
  return value;
}

Value AttentionTiles::dotRow(Value tile, unsigned param, Value start, int64_t stride, Value first, int64_t i) const {
  Value position = k.min(rowAt(first, i), k.i64(sizes.positions - 1));
  Value row = k.add(start, k.mul(position, k.i64(stride)));
  Value inTile = k.mul(k.add(firstRow, k.i64(i)), k.i64(headStride())), sum = k.constant(piece, 0);
  for (int64_t p = 0; p < pieces; ++p) {
    Value column = columnOf(p);
    Value next = k.fma(k.load(element, tile, k.add(inTile, column), kLanes), loadPiece(param, row, column), sum);
    Value exists = k.less(k.add(firstColumn, k.i64(p * kSide * kLanes)), k.i64(headWidth));
    sum = k.select(exists, next, sum);
  }
  return joinRow(k.sumLanes(sum), [&](Value a, Value b) { return k.fadd(a, b); });
}

void AttentionTiles::storeHeads(ValueRange sums, ArrayRef<unsigned> params, Value start, int64_t stride,
                                Value first) const {
  for (int64_t i = 0; i < rows; ++i) {
    Value position = rowAt(first, i);
    k.when(k.less(position, k.i64(sizes.positions)), [&] {
      Value row = k.add(start, k.mul(position, k.i64(stride)));
      for (int64_t p = 0; p < pieces; ++p) {
        Value column = k.add(firstColumn, k.i64(p * kSide * kLanes)), sum = sums[i * pieces + p];
        for (unsigned param : params) {
          Value value = k.convert(sum, body.storageOf(param));
          if (sizes.headSize % kLanes == 0) {
            k.when(k.less(column, k.i64(sizes.headSize)), [&] { k.store(value, k.param(param), k.add(row, column)); });
            continue;
          }
          for (int64_t lane = 0; lane < kLanes; ++lane) {
            Value own = k.add(column, k.i64(lane));
            k.when(k.less(own, k.i64(sizes.headSize)),
                   [&] { k.store(laneOf(k, value, lane), k.param(param), k.add(row, own)); });
          }
        }
      }
    });
  }
}

} // namespace moec::gpu
