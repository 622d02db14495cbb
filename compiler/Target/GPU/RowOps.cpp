// The work that the threads of a row do together: loops over columns, reductions, top_k, dot_rows.
#include "compiler/Target/GPU/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <limits>

using namespace mlir;

namespace moec::gpu {

using kernel::DispatchBody;
using kernel::KernelBuilder;
using kernel::tensorColumns;

namespace {
Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }
Type vectorOf(Type element, int64_t lanes) { return lanes == 1 ? element : Type(VectorType::get(lanes, element)); }
constexpr double kLog2E = 0x1.71547652b82fep+0;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
} // namespace

bool looksAtRow(Operation *op) { return isa<moe::RowReduceOp, moe::TopKOp, moe::DotRowsOp>(op); }

//===--- Columns ---===//

RowEmitter::Columns RowEmitter::columnsOf(int64_t width) const {
  // A thread can keep 32 floats of a wide value if only a few such values are alive.
  constexpr int64_t kMostInRegisters = 32;
  int64_t lanes = layout.vector;
  while (width % lanes)
    lanes /= 2;
  if (layout.chunks > 1)
    return {lanes, layout.chunkColumns / (layout.group * lanes), true};
  int64_t pieces = llvm::divideCeil(width, layout.group * lanes);
  bool fits = pieces * lanes <= kMostInRegisters;
  return {lanes, fits ? pieces : layout.loopPieces, fits};
}

RowEmitter::Sites RowEmitter::sitesAt(int64_t width, Value first, int64_t pieces, bool mayEnd) {
  Sites sites;
  sites.lanes = sites.multiple = columnsOf(width).lanes;
  Value own = k.add(first, k.mul(member, k.i64(sites.lanes)));
  for (int64_t piece = 0; piece < pieces; ++piece) {
    Value column = k.add(own, k.i64(piece * layout.group * sites.lanes)), exists;
    if (mayEnd && (layout.chunks > 1 || (piece + 1) * layout.group * sites.lanes > width)) {
      exists = k.less(column, k.i64(width));
      column = k.min(column, k.i64(width - sites.lanes));
    }
    sites.columns.push_back(column);
    sites.exists.push_back(exists);
  }
  return sites;
}

RowEmitter::Sites &RowEmitter::wholeRow(int64_t width) {
  auto [found, isNew] = wholeRows.try_emplace(width);
  if (isNew) {
    Hoist hoist(*this);
    Columns columns = columnsOf(width);
    bool mayEnd = layout.chunks == 1 || width % layout.chunkColumns;
    found->second = sitesAt(width, chunkFirst ? chunkFirst : k.i64(0), columns.pieces, mayEnd);
    found->second.isWholeRow = true;
  }
  return found->second;
}

RowEmitter::Values RowEmitter::loopOver(Value from, Value end, int64_t step, ValueRange carried,
                                        llvm::function_ref<Values(Value, ValueRange)> body) {
  return k.loop(from, end, step, carried, [&](Value i, ValueRange so) {
    Operation *outer = outermostLoop;
    if (!outer)
      outermostLoop = k.b.getInsertionBlock()->getParentOp();
    Values next = body(i, so);
    outermostLoop = outer;
    return next;
  });
}

RowEmitter::Values RowEmitter::overColumns(int64_t width, ValueRange carried,
                                           llvm::function_ref<Values(Sites &, ValueRange)> body) {
  Columns columns = columnsOf(width);
  if (columns.inRegisters)
    return body(wholeRow(width), carried);
  int64_t piece = layout.group * columns.lanes, step = columns.pieces * piece, full = width / step * step;
  Values now(carried);
  if (full)
    now = loopOver(k.i64(0), k.i64(full), step, now, [&](Value first, ValueRange so) {
      Sites sites = sitesAt(width, first, columns.pieces, /*mayEnd=*/false);
      return body(sites, so);
    });
  if (full < width) {
    Sites sites;
    sites.lanes = sites.multiple = columns.lanes;
    Value own = k.add(k.i64(full), k.mul(member, k.i64(columns.lanes)));
    for (int64_t first = full; first < width; first += piece) {
      Value column = k.add(own, k.i64(first - full));
      bool ends = first + piece > width;
      sites.exists.push_back(ends ? k.less(column, k.i64(width)) : Value());
      sites.columns.push_back(ends ? k.min(column, k.i64(width - columns.lanes)) : column);
    }
    now = body(sites, now);
  }
  return now;
}

Value RowEmitter::masked(Value value, Value exists, Value otherwise) {
  return exists ? k.select(exists, value, otherwise) : value;
}

//===--- Reductions ---===//

Value RowEmitter::joinOf(moe::RowReduceOp op, Value a, Value b) {
  return op.getKind() == moe::Reduction::sum ? k.fadd(a, b) : k.fmax(a, b);
}

Value RowEmitter::neutralOf(moe::RowReduceOp op, Type type) {
  return k.constant(type, op.getKind() == moe::Reduction::sum ? 0.0 : kMinusInfinity);
}

/// Joins in pairs, so that no addition waits for all earlier ones.
static Value foldPairs(SmallVector<Value> values, llvm::function_ref<Value(Value, Value)> join) {
  while (values.size() > 1) {
    SmallVector<Value> next;
    for (size_t i = 0; i + 1 < values.size(); i += 2)
      next.push_back(join(values[i], values[i + 1]));
    if (values.size() % 2)
      next.push_back(values.back());
    values = next;
  }
  return values.front();
}

void RowEmitter::emitReductions(int64_t width, ArrayRef<moe::RowReduceOp> reduces) {
  if (width == 1) {
    for (moe::RowReduceOp reduce : reduces)
      replicated[reduce.getResult()] = {scalar(reduce.getInput())};
    return;
  }
  int64_t lanes = columnsOf(width).lanes;
  SmallVector<DispatchBody::Sink> sinks;
  if (mayStoreInLastPass(width)) {
    wideAreStored = true;
    for (const DispatchBody::Sink &sink : body.sinks())
      if (schedule.columnsOf(sink.value) == width)
        sinks.push_back(sink);
  }
  Values start;
  for (moe::RowReduceOp reduce : reduces)
    start.push_back(neutralOf(reduce, vectorOf(elementType(reduce.getInput()), lanes)));
  Values sums = overColumns(width, start, [&](Sites &sites, ValueRange so) {
    Values next;
    for (auto [i, sum] : llvm::enumerate(so)) {
      moe::RowReduceOp reduce = reduces[i];
      Values values = evaluate(reduce.getInput(), sites);
      for (auto [value, exists] : llvm::zip_equal(values, sites.exists))
        value = masked(value, exists, neutralOf(reduce, value.getType()));
      auto join = [&](Value a, Value b) { return joinOf(reduce, a, b); };
      Value joined = foldPairs(values, join);
      next.push_back(sites.isWholeRow ? joined : join(sum, joined));
    }
    for (const SiteStores &here : computeStores(sinks, sites))
      storeAll(here.stores, here.condition);
    return next;
  });
  for (auto [i, sum] : llvm::enumerate(sums))
    sum = moe::RowReduceOp(reduces[i]).getKind() == moe::Reduction::sum ? k.sumLanes(sum) : k.maxLanes(sum);
  Values totals =
      k.reduceGroup(sums, layout.group, repeats, [&](size_t i, Value a, Value b) { return joinOf(reduces[i], a, b); });
  for (auto [i, total] : llvm::enumerate(totals))
    replicated[moe::RowReduceOp(reduces[i]).getResult()] = {total};
}

/// The sum of exp(x - max) that uses this maximum of x, if there is one.
static moe::RowReduceOp sumOfExp(moe::RowReduceOp max) {
  for (Operation *user : max.getResult().getUsers()) {
    auto map = dyn_cast<moe::MapOp>(user);
    if (!map || map.getInputs().size() != 2 || map.getNumResults() != 1 || map.getPosition() ||
        map.getInputs()[0] != max.getInput() || map.getInputs()[1] != max.getResult())
      continue;
    auto exp = map.getYield().getValues()[0].getDefiningOp<math::ExpOp>();
    auto difference = exp ? exp.getOperand().getDefiningOp<arith::SubFOp>() : arith::SubFOp();
    if (!difference || difference.getLhs() != map.getBlock()->getArgument(0) ||
        difference.getRhs() != map.getBlock()->getArgument(1))
      continue;
    for (Operation *next : map.getResult(0).getUsers())
      if (auto sum = dyn_cast<moe::RowReduceOp>(next); sum && sum.getKind() == moe::Reduction::sum)
        return sum;
  }
  return {};
}

// Maximum and sum in one pass over a row that is too wide to keep: a thread's sum is relative to the largest of its
// columns so far, and is scaled when a larger one comes.
bool RowEmitter::emitOnlineSoftmax(moe::RowReduceOp max) {
  int64_t width = schedule.columnsOf(max.getInput());
  moe::RowReduceOp sum = max.getKind() == moe::Reduction::max ? sumOfExp(max) : moe::RowReduceOp();
  Columns columns = columnsOf(width);
  if (!sum || width == 1 || columns.inRegisters)
    return false;
  Type element = elementType(max.getInput());
  Value minusInfinity = k.constant(element, kMinusInfinity), zero = k.constant(element, 0);
  // As long as all values are -infinity, exponents are relative to 0, because infinity minus infinity would be NaN.
  auto reference = [&](Value most) {
    Value none = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OEQ, most, minusInfinity);
    return k.select(none, zero, most);
  };
  Values start = {minusInfinity, k.constant(vectorOf(element, columns.lanes), 0)};
  Values parts = overColumns(width, start, [&](Sites &sites, ValueRange so) -> Values {
    Values values = evaluate(max.getInput(), sites);
    for (auto [value, exists] : llvm::zip_equal(values, sites.exists))
      value = masked(value, exists, k.constant(value.getType(), kMinusInfinity));
    Value here = k.maxLanes(foldPairs(values, [&](Value a, Value b) { return k.fmax(a, b); }));
    Value most = k.fmax(so[0], here), from = reference(most);
    // exp(x - from) as a power of two, so that one fma makes the exponent.
    Value shift = k.splat(k.fmul(from, k.constant(element, -kLog2E)), columns.lanes);
    for (Value &value : values)
      value = math::Exp2Op::create(k.b, k.fma(value, k.constant(value.getType(), kLog2E), shift));
    Value added = foldPairs(values, [&](Value a, Value b) { return k.fadd(a, b); });
    Value scale = k.splat(k.exp(k.fsub(so[0], from)), columns.lanes);
    return {most, k.fma(so[1], scale, added)};
  });
  Value most =
      k.reduceGroup({parts[0]}, layout.group, repeats, [&](size_t, Value a, Value b) { return k.fmax(a, b); })[0];
  Value scaled = k.fmul(k.sumLanes(parts[1]), k.exp(k.fsub(parts[0], most)));
  Value total =
      k.reduceGroup({scaled}, layout.group, repeats, [&](size_t, Value a, Value b) { return k.fadd(a, b); })[0];
  replicated[max.getResult()] = {most};
  replicated[sum.getResult()] = {total};
  done.insert(sum);
  return true;
}

//===--- top_k ---===//

/// Batcher's odd-even merges, for any number of keys.
static void sortDescending(SimtBuilder &k, SmallVectorImpl<Value> &keys) {
  size_t count = keys.size();
  for (size_t half = 1; half < count; half *= 2)
    for (size_t step = half; step > 0; step /= 2)
      for (size_t first = step % half; first + step < count; first += 2 * step)
        for (size_t i = first; i < first + step && i + step < count; ++i)
          if (i / (2 * half) == (i + step) / (2 * half)) {
            Value a = keys[i], b = keys[i + step];
            keys[i] = k.max(a, b);
            keys[i + step] = k.min(a, b);
          }
}

// A choice is the largest key below the previous choice. Keys are pairs (order of the score, column), lower columns
// first, so no two are equal, and chosen keys need not be marked. For f32 a pair is one i64.
void RowEmitter::emitTopK(moe::TopKOp op) {
  constexpr int64_t kNothing = std::numeric_limits<int64_t>::min(), kAll = std::numeric_limits<int64_t>::max();
  Value scores = op.getScores();
  int64_t width = schedule.columnsOf(scores), count = schedule.columnsOf(op.getIds());
  bool isPacked = elementType(scores).getIntOrFloatBitWidth() <= 32;
  auto larger = [&](Value a, Value b) { return k.max(a, b); };
  auto smaller = [&](Value a, Value b) { return k.min(a, b); };

  // For each element: its key, or (unpacked) its key and column.
  auto keysAt = [&](Sites &sites) {
    SmallVector<std::pair<Value, Value>> keys;
    for (auto [value, column, exists] : llvm::zip_equal(evaluate(scores, sites), sites.columns, sites.exists))
      for (int64_t lane = 0; lane < sites.lanes; ++lane) {
        Value key = k.orderedKey(laneOf(value, lane)), here = k.add(column, k.i64(lane));
        if (isPacked) {
          // NaN has the only key that 32 bits cannot hold.
          key = k.max(key, k.i64(std::numeric_limits<int32_t>::min()));
          Value place = k.sub(k.i64(0xFFFFFFFF), here);
          key = k.add(k.b.createOrFold<arith::ShLIOp>(key, k.i64(32)), place);
        }
        keys.push_back({masked(key, exists, k.i64(kNothing)), here});
      }
    return keys;
  };
  auto overKeys = [&](Value start, llvm::function_ref<Value(Value key, Value column)> candidate,
                      llvm::function_ref<Value(Value, Value)> join, bool again) {
    Value best = overColumns(width, start, [&](Sites &sites, ValueRange so) -> Values {
      Values candidates;
      for (auto [key, column] : keysAt(sites))
        candidates.push_back(candidate(key, column));
      return {join(so[0], foldPairs(candidates, join))};
    })[0];
    return k.reduceGroup({best}, layout.group, again, [&](size_t, Value a, Value b) { return join(a, b); })[0];
  };
  // Returns the column, and the bound for the next choice.
  auto choose = [&](ValueRange before, bool again) -> Values {
    Value lastKey = before[0];
    if (isPacked) {
      Value best = overKeys(
          k.i64(kNothing), [&](Value key, Value) { return k.select(k.less(key, lastKey), key, k.i64(kNothing)); },
          larger, again);
      Value low = k.b.createOrFold<arith::AndIOp>(best, k.i64(0xFFFFFFFF));
      return {k.toI32(k.sub(k.i64(0xFFFFFFFF), low)), best};
    }
    Value lastColumn = before[1];
    auto isLeft = [&](Value key, Value column) {
      Value ties = k.both(k.equal(key, lastKey), k.less(lastColumn, column));
      return k.b.createOrFold<arith::OrIOp>(k.less(key, lastKey), ties);
    };
    Value best = overKeys(
        k.i64(kNothing), [&](Value key, Value column) { return k.select(isLeft(key, column), key, k.i64(kNothing)); },
        larger, again);
    Value first = overKeys(
        k.i64(kAll),
        [&](Value key, Value column) {
          return k.select(k.both(isLeft(key, column), k.equal(key, best)), column, k.i64(kAll));
        },
        smaller, again);
    return {k.toI32(first), best, first};
  };

  Values last = isPacked ? Values{k.i64(kAll)} : Values{k.i64(kAll), k.i64(-1)};
  if (count > kMostReplicated)
    return emitSharedRow(op.getIds(), last, [&](Value, ValueRange so) {
      Values chosen = choose(so, /*again=*/true);
      return std::make_pair(chosen[0], Values(ArrayRef<Value>(chosen).drop_front()));
    });
  // A few keys are in registers. They are sorted once, so that only the largest key of each thread takes part in a
  // choice.
  constexpr int64_t kMostSorted = 16;
  Columns columns = columnsOf(width);
  if (isPacked && count > 1 && columns.inRegisters && columns.pieces * columns.lanes <= kMostSorted) {
    Values keys, ids;
    for (auto [key, column] : keysAt(wholeRow(width)))
      keys.push_back(key);
    sortDescending(k, keys);
    for (int64_t slot = 0; slot < count; ++slot) {
      Value best = k.reduceGroup({keys.front()}, layout.group, repeats,
                                 [&](size_t, Value a, Value b) { return larger(a, b); })[0];
      ids.push_back(k.toI32(k.sub(k.i64(0xFFFFFFFF), k.b.createOrFold<arith::AndIOp>(best, k.i64(0xFFFFFFFF)))));
      Value isOwn = k.equal(best, keys.front());
      for (size_t i = 0; i < keys.size() && static_cast<int64_t>(i) < count - slot; ++i)
        keys[i] = k.select(isOwn, i + 1 < keys.size() ? keys[i + 1] : k.i64(kNothing), keys[i]);
    }
    replicated[op.getIds()] = ids;
    return;
  }
  Values ids;
  for (int64_t slot = 0; slot < count; ++slot) {
    Values chosen = choose(last, repeats);
    ids.push_back(chosen[0]);
    last = Values(ArrayRef<Value>(chosen).drop_front());
  }
  replicated[op.getIds()] = ids;
}

// Results with many elements: one after the other, into shared memory.
void RowEmitter::emitSharedRow(Value result, ValueRange carried,
                               llvm::function_ref<std::pair<Value, Values>(Value, ValueRange)> elementOf) {
  int64_t columns = schedule.columnsOf(result);
  Type element = elementType(result);
  Value memory = k.shared(layout.rowsPerBlock() * columns * element.getIntOrFloatBitWidth() / 8);
  Value rowInBlock = layout.rowsPerBlock() == 1 ? k.i64(0) : k.div(k.thread(), k.i64(layout.group));
  Value base = k.at(memory, k.mul(rowInBlock, k.i64(columns)), element);
  if (repeats)
    syncGroup();
  loopOver(k.i64(0), k.i64(columns), 1, carried, [&](Value column, ValueRange so) {
    auto [value, next] = elementOf(column, so);
    k.when(k.equal(member, k.i64(0)), [&] { k.store(value, base, column); });
    return next;
  });
  syncGroup();
  sharedRows[result] = base;
}

//===--- dot_rows ---===//

void RowEmitter::emitDotRows(moe::DotRowsOp op) {
  Value table = op.getRows();
  unsigned param = *body.paramOf(table);
  Type element = elementType(op.getInput());
  int64_t width = schedule.columnsOf(op.getInput()), slots = schedule.columnsOf(op.getSlotRow());
  int64_t lanes = width == 1 ? 1 : columnsOf(width).lanes;
  auto plus = [&](Value a, Value b) { return k.fadd(a, b); };

  auto dots = [&](ArrayRef<Value> numbers, bool again) {
    SmallVector<TableRow> rows;
    for (Value number : numbers)
      rows.push_back(tableRow(number, table, {}));
    Values start(rows.size(), k.constant(vectorOf(element, lanes), 0));
    auto atSites = [&](Sites &sites, ValueRange so) {
      Values input = evaluate(op.getInput(), sites), next;
      SmallVector<Values> loaded;
      for (const TableRow &from : rows) {
        loaded.emplace_back();
        for (Value column : sites.columns)
          loaded.back().push_back(loadColumns(param, from.base, column, sites, width, element));
      }
      for (auto [values, sum] : llvm::zip_equal(loaded, so)) {
        Value zero = k.constant(sum.getType(), 0);
        for (size_t i = 0; i < values.size(); ++i)
          sum = k.fma(masked(input[i], sites.exists[i], zero), masked(values[i], sites.exists[i], zero), sum);
        next.push_back(sum);
      }
      return next;
    };
    Values sums;
    if (width == 1) {
      Sites only;
      only.columns = {k.i64(0)};
      only.exists = {Value()};
      sums = atSites(only, start);
    } else {
      sums = overColumns(width, start, atSites);
      for (Value &sum : sums)
        sum = k.sumLanes(sum);
      sums = k.reduceGroup(sums, layout.group, again, [&](size_t, Value a, Value b) { return plus(a, b); });
    }
    for (auto [sum, from] : llvm::zip_equal(sums, rows))
      sum = k.select(from.isMissing, k.constant(element, 0), sum);
    return sums;
  };
  if (slots > kMostReplicated)
    return emitSharedRow(op.getResult(), {}, [&](Value slot, ValueRange) {
      Value number = elementAt(op.getSlotRow(), slot);
      auto dot = [&] { return dots({number}, /*again=*/true); };
      // Most slots may be missing (experts that choose tokens). Threads that meet at a barrier must take the same
      // branch; the threads of one row do.
      Value sum =
          layout.group < SimtBuilder::kWarp
              ? dot()[0]
              : k.choose(element, k.less(number, k.i32(0)), [&] { return Values{k.constant(element, 0)}; }, dot)[0];
      return std::make_pair(sum, Values());
    });
  Values results;
  constexpr int64_t kTogether = 8; // rows under way at once
  for (int64_t first = 0; first < slots; first += kTogether) {
    Values numbers;
    for (int64_t slot = first; slot < std::min(slots, first + kTogether); ++slot)
      numbers.push_back(this->element(op.getSlotRow(), slot));
    llvm::append_range(results, dots(numbers, repeats));
  }
  replicated[op.getResult()] = results;
}

//===--- In order ---===//

void RowEmitter::emitLevel(ArrayRef<Operation *> ops) {
  // Reductions of one width share their pass over the row and their barrier.
  llvm::MapVector<int64_t, SmallVector<moe::RowReduceOp>> reduces;
  for (Operation *op : ops) {
    if (done.contains(op))
      continue;
    if (auto topK = dyn_cast<moe::TopKOp>(op))
      emitTopK(topK);
    else if (auto dot = dyn_cast<moe::DotRowsOp>(op))
      emitDotRows(dot);
    else if (auto reduce = cast<moe::RowReduceOp>(op); !emitOnlineSoftmax(reduce))
      reduces[schedule.columnsOf(reduce.getInput())].push_back(reduce);
  }
  isLastLevel = isLastLevel && reduces.size() == 1;
  for (auto &[width, list] : reduces)
    emitReductions(width, list);
}

void RowEmitter::syncGroup() {
  if (layout.group > SimtBuilder::kWarp)
    k.barrier();
  else if (layout.group > 1)
    k.syncWarp();
}

} // namespace moec::gpu
