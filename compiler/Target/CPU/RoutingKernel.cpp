// Templates "permute", "limit_capacity" and "count_ids": a few passes over N*K integer ids, in order. There is one
// workgroup (count_ids: one per group), because 16 Ki ids take about 0.1 ms or less (bench-rows), much less than the
// products of the tokens. "column_kth" searches like limit_capacity, with one workgroup for several columns.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::cpu {

namespace {
constexpr int64_t kRowsPerWorkgroup = 4096; // of column_kth, about 20 us

class RoutingEmitter {
public:
  RoutingEmitter(KernelBuilder &k, DispatchBody &body)
      : k(k), body(body), i32(k.b.getI32Type()), i64Type(k.b.getI64Type()), sinks(body.sinks()) {}

  LogicalResult permute(moe::PermuteOp op);
  LogicalResult limitCapacity(moe::LimitCapacityOp op);
  LogicalResult countIds(moe::CountIdsOp op, KernelInfo &info);
  LogicalResult columnKth(moe::ColumnKthOp op, KernelInfo &info);

private:
  FailureOr<Value> inputPointer(Operation *op, Value value) {
    if (auto param = body.paramOf(value))
      return k.param(*param);
    return op->emitOpError("has an operand that is computed in the same dispatch");
  }
  // Memory of a result: the first sink that takes it unchanged, otherwise scratch.
  Value home(Value result) {
    for (const DispatchBody::Sink &sink : sinks)
      if (sink.value == result && !sink.accumulates)
        return k.param(sink.param);
    auto type = cast<RankedTensorType>(result.getType());
    return k.scratch(type.getNumElements() * type.getElementType().getIntOrFloatBitWidth() / 8);
  }
  // Elements first .. first + count - 1 of a result go to the sinks that are not its home.
  void finish(Value result, Value pointer, Value first, int64_t count) {
    Type element = cast<RankedTensorType>(result.getType()).getElementType();
    for (const DispatchBody::Sink &sink : sinks) {
      if (sink.value != result || k.param(sink.param) == pointer)
        continue;
      Value to = k.at(k.param(sink.param), first, element), from = k.at(pointer, first, element);
      k.loopPieces(element, count, [&](Value i, KernelBuilder::Piece piece) {
        Value value = k.load(element, from, i, piece);
        if (sink.accumulates)
          value = k.add(k.load(element, to, i, piece), value);
        k.store(value, to, i, piece);
      });
    }
  }
  void fill(Value pointer, Type element, int64_t count, int64_t value) {
    k.loopPieces(element, count, [&](Value i, KernelBuilder::Piece piece) {
      Type type = piece.lanes == 1 ? element : VectorType::get(piece.lanes, element);
      k.store(k.constant(type, static_cast<double>(value)), pointer, i, piece);
    });
  }
  void increase(Value pointer, Value index, Type element) {
    Value one = element == i32 ? k.i32(1) : k.i64(1);
    k.store(k.add(k.load(element, pointer, index), one), pointer, index);
  }
  Value isId(Value id) { return k.less(k.i64(-1), id); }
  /// A number of the op: `most`, or if `given` is not null, the number that it holds at run time, clamped to least ..
  /// most.
  FailureOr<Value> boundOf(Operation *op, Value given, int64_t least, int64_t most) {
    if (!given)
      return k.i64(most);
    FailureOr<Value> pointer = inputPointer(op, given);
    if (failed(pointer))
      return failure();
    return k.max(k.i64(least), k.min(k.i64(most), k.load(i64Type, *pointer, k.i64(0))));
  }

  // A 64-bit key of any float, with the order of the floats.
  Value keyOf(Value weight) {
    Value key = k.selectionKey(weight);
    return key.getType() == i64Type ? key : arith::ExtUIOp::create(k.b, i64Type, key).getResult();
  }
  // countKeys: the number of keys start .. end - 1 for which the comparison with `bound` holds. kthKey: the n-th
  // largest of them, of `bits` bits; 0 if there are fewer. The last vector is padded with zeros, which count only with
  // bound 0.
  Value countKeys(Value keys, Value start, Value end, arith::CmpIPredicate predicate, Value bound);
  Value kthKey(Value keys, Value start, Value end, Value n, int64_t bits);
  Value rowOfKey(Value keys, Value end, Value key, Value n);

  KernelBuilder &k;
  DispatchBody &body;
  Type i32, i64Type;
  SmallVector<DispatchBody::Sink> sinks;
};

LogicalResult RoutingEmitter::permute(moe::PermuteOp op) {
  FailureOr<Value> ids = inputPointer(op, op.getIds());
  if (failed(ids))
    return failure();
  int64_t tokens = tensorRows(op.getIds()), slots = tensorColumns(op.getIds()), experts = op.getExperts();
  int64_t rows = tensorRows(op.getRowToken()), align = op.getAlign();
  bool isLimited = op.getLimit().has_value(); // what does not fit is dropped
  Value offsets = home(op.getOffsets()), counts = home(op.getCounts()), rowToken = home(op.getRowToken());
  Value rowSlot = home(op.getRowSlot()), slotRow = home(op.getSlotRow());
  Value cursors = k.scratch(experts * 4);

  fill(counts, i32, experts, 0);
  k.loop(k.i64(0), k.i64(tokens * slots), 1, [&](Value i) {
    Value id = k.toI64(k.load(i32, *ids, i));
    k.when(isId(id), [&] { increase(counts, id, i32); });
  });
  Value used = k.loop(k.i64(0), k.i64(experts), 1, ValueRange{k.i64(0)}, [&](Value expert, ValueRange at) {
    Value first = k.toI32(at[0]);
    k.store(first, offsets, expert);
    k.store(first, cursors, expert);
    Value end = k.add(at[0], k.toI64(k.load(i32, counts, expert)));
    Value next = k.mul(k.div(k.add(end, k.i64(align - 1)), k.i64(align)), k.i64(align));
    if (isLimited) {
      next = k.min(next, k.i64(rows));
      k.store(k.toI32(k.sub(k.min(end, k.i64(rows)), at[0])), counts, expert);
    }
    return SmallVector<Value>{next};
  })[0];
  k.store(k.toI32(used), offsets, k.i64(experts));

  fill(rowToken, i32, rows, -1);
  fill(rowSlot, i32, rows, -1);
  k.loop(k.i64(0), k.i64(tokens), 1, [&](Value token) {
    k.loop(k.i64(0), k.i64(slots), 1, [&](Value slot) {
      Value i = k.add(k.mul(token, k.i64(slots)), slot);
      Value id = k.toI64(k.load(i32, *ids, i));
      auto drop = [&] { k.store(k.i32(-1), slotRow, i); };
      k.when(
          isId(id),
          [&] {
            Value row = k.load(i32, cursors, id), place = k.toI64(row);
            auto put = [&] {
              k.store(k.add(row, k.i32(1)), cursors, id);
              k.store(k.toI32(token), rowToken, place);
              k.store(k.toI32(i), rowSlot, place);
              k.store(row, slotRow, i);
            };
            isLimited ? k.when(k.less(place, k.i64(rows)), put, drop) : put();
          },
          drop);
    });
  });
  finish(op.getOffsets(), offsets, k.i64(0), experts + 1);
  finish(op.getCounts(), counts, k.i64(0), experts);
  finish(op.getRowToken(), rowToken, k.i64(0), rows);
  finish(op.getRowSlot(), rowSlot, k.i64(0), rows);
  finish(op.getSlotRow(), slotRow, k.i64(0), tokens * slots);
  return success();
}

Value RoutingEmitter::countKeys(Value keys, Value start, Value end, arith::CmpIPredicate predicate, Value bound) {
  int64_t lanes = k.lanes(i64Type);
  Value ones = k.splat(k.i64(1), lanes), zeros = k.splat(k.i64(0), lanes), bounds = k.splat(bound, lanes);
  Value sum = k.loop(start, end, lanes, ValueRange{zeros}, [&](Value i, ValueRange so) {
    Value hit = arith::CmpIOp::create(k.b, predicate, k.load(i64Type, keys, i, lanes), bounds);
    return SmallVector<Value>{k.add(so[0], k.select(hit, ones, zeros))};
  })[0];
  return k.sumLanes(sum);
}

// The largest number that at least n keys reach, found bit by bit from the highest.
Value RoutingEmitter::kthKey(Value keys, Value start, Value end, Value n, int64_t bits) {
  Value before = k.sub(n, k.i64(1));
  return k.loop(k.i64(0), k.i64(bits), 1, ValueRange{k.i64(0)}, [&](Value step, ValueRange so) {
    Value bit = arith::ShLIOp::create(k.b, k.i64(1), k.sub(k.i64(bits - 1), step));
    Value candidate = arith::OrIOp::create(k.b, so[0], bit);
    Value enough = k.less(before, countKeys(keys, start, end, arith::CmpIPredicate::uge, candidate));
    return SmallVector<Value>{k.select(enough, candidate, so[0])};
  })[0];
}

// The row of the n-th key, which is `key`. Keys are in descending order, equal keys in the order of rows.
Value RoutingEmitter::rowOfKey(Value keys, Value end, Value key, Value n) {
  Value above = countKeys(keys, k.i64(0), end, arith::CmpIPredicate::ugt, key), wanted = k.sub(n, above);
  return k.loop(k.i64(0), end, 1, ValueRange{k.i64(0), k.i64(0)}, [&](Value row, ValueRange so) {
    Value isEqual = k.equal(k.load(i64Type, keys, row), key);
    Value count = k.select(isEqual, k.add(so[0], k.i64(1)), so[0]);
    return SmallVector<Value>{count, k.select(k.both(isEqual, k.equal(count, wanted)), row, so[1])};
  })[1];
}

// `position`: a running count per expert. `lowest_weight`: the keys of each expert's slots are collected, and the
// capacity-th largest key of an over-full expert is found bit by bit. Slots above it stay, and the earliest of those
// equal to it.
LogicalResult RoutingEmitter::limitCapacity(moe::LimitCapacityOp op) {
  FailureOr<Value> ids = inputPointer(op, op.getIds()), weights = inputPointer(op, op.getWeights());
  FailureOr<Value> bound = boundOf(op, op.getRoom(), 0, op.getCapacity());
  if (failed(ids) || failed(weights) || failed(bound))
    return failure();
  Value capacity = *bound;
  int64_t total = tensorRows(op.getIds()) * tensorColumns(op.getIds()), experts = op.getExperts();
  Value result = home(op.getResult());
  Value counts = k.scratch(experts * 8);
  fill(counts, i64Type, experts, 0);
  auto idAt = [&](Value i) { return k.toI64(k.load(i32, *ids, i)); };
  auto forEachSlot = [&](llvm::function_ref<void(Value, Value)> visit, llvm::function_ref<void(Value)> dropped) {
    k.loop(k.i64(0), k.i64(total), 1, [&](Value i) {
      Value id = idAt(i);
      k.when(isId(id), [&] { visit(i, id); }, [&] { dropped(i); });
    });
  };
  auto drop = [&](Value i) { k.store(k.i32(-1), result, i); };
  auto nothing = [](Value) {};

  if (op.getPolicy() == moe::DropPolicy::position) {
    forEachSlot(
        [&](Value i, Value id) {
          Value before = k.load(i64Type, counts, id);
          k.store(k.add(before, k.i64(1)), counts, id);
          k.store(k.select(k.less(before, capacity), k.toI32(id), k.i32(-1)), result, i);
        },
        drop);
    finish(op.getResult(), result, k.i64(0), total);
    return success();
  }

  Type element = cast<RankedTensorType>(op.getWeights().getType()).getElementType();
  int64_t lanes = k.lanes(i64Type), bits = element.getIntOrFloatBitWidth();
  // Every group of keys is padded with zeros to whole vectors.
  auto keyAt = [&](Value i) { return keyOf(k.load(element, *weights, i)); };
  Value starts = k.scratch(experts * 8), cursors = k.scratch(experts * 8);
  Value thresholds = k.scratch(experts * 8), equals = k.scratch(experts * 8);
  int64_t room = total + experts * lanes;
  Value keys = k.scratch(room * 8);
  fill(keys, i64Type, room, 0);
  forEachSlot([&](Value, Value id) { increase(counts, id, i64Type); }, nothing);
  k.loop(k.i64(0), k.i64(experts), 1, ValueRange{k.i64(0)}, [&](Value expert, ValueRange at) {
    k.store(at[0], starts, expert);
    k.store(at[0], cursors, expert);
    Value end = k.add(at[0], k.load(i64Type, counts, expert));
    return SmallVector<Value>{k.mul(k.div(k.add(end, k.i64(lanes - 1)), k.i64(lanes)), k.i64(lanes))};
  });
  forEachSlot(
      [&](Value i, Value id) {
        k.store(keyAt(i), keys, k.load(i64Type, cursors, id));
        increase(cursors, id, i64Type);
      },
      nothing);

  k.loop(k.i64(0), k.i64(experts), 1, [&](Value expert) {
    Value count = k.load(i64Type, counts, expert);
    // The defaults keep every slot: no key is below 0, and all keys equal to 0 stay.
    k.store(k.i64(0), thresholds, expert);
    k.store(count, equals, expert);
    k.when(k.less(capacity, count), [&] {
      Value start = k.load(i64Type, starts, expert), end = k.load(i64Type, cursors, expert);
      Value threshold = kthKey(keys, start, end, capacity, bits);
      k.store(threshold, thresholds, expert);
      Value above = countKeys(keys, start, end, arith::CmpIPredicate::ugt, threshold);
      k.store(k.sub(capacity, above), equals, expert);
    });
  });
  forEachSlot(
      [&](Value i, Value id) {
        Value key = keyAt(i), threshold = k.load(i64Type, thresholds, id), left = k.load(i64Type, equals, id);
        Value above = arith::CmpIOp::create(k.b, arith::CmpIPredicate::ugt, key, threshold);
        Value isEqual = k.both(k.equal(key, threshold), k.less(k.i64(0), left));
        k.store(k.select(isEqual, k.sub(left, k.i64(1)), left), equals, id);
        Value keep = arith::OrIOp::create(k.b, above, isEqual);
        k.store(k.select(keep, k.toI32(id), k.i32(-1)), result, i);
      },
      drop);
  finish(op.getResult(), result, k.i64(0), total);
  return success();
}

LogicalResult RoutingEmitter::columnKth(moe::ColumnKthOp op, KernelInfo &info) {
  std::optional<unsigned> input = body.paramOf(op.getInput());
  FailureOr<Value> n = boundOf(op, op.getRank(), 1, op.getN());
  if (!input || failed(n))
    return op->emitOpError("has an operand that is computed in the same dispatch");
  int64_t groups = tensorRows(op.getResult()), columns = tensorColumns(op.getResult());
  int64_t each = tensorRows(op.getInput()) / groups, room = llvm::alignTo(each, k.lanes(i64Type));
  Type element = cast<RankedTensorType>(op.getInput().getType()).getElementType();
  // Several columns of few rows share a workgroup, because starting a workgroup takes a microsecond.
  int64_t total = groups * columns, together = std::clamp<int64_t>(kRowsPerWorkgroup / each, 1, total);
  info.grid = llvm::divideCeil(total, together);
  Value keys = k.scratch(room * 8), start = k.mul(k.workgroup(), k.i64(together));
  bool wantsRow = llvm::any_of(sinks, [&](const DispatchBody::Sink &sink) { return sink.value == op.getRow(); });
  k.loop(k.i64(each), k.i64(room), 1, [&](Value row) { k.store(k.i64(0), keys, row); });
  k.loop(start, k.min(k.add(start, k.i64(together)), k.i64(total)), 1, [&](Value item) {
    Value group = k.div(item, k.i64(columns)), column = k.rem(item, k.i64(columns));
    Value first = k.add(k.mul(group, k.i64(each * columns)), column);
    k.loop(k.i64(0), k.i64(each), 1, [&](Value row) {
      Value at = k.add(first, k.mul(row, k.i64(columns)));
      Value value = k.convert(k.load(body.storageOf(*input), k.param(*input), at), element);
      k.store(keyOf(value), keys, row);
    });
    Value key = kthKey(keys, k.i64(0), k.i64(each), *n, element.getIntOrFloatBitWidth());
    Elementwise here(k, body);
    here.moveTo(groups, group, column, {1, 1});
    if (wantsRow)
      here.bind(op.getRow(), k.toI32(rowOfKey(keys, k.i64(each), key, *n)));
    if (element.getIntOrFloatBitWidth() == 32)
      key = k.toI32(key);
    here.bind(op.getResult(), k.fromSelectionKey(key, element));
    here.store(sinks);
  });
  return success();
}

LogicalResult RoutingEmitter::countIds(moe::CountIdsOp op, KernelInfo &info) {
  FailureOr<Value> ids = inputPointer(op, op.getIds());
  if (failed(ids))
    return failure();
  int64_t groups = tensorRows(op.getResult()), experts = tensorColumns(op.getResult());
  int64_t each = tensorRows(op.getIds()) * tensorColumns(op.getIds()) / groups;
  info.grid = groups;
  Value counts = home(op.getResult()), first = k.mul(k.workgroup(), k.i64(experts));
  Value mine = k.at(counts, first, i64Type), start = k.mul(k.workgroup(), k.i64(each));
  fill(mine, i64Type, experts, 0);
  k.loop(start, k.add(start, k.i64(each)), 1, [&](Value i) {
    Value id = k.toI64(k.load(i32, *ids, i));
    k.when(isId(id), [&] { increase(mine, id, i64Type); });
  });
  finish(op.getResult(), counts, first, experts);
  return success();
}

} // namespace

FailureOr<KernelInfo> emitRoutingKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                        const CpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = findRoot(body);
  if (!root || failed(checkRootBody(body, root, /*allowMaps=*/false)))
    return failure();
  for (const DispatchBody::Sink &sink : body.sinks())
    if (sink.value.getDefiningOp() != root)
      return root->emitOpError("shares its dispatch with another value");
  KernelInfo info;
  info.symbol = symbol.str();
  for (const moe::DispatchParam &param : body.params)
    if (param.type)
      info.bytes += double(param.type.getNumElements()) * param.type.getElementType().getIntOrFloatBitWidth() / 8;
  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  RoutingEmitter emitter(k, body);
  LogicalResult emitted = success();
  if (auto permute = dyn_cast<moe::PermuteOp>(root))
    emitted = emitter.permute(permute);
  else if (auto limit = dyn_cast<moe::LimitCapacityOp>(root))
    emitted = emitter.limitCapacity(limit);
  else if (auto count = dyn_cast<moe::CountIdsOp>(root))
    emitted = emitter.countIds(count, info);
  else
    emitted = emitter.columnKth(cast<moe::ColumnKthOp>(root), info);
  k.finish();
  if (failed(emitted))
    return failure();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
