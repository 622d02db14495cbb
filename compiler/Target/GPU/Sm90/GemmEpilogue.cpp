// From accumulators to memory: the epilogue's region on each element, 64 columns at a time, then the stores. What is
// added to memory is added in the cache: an element has one adder in a launch, so there is one result whatever the
// order.
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
// Registers for operands of the chunk after the one at work; with more they would spill.
constexpr int64_t kOperandsAhead = 64;

/// [groups, 1, columns]: one row for each group of grouped work.
bool isRowOfGroup(const Gemm &gemm, RankedTensorType type) {
  return gemm.work == Gemm::Work::Grouped && type.getRank() == 3;
}
} // namespace

GemmEmitter::Place GemmEmitter::placeOf(const Tile &tile) {
  bool ragged = gemm.work == Gemm::Work::Ragged;
  Place place;
  place.firstRow = k.add(tile.row, k.i32mul(consumer, 64));
  for (int64_t h = 0; h < 2; ++h) {
    Value row = k.i32add(k.add(k.add(place.firstRow, k.i32mul(warp, 16)), k.shiftRight(lane, 2)), 8 * h);
    place.row[h] = ragged ? k.add(row, k.i32mul(tile.group, gemm.rows)) : row;
  }
  place.group = tile.group;
  place.column = k.add(tile.column, k.shiftLeft(k.bitAnd(lane, 3), 1));
  return place;
}

/// Registers that a chunk of all operands takes between its loads and its use.
int64_t GemmEmitter::operandRegisters() {
  int64_t registers = 0;
  if (gemm.epilogue)
    for (Value operand : gemm.epilogue.getElements()) {
      auto type = cast<RankedTensorType>(operand.getType());
      bool isColumn = type.getShape().back() == 1 && gemm.columns != 1,
           isRow = type.getDimSize(0) == 1 || isRowOfGroup(gemm, type);
      registers += isColumn ? 2 : kValues / (isRow ? 2 : 1) * type.getElementTypeBitWidth() / 32;
    }
  return registers;
}

/// Starts to load the operands of a chunk: for each, pairs of neighbours (8 of its one row, or 8 of each of two rows),
/// or one value a row.
SmallVector<GemmEmitter::Values> GemmEmitter::fetchOperands(const Place &place, int64_t chunk) {
  SmallVector<Values> fetched;
  if (!gemm.epilogue)
    return fetched;
  bool clipped = gemm.columns % gemm.columnsOfProduct() != 0;
  for (Value operand : gemm.epilogue.getElements()) {
    auto type = cast<RankedTensorType>(operand.getType());
    Type element = type.getElementType();
    Value pointer = k.param(operand.getDefiningOp<tile::OperandOp>().getParam());
    int64_t columns = type.getShape().back(), rows = type.getNumElements() / columns;
    if (isRowOfGroup(gemm, type)) {
      rows = 1;
      pointer = k.at(pointer, k.mul(k.wide(place.group), k.i64(columns)), element);
    }
    Values &values = fetched.emplace_back();
    // Rows and columns that do not exist read an element that does; what becomes of it is not stored.
    auto rowAt = [&](int64_t h) { return k.wide(k.min(place.row[h], k.i32(rows - 1))); };
    if (columns == 1 && gemm.columns != 1) {
      for (int64_t h = 0; h < 2; ++h)
        values.push_back(k.load(element, pointer, rows == 1 ? k.i64(0) : rowAt(h)));
      continue;
    }
    Type pair = VectorType::get(2, element);
    unsigned alignment = 2 * element.getIntOrFloatBitWidth() / 8;
    for (int64_t h = 0; h < (rows == 1 ? 1 : 2); ++h) {
      Value line = rows == 1 ? pointer : k.at(pointer, k.mul(rowAt(h), k.i64(columns)), element);
      if (!clipped)
        line = k.at(line, k.wide(place.column), element);
      for (int64_t j = 0; j < kBlocks; ++j) {
        int64_t offset = chunk * kChunk + 8 * j;
        Value at = clipped ? k.wide(k.min(k.i32add(place.column, offset), k.i32(columns - 2))) : k.i64(offset);
        values.push_back(LLVM::LoadOp::create(k.b, pair, k.at(line, at, element), alignment));
      }
    }
  }
  return fetched;
}

/// The 32 values of what fetchOperands loaded of one operand, as f32.
GemmEmitter::Values GemmEmitter::spread(ArrayRef<Value> fetched) {
  Type f32 = k.b.getF32Type();
  auto widen = [&](Value value) -> Value {
    return value.getType().isF32() ? value : arith::ExtFOp::create(k.b, f32, value).getResult();
  };
  Values values(kValues);
  bool isColumn = fetched.size() == 2, isRow = fetched.size() == kBlocks;
  for (int64_t h = 0; h < 2; ++h) {
    Value whole = isColumn ? widen(fetched[h]) : Value();
    for (int64_t j = 0; j < kBlocks; ++j)
      for (int64_t c = 0; c < 2; ++c) {
        Value &value = values[4 * j + 2 * h + c];
        if (isColumn)
          value = whole;
        else if (isRow && h == 1)
          value = values[4 * j + c];
        else
          value = widen(LLVM::ExtractElementOp::create(k.b, fetched[(isRow ? 0 : h * kBlocks) + j], k.i32(c)));
      }
  }
  return values;
}

/// The region on one element. Exponentials and divisions take the approximate instructions.
GemmEmitter::Values GemmEmitter::evaluate(ArrayRef<Value> inputs) {
  constexpr double kLog2E = 1.4426950408889634;
  Block &region = gemm.epilogue.getBody().front();
  IRMapping values;
  llvm::DenseMap<Value, Value> reciprocals; // divisions by one value share it: the unit for them is narrow
  for (auto [argument, input] : llvm::zip_equal(region.getArguments(), inputs))
    values.map(argument, input);
  for (Operation &op : region.without_terminator()) {
    auto operand = [&](unsigned i) { return values.lookup(op.getOperand(i)); };
    if (auto exponential = dyn_cast<math::ExpOp>(op)) {
      values.map(op.getResult(0), k.exp2Fast(k.fmul(operand(0), k.constant(k.b.getF32Type(), kLog2E))));
    } else if (isa<arith::DivFOp>(op)) {
      Value &reciprocal = reciprocals[operand(1)];
      if (!reciprocal)
        reciprocal = k.reciprocalFast(operand(1));
      values.map(op.getResult(0), k.fmul(operand(0), reciprocal));
    } else {
      k.b.clone(op, values);
    }
  }
  Values results;
  for (Value value : region.getTerminator()->getOperands())
    results.push_back(values.lookup(value));
  return results;
}

/// Writes a box of a chunk for TMA to take: 64 columns of bf16, or 32 of f32.
void GemmEmitter::stage(ArrayRef<Value> values, Type element, Value buffer) {
  if (element.isF32()) {
    for (int64_t j = 0; j < 4; ++j)
      for (int64_t h = 0; h < 2; ++h)
        k.storePair(k.add(k.i32add(pairs[j], h * 8 * tile::kSwizzleBytes), buffer), values[4 * j + 2 * h],
                    values[4 * j + 2 * h + 1]);
    return;
  }
  for (int64_t pair = 0; pair < kBlocks / 2; ++pair) {
    Values packed;
    for (int64_t i = 0; i < 4; ++i)
      packed.push_back(k.packBf16(values[8 * pair + 2 * i], values[8 * pair + 2 * i + 1]));
    k.storeMatrix(k.add(matrixRows[pair], buffer), packed);
  }
}

void GemmEmitter::store(const Tile &tile, const Place &place, ArrayRef<Value> accumulators,
                        SmallVector<Values> operands) {
  int64_t columns = gemm.columnsOfProduct(), chunks = columns / kChunk, buffers = gemm.schedule.getBuffers();
  int64_t boxesOfChunk = 0;
  for (const Gemm::Sink &sink : gemm.sinks)
    boxesOfChunk += kChunk / tile::boxColumns(sink.element);
  // Boxes go out in rounds: all of the tile if there are buffers for so many, else as many as leave buffers to write to
  // while a round is under way.
  int64_t boxes = boxesOfChunk * chunks, boxesOfRound = boxes <= buffers ? boxes : std::max<int64_t>(1, buffers / 2);
  int64_t roundsInFlight = buffers / boxesOfRound;
  struct Box {
    const Gemm::Sink *sink;
    int64_t column; // of the tile
    Value address;
  };
  SmallVector<Box> round;
  int64_t rounds = 0, staged = 0;
  auto stageBox = [&](const Gemm::Sink &sink, int64_t column, ArrayRef<Value> values) {
    if (round.empty()) {
      // Rounds begin with the first buffer in each tile, so the last tile's must have left all of them.
      int64_t pending = rounds == 0 ? 0 : roundsInFlight - 1;
      k.when(isLeader, [&] { k.waitStores(pending, /*readOnly=*/true); });
      k.sync(barrierId, kThreads);
    }
    int64_t buffer = rounds % roundsInFlight * boxesOfRound + static_cast<int64_t>(round.size());
    stage(values, sink.element, k.i32(buffer * tile::kBoxBytes));
    round.push_back({&sink, column, k.i32add(staging, buffer * tile::kBoxBytes)});
    bool isLast = ++staged == boxes;
    if (static_cast<int64_t>(round.size()) < boxesOfRound && !isLast)
      return;
    k.fenceAsync();
    k.sync(barrierId, kThreads);
    k.when(isLeader, [&] {
      for (const Box &box : round) {
        Values at{k.i32add(tile.column, box.column), place.firstRow};
        if (box.sink->rank == 3)
          at.push_back(tile.group);
        Value map = k.map(box.sink->map);
        box.sink->accumulates ? k.addBox(map, box.address, at) : k.storeBox(map, box.address, at);
      }
      k.commitStores();
    });
    round.clear();
    ++rounds;
  };

  bool ahead = operandRegisters() <= kOperandsAhead;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (operands.empty())
      operands = fetchOperands(place, chunk);
    SmallVector<Values> here = std::move(operands);
    operands.clear();
    if (ahead && chunk + 1 < chunks)
      operands = fetchOperands(place, chunk + 1);
    llvm::DenseMap<Value, Values> values; // of each fragment
    for (auto [p, product] : llvm::enumerate(gemm.products)) {
      auto from = accumulators.begin() + (static_cast<int64_t>(p) * columns + chunk * kChunk) / 2;
      values[product.getResult()] = Values(from, from + kValues);
    }
    if (gemm.epilogue) {
      SmallVector<Values> inputs;
      for (Value fragment : gemm.epilogue.getFragments())
        inputs.push_back(values.lookup(fragment));
      for (const Values &fetched : here)
        inputs.push_back(spread(fetched));
      for (int64_t i = 0; i < kValues; ++i) {
        Values scalars;
        for (const Values &input : inputs)
          scalars.push_back(input[i]);
        for (auto [fragment, value] : llvm::zip_equal(gemm.epilogue.getResults(), evaluate(scalars)))
          values[fragment].push_back(value);
      }
    }
    for (const Gemm::Sink &sink : gemm.sinks) {
      Values results = values.lookup(sink.value);
      int64_t columnsOfBox = tile::boxColumns(sink.element);
      for (int64_t first = 0; first < kChunk; first += columnsOfBox)
        stageBox(sink, chunk * kChunk + first, ArrayRef(results).slice(first / 2, columnsOfBox / 2));
    }
  }
}

} // namespace moec::sm90
