// From accumulators to memory: the epilogue's region on each element, 64 columns at a time, then the stores. Additions
// to memory happen in the cache. A launch adds to each element only once, so the result does not depend on the order.
#include "compiler/Target/GPU/Sm90/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace moec::sm90 {

namespace {
constexpr int64_t kChunk = tile::kChunkColumns;
constexpr int64_t kBlocks = kChunk / 8;  // of 8 columns in a chunk
constexpr int64_t kValues = 4 * kBlocks; // of a thread in a chunk
constexpr int64_t kThreads = 128;
// Registers for operands of the next chunk; with more, they would spill.
constexpr int64_t kOperandsAhead = 64;

/// [groups, 1, columns]: one row for each group of grouped work.
bool isRowOfGroup(const Gemm &gemm, RankedTensorType type) {
  return gemm.work == Gemm::Work::Grouped && type.getRank() == 3;
}
} // namespace

GemmEmitter::Place GemmEmitter::placeOf(const Tile &tile) {
  bool ragged = gemm.work == Gemm::Work::Ragged;
  Place place;
  place.firstRow = gemm.hasLanes() ? tile.row : k.add(tile.row, k.i32mul(consumer, 64));
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

/// Starts to load the operands of a chunk. For each operand these are pairs of neighbours (8 of its one row, or 8 of
/// each of two rows), or one value per row, which does not change from chunk to chunk: `before` has the values of the
/// previous chunk.
SmallVector<GemmEmitter::Values> GemmEmitter::loadOperands(const Place &place, int64_t chunk, ArrayRef<Values> before) {
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
    bool isColumn = columns == 1 && gemm.columns != 1;
    if (isColumn && !before.empty()) {
      fetched.push_back(before[fetched.size()]);
      continue;
    }
    Values &values = fetched.emplace_back();
    // For rows and columns that do not exist, an existing element is read; its result is not stored.
    auto rowAt = [&](int64_t h) { return k.wide(k.min(place.row[h], k.i32(rows - 1))); };
    if (isColumn) {
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

/// The 32 values of one operand that loadOperands loaded, as f32.
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
  llvm::DenseMap<Value, Value> reciprocals; // shared by divisions by one value, because their unit is slow
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

/// Writes 16 columns of results to staging memory, for TMA: quarter `quarter` of 64 columns of bf16, or half of a box
/// of 32 columns of f32. `place`: bytes from the first buffer.
void GemmEmitter::writeStaging(ArrayRef<Value> values, Type element, int64_t quarter, Value place) {
  if (!element.isF32()) {
    Values packed;
    for (int64_t i = 0; i < 8; i += 2)
      packed.push_back(k.packBf16(values[i], values[i + 1]));
    k.storeMatrix(k.add(matrixRows[quarter], place), packed);
    return;
  }
  int64_t box = quarter / 2 * tile::kBoxBytes;
  for (int64_t j = 0; j < 2; ++j)
    for (int64_t h = 0; h < 2; ++h)
      k.storePair(k.add(k.i32add(pairs[quarter % 2 * 2 + j], box + h * 8 * tile::kSwizzleBytes), place),
                  values[4 * j + 2 * h], values[4 * j + 2 * h + 1]);
}

/// Computes the place of this thread's part of a transposed box; rows of the box are columns of the fragment.
void GemmEmitter::prepareTransposed() {
  Value row = k.bitAnd(lane, 7), right = k.shiftRight(lane, 4), down = k.bitAnd(k.shiftRight(lane, 3), 1);
  Value chunk = k.add(k.shiftLeft(warp, 1), down);
  matrixColumns = k.add(k.add(staging, k.i32mul(k.add(k.shiftLeft(right, 3), row), tile::kSwizzleBytes)),
                        k.shiftLeft(k.bitXor(chunk, row), 4));
  // f32: a box of 32 x 32 for each two warps; a thread's row is lane / 4 of 8, its columns are rows 2 (lane % 4) + c.
  Value box = k.i32mul(k.shiftRight(warp, 1), tile::kBoxBytes / 2);
  Value rowOf = k.shiftRight(lane, 2), inChunk = k.shiftLeft(k.bitAnd(rowOf, 3), 2);
  Value chunkOf = k.add(k.shiftLeft(k.bitAnd(warp, 1), 2), k.shiftRight(rowOf, 2));
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t c = 0; c < 2; ++c) {
      Value line = k.i32add(k.shiftLeft(k.bitAnd(lane, 3), 1), c);
      Value at = k.add(k.i32mul(line, tile::kSwizzleBytes), k.shiftLeft(k.bitXor(k.i32add(chunkOf, 2 * h), line), 4));
      singles.push_back(k.add(k.add(staging, box), k.add(at, inChunk)));
    }
}

/// As writeStaging, with the fragment's 16 columns as rows of the box.
void GemmEmitter::writeTransposed(ArrayRef<Value> values, Type element, int64_t quarter, Value place) {
  constexpr int64_t kQuarterRows = 16;
  if (!element.isF32()) {
    Values packed;
    for (int64_t i = 0; i < 8; i += 2)
      packed.push_back(k.packBf16(values[i], values[i + 1]));
    Value at = k.i32add(matrixColumns, quarter * kQuarterRows * tile::kSwizzleBytes);
    k.storeMatrix(k.add(at, place), packed, /*transposed=*/true);
    return;
  }
  for (int64_t i = 0; i < 8; ++i) {
    int64_t line = quarter % 2 * kQuarterRows + i / 4 * 8;
    k.storeSingle(k.add(k.i32add(singles[i % 4], line * tile::kSwizzleBytes), place), values[i]);
  }
}

void GemmEmitter::sendBox(const Tile &tile, const Place &place, const Gemm::Sink &sink, int64_t column, Value from) {
  Value map = k.map(sink.map);
  auto send = [&](Value part, Values at) {
    if (sink.rank == 3)
      at.push_back(tile.group);
    sink.accumulates ? k.addBox(map, part, at) : k.storeBox(map, part, at, gemm.hasLanes());
  };
  Value first = k.i32add(tile.column, column);
  if (!sink.transposed)
    return send(from, {first, place.firstRow});
  int64_t side = tile::boxColumns(sink.element);
  for (int64_t row = 0; row < tile::kBoxRows; row += side)
    send(k.i32add(from, row * tile::kSwizzleBytes), {k.i32add(place.firstRow, row), first});
}

/// Chunk `number` with its products and operands. Also starts to load the operands of the next chunk, if there are
/// registers for them.
GemmEmitter::Chunk GemmEmitter::beginChunk(const Place &place, ArrayRef<Value> accumulators, int64_t number,
                                           Operands &operands) {
  int64_t columns = gemm.columnsOfProduct();
  if (operands.next.empty())
    operands.next = loadOperands(place, number, operands.here);
  operands.here = std::move(operands.next);
  operands.next.clear();
  if (operandRegisters() <= kOperandsAhead && number + 1 < columns / kChunk)
    operands.next = loadOperands(place, number + 1, operands.here);
  Chunk chunk;
  chunk.number = number;
  for (auto [p, product] : llvm::enumerate(gemm.products)) {
    auto from = accumulators.begin() + (static_cast<int64_t>(p) * columns + number * kChunk) / 2;
    chunk.values[product.getResult()] = Values(from, from + kValues);
  }
  for (const Values &fetched : operands.here)
    chunk.operands.push_back(spread(fetched));
  chunk.sums.assign(gemm.rowSums.size(), Values(2));
  return chunk;
}

/// Applies the region to element `i`, and adds its results to sums of rows.
void GemmEmitter::compute(Chunk &chunk, int64_t i) {
  if (gemm.epilogue) {
    Values scalars;
    for (Value fragment : gemm.epilogue.getFragments())
      scalars.push_back(chunk.values[fragment][i]);
    for (const Values &operand : chunk.operands)
      scalars.push_back(operand[i]);
    for (auto [fragment, value] : llvm::zip_equal(gemm.epilogue.getResults(), evaluate(scalars)))
      chunk.values[fragment].push_back(value);
  }
  for (auto [of, mine] : llvm::zip_equal(gemm.rowSums, chunk.sums)) {
    Value &sum = mine[i / 2 % 2], value = chunk.values[of.value][i];
    sum = sum ? k.fadd(sum, value) : value;
  }
}

/// A row of a chunk is in four lanes, 16 columns each.
void GemmEmitter::storeRowSums(const Tile &tile, const Place &place, const Chunk &chunk) {
  Type f32 = k.b.getF32Type();
  Value column = k.i32add(tile.column, chunk.number * kChunk);
  for (auto [of, mine] : llvm::zip_equal(gemm.rowSums, chunk.sums))
    for (auto [sum, row] : llvm::zip_equal(mine, place.row)) {
      Value total = sum;
      for (int64_t apart : {1, 2})
        total = k.fadd(total, k.shuffleXor(total, apart));
      Value exists = k.both(k.below(row, k.i32(gemm.rows)), k.below(column, k.i32(gemm.columns)));
      Value at = k.add(k.mul(k.wide(row), k.i64(gemm.columns / kChunk)), k.wide(k.div(column, k.i32(kChunk))));
      Value to = k.at(k.param(of.param), at, f32);
      k.when(k.both(k.is(k.bitAnd(lane, 3), 0), exists), [&] { LLVM::StoreOp::create(k.b, total, to, 4u); });
    }
}

void GemmEmitter::store(const Tile &tile, const Place &place, ArrayRef<Value> accumulators, Operands operands) {
  int64_t chunks = gemm.columnsOfProduct() / kChunk, buffers = gemm.schedule.getBuffers(), boxes = 0;
  for (const Gemm::Sink &sink : gemm.sinks)
    boxes += chunks * kChunk / tile::boxColumns(sink.element);
  // Boxes are stored in rounds. A round has all boxes of the tile if there are enough buffers; otherwise half of the
  // buffers, so that the other half can be written meanwhile.
  int64_t boxesOfRound = boxes <= buffers ? boxes : std::max<int64_t>(1, buffers / 2);
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
      // In each tile, rounds begin with the first buffer, so the stores of the previous tile must have read all
      // buffers.
      int64_t pending = rounds == 0 ? 0 : roundsInFlight - 1;
      k.when(isLeader, [&] { k.waitStores(pending, /*readOnly=*/true); });
      k.sync(barrierId, kThreads);
    }
    int64_t buffer = rounds % roundsInFlight * boxesOfRound + static_cast<int64_t>(round.size());
    for (size_t quarter = 0; quarter < values.size() / 8; ++quarter) {
      Value place = k.i32(buffer * tile::kBoxBytes);
      sink.transposed ? writeTransposed(values.slice(8 * quarter, 8), sink.element, quarter, place)
                      : writeStaging(values.slice(8 * quarter, 8), sink.element, quarter, place);
    }
    round.push_back({&sink, column, k.i32add(staging, buffer * tile::kBoxBytes)});
    bool isLast = ++staged == boxes;
    if (static_cast<int64_t>(round.size()) < boxesOfRound && !isLast)
      return;
    k.fenceAsync();
    k.sync(barrierId, kThreads);
    k.when(isLeader, [&] {
      for (const Box &box : round)
        sendBox(tile, place, *box.sink, box.column, box.address);
      k.commitStores();
    });
    round.clear();
    ++rounds;
  };

  for (int64_t number = 0; number < chunks; ++number) {
    Chunk chunk = beginChunk(place, accumulators, number, operands);
    for (int64_t i = 0; i < kValues; ++i)
      compute(chunk, i);
    storeRowSums(tile, place, chunk);
    for (const Gemm::Sink &sink : gemm.sinks) {
      Values results = chunk.values.lookup(sink.value);
      int64_t columnsOfBox = tile::boxColumns(sink.element);
      for (int64_t first = 0; first < kChunk; first += columnsOfBox)
        stageBox(sink, number * kChunk + first, ArrayRef(results).slice(first / 2, columnsOfBox / 2));
    }
  }
}

} // namespace moec::sm90
