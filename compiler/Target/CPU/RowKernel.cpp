// Template "row": see RowSchedule.h for the plan of a row. Rows are divided among workgroups; a single wide row of maps
// is divided by columns.
#include "compiler/Target/CPU/RowEmitter.h"

#include "compiler/Target/CPU/EmitKernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <limits>

using namespace mlir;

namespace moec::cpu {

namespace {
// Elements of work of a workgroup: about 10 us, compared with about 1 us to start a workgroup.
constexpr int64_t kGroupWork = 16384;

bool divides(Operation *op) {
  return isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp, arith::CeilDivSIOp, arith::CeilDivUIOp,
             arith::FloorDivSIOp>(op);
}

Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

int64_t mapWeight(moe::MapOp map) { return std::distance(map.getBlock()->begin(), map.getBlock()->end()); }
} // namespace

//===--- Values ---===//

Value RowEmitter::rowPointer(Value value) {
  if (auto found = pointers.find(value); found != pointers.end())
    return found->second;
  Value source = DispatchBody::stripViews(value);
  Type element = elementType(value);
  Value pointer;
  int64_t columns = schedule.columnsOf(value);
  auto param = body.paramOf(source);
  auto info = schedule.values.find(source);
  if (info != schedule.values.end() && !param && !splatOf(source)) {
    if (info->second.home)
      pointer = k.at(k.param(*info->second.home), k.mul(row, k.i64(columns)), element);
    else {
      Value &scratch = scratchRows[source];
      if (!scratch)
        scratch = k.scratch(columns * element.getIntOrFloatBitWidth() / 8);
      pointer = scratch;
    }
  } else if (param) {
    int64_t rows = schedule.rowsOf(value);
    Value index = rows == schedule.rows ? row : rows == 1 ? k.i64(0) : k.div(row, k.i64(schedule.rows / rows));
    pointer = k.at(k.param(*param), k.mul(index, k.i64(columns)), element);
  } else {
    // A constant whose row is needed in memory.
    TypedAttr splat = splatOf(value);
    pointer = k.scratch(columns * element.getIntOrFloatBitWidth() / 8);
    k.loopPieces(element, columns, [&](Value i, Piece piece) {
      k.store(k.splat(arith::ConstantOp::create(k.b, splat), piece.lanes), pointer, i, piece);
    });
  }
  return pointers[value] = pointer;
}

Value RowEmitter::scalar(Value value) {
  Value source = DispatchBody::stripViews(value);
  for (Value key : {source, value})
    if (auto found = scalars.find(key); found != scalars.end())
      return found->second;
  if (TypedAttr splat = splatOf(source))
    return scalars[source] = arith::ConstantOp::create(k.b, splat);
  // The key is not the value under views: two views of one value with different rows differ.
  return scalars[value] = k.load(elementType(value), rowPointer(value), k.i64(0));
}

void RowEmitter::prepare(ValueRange operands) {
  for (Value operand : operands) {
    if (!isa<RankedTensorType>(operand.getType()))
      continue;
    if (schedule.columnsOf(operand) == 1 || splatOf(operand))
      scalar(operand);
    else
      rowPointer(operand);
  }
}

Value RowEmitter::element(Value value, Value column) {
  if (schedule.columnsOf(value) == 1 || splatOf(value))
    return scalar(value);
  return k.load(elementType(value), rowPointer(value), column);
}

//===--- Sinks ---===//

void RowEmitter::storeTo(const RowSink &sink, Value value, Value pointer, Value column, Piece piece) {
  if (sink.accumulates) {
    Value old = k.load(KernelBuilder::elementOf(value.getType()), pointer, column, piece);
    bool isFloat = isa<FloatType>(KernelBuilder::elementOf(value.getType()));
    value = isFloat ? k.fadd(old, value) : k.add(old, value);
  }
  k.store(value, pointer, column, piece);
}

void RowEmitter::storeSinks(Value value, Value computed, Value column, Piece piece) {
  auto found = schedule.values.find(value);
  if (found == schedule.values.end())
    return;
  const RowValue &info = found->second;
  for (const RowSink &sink : info.direct)
    storeTo(sink, computed, sinkPointers.lookup(k.param(sink.param)), column, piece);
  if (info.needsMemory && !info.home)
    k.store(computed, scratchRows.lookup(value), column, piece);
}

void RowEmitter::emitDeferred() {
  for (auto &[value, info] : schedule.values)
    for (const RowSink &sink : info.deferred) {
      int64_t columns = schedule.columnsOf(value);
      Type element = elementType(value);
      Value target = k.at(k.param(sink.param), k.mul(row, k.i64(columns)), element);
      if (columns == 1) {
        storeTo(sink, scalar(value), target, k.i64(0), Piece{1, 1});
        continue;
      }
      Value from =
          info.home ? k.at(k.param(*info.home), k.mul(row, k.i64(columns)), element) : scratchRows.lookup(value);
      k.loopPieces(element, columns,
                   [&](Value i, Piece piece) { storeTo(sink, k.load(element, from, i, piece), target, i, piece); });
    }
}

//===--- Loops over columns ---===//

Value RowEmitter::neutral(moe::RowReduceOp op, Type type) {
  return k.constant(type, op.getKind() == moe::Reduction::sum ? 0.0 : -std::numeric_limits<double>::infinity());
}

Value RowEmitter::join(moe::RowReduceOp op, Value a, Value b) {
  return op.getKind() == moe::Reduction::sum ? k.fadd(a, b) : k.fmax(a, b);
}

int64_t RowEmitter::laneCount(const RowStage &stage) const {
  int64_t floats = 0, integers = 0;
  auto note = [&](Value value) {
    if (!isa<RankedTensorType>(value.getType()))
      return;
    Type element = elementType(value);
    int64_t &least = isa<FloatType>(element) ? floats : integers;
    least = least ? std::min(least, k.lanes(element)) : k.lanes(element);
  };
  for (const RowItem &item : stage.items) {
    if (!item.op) {
      note(item.copied);
      continue;
    }
    llvm::for_each(item.op->getOperands(), note);
    llvm::for_each(item.op->getResults(), note);
    // Lanes that do not exist hold zeros, and integers cannot be divided by 0.
    if (auto map = dyn_cast<moe::MapOp>(item.op);
        map && llvm::any_of(map.getBlock()->getOperations(), [](Operation &op) { return divides(&op); }))
      return 1;
  }
  return floats ? floats : integers;
}

RowEmitter::Source RowEmitter::gather(Value table, Value rowNumber, int64_t width, Value weight) {
  Type element = elementType(table);
  Value exists = k.b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::sge, rowNumber, k.i64(0));
  Value base = k.at(paramPointer(table), k.mul(k.max(rowNumber, k.i64(0)), k.i64(width)), element);
  return [this, element, exists, base, weight](Value column, Piece piece) {
    Value loaded = k.load(element, base, column, piece);
    if (weight)
      loaded = k.fmul(loaded, k.splat(weight, piece.lanes));
    return k.select(exists, loaded, k.constant(loaded.getType(), 0));
  };
}

RowEmitter::Source RowEmitter::combine(moe::CombineRowsOp op) {
  int64_t slots = tensorColumns(op.getSlotRow()), width = tensorColumns(op.getRows());
  Type element = elementType(op.getRows());
  prepare(op.getSlotRow());
  if (op.getWeights())
    prepare(op.getWeights());
  struct Slot {
    Value exists, base, weight;
  };
  auto slotAt = [this, op, width, element](Value slot) mutable {
    Value number = k.toI64(this->element(op.getSlotRow(), slot));
    Value exists = k.b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::sge, number, k.i64(0));
    Value base = k.at(paramPointer(op.getRows()), k.mul(k.max(number, k.i64(0)), k.i64(width)), element);
    return Slot{exists, base, op.getWeights() ? this->element(op.getWeights(), slot) : Value()};
  };
  auto addSlot = [this, element](Value sum, const Slot &slot, Value column, Piece piece) {
    Value loaded = k.load(element, slot.base, column, piece);
    Value next = slot.weight ? k.fma(loaded, k.splat(slot.weight, piece.lanes), sum) : k.fadd(sum, loaded);
    return k.select(slot.exists, next, sum);
  };
  auto zero = [this, element](Piece piece) {
    return k.constant(piece.lanes == 1 ? element : Type(VectorType::get(piece.lanes, element)), 0);
  };
  // With few slots, their addresses and weights stay in registers.
  constexpr int64_t kMostHoisted = 8;
  if (slots <= kMostHoisted) {
    SmallVector<Slot> hoisted;
    for (int64_t slot = 0; slot < slots; ++slot)
      hoisted.push_back(slotAt(k.i64(slot)));
    return [addSlot, zero, hoisted](Value column, Piece piece) {
      Value sum = zero(piece);
      for (const Slot &slot : hoisted)
        sum = addSlot(sum, slot, column, piece);
      return sum;
    };
  }
  // With many slots, most may be missing (experts that choose tokens), so a list holds those that exist.
  auto memory = [&](Type type) { return k.scratch(llvm::alignTo(slots * type.getIntOrFloatBitWidth() / 8, 64)); };
  Type integer = k.b.getI64Type();
  Value numbers = memory(integer), weights = op.getWeights() ? memory(element) : Value();
  Value count = k.loop(k.i64(0), k.i64(slots), 1, ValueRange{k.i64(0)}, [&](Value slot, ValueRange so) {
    Value number = k.toI64(this->element(op.getSlotRow(), slot));
    k.store(number, numbers, so[0]);
    if (weights)
      k.store(this->element(op.getWeights(), slot), weights, so[0]);
    return SmallVector<Value>{k.select(k.less(number, k.i64(0)), so[0], k.add(so[0], k.i64(1)))};
  })[0];
  return [this, op, element, integer, numbers, weights, count, width, zero](Value column, Piece piece) mutable {
    return k.loop(k.i64(0), count, 1, ValueRange{zero(piece)}, [&](Value i, ValueRange sum) {
      Value base = k.at(paramPointer(op.getRows()), k.mul(k.load(integer, numbers, i), k.i64(width)), element);
      Value loaded = k.load(element, base, column, piece);
      if (!weights)
        return SmallVector<Value>{k.fadd(sum[0], loaded)};
      return SmallVector<Value>{k.fma(loaded, k.splat(k.load(element, weights, i), piece.lanes), sum[0])};
    })[0];
  };
}

RowEmitter::Source RowEmitter::sourceOf(Operation *op) {
  if (auto gatherOp = dyn_cast<moe::GatherRowsOp>(op))
    return gather(gatherOp.getInput(), k.toI64(scalar(gatherOp.getRows())), tensorColumns(gatherOp.getInput()), {});
  if (auto embed = dyn_cast<moe::EmbedOp>(op))
    return gather(embed.getTable(), k.toI64(scalar(embed.getIds())), tensorColumns(embed.getTable()), {});
  if (auto spread = dyn_cast<moe::SpreadRowsOp>(op)) {
    Value slot = k.toI64(scalar(spread.getRowSlot()));
    Value exists = k.b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::sge, slot, k.i64(0));
    Value token = k.b.createOrFold<arith::DivSIOp>(slot, k.i64(spread.getTopK()));
    Value weight;
    // Weights are [N, K], so slot n*K + k is simply their element.
    if (Value weights = spread.getWeights())
      weight = splatOf(weights) ? scalar(weights)
                                : k.load(elementType(weights), paramPointer(weights), k.max(slot, k.i64(0)));
    return gather(spread.getInput(), k.select(exists, token, k.i64(-1)), tensorColumns(spread.getInput()), weight);
  }
  if (auto combineOp = dyn_cast<moe::CombineRowsOp>(op))
    return combine(combineOp);
  auto slice = cast<moe::SliceColumnsOp>(op);
  Type element = elementType(slice.getInput());
  Value base = k.at(rowPointer(slice.getInput()), k.i64(slice.getFirst()), element);
  return [this, element, base](Value column, Piece piece) { return k.load(element, base, column, piece); };
}

SmallVector<Value> RowEmitter::emitPiece(const RowStage &stage, Value column, Piece piece, ValueRange accumulators) {
  DenseMap<Value, Value> local; // computed or loaded at this column
  auto operand = [&](Value value) -> Value {
    Value source = DispatchBody::stripViews(value);
    if (auto found = local.find(source); found != local.end())
      return found->second;
    if (auto found = local.find(value); found != local.end())
      return found->second;
    if (schedule.columnsOf(value) == 1 || splatOf(value))
      return local[value] = k.splat(scalar(value), piece.lanes);
    return local[value] = k.load(elementType(value), rowPointer(value), column, piece);
  };
  SmallVector<Value> next;
  SmallVector<std::pair<Value, Value>> made;
  for (const RowItem &item : stage.items) {
    if (!item.op) {
      made.push_back({item.copied, operand(item.copied)});
      continue;
    }
    if (auto reduce = dyn_cast<moe::RowReduceOp>(item.op)) {
      Value value = operand(reduce.getInput());
      if (!piece.isFull()) {
        SmallVector<bool> bits;
        for (int64_t lane = 0; lane < piece.lanes; ++lane)
          bits.push_back(lane < piece.count);
        auto type = VectorType::get(piece.lanes, k.b.getI1Type());
        Value mask = arith::ConstantOp::create(k.b, DenseElementsAttr::get(type, ArrayRef<bool>(bits)));
        value = k.select(mask, value, neutral(reduce, value.getType()));
      }
      next.push_back(join(reduce, accumulators[next.size()], value));
      continue;
    }
    if (auto sum = dyn_cast<moe::ColReduceOp>(item.op)) {
      Value pointer = sumPointers.lookup(sum), term = operand(sum.getInput());
      Value old = k.load(elementType(sum.getInput()), pointer, column, piece);
      k.store(k.fadd(old, term), pointer, column, piece);
      continue;
    }
    SmallVector<Value> results;
    if (auto map = dyn_cast<moe::MapOp>(item.op))
      results = emitMap(k, map, piece.lanes, row, column, [&](unsigned i) { return operand(map.getInputs()[i]); });
    else
      results = {sources.lookup(item.op)(column, piece)};
    for (auto [result, value] : llvm::zip_equal(item.op->getResults(), results)) {
      local[result] = value;
      made.push_back({result, value});
    }
  }
  // Stores come after all loads of this column, so that states may be updated in place.
  for (auto [value, computed] : made)
    storeSinks(value, computed, column, piece);
  return next;
}

void RowEmitter::emitLoop(const RowStage &stage) {
  int64_t width = laneCount(stage), weight = 0;
  SmallVector<moe::RowReduceOp> reduces;
  DenseSet<Value> inside;
  for (const RowItem &item : stage.items) {
    if (auto reduce = dyn_cast_if_present<moe::RowReduceOp>(item.op))
      reduces.push_back(reduce);
    if (auto map = dyn_cast_if_present<moe::MapOp>(item.op))
      weight += mapWeight(map);
    if (item.op)
      inside.insert(item.op->result_begin(), item.op->result_end());
  }
  // Everything that does not change along the row comes before the loop.
  for (const RowItem &item : stage.items) {
    if (!item.op)
      prepare(item.copied);
    else if (isa<moe::MapOp, moe::RowReduceOp, moe::ColReduceOp>(item.op)) {
      for (Value value : item.op->getOperands())
        if (!inside.contains(DispatchBody::stripViews(value)))
          prepare(value);
    } else
      sources[item.op] = sourceOf(item.op);
    if (isa_and_present<moe::ColReduceOp>(item.op))
      continue;
    SmallVector<Value> made = item.op ? SmallVector<Value>(item.op->getResults()) : SmallVector<Value>{item.copied};
    for (Value value : made) {
      RowValue &info = schedule.values[value];
      for (const RowSink &sink : info.direct)
        sinkPointers[k.param(sink.param)] =
            k.at(k.param(sink.param), k.mul(row, k.i64(schedule.columnsOf(value))), elementType(value));
      if (info.needsMemory && !info.home && !scratchRows[value])
        scratchRows[value] = k.scratch(schedule.columnsOf(value) * elementType(value).getIntOrFloatBitWidth() / 8);
    }
  }

  auto run = [&](Value column, Piece piece, ValueRange carried) { return emitPiece(stage, column, piece, carried); };
  auto start = [&](int64_t lanes) {
    SmallVector<Value> values;
    for (moe::RowReduceOp reduce : reduces) {
      Type element = elementType(reduce.getInput());
      values.push_back(neutral(reduce, lanes == 1 ? element : Type(VectorType::get(lanes, element))));
    }
    return values;
  };

  if (chunk) {
    // Full vectors of this chunk, then the row's rest for the last one.
    int64_t full = stage.width / width * width, rest = stage.width - full;
    Value end = k.min(k.add(chunkFirst, k.i64(chunk)), k.i64(full));
    k.loop(chunkFirst, end, width, [&](Value column) { run(column, Piece{width, width}, {}); });
    if (rest)
      k.when(chunkIsLast, [&] {
        run(k.i64(full), rest == 1 ? Piece{1, 1} : Piece{static_cast<int64_t>(llvm::PowerOf2Ceil(rest)), rest}, {});
      });
    return;
  }
  if (reduces.empty())
    return k.loopPieces(width, stage.width, [&](Value column, Piece piece) { run(column, piece, {}); });

  // With one accumulator, each addition would wait for the previous one, so small bodies get several chains.
  int64_t vectors = stage.width / width;
  int64_t chains = vectors < 8 ? 1 : weight <= 12 ? 4 : weight <= 40 ? 2 : 1;
  SmallVector<Value> totals;
  auto fold = [&](ArrayRef<Value> sums) {
    for (auto [i, reduce] : llvm::enumerate(reduces)) {
      Value total = reduce.getKind() == moe::Reduction::sum ? k.sumLanes(sums[i]) : k.maxLanes(sums[i]);
      if (totals.size() <= i)
        totals.push_back(total);
      else
        totals[i] = join(reduce, totals[i], total);
    }
  };
  if (vectors) {
    size_t each = reduces.size();
    SmallVector<Value> sums;
    for (int64_t chain = 0; chain < chains; ++chain)
      llvm::append_range(sums, start(width));
    int64_t step = chains * width, end = vectors / chains * step;
    sums = k.loop(k.i64(0), k.i64(end), step, sums, [&](Value column, ValueRange carried) {
      SmallVector<Value> next;
      for (int64_t chain = 0; chain < chains; ++chain)
        llvm::append_range(
            next, run(k.add(column, k.i64(chain * width)), Piece{width, width}, carried.slice(chain * each, each)));
      return next;
    });
    for (int64_t distance = chains / 2; distance >= 1; distance /= 2)
      for (size_t i = 0; i < distance * each; ++i)
        sums[i] = join(reduces[i % each], sums[i], sums[i + distance * each]);
    sums.truncate(each);
    if (end < vectors * width)
      sums = k.loop(k.i64(end), k.i64(vectors * width), width, sums,
                    [&](Value column, ValueRange carried) { return run(column, Piece{width, width}, carried); });
    fold(sums);
  }
  if (int64_t rest = stage.width - vectors * width) {
    Piece piece{static_cast<int64_t>(llvm::PowerOf2Ceil(rest)), rest};
    fold(run(k.i64(vectors * width), piece, start(piece.lanes)));
  }
  for (auto [reduce, total] : llvm::zip_equal(reduces, totals))
    scalars[reduce.getResult()] = total;
}

void RowEmitter::emitRow(Value rowIndex) {
  row = rowIndex;
  for (const RowStage &stage : schedule.stages) {
    if (stage.isLoop) {
      emitLoop(stage);
      continue;
    }
    for (const RowItem &item : stage.items)
      if (item.op)
        emitSerial(item.op);
      else
        scalar(item.copied);
  }
  emitDeferred();
}

void RowEmitter::emitSummedRows(Value first, Value end) {
  Value each = k.i64(schedule.rowsPerSum);
  k.loop(first, end, schedule.rowsPerSum, [&](Value start) {
    for (const RowSum &sum : schedule.sums) {
      moe::ColReduceOp op = sum.op;
      int64_t columns = schedule.columnsOf(op.getResult());
      Type element = elementType(op.getResult());
      Value pointer = k.at(k.param(*sum.param), k.mul(k.div(start, each), k.i64(columns)), element);
      k.fillZero(pointer, element, columns);
      sumPointers[op] = pointer;
    }
    k.loop(start, k.add(start, each), 1, [&](Value row) { emitRow(row); });
  });
}

void RowEmitter::emitColumns(Value first, int64_t count, Value isLast) {
  chunk = count;
  chunkFirst = first;
  chunkIsLast = isLast;
  emitRow(k.i64(0));
}

//===--- The template ---===//

FailureOr<KernelInfo> emitRowKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                    const CpuTarget &target) {
  DispatchBody body(dispatch);
  FailureOr<RowSchedule> schedule = RowSchedule::create(body);
  if (failed(schedule))
    return failure();
  KernelInfo info;
  info.symbol = symbol.str();
  info.flops = schedule->flops();
  info.bytes = body.bytes();

  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  RowEmitter emitter(k, body, *schedule);
  if (schedule->splitsColumns && schedule->rowCost > 2 * kGroupWork) {
    int64_t columns = 0;
    for (const RowStage &stage : schedule->stages)
      columns = std::max(columns, stage.isLoop ? stage.width : 0);
    // A multiple of every vector length.
    int64_t chunk = std::max<int64_t>(1024, kGroupWork / llvm::divideCeil(schedule->rowCost, columns) / 1024 * 1024);
    info.grid = llvm::divideCeil(columns, chunk);
    emitter.emitColumns(k.mul(k.workgroup(), k.i64(chunk)), chunk, k.equal(k.workgroup(), k.i64(info.grid - 1)));
  } else {
    int64_t rows = std::clamp<int64_t>(kGroupWork / schedule->rowCost, 1, schedule->rows);
    rows = llvm::alignTo(rows, schedule->rowsPerSum);
    info.grid = llvm::divideCeil(schedule->rows, rows);
    if (rows == 1 && schedule->sums.empty()) {
      emitter.emitRow(schedule->rows == 1 ? k.i64(0) : k.workgroup());
    } else {
      Value first = k.mul(k.workgroup(), k.i64(rows));
      Value end = k.min(k.add(first, k.i64(rows)), k.i64(schedule->rows));
      if (schedule->sums.empty())
        k.loop(first, end, 1, [&](Value row) { emitter.emitRow(row); });
      else
        emitter.emitSummedRows(first, end);
    }
  }
  k.finish();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
