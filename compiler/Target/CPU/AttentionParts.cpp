#include "compiler/Target/CPU/AttentionParts.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace moec::cpu {

namespace {
// 64 x 64 scores of f32 are 16 KiB: they stay in a first-level cache beside the panels of one head.
constexpr int64_t kBlock = 64;

int64_t blockOf(const KernelBuilder &kb, const AttentionSizes &sizes) {
  int64_t columns = kb.lanes(sizes.element) * kb.target.tileVectors;
  return std::min<int64_t>(kBlock, llvm::alignTo(sizes.positions, std::max(columns, kb.target.tileRows)));
}
} // namespace

AttentionParts::AttentionParts(KernelBuilder &kb, const AttentionSizes &sizes)
    : kb(kb), sizes(sizes), block(blockOf(kb, sizes)), scores(kb, sizes.element, kb.target.tileRows, block),
      heads(kb, sizes.element, kb.target.tileRows, sizes.headSize) {
  headWidth = llvm::alignTo(sizes.headSize, heads.columns());
  evenRows = sizes.positions % scores.rows() == 0;
  wholeSteps = sizes.positions % MicroTile::kUnroll == 0;
}

void AttentionParts::packTransposed(Value panels, Value source, int64_t stride, Value count, Value left) const {
  kb.loop(kb.i64(0), ceilDiv(count, scores.columns()), 1, [&](Value p) {
    Value first = kb.mul(p, kb.i64(scores.columns()));
    Value valid = sizes.positions % scores.columns() == 0 ? Value() : kb.sub(left, first);
    scores.packColumns(panel(panels, p, sizes.headSize, scores), kb.i64(sizes.headSize),
                       at(source, kb.mul(first, kb.i64(stride))), stride, valid);
  });
}

Value AttentionParts::upToSteps(Value count) const {
  if (wholeSteps)
    return count;
  int64_t step = MicroTile::kUnroll;
  return kb.mul(ceilDiv(count, step), kb.i64(step));
}

void AttentionParts::packRows(Value panels, Value source, int64_t stride, Value count, Value left) const {
  Value last = kb.sub(left, kb.i64(1));
  for (int64_t p = 0; p < headWidth / heads.columns(); ++p) {
    int64_t first = p * heads.columns();
    bool partial = first + heads.columns() > sizes.headSize;
    heads.packRows(
        panel(panels, kb.i64(p), block, heads), upToSteps(count),
        [&](Value k) {
          Value row = wholeSteps ? k : kb.min(k, last);
          return at(source, kb.add(kb.mul(row, kb.i64(stride)), kb.i64(first)));
        },
        partial ? kb.i64(sizes.headSize - first) : Value());
  }
}

void AttentionParts::multiplyScores(Value tile, Value rows, int64_t stride, Value existing, Value panels,
                                    Value count) const {
  SmallVector<Value> starts;
  for (int64_t r = 0; r < scores.rows(); ++r) {
    Value row = kb.i64(r);
    if (!evenRows)
      row = kb.min(row, kb.sub(existing, kb.i64(1)));
    starts.push_back(at(rows, kb.mul(row, kb.i64(stride))));
  }
  kb.loop(kb.i64(0), ceilDiv(count, scores.columns()), 1, [&](Value p) {
    SmallVector<Value> sums = scores.multiply(
        scores.zeros(), kb.i64(sizes.headSize),
        [&](Value k) {
          SmallVector<Value> pointers;
          for (Value start : starts)
            pointers.push_back(at(start, k));
          return pointers;
        },
        panel(panels, p, sizes.headSize, scores));
    scores.store(sums, at(tile, kb.mul(p, kb.i64(scores.columns()))), block);
  });
}

Value AttentionParts::larger(Value a, Value b) const {
  return kb.select(arith::CmpFOp::create(kb.b, arith::CmpFPredicate::OGT, a, b), a, b);
}

Value AttentionParts::joinRows(SmallVector<Value> vectors, llvm::function_ref<Value(Value, Value)> join) const {
  int64_t lanes = KernelBuilder::lanesOf(vectors[0].getType()), rows = vectors.size();
  // Joins neighbouring lanes of two vectors, laid end to end, into `count` lanes.
  auto joinPairs = [&](Value a, Value b, int64_t count) {
    SmallVector<int64_t> even, odd;
    for (int64_t i = 0; i < count; ++i) {
      even.push_back(2 * i);
      odd.push_back(2 * i + 1);
    }
    return join(vector::ShuffleOp::create(kb.b, a, b, even), vector::ShuffleOp::create(kb.b, a, b, odd));
  };
  // Rows stay in order. Each step halves the lanes of a row: first two vectors become one, then the last vector
  // shrinks.
  int64_t left = lanes;
  for (; left > 1 && vectors.size() > 1; left /= 2) {
    SmallVector<Value> next;
    for (size_t i = 0; i < vectors.size(); i += 2)
      next.push_back(joinPairs(vectors[i], vectors[i + 1], lanes));
    vectors = next;
  }
  for (int64_t count = lanes; left > 1; left /= 2)
    vectors[0] = joinPairs(vectors[0], vectors[0], count /= 2);
  // With fewer lanes than rows, several vectors are left with one lane per row.
  for (int64_t count = lanes; vectors.size() > 1; count *= 2) {
    SmallVector<int64_t> all(llvm::to_vector(llvm::seq<int64_t>(0, 2 * count)));
    SmallVector<Value> next;
    for (size_t i = 0; i < vectors.size(); i += 2)
      next.push_back(vector::ShuffleOp::create(kb.b, vectors[i], vectors[i + 1], all));
    vectors = next;
  }
  assert(KernelBuilder::lanesOf(vectors[0].getType()) == rows && "rows and lanes are powers of two");
  (void)rows;
  return vectors[0];
}

Value AttentionParts::below(Value first, Value count) const {
  int64_t lanes = scores.lanes();
  Value bound = kb.toI32(kb.sub(count, first));
  if (lanes == 1)
    return kb.less(kb.i32(0), bound);
  SmallVector<int32_t> steps(llvm::to_vector(llvm::seq<int32_t>(0, lanes)));
  auto type = VectorType::get(lanes, kb.b.getI32Type());
  Value index = arith::ConstantOp::create(kb.b, DenseElementsAttr::get(type, ArrayRef<int32_t>(steps)));
  return kb.less(index, kb.splat(bound, lanes));
}

Value AttentionParts::visible(Value first, Value seen) const {
  Value upTo = below(first, seen);
  if (!sizes.isWindowed())
    return upTo;
  // Keys before the window are among those up to the query.
  return arith::XOrIOp::create(kb.b, upTo, below(first, kb.sub(seen, kb.i64(sizes.window))));
}

Value AttentionParts::firstKeyBlock(Value firstQuery) const {
  if (!sizes.isWindowed())
    return kb.i64(0);
  Value first = kb.max(kb.i64(0), kb.sub(firstQuery, kb.i64(sizes.window - 1)));
  return kb.mul(kb.div(first, kb.i64(block)), kb.i64(block));
}

Value AttentionParts::endOfQueries(Value firstKey) const {
  int64_t whole = std::max(scores.rows(), MicroTile::kUnroll);
  return kb.add(firstKey, kb.i64(llvm::alignTo(block + sizes.window - 1, whole)));
}

void AttentionParts::storeHeads(Value source, Value rows, ArrayRef<Value> pointers, int64_t stride,
                                llvm::function_ref<Value(Value, Value)> value) const {
  int64_t lanes = heads.lanes();
  kb.loop(kb.i64(0), rows, 1, [&](Value row) {
    for (int64_t first = 0; first < sizes.headSize; first += lanes) {
      Value vector = kb.load(sizes.element, source, kb.add(kb.mul(row, kb.i64(headWidth)), kb.i64(first)), lanes);
      vector = value(row, vector);
      for (Value pointer : pointers) {
        Value offset = kb.add(kb.mul(row, kb.i64(stride)), kb.i64(first));
        if (first + lanes > sizes.headSize)
          kb.storePart(vector, pointer, offset, kb.i64(sizes.headSize - first));
        else
          kb.store(vector, pointer, offset);
      }
    }
  });
}

} // namespace moec::cpu
