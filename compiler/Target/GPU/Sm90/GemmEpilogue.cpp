// From accumulators to memory: the epilogue's region on each element, 64 columns at a time, then the stores.
#include "compiler/Target/GPU/Sm90/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr int64_t kChunk = 64;           // columns
constexpr int64_t kBlocks = kChunk / 8;  // of 8 columns in a chunk
constexpr int64_t kValues = 4 * kBlocks; // of a thread in a chunk
constexpr int64_t kThreads = 128;
} // namespace

/// Where this thread's elements are: rows `row[h]` of the result, columns `column` + 8 j + c.
struct GemmEmitter::Place {
  Value row[2];       // i32; a stack's rows are counted through
  Value rowExists[2]; // null: all do
  Value column;       // of the tile's first chunk
};

/// The 32 values of an operand at this thread's places of a chunk, as f32.
GemmEmitter::Values GemmEmitter::loadOperand(const Place &place, Value operand, int64_t chunk) {
  auto type = cast<RankedTensorType>(operand.getType());
  Type element = type.getElementType(), f32 = k.b.getF32Type();
  Value pointer = k.param(operand.getDefiningOp<tile::OperandOp>().getParam());
  int64_t columns = type.getShape().back(), rows = type.getNumElements() / columns;
  auto widen = [&](Value value) -> Value {
    return element.isF32() ? value : arith::ExtFOp::create(k.b, f32, value).getResult();
  };
  // Rows and columns that do not exist read an element that does; what becomes of it is not stored.
  auto rowAt = [&](int64_t h) { return place.rowExists[h] ? k.min(place.row[h], k.i32(rows - 1)) : place.row[h]; };
  Values values(kValues);
  if (columns == 1 && gemm.columns != 1) {
    for (int64_t h = 0; h < 2; ++h) {
      Value value = widen(k.load(element, pointer, rows == 1 ? k.i64(0) : k.wide(rowAt(h))));
      for (int64_t j = 0; j < kBlocks; ++j)
        values[4 * j + 2 * h] = values[4 * j + 2 * h + 1] = value;
    }
    return values;
  }
  bool clipped = gemm.columns % gemm.columnsOfProduct() != 0;
  Type pair = VectorType::get(2, element);
  unsigned alignment = 2 * element.getIntOrFloatBitWidth() / 8;
  for (int64_t h = 0; h < (rows == 1 ? 1 : 2); ++h) {
    Value line = pointer;
    if (rows != 1)
      line = k.at(pointer, k.mul(k.wide(rowAt(h)), k.i64(columns)), element);
    if (!clipped)
      line = k.at(line, k.wide(place.column), element);
    for (int64_t j = 0; j < kBlocks; ++j) {
      int64_t offset = chunk * kChunk + 8 * j;
      Value at = clipped ? k.wide(k.min(k.i32add(place.column, offset), k.i32(columns - 2))) : k.i64(offset);
      Value loaded = LLVM::LoadOp::create(k.b, pair, k.at(line, at, element), alignment);
      for (int64_t c = 0; c < 2; ++c)
        values[4 * j + 2 * h + c] = LLVM::ExtractElementOp::create(k.b, loaded, k.i32(c));
    }
  }
  for (int64_t j = 0; j < kBlocks; ++j)
    for (int64_t c = 0; c < 2; ++c) {
      for (int64_t h = 0; h < (rows == 1 ? 1 : 2); ++h)
        values[4 * j + 2 * h + c] = widen(values[4 * j + 2 * h + c]);
      if (rows == 1)
        values[4 * j + 2 + c] = values[4 * j + c];
    }
  return values;
}

/// The region on one element. Exponentials and divisions take the approximate instructions.
GemmEmitter::Values GemmEmitter::evaluate(ArrayRef<Value> inputs) {
  constexpr double kLog2E = 1.4426950408889634;
  Block &region = gemm.epilogue.getBody().front();
  IRMapping values;
  for (auto [argument, input] : llvm::zip_equal(region.getArguments(), inputs))
    values.map(argument, input);
  for (Operation &op : region.without_terminator()) {
    auto operand = [&](unsigned i) { return values.lookup(op.getOperand(i)); };
    if (auto exponential = dyn_cast<math::ExpOp>(op)) {
      values.map(op.getResult(0), k.exp2Fast(k.fmul(operand(0), k.constant(k.b.getF32Type(), kLog2E))));
    } else if (isa<arith::DivFOp>(op)) {
      values.map(op.getResult(0), k.fmul(operand(0), k.reciprocalFast(operand(1))));
    } else {
      k.b.clone(op, values);
    }
  }
  Values results;
  for (Value value : region.getTerminator()->getOperands())
    results.push_back(values.lookup(value));
  return results;
}

void GemmEmitter::write(const Place &place, const Gemm::Sink &sink, int64_t chunk, ArrayRef<Value> values) {
  Type element = sink.element, pair = VectorType::get(2, element);
  Value pointer = k.param(sink.param);
  bool clipped = gemm.columns % gemm.columnsOfProduct() != 0;
  unsigned alignment = 2 * element.getIntOrFloatBitWidth() / 8;
  // Sums read everything before the first store, which could be to the same place for all that LLVM knows.
  Values targets, joined;
  for (int64_t h = 0; h < 2; ++h) {
    Value row = place.row[h];
    if (place.rowExists[h])
      row = k.min(row, k.i32(sink.rows - 1));
    Value line = k.at(pointer, k.mul(k.wide(row), k.i64(gemm.columns)), element);
    if (!clipped)
      line = k.at(line, k.wide(place.column), element);
    for (int64_t j = 0; j < kBlocks; ++j) {
      int64_t offset = chunk * kChunk + 8 * j;
      Value at = clipped ? k.wide(k.min(k.i32add(place.column, offset), k.i32(gemm.columns - 2))) : k.i64(offset);
      targets.push_back(k.at(line, at, element));
      joined.push_back(sink.accumulates ? LLVM::LoadOp::create(k.b, pair, targets.back(), alignment).getResult()
                                        : Value());
    }
  }
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t j = 0; j < kBlocks; ++j) {
      Value old = joined[h * kBlocks + j], target = targets[h * kBlocks + j];
      Value both = LLVM::PoisonOp::create(k.b, pair);
      for (int64_t c = 0; c < 2; ++c) {
        Value value = values[4 * j + 2 * h + c];
        if (old) {
          Value before = LLVM::ExtractElementOp::create(k.b, old, k.i32(c));
          if (!element.isF32())
            before = arith::ExtFOp::create(k.b, k.b.getF32Type(), before);
          value = k.fadd(before, value);
        }
        if (!element.isF32())
          value = arith::TruncFOp::create(k.b, element, value);
        both = LLVM::InsertElementOp::create(k.b, both, value, k.i32(c));
      }
      Value exists = place.rowExists[h];
      if (clipped) {
        Value inside = k.below(k.i32add(place.column, chunk * kChunk + 8 * j), k.i32(gemm.columns));
        exists = exists ? k.both(exists, inside) : inside;
      }
      auto put = [&] { LLVM::StoreOp::create(k.b, both, target, alignment); };
      exists ? k.when(exists, put) : put();
    }
}

/// Writes a chunk as a box of bf16 for TMA to take.
void GemmEmitter::stage(ArrayRef<Value> values, Value buffer) {
  for (int64_t pair = 0; pair < kBlocks / 2; ++pair) {
    Values packed;
    for (int64_t i = 0; i < 4; ++i)
      packed.push_back(k.packBf16(values[8 * pair + 2 * i], values[8 * pair + 2 * i + 1]));
    k.storeMatrix(k.add(matrixRows[pair], buffer), packed);
  }
}

void GemmEmitter::store(const Tile &tile, ArrayRef<Value> accumulators) {
  int64_t columns = gemm.columnsOfProduct(), chunks = columns / kChunk, buffers = gemm.schedule.getBuffers();
  bool ragged = gemm.work == Gemm::Work::Ragged, checksRows = gemm.work != Gemm::Work::Grouped;
  Value firstRow = k.add(tile.row, k.i32mul(consumer, 64));
  Place place;
  for (int64_t h = 0; h < 2; ++h) {
    Value row = k.i32add(k.add(k.add(firstRow, k.i32mul(warp, 16)), k.shiftRight(lane, 2)), 8 * h);
    if (checksRows && gemm.rows % gemm.schedule.getM() != 0)
      place.rowExists[h] = k.below(row, k.i32(gemm.rows));
    place.row[h] = ragged ? k.add(row, k.i32mul(tile.group, gemm.rows)) : row;
  }
  place.column = k.add(tile.column, k.shiftLeft(k.bitAnd(lane, 3), 1));

  int64_t boxes = 0;
  for (const Gemm::Sink &sink : gemm.sinks)
    boxes += sink.map ? chunks : 0;
  // With room for all boxes they go out together; else one by one, round the buffers.
  bool together = boxes <= buffers;
  auto publish = [&] {
    k.fenceAsync();
    k.sync(barrierId, kThreads);
  };
  auto send = [&](const Gemm::Sink &sink, int64_t chunk, int64_t buffer) {
    Values at{k.i32add(tile.column, chunk * kChunk), firstRow};
    if (sink.rank == 3)
      at.push_back(tile.group);
    k.storeBox(k.map(sink.map), k.i32add(staging, buffer * tile::kBoxBytes), at);
  };
  auto reserve = [&](int64_t pending) {
    k.when(isLeader, [&] { k.waitStores(pending, /*readOnly=*/true); });
    k.sync(barrierId, kThreads);
  };

  int64_t box = 0;
  if (boxes && together)
    reserve(0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    llvm::DenseMap<Value, Values> values; // of each fragment
    for (auto [p, product] : llvm::enumerate(gemm.products)) {
      auto from = accumulators.begin() + (static_cast<int64_t>(p) * columns + chunk * kChunk) / 2;
      values[product.getResult()] = Values(from, from + kValues);
    }
    if (gemm.epilogue) {
      SmallVector<Values> inputs;
      for (Value fragment : gemm.epilogue.getFragments())
        inputs.push_back(values.lookup(fragment));
      for (Value operand : gemm.epilogue.getElements())
        inputs.push_back(loadOperand(place, operand, chunk));
      for (int64_t i = 0; i < kValues; ++i) {
        Values scalars;
        for (const Values &input : inputs)
          scalars.push_back(input[i]);
        for (auto [fragment, value] : llvm::zip_equal(gemm.epilogue.getResults(), evaluate(scalars)))
          values[fragment].push_back(value);
      }
    }
    for (const Gemm::Sink &sink : gemm.sinks) {
      Values here = values.lookup(sink.value);
      if (!sink.map) {
        write(place, sink, chunk, here);
        continue;
      }
      int64_t buffer = box++ % buffers;
      if (!together)
        reserve(buffers - 1);
      stage(here, k.i32(buffer * tile::kBoxBytes));
      if (together)
        continue;
      publish();
      k.when(isLeader, [&] {
        send(sink, chunk, buffer);
        k.commitStores();
      });
    }
  }
  if (!boxes || !together)
    return;
  publish();
  k.when(isLeader, [&] {
    int64_t buffer = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (const Gemm::Sink &sink : gemm.sinks)
        if (sink.map)
          send(sink, chunk, buffer++);
    k.commitStores();
  });
}

} // namespace moec::sm90
