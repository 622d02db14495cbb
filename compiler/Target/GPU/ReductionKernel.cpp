// Templates "col_reduce" and "embed_grad": sums over rows whose order is fixed when the kernel is compiled.
//
// col_reduce: a block owns some columns and a share of the rows of one group. Threads side by side take neighbouring
// columns, threads one above the other every ty-th row; their sums are joined in halves in shared memory. When the rows
// of a group are shared out among blocks, each leaves its sums in the workspace, and the last to arrive joins them, in
// the blocks' order. Maps before the sum are evaluated on the fly.
//
// embed_grad: a block owns some columns of every R-th row of the vocabulary (neighbouring rows are about equally
// frequent, so this spreads the frequent ones). It picks its ids out of all, in order, and each of its threads adds the
// rows of the gradient there, in that order, to the columns that it alone owns. The most frequent id of the block, as
// far as a look at the round before tells, is kept apart: its rows are summed in registers.
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

constexpr int64_t kThreads = 256;
constexpr int64_t kBlocksPerSm = 4;    // of embed_grad
constexpr int64_t kSumBlocksPerSm = 3; // of col_reduce: what registers hold with rows of two operands in flight
constexpr int64_t kRowsInFlight = 4;   // of one thread of col_reduce
constexpr int64_t kPartsInFlight = 4;  // of one thread of col_reduce that joins the blocks' sums
constexpr int64_t kBatch = 8;          // ids in flight of one thread of embed_grad
constexpr int64_t kHotBatch = 16;      // rows in flight of the frequent id
constexpr int64_t kIdsPerLane = 16;    // of one round of embed_grad
constexpr int64_t kRowsPerShare = 32;  // least rows of a thread of col_reduce that are worth another block

Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }
int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

double bytesOf(const DispatchBody &body) {
  double bytes = 0;
  for (const moe::DispatchParam &param : body.params)
    if (param.type)
      bytes += double(param.type.getNumElements()) * double(bytesOf(param.type.getElementType())) *
               (param.isRead + param.isWritten);
  return bytes;
}

// Columns that a thread takes at once: 16 bytes of the narrowest operand, if that divides `columns`.
int64_t chooseLanes(const DispatchBody &body, int64_t columns) {
  int64_t narrowest = 8;
  for (const moe::DispatchParam &param : body.params)
    if (param.type && param.type.getShape().back() == columns)
      narrowest = std::min(narrowest, bytesOf(param.type.getElementType()));
  int64_t lanes = 16 / narrowest;
  while (columns % lanes != 0)
    lanes /= 2;
  return lanes;
}

Type pieceType(Type element, int64_t lanes) { return lanes == 1 ? element : Type(VectorType::get(lanes, element)); }

//===--- col_reduce ---===//

class ColReduceEmitter {
public:
  ColReduceEmitter(moe::ColReduceOp op, const DispatchBody &body, const GpuTarget &target);
  LogicalResult splitSinks();
  void emit(SimtBuilder &k);

  int64_t grid() const { return columnBlocks * splits * groups; }
  double flops() const { return double(rows) * double(columns); }

private:
  Value sumRows(SimtBuilder &k, Value first, Value end);
  Value joinThreads(SimtBuilder &k, Value sum);

  moe::ColReduceOp op;
  const DispatchBody &body;
  Type element;
  int64_t rows, columns, groups, rowsPerGroup;
  int64_t lanes, tx, ty, columnBlocks, splits, rowsPerSplit;
  SmallVector<DispatchBody::Sink> before, after;

  Value x, y, column, exists; // of this thread; `exists` is null when all columns do
  Value parts;
};

ColReduceEmitter::ColReduceEmitter(moe::ColReduceOp op, const DispatchBody &body, const GpuTarget &target)
    : op(op), body(body), element(elementType(op.getInput())), rows(tensorRows(op.getInput())),
      columns(tensorColumns(op.getInput())), groups(tensorRows(op.getResult())), rowsPerGroup(rows / groups) {
  lanes = chooseLanes(body, columns);
  tx = std::min<int64_t>(SimtBuilder::kWarp, llvm::PowerOf2Ceil(columns / lanes));
  ty = kThreads / tx;
  columnBlocks = llvm::divideCeil(columns, tx * lanes);
  int64_t owners = columnBlocks * groups;
  splits = owners > SimtBuilder::kCounters ? 1
                                           : std::clamp<int64_t>(target.numSms * kSumBlocksPerSm / owners, 1,
                                                                 llvm::divideCeil(rowsPerGroup, ty * kRowsPerShare));
  rowsPerSplit = llvm::alignTo(llvm::divideCeil(rowsPerGroup, splits), ty);
  splits = llvm::divideCeil(rowsPerGroup, rowsPerSplit);
}

LogicalResult ColReduceEmitter::splitSinks() {
  for (const DispatchBody::Sink &sink : body.sinks()) {
    bool late = dependsOn(sink.value, op);
    if (tensorRows(sink.value) != (late ? groups : rows) || tensorColumns(sink.value) != columns)
      return op.emitOpError("shares its dispatch with a value of another shape");
    (late ? after : before).push_back(sink);
  }
  return success();
}

// This thread's rows: first + y, first + y + ty, ...; some at a time, joined in pairs before they meet the sum, so that
// loads overlap and one sum is all that lives on.
Value ColReduceEmitter::sumRows(SimtBuilder &k, Value first, Value end) {
  Piece piece{lanes, lanes};
  auto addRows = [&](Value row, Value sum, int64_t count) {
    SmallVector<Elementwise> here;
    SmallVector<Value> terms;
    for (int64_t i = 0; i < count; ++i) {
      here.emplace_back(k, body);
      here[i].moveTo(rows, k.add(row, k.i64(i * ty)), column, piece);
      terms.push_back(here[i].get(op.getInput()));
    }
    auto storeAll = [&] {
      for (Elementwise &at : here)
        at.store(before);
    };
    if (exists && !before.empty())
      k.when(exists, storeAll);
    else
      storeAll();
    for (size_t width = terms.size(); width > 1; width /= 2)
      for (size_t i = 0; i < width / 2; ++i)
        terms[i] = k.fadd(terms[i], terms[i + width / 2]);
    return SmallVector<Value>{k.fadd(sum, terms[0])};
  };
  int64_t step = kRowsInFlight * ty;
  Value start = k.add(first, y);
  Value whole = k.div(k.max(k.add(k.sub(end, start), k.i64(ty - 1)), k.i64(0)), k.i64(step));
  Value rest = k.add(start, k.mul(whole, k.i64(step)));
  Value zero = k.constant(pieceType(element, lanes), 0);
  Value sum = k.loop(start, rest, step, ValueRange{zero},
                     [&](Value row, ValueRange so) { return addRows(row, so[0], kRowsInFlight); })[0];
  return k.loop(rest, end, ty, ValueRange{sum}, [&](Value row, ValueRange so) { return addRows(row, so[0], 1); })[0];
}

// The sum over the threads of a column, halves onto halves; complete in those with y = 0.
Value ColReduceEmitter::joinThreads(SimtBuilder &k, Value sum) {
  Value own = k.mul(k.thread(), k.i64(lanes));
  for (int64_t half = ty / 2; half > 0; half /= 2) {
    k.store(sum, parts, own);
    k.barrier();
    Value other = k.load(element, parts, k.rem(k.add(own, k.i64(half * tx * lanes)), k.i64(kThreads * lanes)), lanes);
    sum = k.fadd(sum, other); // of no use in the upper half
    k.barrier();
  }
  return sum;
}

void ColReduceEmitter::emit(SimtBuilder &k) {
  k.promiseAlignedVectors();
  k.keepResident(kSumBlocksPerSm);
  Value block = k.rem(k.workgroup(), k.i64(columnBlocks)), rest = k.div(k.workgroup(), k.i64(columnBlocks));
  Value split = k.rem(rest, k.i64(splits)), group = k.div(rest, k.i64(splits));
  x = k.rem(k.thread(), k.i64(tx));
  y = k.div(k.thread(), k.i64(tx));
  column = k.mul(k.add(k.mul(block, k.i64(tx)), x), k.i64(lanes));
  if (columns % (tx * lanes) != 0) {
    exists = k.less(column, k.i64(columns));
    column = k.min(column, k.i64(columns - lanes));
  }
  parts = k.shared(kThreads * lanes * bytesOf(element));

  Value groupStart = k.mul(group, k.i64(rowsPerGroup)), first = k.add(groupStart, k.mul(split, k.i64(rowsPerSplit)));
  Value end = k.min(k.add(first, k.i64(rowsPerSplit)), k.add(groupStart, k.i64(rowsPerGroup)));
  Value sum = joinThreads(k, sumRows(k, first, end));

  Value isOwner = k.equal(y, k.i64(0));
  if (exists)
    isOwner = k.both(isOwner, exists);
  auto finish = [&](Value total) {
    k.when(isOwner, [&] {
      Elementwise here(k, body);
      here.moveTo(groups, group, column, Piece{lanes, lanes});
      here.bind(op.getResult(), total);
      here.store(after);
    });
  };
  if (splits == 1)
    return finish(sum);
  Value workspace = k.workspace(groups * splits * columns * bytesOf(element));
  auto placeOf = [&](Value part) {
    return k.add(k.mul(k.add(k.mul(group, k.i64(splits)), part), k.i64(columns)), column);
  };
  k.when(isOwner, [&] { k.store(sum, workspace, placeOf(split)); });
  k.whenLast(k.add(k.mul(group, k.i64(columnBlocks)), block), splits, [&] {
    Value zero = k.constant(pieceType(element, lanes), 0);
    // Nobody else is at work by now: all that hides a load is the next one.
    Value total = k.loop(y, k.i64(splits), kPartsInFlight * ty, ValueRange{zero}, [&](Value first, ValueRange so) {
      SmallVector<Value> found;
      for (int64_t i = 0; i < kPartsInFlight; ++i) {
        Value part = k.add(first, k.i64(i * ty)), isPart = k.less(part, k.i64(splits));
        Value sum = k.load(element, workspace, placeOf(k.min(part, k.i64(splits - 1))), lanes);
        found.push_back(k.select(isPart, sum, zero));
      }
      Value sum = so[0];
      for (Value part : found)
        sum = k.fadd(sum, part);
      return SmallVector<Value>{sum};
    })[0];
    finish(joinThreads(k, total));
  });
}

//===--- embed_grad ---===//

class EmbedGradEmitter {
public:
  EmbedGradEmitter(moe::EmbedGradOp op, const DispatchBody &body, const GpuTarget &target);
  LogicalResult check();
  void emit(SimtBuilder &k);

  int64_t threads, grid;
  double flops() const { return double(rows) * double(columns); }

private:
  struct Picked {
    Value count, hotCount;
  };
  Picked pickIds(SimtBuilder &k, Value first, Value hot);
  void addBatch(SimtBuilder &k, Value start, Value count);
  void addHot(SimtBuilder &k, Value hot, Value count);
  void forEachOwnRow(SimtBuilder &k, llvm::function_ref<void(Value)> body);

  moe::EmbedGradOp op;
  const DispatchBody &body;
  Type element;
  int64_t rows, columns, vocabulary, lanes, columnBlocks, ranges;
  SmallVector<DispatchBody::Sink> sinks;
  std::optional<unsigned> ids;

  Value range, column, exists;
  Value sums; // [vocabulary, columns]: the state itself where it can be
  Value pickedRows, pickedIds, hotRows, warpCounts;
};

EmbedGradEmitter::EmbedGradEmitter(moe::EmbedGradOp op, const DispatchBody &body, const GpuTarget &target)
    : op(op), body(body), element(elementType(op.getGrad())), rows(tensorRows(op.getGrad())),
      columns(tensorColumns(op.getGrad())), vocabulary(tensorRows(op.getResult())), sinks(body.sinks()),
      ids(body.paramOf(op.getIds())) {
  lanes = std::min<int64_t>(chooseLanes(body, columns), 4); // a batch of wider pieces would not fit the registers
  threads = std::clamp<int64_t>(llvm::PowerOf2Ceil(columns / lanes), SimtBuilder::kWarp, kThreads);
  columnBlocks = llvm::divideCeil(columns, threads * lanes);
  ranges = std::clamp<int64_t>(target.numSms * kBlocksPerSm * kThreads / threads / columnBlocks, 1, vocabulary);
  grid = ranges * columnBlocks;
}

LogicalResult EmbedGradEmitter::check() {
  if (!ids)
    return op.emitOpError("computes its ids in the same dispatch");
  for (const DispatchBody::Sink &sink : sinks)
    if (!dependsOn(sink.value, op) || tensorRows(sink.value) != vocabulary || tensorColumns(sink.value) != columns)
      return op.emitOpError("shares its dispatch with a value of another shape");
  return success();
}

// The ids of one round that are this block's, in order, into `pickedRows` and `pickedIds`; those that are `hot` into
// `hotRows`.
EmbedGradEmitter::Picked EmbedGradEmitter::pickIds(SimtBuilder &k, Value first, Value hot) {
  constexpr int64_t kPerWarp = SimtBuilder::kWarp * kIdsPerLane;
  Type i32 = k.b.getI32Type();
  Value start = k.add(first, k.mul(k.warp(), k.i64(kPerWarp)));
  SmallVector<Value> idOf, mine, hotOnes; // masks of lanes
  Value count = k.i64(0), hotCount = k.i64(0);
  for (int64_t i = 0; i < kIdsPerLane; ++i) {
    Value row = k.add(k.add(start, k.i64(i * SimtBuilder::kWarp)), k.lane());
    Value id = k.load(i32, k.param(*ids), k.min(row, k.i64(rows - 1)));
    Value isMine = k.equal(arith::RemUIOp::create(k.b, id, k.i32(ranges)), k.toI32(range));
    Value all = k.ballot(k.both(isMine, k.less(row, k.i64(rows))));
    hotOnes.push_back(k.both(all, k.ballot(k.equal(id, hot))));
    mine.push_back(k.sub(all, hotOnes.back()));
    idOf.push_back(id);
    count = k.add(count, k.countLanes(mine.back()));
    hotCount = k.add(hotCount, k.countLanes(hotOnes.back()));
  }
  int64_t warps = threads / SimtBuilder::kWarp;
  k.when(k.equal(k.lane(), k.i64(0)), [&] {
    k.store(count, warpCounts, k.warp());
    k.store(hotCount, warpCounts, k.add(k.warp(), k.i64(warps)));
  });
  k.barrier();
  Value zero = k.i64(0), place = zero, hotPlace = zero, total = zero, hotTotal = zero;
  for (int64_t w = 0; w < warps; ++w) {
    Value isBefore = k.less(k.i64(w), k.warp());
    Value other = k.load(k.b.getI64Type(), warpCounts, k.i64(w));
    Value otherHot = k.load(k.b.getI64Type(), warpCounts, k.i64(w + warps));
    place = k.add(place, k.select(isBefore, other, zero));
    hotPlace = k.add(hotPlace, k.select(isBefore, otherHot, zero));
    total = k.add(total, other);
    hotTotal = k.add(hotTotal, otherHot);
  }
  Value bit = arith::ShLIOp::create(k.b, k.i32(1), k.toI32(k.lane()));
  auto isIn = [&](Value mask) { return k.equal(k.both(mask, bit), bit); };
  for (int64_t i = 0; i < kIdsPerLane; ++i) {
    Value row = k.toI32(k.add(k.add(start, k.i64(i * SimtBuilder::kWarp)), k.lane()));
    k.when(isIn(mine[i]), [&] {
      Value at = k.add(place, k.lanesBefore(mine[i]));
      k.store(row, pickedRows, at);
      k.store(idOf[i], pickedIds, at);
    });
    k.when(isIn(hotOnes[i]), [&] { k.store(row, hotRows, k.add(hotPlace, k.lanesBefore(hotOnes[i]))); });
    place = k.add(place, k.countLanes(mine[i]));
    hotPlace = k.add(hotPlace, k.countLanes(hotOnes[i]));
  }
  k.barrier();
  return {total, hotTotal};
}

// Adds the rows of the frequent id: many in flight, for there is one sum, and that in registers.
void EmbedGradEmitter::addHot(SimtBuilder &k, Value hot, Value count) {
  Type i32 = k.b.getI32Type();
  Value place = k.add(k.mul(k.toI64(hot), k.i64(columns)), column);
  Value sum = k.load(element, sums, place, lanes), zero = k.constant(sum.getType(), 0);
  sum = k.loop(k.i64(0), count, kHotBatch, ValueRange{sum}, [&](Value start, ValueRange so) {
    SmallVector<Value> grads;
    for (int64_t i = 0; i < kHotBatch; ++i) {
      Value at = k.add(start, k.i64(i)), row = k.load(i32, hotRows, k.min(at, k.sub(count, k.i64(1))));
      Elementwise here(k, body);
      here.moveTo(rows, k.toI64(row), column, Piece{lanes, lanes});
      grads.push_back(k.select(k.less(at, count), here.get(op.getGrad()), zero));
    }
    for (size_t width = grads.size(); width > 1; width /= 2)
      for (size_t i = 0; i < width / 2; ++i)
        grads[i] = k.fadd(grads[i], grads[i + width / 2]);
    return SmallVector<Value>{k.fadd(so[0], grads[0])};
  })[0];
  auto storeSum = [&] { k.store(sum, sums, place); };
  exists ? k.when(exists, storeSum) : storeSum();
}

// Adds kBatch picked rows. All loads come first; a row that occurs again in the batch goes on from its latest sum.
void EmbedGradEmitter::addBatch(SimtBuilder &k, Value start, Value count) {
  Type i32 = k.b.getI32Type();
  Elementwise here(k, body);
  SmallVector<Value> id, grad, sum, place, counts;
  for (int64_t i = 0; i < kBatch; ++i) {
    Value at = k.add(start, k.i64(i));
    counts.push_back(k.less(at, count));
    at = k.min(at, k.sub(count, k.i64(1)));
    id.push_back(k.load(i32, pickedIds, at));
    here.moveTo(rows, k.toI64(k.load(i32, pickedRows, at)), column, Piece{lanes, lanes});
    grad.push_back(here.get(op.getGrad()));
    place.push_back(k.add(k.mul(k.toI64(id[i]), k.i64(columns)), column));
    sum.push_back(k.load(element, sums, place[i], lanes));
  }
  for (int64_t i = 0; i < kBatch; ++i) {
    for (int64_t j = 0; j < i; ++j)
      sum[i] = k.select(k.equal(id[i], id[j]), sum[j], sum[i]);
    sum[i] = k.fadd(sum[i], grad[i]);
    Value stores = exists ? k.both(counts[i], exists) : counts[i];
    k.when(stores, [&] { k.store(sum[i], sums, place[i]); });
  }
}

void EmbedGradEmitter::forEachOwnRow(SimtBuilder &k, llvm::function_ref<void(Value)> visit) {
  auto visitAll = [&] { k.loop(range, k.i64(vocabulary), ranges, visit); };
  exists ? k.when(exists, visitAll) : visitAll();
}

void EmbedGradEmitter::emit(SimtBuilder &k) {
  k.promiseAlignedVectors();
  Value block = k.rem(k.workgroup(), k.i64(columnBlocks));
  range = k.div(k.workgroup(), k.i64(columnBlocks));
  column = k.mul(k.add(k.mul(block, k.i64(threads)), k.thread()), k.i64(lanes));
  if (columns % (threads * lanes) != 0) {
    exists = k.less(column, k.i64(columns));
    column = k.min(column, k.i64(columns - lanes));
  }
  int64_t round = threads * kIdsPerLane;
  pickedRows = k.shared(round * 4);
  pickedIds = k.shared(round * 4);
  hotRows = k.shared(round * 4);
  warpCounts = k.shared(2 * threads / SimtBuilder::kWarp * 8);

  bool inPlace = sinks.size() == 1 && sinks[0].value == op.getResult() && body.storageOf(sinks[0].param) == element;
  sums = inPlace ? k.param(sinks[0].param) : k.workspace(vocabulary * columns * bytesOf(element));
  if (!inPlace || !sinks[0].accumulates)
    forEachOwnRow(k, [&](Value row) {
      k.store(k.constant(pieceType(element, lanes), 0), sums, k.add(k.mul(row, k.i64(columns)), column));
    });
  k.loop(k.i64(0), k.i64(rows), round, ValueRange{k.i32(-1)}, [&](Value first, ValueRange so) {
    Value hot = so[0];
    Picked picked = pickIds(k, first, hot);
    k.when(k.less(k.i64(0), picked.hotCount), [&] { addHot(k, hot, picked.hotCount); });
    k.loop(k.i64(0), picked.count, kBatch, [&](Value start) { addBatch(k, start, picked.count); });
    // Most of the others may well be one id: the one in their middle is worth a try when it could be the larger part.
    Value middle = k.load(k.b.getI32Type(), pickedIds, k.div(picked.count, k.i64(2)));
    Value next = k.select(k.less(picked.hotCount, k.div(picked.count, k.i64(2))), middle, hot);
    k.barrier(); // the picked ids may be written again
    return SmallVector<Value>{next};
  });
  if (!inPlace)
    forEachOwnRow(k, [&](Value row) {
      Elementwise here(k, body);
      here.moveTo(vocabulary, row, column, Piece{lanes, lanes});
      here.bind(op.getResult(), k.load(element, sums, k.add(k.mul(row, k.i64(columns)), column), lanes));
      here.store(sinks);
    });
}
} // namespace

FailureOr<KernelInfo> emitReductionKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const GpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = nullptr;
  for (Operation &op : *dispatch.getBlock())
    if (isa<moe::ColReduceOp, moe::EmbedGradOp>(op))
      root = &op;
  if (!root)
    return dispatch.emitOpError("has no moe.col_reduce or moe.embed_grad");
  if (failed(checkRootBody(body, root, /*allowMaps=*/true)))
    return failure();
  KernelInfo info;
  info.symbol = symbol.str();
  info.bytes = bytesOf(body);
  auto run = [&](auto &&emitter, int64_t threads) {
    SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), threads, target);
    emitter.emit(k);
    k.finish();
    info.flops = emitter.flops();
    info.scratchBytes = k.scratchBytes();
    info.launch = k.launch();
  };
  if (auto reduce = dyn_cast<moe::ColReduceOp>(root)) {
    ColReduceEmitter emitter(reduce, body, target);
    if (failed(emitter.splitSinks()))
      return failure();
    info.grid = emitter.grid();
    run(emitter, kThreads);
  } else {
    EmbedGradEmitter emitter(cast<moe::EmbedGradOp>(root), body, target);
    if (failed(emitter.check()))
      return failure();
    info.grid = emitter.grid;
    run(emitter, emitter.threads);
  }
  return info;
}

} // namespace moec::gpu
