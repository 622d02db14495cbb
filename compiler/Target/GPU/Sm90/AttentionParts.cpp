#include "compiler/Target/GPU/Sm90/AttentionParts.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

//===--- Shapes ---===//

double AttentionShape::scale() const { return 1.0 / std::sqrt(static_cast<double>(headSize)); }

TensorMap AttentionShape::map(unsigned param, int64_t heads, int64_t rows) const {
  int64_t headBytes = headSize * 2, rowBytes = heads * headBytes;
  return {param,
          {headSize, positions, heads, sequences},
          {rowBytes, headBytes, positions * rowBytes},
          {kPanel, rows, 1, 1}};
}

std::pair<Value, Value> AttentionShape::statistics(Sm90Builder &k) const {
  Type byte = k.b.getI8Type();
  Value first = k.at(k.scratch(), k.i64(Sm90Builder::kCounterBytes), byte);
  return {first, k.at(first, k.i64(statisticsBytes() / 2), byte)};
}

int64_t AttentionShape::section(int64_t count, int64_t least) {
  int64_t size = std::min(count, least);
  while (count % size)
    ++size;
  return size;
}

std::optional<AttentionDispatch> AttentionDispatch::read(moe::DispatchOp dispatch) {
  Operation *found = nullptr;
  for (Operation &op : *dispatch.getBlock()) {
    if (isa<moe::AttentionOp, moe::AttentionGradOp>(op)) {
      if (found)
        return std::nullopt;
      found = &op;
    } else if (!isa<moe::ReshapeOp, moe::CastOp, moe::ReadOp, moe::WriteOp, moe::YieldOp>(op)) {
      return std::nullopt;
    }
  }
  if (!found)
    return std::nullopt;
  auto query = cast<RankedTensorType>(found->getOperand(0).getType());
  auto number = [&](StringRef name) { return found->getAttrOfType<IntegerAttr>(name).getInt(); };
  int64_t heads = number("heads"), kvHeads = number("kv_heads"), positions = number("seq_len");
  AttentionDispatch read{kernel::DispatchBody(dispatch),
                         {query.getDimSize(0) / positions, positions, heads, kvHeads, query.getDimSize(1) / heads},
                         {},
                         {}};
  if (read.shape.headSize != 64 && read.shape.headSize != 128)
    return std::nullopt;
  // Only lse is not bf16 in memory.
  Value lse = isa<moe::AttentionOp>(found) ? Value(found->getResult(1)) : found->getOperand(4);
  auto fits = [&](Value value, unsigned param) {
    Type type = read.body.storageOf(param);
    return value == lse ? type.isF32() : type.isBF16();
  };
  for (Value operand : found->getOperands()) {
    std::optional<unsigned> param = read.body.paramOf(operand);
    if (!param || !fits(operand, *param))
      return std::nullopt;
    read.inputs.push_back(*param);
  }
  read.results.resize(found->getNumResults());
  for (const kernel::DispatchBody::Sink &sink : read.body.sinks()) {
    auto result = dyn_cast<OpResult>(sink.value);
    if (!result || result.getOwner() != found || sink.accumulates || !fits(result, sink.param) ||
        read.results[result.getResultNumber()])
      return std::nullopt;
    read.results[result.getResultNumber()] = sink.param;
  }
  for (auto [i, param] : llvm::enumerate(read.results))
    if (!param && found->getResult(i) != lse)
      return std::nullopt;
  return read;
}

KernelInfo AttentionDispatch::info(StringRef symbol, double products) const {
  KernelInfo info;
  info.symbol = symbol.str();
  info.flops =
      products * 2.0 * shape.sequences * shape.heads * shape.headSize * shape.positions * (shape.positions + 1) / 2;
  for (const moe::DispatchParam &param : body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  return info;
}

//===--- Shared memory ---===//

int64_t AttentionKernel::reserve(int64_t bytes) {
  int64_t offset = used;
  used += bytes;
  return offset;
}

int64_t AttentionKernel::reserveBarrier(int64_t arrivals) {
  int64_t offset = reserve(8);
  barriers.push_back({offset, arrivals});
  return offset;
}

AttentionKernel::Ring AttentionKernel::reserveRing(int64_t data, int64_t stageBytes) {
  Ring ring{data, stageBytes, schedule.stages, used, used + 8 * schedule.stages};
  for (int64_t i = 0; i < schedule.stages; ++i)
    reserveBarrier(1);
  for (int64_t i = 0; i < schedule.stages; ++i)
    reserveBarrier(kConsumers * kWarps);
  return ring;
}

AttentionKernel::Stage AttentionKernel::stage(const Ring &ring, Value step) {
  Value index = k.rem(step, ring.stages), parity = k.bitAnd(k.div(step, ring.stages), 1);
  Value offset = k.shiftLeft(index, 3);
  return {index, k.add(address(ring.data), k.mul(index, ring.stageBytes)), k.add(address(ring.full), offset),
          k.add(address(ring.empty), offset), parity};
}

void AttentionKernel::acquire(const Stage &stage, int64_t bytes) {
  // Of a fresh barrier, the phase before the first counts as over.
  k.waitBarrier(stage.empty, k.bitXor(stage.parity, 1));
  k.arriveExpecting(stage.full, bytes);
}

void AttentionKernel::copyTile(unsigned map, Value to, Value barrier, int64_t rows, Value row, Value head,
                               Value sequence) {
  for (int64_t column = 0; column < shape.headSize; column += AttentionShape::kPanel)
    k.copyIn(k.map(map), k.add(to, column * 2 * rows), barrier, {k.i32(column), row, head, sequence});
}

//===--- Skeleton ---===//

void AttentionKernel::emitRoles(int64_t tiles) {
  tileFull = reserveBarrier(1);
  tileEmpty = reserveBarrier(kConsumers * kWarps);
  tileSlot = reserve(16);
  threadId = k.thread();
  // Known to be the same in all lanes.
  Value warpgroup = k.firstLane(k.shiftRight(threadId, 7));
  k.when(k.equal(threadId, 0), [&] {
    for (const Barrier &barrier : barriers)
      k.initBarrier(address(barrier.offset), barrier.arrivals);
    k.fenceBarriers();
  });
  k.syncBlock();
  k.ifElse(
      k.equal(warpgroup, 0),
      [&] {
        k.setRegisters(schedule.producerRegisters, /*increase=*/false);
        k.when(k.equal(threadId, 0), [&] { emitProducer(tiles); });
      },
      [&] {
        k.setRegisters(schedule.consumerRegisters, /*increase=*/true);
        consumer = k.sub(warpgroup, 1);
        emitConsumer();
      });
}

void AttentionKernel::emitProducer(int64_t tiles) {
  Type i32 = k.b.getI32Type();
  Value counter = k.scratch(), leavers = k.at(counter, k.i32(1), i32), grid = k.blocks();
  auto announce = [&](Value tile, Value parity) {
    k.waitBarrier(address(tileEmpty), parity);
    k.store(tile, k.sharedPointer(address(tileSlot)));
  };
  Values left = k.loopWhile(
      {k.block(), k.i32(0), k.i32(1)},
      [&](ArrayRef<Value> carried) { return std::pair(k.less(carried[0], tiles), Values(carried)); },
      [&](ArrayRef<Value> carried) {
        // Drawn ahead of time: the answer comes while copies run.
        Value next = k.add(k.fetchAdd(counter, k.i32(1), /*acquireRelease=*/false), grid);
        announce(carried[0], carried[2]);
        Value step = produce(carried[0], carried[1]);
        return Values{next, step, k.bitXor(carried[2], 1)};
      });
  announce(k.i32(-1), left[2]);
  k.arrive(address(tileFull));
  // The last block to leave puts the counters back to zero.
  Value before = k.fetchAdd(leavers, k.i32(1), /*acquireRelease=*/true);
  k.when(k.equal(before, k.sub(grid, 1)), [&] {
    k.store(k.i32(0), counter);
    k.store(k.i32(0), leavers);
  });
}

void AttentionKernel::emitConsumer() {
  Value thread = k.bitAnd(threadId, Sm90Builder::kWarpgroup - 1);
  lane = k.bitAnd(threadId, 31);
  warp = k.shiftRight(thread, 5);
  isLeader = k.equal(thread, 0);
  row = k.add(k.mul(warp, 16), k.shiftRight(lane, 2));
  column = k.shiftLeft(k.bitAnd(lane, 3), 1);
  // Lane l stores row l % 8 of the upper or lower half of the warp's 16 rows, left or right half of 16 columns; chunks
  // of 16 bytes lie xored with the row.
  Value low = k.bitAnd(lane, 7), lower = k.bitAnd(k.shiftRight(lane, 3), 1), right = k.shiftRight(lane, 4);
  Value matrixRow = k.add(k.add(k.mul(warp, 16), k.mul(lower, 8)), low);
  Value chunk = k.shiftLeft(k.bitXor(right, low), 4);
  for (int64_t i = 0; i < AttentionShape::kPanel / 16; ++i)
    matrixOffsets.push_back(k.add(k.mul(matrixRow, 128), k.bitXor(chunk, i << 5)));
  prepareConsumer();
  k.loopWhile(
      {k.i32(0), k.i32(0)},
      [&](ArrayRef<Value> carried) {
        k.waitBarrier(address(tileFull), carried[0]);
        // Read by the lane that later arrives for the warp, so that no other thread's read can be overtaken.
        Value tile = k.firstLane(k.choose(
            k.equal(lane, 0),
            [&] { return Values{k.loadVolatile(k.b.getI32Type(), k.sharedPointer(address(tileSlot)))}; },
            [&] { return Values{k.i32(0)}; })[0]);
        return std::pair(k.compare(arith::CmpIPredicate::sge, tile, 0), Values{carried[0], carried[1], tile});
      },
      [&](ArrayRef<Value> carried) {
        Value step = consume(carried[2], carried[1]);
        return Values{k.bitXor(carried[0], 1), step};
      });
  k.when(isLeader, [&] { k.waitCopies(/*written=*/true); });
}

AttentionKernel::Position AttentionKernel::position(Value tile, int64_t heads, bool descending) {
  int64_t blocks = shape.blocks(), section = schedule.section;
  Value which = k.div(tile, blocks * section), rest = k.rem(tile, blocks * section);
  Value block = k.div(rest, section);
  Position at;
  at.block = descending ? k.sub(blocks - 1, block) : block;
  at.flatHead = k.add(k.mul(which, section), k.rem(rest, section));
  at.sequence = k.div(at.flatHead, heads);
  at.head = k.rem(at.flatHead, heads);
  return at;
}

//===--- Consumers ---===//

void AttentionKernel::release(Value barrier) {
  k.when(k.equal(lane, 0), [&] { k.arrive(barrier); });
}

Value AttentionKernel::joinQuad(Value x, llvm::function_ref<Value(Value, Value)> join) {
  for (int64_t mask : {1, 2})
    x = join(x, k.shuffleXor(x, mask));
  return x;
}

AttentionKernel::Values AttentionKernel::maskDiagonal(ArrayRef<Value> scores, Value firstRow,
                                                      arith::CmpIPredicate hidden) {
  Value lowest = k.f32(-INFINITY);
  Value relative[2] = {k.sub(firstRow, column), k.add(k.sub(firstRow, column), 8)};
  Values masked;
  for (auto [i, score] : llvm::enumerate(scores)) {
    int64_t registerColumn = 8 * (i / 4) + (i & 1);
    masked.push_back(k.select(k.compare(hidden, registerColumn, relative[(i >> 1) & 1]), lowest, score));
  }
  return masked;
}

void AttentionKernel::beginStaging() {
  k.when(isLeader, [&] { k.waitCopies(/*written=*/false); });
  k.syncNamed(k.add(consumer, 1), Sm90Builder::kWarpgroup);
}

void AttentionKernel::stageRows(Value to, ArrayRef<Value> accumulators) {
  Values packed = k.packBf16(accumulators);
  int64_t panelBytes = 64 * 128;
  for (size_t i = 0; i < packed.size(); i += 4)
    k.storeMatrix(k.add(k.add(to, matrixOffsets[i / 4 % 4]), static_cast<int64_t>(i / 16) * panelBytes),
                  ArrayRef(packed).slice(i, 4));
}

void AttentionKernel::endStaging(llvm::function_ref<void()> copies) {
  k.fenceAsync();
  k.syncNamed(k.add(consumer, 1), Sm90Builder::kWarpgroup);
  k.when(isLeader, [&] {
    copies();
    k.commitCopies();
  });
}

void AttentionKernel::copyRowsOut(unsigned map, Value from, Value row, Value head, Value sequence) {
  for (int64_t column = 0; column < shape.headSize; column += AttentionShape::kPanel)
    k.copyOut(k.map(map), k.add(from, column * 128), {k.i32(column), row, head, sequence});
}

} // namespace moec::sm90
