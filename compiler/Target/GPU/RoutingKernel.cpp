// Templates "permute", "limit_capacity" and "count_ids": integers in a fixed order.
//
// permute is a stable counting sort. Slots are cut into one stretch for each block, and each of these into one stretch
// for each warp; a warp walks through its stretch 32 slots per step. The rank of a slot among those of its expert comes
// from comparing the lanes of a step (match), and from the counts of earlier steps, warps and blocks. Blocks read each
// other's counts in the workspace, after a barrier of the whole grid.
//
// limit_capacity: a block has as many experts as its shared memory holds (in most models all), and walks through all
// slots. It finds the capacity-th largest weight of each expert digit by digit; slots of equal weight stay in slot
// order. count_ids: a block counts a share of one group; the last to arrive adds the shares.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;
using kernel::tensorColumns;
using kernel::tensorRows;

constexpr int64_t kSortThreads = 256, kSortBlocks = 128; // a grid barrier needs them all resident
constexpr int64_t kSlotsPerBlock = 2048;                 // smallest share that justifies a block
constexpr int64_t kStepsInFlight = 5;                    // of a warp that walks its slots
constexpr int64_t kBlocksInFlight = 16;                  // whose counts a thread adds up
constexpr int64_t kTotalsInFlight = 8;                   // of experts, likewise
constexpr int64_t kLimitThreads = 1024;
constexpr int64_t kDigitBits = 4;     // of a weight, found in one walk over the slots
constexpr int64_t kSlotsInFlight = 8; // of one thread, in such a walk
constexpr int64_t kDigits = int64_t{1} << kDigitBits;
// Of an expert in limit_capacity: its threshold, how many that equal it stay, counts by digit and by warp.
constexpr int64_t kLimitBytes = 8 + 4 + 4 * kDigits + 4 * (kLimitThreads / SimtBuilder::kWarp);

class RoutingEmitter {
public:
  RoutingEmitter(const DispatchBody &body, Operation *root)
      : body(body), root(root), sinks(body.sinks()), ids(body.paramOf(root->getOperand(0))),
        total(cast<RankedTensorType>(root->getOperand(0).getType()).getNumElements()) {}

  /// Sets `threads` and `grid`.
  LogicalResult analyse(const GpuTarget &target);
  void emit(SimtBuilder &builder);

  int64_t threads = kSortThreads, grid = 1;

private:
  void permute(moe::PermuteOp op);
  void limitCapacity(moe::LimitCapacityOp op);
  void countIds(moe::CountIdsOp op);

  /// Element `index` of a result of the root becomes `value`.
  void put(Value result, Value index, Value value);
  /// All threads of the block (of the grid when `allBlocks`) visit 0 .. count-1.
  void forAll(int64_t count, bool allBlocks, llvm::function_ref<void(Value)> visit);
  Value idAt(Value slot) { return k->load(i32, k->param(*ids), slot); }
  Value isId(Value id) { return k->less(k->i32(-1), id); }

  /// The stretch of slots of this warp: `steps` steps of 32 from `first` on, as far as they are below `end`, if the
  /// slots are divided among this number of blocks.
  struct Stretch {
    Value first, end;
    int64_t steps;
  };
  Stretch stretchOf(int64_t blocks);
  /// visit(slot, id) with id -1 beyond the end; all lanes arrive together.
  void walk(const Stretch &stretch, llvm::function_ref<void(Value, Value)> visit);
  /// counters[warp][key] = the number of slots of this warp with this key. `keyOf` returns -1 for no key.
  void countKeys(const Stretch &stretch, Value counters, int64_t keys, llvm::function_ref<Value(Value, Value)> keyOf);
  /// counters[warp][key] becomes `start(key)` plus the counts of the warps before.
  void accumulateWarps(Value counters, int64_t keys, llvm::function_ref<Value(Value)> start);
  /// visit(slot, id, key, place): places count up from counters[warp][key] in slot order. Keys of -1 have no place.
  void rankKeys(const Stretch &stretch, Value counters, int64_t keys, llvm::function_ref<Value(Value, Value)> keyOf,
                llvm::function_ref<void(Value, Value, Value, Value)> visit);

  const DispatchBody &body;
  Operation *root;
  SmallVector<DispatchBody::Sink> sinks;
  std::optional<unsigned> ids;
  int64_t total, splits = 1;
  int64_t expertsOfBlock = 0; // limit_capacity
  SimtBuilder *k = nullptr;
  Type i32, i64Type;
};

LogicalResult RoutingEmitter::analyse(const GpuTarget &target) {
  for (Value operand : root->getOperands())
    if (!body.paramOf(operand))
      return root->emitOpError("has an operand that is computed in the same dispatch");
  for (const DispatchBody::Sink &sink : sinks)
    if (sink.value.getDefiningOp() != root)
      return root->emitOpError("shares its dispatch with another value");
  int64_t most = std::min(kSortBlocks, target.numSms);
  if (auto count = dyn_cast<moe::CountIdsOp>(root)) {
    int64_t groups = tensorRows(count.getResult());
    splits = groups > SimtBuilder::kCounters ? 1 : std::clamp<int64_t>(total / groups / kSlotsPerBlock, 1, most);
    grid = groups * splits;
  } else if (isa<moe::PermuteOp>(root)) {
    grid = std::clamp<int64_t>(total / kSlotsPerBlock, 1, most);
  } else {
    constexpr int64_t kPadding = 4 * 16; // four arrays, each from a multiple of 16 bytes on
    int64_t experts = cast<moe::LimitCapacityOp>(root).getExperts();
    threads = kLimitThreads;
    grid = llvm::divideCeil(experts, (target.sharedBytes - kPadding) / kLimitBytes);
    expertsOfBlock = llvm::divideCeil(experts, grid);
  }
  return success();
}

void RoutingEmitter::emit(SimtBuilder &builder) {
  k = &builder;
  i32 = k->b.getI32Type();
  i64Type = k->b.getI64Type();
  if (auto permuteOp = dyn_cast<moe::PermuteOp>(root))
    permute(permuteOp);
  else if (auto limit = dyn_cast<moe::LimitCapacityOp>(root))
    limitCapacity(limit);
  else
    countIds(cast<moe::CountIdsOp>(root));
}

void RoutingEmitter::put(Value result, Value index, Value value) {
  for (const DispatchBody::Sink &sink : sinks) {
    if (sink.value != result)
      continue;
    Value pointer = k->param(sink.param);
    k->store(sink.accumulates ? k->add(k->load(value.getType(), pointer, index), value) : value, pointer, index);
  }
}

void RoutingEmitter::forAll(int64_t count, bool allBlocks, llvm::function_ref<void(Value)> visit) {
  Value start = k->thread();
  if (allBlocks)
    start = k->add(start, k->mul(k->workgroup(), k->i64(threads)));
  k->loop(start, k->i64(count), threads * (allBlocks ? grid : 1), visit);
}

//===--- Stable ranks ---===//

RoutingEmitter::Stretch RoutingEmitter::stretchOf(int64_t blocks) {
  int64_t warps = threads / SimtBuilder::kWarp;
  int64_t steps = llvm::divideCeil(total, blocks * warps * SimtBuilder::kWarp);
  Value warp = k->warp();
  if (blocks > 1)
    warp = k->add(k->mul(k->workgroup(), k->i64(warps)), warp);
  return {k->mul(warp, k->i64(steps * SimtBuilder::kWarp)), k->i64(total), steps};
}

void RoutingEmitter::walk(const Stretch &stretch, llvm::function_ref<void(Value, Value)> visit) {
  int64_t together = std::min(stretch.steps, kStepsInFlight);
  k->loop(k->i64(0), k->i64(stretch.steps), together, [&](Value first) {
    SmallVector<Value> slots, ids;
    for (int64_t i = 0; i < together; ++i) {
      Value step = k->add(first, k->i64(i));
      Value slot = k->add(k->add(stretch.first, k->mul(step, k->i64(SimtBuilder::kWarp))), k->lane());
      if (stretch.steps % together) // slots of another warp count as beyond the end
        slot = k->select(k->less(step, k->i64(stretch.steps)), slot, stretch.end);
      slots.push_back(slot);
      ids.push_back(k->select(k->less(slot, stretch.end), idAt(k->min(slot, k->i64(total - 1))), k->i32(-1)));
    }
    for (auto [slot, id] : llvm::zip_equal(slots, ids))
      visit(slot, id);
  });
}

void RoutingEmitter::countKeys(const Stretch &stretch, Value counters, int64_t keys,
                               llvm::function_ref<Value(Value, Value)> keyOf) {
  int64_t warps = threads / SimtBuilder::kWarp;
  forAll(warps * keys, /*allBlocks=*/false, [&](Value i) { k->store(k->i32(0), counters, i); });
  k->barrier();
  Value mine = k->mul(k->warp(), k->i64(keys));
  walk(stretch, [&](Value slot, Value id) {
    Value key = keyOf(slot, id);
    k->when(isId(key), [&] { k->atomicAdd(k->i32(1), counters, k->add(mine, k->toI64(key))); });
  });
  k->barrier();
}

void RoutingEmitter::accumulateWarps(Value counters, int64_t keys, llvm::function_ref<Value(Value)> start) {
  int64_t warps = threads / SimtBuilder::kWarp;
  forAll(keys, /*allBlocks=*/false, [&](Value key) {
    k->loop(k->i64(0), k->i64(warps), 1, ValueRange{start(key)}, [&](Value warp, ValueRange so) {
      Value at = k->add(k->mul(warp, k->i64(keys)), key), count = k->load(i32, counters, at);
      k->store(so[0], counters, at);
      return SmallVector<Value>{k->add(so[0], count)};
    });
  });
  k->barrier();
}

void RoutingEmitter::rankKeys(const Stretch &stretch, Value counters, int64_t keys,
                              llvm::function_ref<Value(Value, Value)> keyOf,
                              llvm::function_ref<void(Value, Value, Value, Value)> visit) {
  Value mine = k->mul(k->warp(), k->i64(keys));
  walk(stretch, [&](Value slot, Value id) {
    Value key = keyOf(slot, id), same = k->matchLanes(key);
    Value at = k->add(mine, k->max(k->toI64(key), k->i64(0)));
    Value before = k->lanesBefore(same), start = k->load(i32, counters, at);
    k->syncWarp();
    Value isFirst = k->both(k->equal(before, k->i64(0)), isId(key));
    k->when(isFirst, [&] { k->store(k->add(start, k->toI32(k->countLanes(same))), counters, at); });
    k->syncWarp();
    k->when(k->less(slot, stretch.end), [&] { visit(slot, id, key, k->add(start, k->toI32(before))); });
  });
}

//===--- The ops ---===//

void RoutingEmitter::permute(moe::PermuteOp op) {
  int64_t slots = tensorColumns(op.getIds()), experts = op.getExperts(), rows = tensorRows(op.getRowToken());
  int64_t align = op.getAlign(), warps = threads / SimtBuilder::kWarp;
  bool isLimited = op.getLimit().has_value(); // what does not fit is dropped
  Value counters = k->shared(warps * experts * 4), offsets = k->shared((experts + 1) * 4);
  Value totals = k->shared(experts * 4);
  Stretch stretch = stretchOf(grid);
  auto keyOf = [](Value, Value id) { return id; };

  // Rows that get no slot keep this.
  forAll(rows, /*allBlocks=*/true, [&](Value row) {
    put(op.getRowToken(), row, k->i32(-1));
    put(op.getRowSlot(), row, k->i32(-1));
  });
  countKeys(stretch, counters, experts, keyOf);
  Value workspace = grid > 1 ? k->workspace(grid * experts * 4) : Value();
  auto countOfBlock = [&](Value expert) {
    return k->loop(k->i64(0), k->i64(warps), 1, ValueRange{k->i32(0)}, [&](Value warp, ValueRange so) {
      return SmallVector<Value>{k->add(so[0], k->load(i32, counters, k->add(k->mul(warp, k->i64(experts)), expert)))};
    })[0];
  };
  if (grid > 1)
    forAll(experts, /*allBlocks=*/false, [&](Value expert) {
      k->store(countOfBlock(expert), workspace, k->add(k->mul(k->workgroup(), k->i64(experts)), expert));
    });
  k->gridBarrier(grid);

  // The number of slots of an expert in earlier blocks; kept in `offsets` until the totals are known.
  Value earlier = k->shared(experts * 4);
  forAll(experts, /*allBlocks=*/false, [&](Value expert) {
    if (grid == 1) {
      k->store(countOfBlock(expert), totals, expert);
      k->store(k->i32(0), earlier, expert);
      return;
    }
    SmallVector<Value> sums = k->loop(
        k->i64(0), k->i64(grid), kBlocksInFlight, ValueRange{k->i32(0), k->i32(0)}, [&](Value first, ValueRange so) {
          SmallVector<Value> counts, next(so);
          for (int64_t i = 0; i < kBlocksInFlight; ++i) {
            Value block = k->min(k->add(first, k->i64(i)), k->i64(grid - 1));
            counts.push_back(k->load(i32, workspace, k->add(k->mul(block, k->i64(experts)), expert)));
          }
          for (int64_t i = 0; i < kBlocksInFlight; ++i) {
            Value block = k->add(first, k->i64(i));
            Value count = k->select(k->less(block, k->i64(grid)), counts[i], k->i32(0));
            next[0] = k->add(next[0], count);
            next[1] = k->add(next[1], k->select(k->less(block, k->workgroup()), count, k->i32(0)));
          }
          return next;
        });
    k->store(sums[0], totals, expert);
    k->store(sums[1], earlier, expert);
  });
  k->barrier();
  forAll(experts + 1, /*allBlocks=*/false, [&](Value expert) {
    Value first = k->loop(k->i64(0), expert, kTotalsInFlight, ValueRange{k->i32(0)}, [&](Value e, ValueRange so) {
      SmallVector<Value> counts;
      for (int64_t i = 0; i < kTotalsInFlight; ++i) {
        Value other = k->add(e, k->i64(i)), count = k->load(i32, totals, k->min(other, k->i64(experts - 1)));
        counts.push_back(k->select(k->less(other, expert), count, k->i32(0)));
      }
      Value next = so[0];
      for (Value count : counts) {
        Value steps = k->div(k->add(count, k->i32(align - 1)), k->i32(align));
        next = k->add(next, k->mul(steps, k->i32(align)));
        next = isLimited ? k->min(next, k->i32(rows)) : next;
      }
      return SmallVector<Value>{next};
    })[0];
    k->store(first, offsets, expert);
  });
  k->barrier();
  k->when(k->equal(k->workgroup(), k->i64(0)), [&] {
    forAll(experts + 1, /*allBlocks=*/false,
           [&](Value expert) { put(op.getOffsets(), expert, k->load(i32, offsets, expert)); });
    forAll(experts, /*allBlocks=*/false, [&](Value expert) {
      Value count = k->load(i32, totals, expert);
      if (isLimited)
        count = k->min(count, k->sub(k->i32(rows), k->load(i32, offsets, expert)));
      put(op.getCounts(), expert, count);
    });
  });
  accumulateWarps(counters, experts,
                  [&](Value expert) { return k->add(k->load(i32, offsets, expert), k->load(i32, earlier, expert)); });
  rankKeys(stretch, counters, experts, keyOf, [&](Value slot, Value id, Value, Value row) {
    Value isRouted = isLimited ? k->both(isId(id), k->less(row, k->i32(rows))) : isId(id);
    k->when(isRouted, [&] {
      put(op.getRowToken(), k->toI64(row), k->toI32(k->div(slot, k->i64(slots))));
      put(op.getRowSlot(), k->toI64(row), k->toI32(slot));
    });
    put(op.getSlotRow(), slot, k->select(isRouted, row, k->i32(-1)));
  });
}

void RoutingEmitter::limitCapacity(moe::LimitCapacityOp op) {
  int64_t experts = expertsOfBlock, warps = threads / SimtBuilder::kWarp;
  Type element = cast<RankedTensorType>(op.getWeights().getType()).getElementType();
  unsigned weights = *body.paramOf(op.getWeights());
  Value capacity = k->i64(op.getCapacity());
  if (op.getRoom()) {
    Value room = k->load(i64Type, k->param(*body.paramOf(op.getRoom())), k->i64(0));
    capacity = k->max(k->i64(0), k->min(capacity, room));
  }
  capacity = k->toI32(capacity);
  bool byWeight = op.getPolicy() == moe::DropPolicy::lowest_weight;
  Value thresholds = k->shared(experts * 8), left = k->shared(experts * 4);
  Value counts = k->shared(experts * kDigits * 4), counters = k->shared(warps * experts * 4);
  // From here on an id counts from this block's first expert, and is -1 for slots of others.
  Value firstExpert = k->toI32(k->mul(k->workgroup(), k->i64(experts)));
  auto ownId = [&](Value id) -> Value {
    if (grid == 1)
      return id;
    Value own = k->sub(id, firstExpert);
    Value isOwn = k->both(k->less(k->i32(-1), own), k->less(own, k->i32(experts)));
    return k->select(isOwn, own, k->i32(-1));
  };
  Stretch stretch = stretchOf(1);

  int64_t bits = element.getIntOrFloatBitWidth();
  auto keyAt = [&](Value slot) -> Value {
    Value key = k->selectionKey(k->convert(k->load(body.storageOf(weights), k->param(weights), slot), element));
    return bits == 64 ? key : arith::ExtUIOp::create(k->b, i64Type, key).getResult();
  };
  auto unsignedLess = [&](Value a, Value c) -> Value {
    return arith::CmpIOp::create(k->b, arith::CmpIPredicate::ult, a, c);
  };
  auto shiftRight = [&](Value a, Value bits) -> Value { return arith::ShRUIOp::create(k->b, a, bits); };
  // counts[expert][digit] = its slots whose keys agree with the threshold in the digits before, by their next digit.
  auto countDigits = [&](Value shift) {
    forAll(experts * kDigits, /*allBlocks=*/false, [&](Value i) { k->store(k->i32(0), counts, i); });
    k->barrier();
    k->loop(k->thread(), k->i64(total), threads * kSlotsInFlight, [&](Value first) {
      SmallVector<Value> idOf, keyOf;
      for (int64_t i = 0; i < kSlotsInFlight; ++i) {
        Value slot = k->add(first, k->i64(i * threads)), inside = k->less(slot, k->i64(total));
        slot = k->min(slot, k->i64(total - 1));
        idOf.push_back(k->select(inside, ownId(idAt(slot)), k->i32(-1)));
        keyOf.push_back(keyAt(slot));
      }
      for (auto [id, key] : llvm::zip_equal(idOf, keyOf)) {
        Value expert = k->max(k->toI64(id), k->i64(0)), threshold = k->load(i64Type, thresholds, expert);
        // Two shifts, since a shift by all bits of the number is undefined.
        Value high = shiftRight(shiftRight(arith::XOrIOp::create(k->b, key, threshold), shift), k->i64(kDigitBits));
        Value digit = k->both(shiftRight(key, shift), k->i64(kDigits - 1));
        k->when(k->both(isId(id), k->equal(high, k->i64(0))),
                [&] { k->atomicAdd(k->i32(1), counts, k->add(k->mul(expert, k->i64(kDigits)), digit)); });
      }
    });
    k->barrier();
  };

  // Everything above the threshold stays, and the first `left` of those that equal it. By position all equal it.
  forAll(experts, /*allBlocks=*/false, [&](Value expert) {
    k->store(k->i64(0), thresholds, expert);
    k->store(capacity, left, expert);
  });
  k->barrier();
  if (byWeight)
    k->loop(k->i64(0), k->i64(bits), kDigitBits, [&](Value done) {
      Value shift = k->sub(k->i64(bits - kDigitBits), done);
      countDigits(shift);
      // The largest digit from which on there are enough slots; 0 if there never are.
      forAll(experts, /*allBlocks=*/false, [&](Value expert) {
        Value none = k->i64(-1);
        SmallVector<Value> found = k->loop(
            k->i64(0), k->i64(kDigits), 1, ValueRange{none, k->load(i32, left, expert)}, [&](Value i, ValueRange so) {
              Value digit = k->sub(k->i64(kDigits - 1), i);
              Value count = k->load(i32, counts, k->add(k->mul(expert, k->i64(kDigits)), digit));
              Value isFound = k->less(none, so[0]), enough = k->less(k->sub(so[1], k->i32(1)), count);
              enough = arith::OrIOp::create(k->b, enough, k->equal(digit, k->i64(0)));
              Value stops = arith::OrIOp::create(k->b, isFound, enough);
              Value here = k->select(isFound, so[0], k->select(enough, digit, none));
              return SmallVector<Value>{here, k->select(stops, so[1], k->sub(so[1], count))};
            });
        Value digit = arith::ShLIOp::create(k->b, found[0], shift);
        Value threshold = arith::OrIOp::create(k->b, k->load(i64Type, thresholds, expert), digit);
        k->store(threshold, thresholds, expert);
        k->store(found[1], left, expert);
      });
      k->barrier();
    });

  auto equalKey = [&](Value slot, Value id) -> Value {
    id = ownId(id);
    if (!byWeight)
      return id;
    Value expert = k->max(k->toI64(id), k->i64(0));
    Value isEqual = k->equal(keyAt(k->min(slot, k->i64(total - 1))), k->load(i64Type, thresholds, expert));
    return k->select(isEqual, id, k->i32(-1));
  };
  countKeys(stretch, counters, experts, equalKey);
  accumulateWarps(counters, experts, [&](Value) { return k->i32(0); });
  rankKeys(stretch, counters, experts, equalKey, [&](Value slot, Value id, Value key, Value rank) {
    Value own = ownId(id), expert = k->max(k->toI64(own), k->i64(0));
    Value stays = k->both(isId(key), k->less(rank, k->load(i32, left, expert)));
    if (byWeight) {
      Value above = unsignedLess(k->load(i64Type, thresholds, expert), keyAt(slot));
      stays = arith::OrIOp::create(k->b, stays, above);
    }
    auto store = [&] { put(op.getResult(), slot, k->select(k->both(stays, isId(own)), id, k->i32(-1))); };
    if (grid == 1)
      return store();
    // The first block also stores the slots that belong to no expert.
    Value isOurs = k->both(k->equal(k->workgroup(), k->i64(0)), k->less(id, k->i32(0)));
    k->when(arith::OrIOp::create(k->b, isId(own), isOurs), store);
  });
}

void RoutingEmitter::countIds(moe::CountIdsOp op) {
  int64_t groups = tensorRows(op.getResult()), experts = tensorColumns(op.getResult()), each = total / groups;
  Value group = k->div(k->workgroup(), k->i64(splits)), split = k->rem(k->workgroup(), k->i64(splits));
  Value counts = k->shared(experts * 4);
  forAll(experts, /*allBlocks=*/false, [&](Value expert) { k->store(k->i32(0), counts, expert); });
  k->barrier();
  int64_t share = llvm::divideCeil(each, splits);
  Value start = k->mul(group, k->i64(each)), first = k->add(start, k->mul(split, k->i64(share)));
  Value end = k->min(k->add(first, k->i64(share)), k->add(start, k->i64(each)));
  k->loop(k->add(first, k->thread()), end, threads, [&](Value slot) {
    Value id = idAt(slot);
    k->when(isId(id), [&] { k->atomicAdd(k->i32(1), counts, k->toI64(id)); });
  });
  k->barrier();
  auto finish = [&](llvm::function_ref<Value(Value)> countOf) {
    forAll(experts, /*allBlocks=*/false, [&](Value expert) {
      put(op.getResult(), k->add(k->mul(group, k->i64(experts)), expert), k->toI64(countOf(expert)));
    });
  };
  if (splits == 1)
    return finish([&](Value expert) { return k->load(i32, counts, expert); });
  Value workspace = k->workspace(grid * experts * 4);
  Value own = k->mul(k->workgroup(), k->i64(experts)), others = k->mul(group, k->i64(splits * experts));
  forAll(experts, /*allBlocks=*/false,
         [&](Value expert) { k->store(k->load(i32, counts, expert), workspace, k->add(own, expert)); });
  k->whenLast(group, splits, [&] {
    finish([&](Value expert) {
      return k->loop(k->i64(0), k->i64(splits), 1, ValueRange{k->i32(0)}, [&](Value part, ValueRange so) {
        Value at = k->add(others, k->add(k->mul(part, k->i64(experts)), expert));
        return SmallVector<Value>{k->add(so[0], k->load(i32, workspace, at))};
      })[0];
    });
  });
}
} // namespace

FailureOr<KernelInfo> emitRoutingKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                        const GpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = findRoot(body);
  if (!root || failed(checkRootBody(body, root, /*allowMaps=*/false)))
    return failure();
  RoutingEmitter emitter(body, root);
  if (failed(emitter.analyse(target)))
    return failure();
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), emitter.threads, target);
  emitter.emit(k);
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = emitter.grid;
  info.scratchBytes = k.scratchBytes();
  for (const moe::DispatchParam &param : body.params)
    if (param.type)
      info.bytes += double(param.type.getNumElements()) * param.type.getElementType().getIntOrFloatBitWidth() / 8;
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
