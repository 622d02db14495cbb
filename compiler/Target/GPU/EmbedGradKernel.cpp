// Template "embed_grad": each row of the table gets the sum of the gradient's rows that have its id, in their order.
//
// A block owns some columns of every R-th row of the vocabulary. (Neighbouring ids are about equally frequent, so this
// distributes the frequent ids.) It goes through all ids twice: first it counts those that it owns, then it puts their
// rows in the order of the ids, by a stable counting sort. Each warp has a stretch of the ids and counts of its own.
// Then each warp takes ids in turn, sums their rows in registers and stores each sum once. If an id has many rows, all
// warps of the block share them.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::dependsOn;
using kernel::DispatchBody;
using kernel::Elementwise;
using kernel::tensorColumns;
using kernel::tensorRows;
using Piece = SimtBuilder::Piece;

constexpr int64_t kThreads = 256, kWarps = kThreads / SimtBuilder::kWarp;
constexpr int64_t kBlocksPerSm = 2;
constexpr int64_t kMostOwnIds = 2048;  // of a block: what its counts may take of shared memory
constexpr int64_t kStepsInFlight = 16; // of 32 ids
constexpr int64_t kIdsTogether = 4;    // of a warp; 3 with two accesses a row, for the registers
constexpr int64_t kFirstRows = 2;      // of each of these, loaded before any addition
constexpr int64_t kRowsTogether = 4;   // then, of one id
constexpr int64_t kHotAccesses = 8;    // under way in each thread, of an id that the block shares
constexpr int64_t kHotRows = 64;       // from so many on it does

int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

/// Columns that a thread takes at once: 16 bytes of the gradient, if that divides `columns`.
int64_t chooseLanes(Type gradient, int64_t columns) {
  int64_t lanes = 16 / bytesOf(gradient);
  while (columns % lanes != 0)
    lanes /= 2;
  return lanes;
}

class EmbedGradEmitter {
public:
  EmbedGradEmitter(moe::EmbedGradOp op, const DispatchBody &body, const GpuTarget &target);
  LogicalResult check();
  void emit(SimtBuilder &k);

  int64_t grid = 0;
  double flops() const { return double(rows) * double(columns); }

private:
  using Values = SmallVector<Value>;
  /// An id of this warp's stretch; each lane has another. `place` is its number in its range of ids.
  struct Id {
    Value row, range, place, isOwn;
  };
  /// visit(id, so) returns the next `so` (an i32). `so` starts at 0, and its last value is the result.
  Value walkIds(SimtBuilder &k, llvm::function_ref<Value(const Id &, Value so)> visit);
  void countIds(SimtBuilder &k);
  void startIds(SimtBuilder &k);
  void sortRows(SimtBuilder &k);

  /// Row `i` of the rows with this id, or zeros if i is not below `count`: one value for each piece.
  Values loadRow(SimtBuilder &k, Value first, Value i, Value count);
  Values add(SimtBuilder &k, const Values &a, const Values &b);
  void storeSum(SimtBuilder &k, Value own, const Values &sum, Value condition);
  void sumIds(SimtBuilder &k, Value first);
  void sumHotId(SimtBuilder &k, Value own);
  Value isId(SimtBuilder &k, Value own) { return k.less(k.add(k.mul(own, k.i64(ranges)), range), k.i64(vocabulary)); }

  moe::EmbedGradOp op;
  const DispatchBody &body;
  Type element, i32;
  int64_t rows, columns, vocabulary, lanes = 1, pieces = 1, columnBlocks = 1, ranges = 1, ownIds = 1, idsTogether = 1;
  SmallVector<DispatchBody::Sink> sinks;
  std::optional<unsigned> ids, gradient;
  bool onlyAdds = false; // what has no rows stays as it is

  Value range;
  Values column, exists;                 // of each piece; `exists` is null when all columns do
  Value counts;                          // [warps, own ids]: rows of each id, then where the next one goes
  Value starts;                          // [own ids + 1], in `sorted`
  Value before;                          // rows of the blocks before, for which `sorted` has room
  Value sorted;                          // [columnBlocks, rows]: rows by block and id
  Value hotIds, numHot, warpSums, parts; // parts: [warps, columns of a block]
};

EmbedGradEmitter::EmbedGradEmitter(moe::EmbedGradOp op, const DispatchBody &body, const GpuTarget &target)
    : op(op), body(body), element(cast<RankedTensorType>(op.getGrad().getType()).getElementType()),
      i32(IntegerType::get(op.getContext(), 32)), rows(tensorRows(op.getGrad())), columns(tensorColumns(op.getGrad())),
      vocabulary(tensorRows(op.getResult())), sinks(body.sinks()), ids(body.paramOf(op.getIds())),
      gradient(body.paramOf(op.getGrad())) {
  lanes = chooseLanes(gradient ? body.storageOf(*gradient) : element, columns);
  int64_t accesses = llvm::divideCeil(columns, lanes * SimtBuilder::kWarp);
  pieces = accesses % 2 == 0 ? 2 : 1;
  idsTogether = pieces == 1 ? kIdsTogether : kIdsTogether - 1;
  columnBlocks = llvm::divideCeil(accesses, pieces);
  ranges = std::max<int64_t>(target.numSms * kBlocksPerSm / columnBlocks, llvm::divideCeil(vocabulary, kMostOwnIds));
  ranges = std::clamp<int64_t>(ranges, 1, vocabulary);
  ownIds = llvm::divideCeil(vocabulary, ranges);
  grid = ranges * columnBlocks;
  onlyAdds = llvm::all_of(
      sinks, [&](const DispatchBody::Sink &sink) { return sink.accumulates && sink.value == op.getResult(); });
}

LogicalResult EmbedGradEmitter::check() {
  if (!ids)
    return op.emitOpError("computes its ids in the same dispatch");
  for (const DispatchBody::Sink &sink : sinks)
    if (!dependsOn(sink.value, op) || tensorRows(sink.value) != vocabulary || tensorColumns(sink.value) != columns)
      return op.emitOpError("shares its dispatch with a value of another shape");
  return success();
}

//===--- The block's rows, by id ---===//

Value EmbedGradEmitter::walkIds(SimtBuilder &k, llvm::function_ref<Value(const Id &, Value)> visit) {
  int64_t steps = llvm::divideCeil(rows, kThreads);
  Value start = k.mul(k.warp(), k.i64(steps * SimtBuilder::kWarp));
  return k.loop(k.i64(0), k.i64(steps), kStepsInFlight, ValueRange{k.i32(0)}, [&](Value first, ValueRange so) {
    Values row, id;
    for (int64_t i = 0; i < kStepsInFlight; ++i) {
      Value step = k.add(first, k.i64(i));
      row.push_back(k.add(k.add(start, k.mul(step, k.i64(SimtBuilder::kWarp))), k.lane()));
      Value isRow = k.both(k.less(step, k.i64(steps)), k.less(row[i], k.i64(rows)));
      Value found = k.load(i32, k.param(*ids), k.min(row[i], k.i64(rows - 1)));
      // A number that is not an id is in no range.
      Value isId = k.both(isRow, arith::CmpIOp::create(k.b, arith::CmpIPredicate::ult, found, k.i32(vocabulary)));
      id.push_back(k.select(isId, found, k.i32(-1)));
    }
    Value next = so[0];
    for (int64_t i = 0; i < kStepsInFlight; ++i) {
      Value isId = k.less(k.i32(-1), id[i]);
      Value inRange = k.select(isId, k.b.createOrFold<arith::RemUIOp>(id[i], k.i32(ranges)), k.i32(ranges));
      Value place = k.b.createOrFold<arith::DivUIOp>(id[i], k.i32(ranges));
      next = visit({row[i], inRange, place, k.equal(inRange, k.toI32(range))}, next);
    }
    return Values{next};
  })[0];
}

// Also counts the rows of the ranges before this one, so that each block finds its place in `sorted`.
void EmbedGradEmitter::countIds(SimtBuilder &k) {
  k.loop(k.thread(), k.i64(kWarps * ownIds), kThreads, [&](Value i) { k.store(k.i32(0), counts, i); });
  k.when(k.equal(k.thread(), k.i64(0)), [&] { k.store(k.i32(0), numHot, k.i64(0)); });
  k.barrier();
  Value mine = k.mul(k.warp(), k.i64(ownIds));
  Value earlier = walkIds(k, [&](const Id &id, Value so) {
    k.when(id.isOwn, [&] { k.atomicAdd(k.i32(1), counts, k.add(mine, k.toI64(id.place))); });
    return k.add(so, k.select(k.less(id.range, k.toI32(range)), k.i32(1), k.i32(0)));
  });
  before = k.toI64(k.reduce(earlier, [&](Value a, Value b) { return k.add(a, b); }, /*wholeBlock=*/true));
}

// Counts become starts: ids are in order, and within an id the warps are in order. A thread has neighbouring ids.
void EmbedGradEmitter::startIds(SimtBuilder &k) {
  int64_t perThread = llvm::divideCeil(ownIds, kThreads);
  Value first = k.mul(k.thread(), k.i64(perThread));
  Value end = k.min(k.add(first, k.i64(perThread)), k.i64(ownIds));
  auto at = [&](int64_t warp, Value own) { return k.add(k.i64(warp * ownIds), own); };
  Value sum = k.loop(first, end, 1, ValueRange{k.i32(0)}, [&](Value own, ValueRange so) {
    Value next = so[0];
    for (int64_t warp = 0; warp < kWarps; ++warp)
      next = k.add(next, k.load(i32, counts, at(warp, own)));
    return Values{next};
  })[0];
  // The sums of the lanes before: a lane adds the sum of the half of its group that lies before its own.
  Value start = k.i32(0), group = sum;
  for (int64_t half = 1; half < SimtBuilder::kWarp; half *= 2) {
    Value other = k.shuffleXor(group, half);
    Value isUpper = k.equal(k.rem(k.div(k.lane(), k.i64(half)), k.i64(2)), k.i64(1));
    start = k.add(start, k.select(isUpper, other, k.i32(0)));
    group = k.add(group, other);
  }
  k.when(k.equal(k.lane(), k.i64(0)), [&] { k.store(group, warpSums, k.warp()); });
  k.barrier();
  for (int64_t warp = 0; warp < kWarps; ++warp) {
    Value isEarlier = k.less(k.i64(warp), k.warp());
    start = k.add(start, k.select(isEarlier, k.load(i32, warpSums, k.i64(warp)), k.i32(0)));
  }
  Value last = k.loop(first, end, 1, ValueRange{start}, [&](Value own, ValueRange so) {
    Value next = so[0];
    k.store(next, starts, own);
    for (int64_t warp = 0; warp < kWarps; ++warp) {
      Value count = k.load(i32, counts, at(warp, own));
      k.store(next, counts, at(warp, own));
      next = k.add(next, count);
    }
    k.when(k.less(k.i32(kHotRows - 1), k.sub(next, so[0])),
           [&] { k.store(k.toI32(own), hotIds, k.toI64(k.atomicAdd(k.i32(1), numHot, k.i64(0)))); });
    return Values{next};
  })[0];
  k.when(k.both(k.less(first, end), k.equal(end, k.i64(ownIds))), [&] { k.store(last, starts, k.i64(ownIds)); });
  k.barrier();
}

void EmbedGradEmitter::sortRows(SimtBuilder &k) {
  Value mine = k.mul(k.warp(), k.i64(ownIds));
  walkIds(k, [&](const Id &id, Value so) {
    k.when(k.less(k.i64(0), k.countLanes(k.ballot(id.isOwn))), [&] {
      Value same = k.matchLanes(k.select(id.isOwn, id.place, k.i32(-1)));
      Value at = k.add(mine, k.select(id.isOwn, k.toI64(id.place), k.i64(0)));
      Value rank = k.lanesBefore(same), place = k.load(i32, counts, at);
      k.syncWarp();
      k.when(k.both(id.isOwn, k.equal(rank, k.i64(0))),
             [&] { k.store(k.add(place, k.toI32(k.countLanes(same))), counts, at); });
      k.syncWarp();
      k.when(id.isOwn, [&] { k.store(k.toI32(id.row), sorted, k.add(k.toI64(place), rank)); });
    });
    return so;
  });
  k.barrier();
}

//===--- Sums ---===//

EmbedGradEmitter::Values EmbedGradEmitter::loadRow(SimtBuilder &k, Value first, Value i, Value count) {
  Value isThere = k.less(i, count);
  Value row = k.select(isThere, k.load(i32, sorted, k.select(isThere, k.add(first, i), k.i64(0))), k.i32(0));
  Values found;
  for (Value here : column) {
    Elementwise at(k, body);
    at.moveTo(rows, k.toI64(row), here, Piece{lanes, lanes});
    Value value = at.get(op.getGrad());
    found.push_back(k.select(isThere, value, k.constant(value.getType(), 0)));
  }
  return found;
}

EmbedGradEmitter::Values EmbedGradEmitter::add(SimtBuilder &k, const Values &a, const Values &b) {
  Values sum;
  for (auto [left, right] : llvm::zip_equal(a, b))
    sum.push_back(k.fadd(left, right));
  return sum;
}

void EmbedGradEmitter::storeSum(SimtBuilder &k, Value own, const Values &sum, Value condition) {
  for (int64_t i = 0; i < pieces; ++i)
    k.when(exists[i] ? k.both(condition, exists[i]) : condition, [&] {
      Elementwise here(k, body);
      here.moveTo(vocabulary, k.add(k.mul(own, k.i64(ranges)), range), column[i], Piece{lanes, lanes});
      here.bind(op.getResult(), sum[i]);
      here.store(sinks);
    });
}

// Several ids of this warp; the first rows of all of them are loaded at the same time.
void EmbedGradEmitter::sumIds(SimtBuilder &k, Value first) {
  struct Own {
    Value id, first, count;
    Values sum;
  };
  SmallVector<Own> own(idsTogether);
  SmallVector<SmallVector<Values>> loaded(own.size());
  for (auto [i, here] : llvm::enumerate(own)) {
    here.id = k.add(first, k.i64(static_cast<int64_t>(i) * kWarps));
    Value isOwn = k.less(here.id, k.i64(ownIds)), at = k.min(here.id, k.i64(ownIds - 1));
    here.first = k.toI64(k.load(i32, starts, at));
    Value count = k.sub(k.toI64(k.load(i32, starts, k.add(at, k.i64(1)))), here.first);
    here.count = k.select(isOwn, count, k.i64(0));
  }
  for (auto [i, here] : llvm::enumerate(own))
    for (int64_t row = 0; row < kFirstRows; ++row)
      loaded[i].push_back(loadRow(k, here.first, k.i64(row), here.count));
  for (auto [i, here] : llvm::enumerate(own)) {
    here.sum = loaded[i][0];
    for (int64_t row = 1; row < kFirstRows; ++row)
      here.sum = add(k, here.sum, loaded[i][row]);
    Value isHot = k.less(k.i64(kHotRows - 1), here.count);
    Value end = k.select(isHot, k.i64(0), here.count);
    here.sum = k.loop(k.i64(kFirstRows), end, kRowsTogether, here.sum, [&](Value row, ValueRange so) {
      SmallVector<Values> more;
      for (int64_t j = 0; j < kRowsTogether; ++j)
        more.push_back(loadRow(k, here.first, k.add(row, k.i64(j)), here.count));
      Values next(so);
      for (const Values &values : more)
        next = add(k, next, values);
      return next;
    });
    Value stores = k.both(k.less(here.id, k.i64(ownIds)), isId(k, k.min(here.id, k.i64(ownIds - 1))));
    stores = k.both(stores, k.less(here.count, k.i64(kHotRows)));
    if (onlyAdds)
      stores = k.both(stores, k.less(k.i64(0), here.count));
    storeSum(k, here.id, here.sum, stores);
  }
}

// Warps take batches of its rows in turn; their sums are added in the warps' order.
void EmbedGradEmitter::sumHotId(SimtBuilder &k, Value own) {
  int64_t blockColumns = pieces * SimtBuilder::kWarp * lanes;
  Value first = k.toI64(k.load(i32, starts, own));
  Value count = k.sub(k.toI64(k.load(i32, starts, k.add(own, k.i64(1)))), first);
  int64_t hotBatch = kHotAccesses / pieces;
  Values zero(pieces, k.constant(lanes == 1 ? element : Type(VectorType::get(lanes, element)), 0));
  Values sum = k.loop(k.mul(k.warp(), k.i64(hotBatch)), count, hotBatch * kWarps, zero, [&](Value row, ValueRange so) {
    SmallVector<Values> batch;
    for (int64_t i = 0; i < hotBatch; ++i)
      batch.push_back(loadRow(k, first, k.add(row, k.i64(i)), count));
    for (size_t width = batch.size(); width > 1; width /= 2)
      for (size_t i = 0; i < width / 2; ++i)
        batch[i] = add(k, batch[i], batch[i + width / 2]);
    return add(k, Values(so), batch[0]);
  });
  auto placeOf = [&](Value warp, int64_t piece) {
    Value inBlock = k.mul(k.add(k.i64(piece * SimtBuilder::kWarp), k.lane()), k.i64(lanes));
    return k.add(k.mul(warp, k.i64(blockColumns)), inBlock);
  };
  for (int64_t i = 0; i < pieces; ++i)
    k.store(sum[i], parts, placeOf(k.warp(), i));
  k.barrier();
  k.when(k.equal(k.warp(), k.i64(0)), [&] {
    Values total;
    for (int64_t i = 0; i < pieces; ++i) {
      total.push_back(sum[i]);
      for (int64_t warp = 1; warp < kWarps; ++warp)
        total[i] = k.fadd(total[i], k.load(element, parts, placeOf(k.i64(warp), i), lanes));
    }
    storeSum(k, own, total, k.equal(k.warp(), k.i64(0)));
  });
  k.barrier(); // `parts` may be written again
}

void EmbedGradEmitter::emit(SimtBuilder &k) {
  k.promiseAlignedVectors();
  k.keepResident(kBlocksPerSm);
  Value block = k.rem(k.workgroup(), k.i64(columnBlocks));
  range = k.div(k.workgroup(), k.i64(columnBlocks));
  for (int64_t i = 0; i < pieces; ++i) {
    Value access = k.add(k.mul(k.add(k.mul(block, k.i64(pieces)), k.i64(i)), k.i64(SimtBuilder::kWarp)), k.lane());
    Value here = k.mul(access, k.i64(lanes));
    bool mayEnd = columns % (columnBlocks * pieces * SimtBuilder::kWarp * lanes) != 0;
    exists.push_back(mayEnd ? k.less(here, k.i64(columns)) : Value());
    column.push_back(mayEnd ? k.min(here, k.i64(columns - lanes)) : here);
  }
  counts = k.shared(kWarps * ownIds * 4);
  starts = k.shared((ownIds + 1) * 4);
  hotIds = k.shared(std::min(ownIds, rows / kHotRows + 1) * 4);
  numHot = k.shared(4);
  warpSums = k.shared(kWarps * 4);
  parts = k.shared(kWarps * pieces * SimtBuilder::kWarp * lanes * bytesOf(element));
  Value workspace = k.workspace((columnBlocks * rows + 1) * 4); // the last block may own no row, and looks at one

  countIds(k);
  sorted = k.at(workspace, k.add(k.mul(block, k.i64(rows)), before), i32);
  startIds(k);
  sortRows(k);
  k.loop(k.warp(), k.i64(ownIds), kWarps * idsTogether, [&](Value first) { sumIds(k, first); });
  k.barrier();
  Value hot = k.toI64(k.load(i32, numHot, k.i64(0)));
  k.loop(k.i64(0), hot, 1, [&](Value i) { sumHotId(k, k.toI64(k.load(i32, hotIds, i))); });
}
} // namespace

FailureOr<KernelInfo> emitEmbedGradKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto root = cast_if_present<moe::EmbedGradOp>(findRoot(body));
  if (!root)
    return failure();
  EmbedGradEmitter emitter(root, body, target);
  if (failed(checkRootBody(body, root, /*allowMaps=*/true)) || failed(emitter.check()))
    return failure();
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), kThreads, target);
  emitter.emit(k);
  k.finish();
  KernelInfo info;
  info.symbol = symbol.str();
  info.flops = emitter.flops();
  info.bytes = body.bytes();
  info.grid = emitter.grid;
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
