// Template "column_kth": a block searches one column of one group bit by bit. It finds the largest key that n rows
// reach and, if needed, the row of the last of them. If columns have few rows, a single thread searches a column.
//
// Each thread keeps the keys of its rows in registers, so that a column is read once; neighbouring blocks read the same
// sectors, from L2. If a column has more rows than registers can hold, the keys are in the workspace, side by side, and
// each thread reads back the keys that it wrote.
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

constexpr int64_t kRowsPerThread = 16; // below the most threads
constexpr int64_t kMostThreads = 1024; // 64 registers are left to each
constexpr int64_t kHeldRegisters = 32; // of these for keys
constexpr int64_t kLoadsInFlight = 8;  // of a thread
constexpr int64_t kLoneThreads = 128;  // of a block whose threads have a column each

class ColumnKthEmitter {
public:
  ColumnKthEmitter(moe::ColumnKthOp op, const DispatchBody &body, unsigned input)
      : op(op), body(body), input(input), groups(tensorRows(op.getResult())), columns(tensorColumns(op.getResult())),
        each(tensorRows(op.getInput()) / groups),
        element(cast<RankedTensorType>(op.getInput().getType()).getElementType()) {}

  bool isLone() const { return each * bits() / 32 <= kHeldRegisters; }
  int64_t threads() const {
    if (isLone())
      return kLoneThreads;
    auto wanted = static_cast<int64_t>(llvm::PowerOf2Ceil(llvm::divideCeil(each, kRowsPerThread)));
    return std::clamp<int64_t>(wanted, SimtBuilder::kWarp, kMostThreads);
  }
  int64_t grid() const { return isLone() ? llvm::divideCeil(groups * columns, kLoneThreads) : groups * columns; }
  void emit(SimtBuilder &builder);

private:
  int64_t bits() const { return element.getIntOrFloatBitWidth(); }
  /// The key of a row, 0 (counted by no bound) beyond the last.
  Value keyAt(Value row, bool mayEnd);
  /// Fills `held` or `keys`.
  void loadKeys();
  /// Whether a key at a row is a hit; `count` returns the number of hits in the column, i32.
  using Hit = llvm::function_ref<Value(Value, Value)>;
  Value count(Hit hit);
  Value compare(arith::CmpIPredicate predicate, Value a, Value b) {
    return arith::CmpIOp::create(k->b, predicate, a, b);
  }
  /// Row of this thread's piece.
  Value rowOf(int64_t piece) { return isLone() ? k->i64(piece) : k->add(k->thread(), k->i64(piece * k->threads)); }
  /// The rank that is looked for, i32.
  Value rank();
  Value findKey();
  Value findRow(Value key);

  moe::ColumnKthOp op;
  const DispatchBody &body;
  unsigned input;
  int64_t groups, columns, each;
  Type element;
  SimtBuilder *k = nullptr;
  Type keyType;
  Value first;             // element of row 0
  SmallVector<Value> held; // keys in registers; or
  Value keys;              // in the workspace
  Value wantedRank;
};

Value ColumnKthEmitter::keyAt(Value row, bool mayEnd) {
  Value inside = k->less(row, k->i64(each));
  Value place = mayEnd ? k->min(row, k->i64(each - 1)) : row;
  Value loaded = k->load(body.storageOf(input), k->param(input), k->add(first, k->mul(place, k->i64(columns))));
  Value key = k->selectionKey(k->convert(loaded, element));
  return mayEnd ? k->select(inside, key, k->constant(keyType, 0)) : key;
}

Value ColumnKthEmitter::count(Hit hit) {
  auto add = [&](Value so, Value key, Value row) { return k->add(so, k->select(hit(key, row), k->i32(1), k->i32(0))); };
  Value own = k->i32(0);
  for (auto [piece, key] : llvm::enumerate(held))
    own = add(own, key, rowOf(static_cast<int64_t>(piece)));
  if (isLone())
    return own;
  if (held.empty())
    own = k->loop(k->thread(), k->i64(each), k->threads, ValueRange{own}, [&](Value row, ValueRange so) {
      return SmallVector<Value>{add(so[0], k->load(keyType, keys, row), row)};
    })[0];
  return k->reduceGroup({own}, k->threads, /*again=*/true, [&](size_t, Value a, Value b) { return k->add(a, b); })[0];
}

Value ColumnKthEmitter::rank() {
  if (!op.getRank())
    return k->i32(op.getN());
  Value given = k->load(k->b.getI64Type(), k->param(*body.paramOf(op.getRank())), k->i64(0));
  return k->toI32(k->max(k->i64(1), k->min(k->i64(op.getN()), given)));
}

// The largest number that n keys reach, bit by bit.
Value ColumnKthEmitter::findKey() {
  Value others = k->sub(wantedRank, k->i32(1));
  return k->loop(k->i64(0), k->i64(bits()), 1, ValueRange{k->constant(keyType, 0)}, [&](Value step, ValueRange so) {
    Value place = k->sub(k->i64(bits() - 1), step);
    Value bit = arith::ShLIOp::create(k->b, k->constant(keyType, 1), bits() == 64 ? place : k->toI32(place));
    Value bound = arith::OrIOp::create(k->b, so[0], bit);
    Value reached = count([&](Value key, Value) { return compare(arith::CmpIPredicate::uge, key, bound); });
    return SmallVector<Value>{k->select(k->less(others, reached), bound, so[0])};
  })[0];
}

// The last row before which there are fewer keys equal to this one than are needed; the last needed key is there.
Value ColumnKthEmitter::findRow(Value key) {
  Value above = count([&](Value other, Value) { return compare(arith::CmpIPredicate::ugt, other, key); });
  Value wanted = k->sub(wantedRank, above);
  int64_t rowBits = std::max<int64_t>(1, llvm::Log2_64_Ceil(each));
  return k->loop(k->i64(0), k->i64(rowBits), 1, ValueRange{k->i64(0)}, [&](Value step, ValueRange so) {
    Value bit = arith::ShLIOp::create(k->b, k->i64(1), k->sub(k->i64(rowBits - 1), step));
    Value bound = arith::OrIOp::create(k->b, so[0], bit);
    Value before = count([&](Value other, Value row) { return k->both(k->equal(other, key), k->less(row, bound)); });
    return SmallVector<Value>{k->select(k->less(before, wanted), bound, so[0])};
  })[0];
}

void ColumnKthEmitter::loadKeys() {
  int64_t pieces = isLone() ? each : llvm::divideCeil(each, k->threads);
  if (pieces * bits() / 32 <= kHeldRegisters) {
    for (int64_t piece = 0; piece < pieces; ++piece)
      held.push_back(keyAt(rowOf(piece), !isLone() && (piece + 1) * k->threads > each));
    return;
  }
  Value all = k->workspace(grid() * each * bits() / 8);
  keys = k->at(all, k->mul(k->workgroup(), k->i64(each)), keyType);
  k->loop(k->thread(), k->i64(each), kLoadsInFlight * k->threads, [&](Value start) {
    SmallVector<std::pair<Value, Value>> loaded;
    for (int64_t i = 0; i < kLoadsInFlight; ++i) {
      Value row = k->add(start, k->i64(i * k->threads));
      loaded.push_back({row, keyAt(row, /*mayEnd=*/true)});
    }
    for (auto [row, key] : loaded)
      k->when(k->less(row, k->i64(each)), [&] { k->store(key, keys, row); });
  });
}

void ColumnKthEmitter::emit(SimtBuilder &builder) {
  k = &builder;
  keyType = k->b.getIntegerType(bits());
  Value item = k->workgroup(), isMine = k->equal(k->thread(), k->i64(0));
  if (isLone()) {
    item = k->add(k->mul(item, k->i64(k->threads)), k->thread());
    isMine = k->less(item, k->i64(groups * columns));
    item = k->min(item, k->i64(groups * columns - 1));
  }
  Value group = k->div(item, k->i64(columns)), column = k->rem(item, k->i64(columns));
  first = k->add(k->mul(group, k->i64(each * columns)), column);
  loadKeys();
  wantedRank = rank();
  Value key = findKey(), row;
  SmallVector<DispatchBody::Sink> sinks = body.sinks();
  if (llvm::any_of(sinks, [&](const DispatchBody::Sink &sink) { return sink.value == op.getRow(); }))
    row = findRow(key);
  k->when(isMine, [&] {
    kernel::Elementwise here(*k, body);
    here.moveTo(groups, group, column, {1, 1});
    here.bind(op.getResult(), k->fromSelectionKey(key, element));
    if (row)
      here.bind(op.getRow(), k->toI32(row));
    here.store(sinks);
  });
}
} // namespace

FailureOr<KernelInfo> emitColumnKthKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::ColumnKthOp>(findRoot(body));
  if (!op || failed(checkRootBody(body, op, /*allowMaps=*/false)) || failed(checkRootOperands(body, op)))
    return failure();
  auto input = body.paramOf(op.getInput());
  if (!input || (op.getRank() && !body.paramOf(op.getRank())))
    return op.emitOpError("has a constant operand");
  ColumnKthEmitter emitter(op, body, *input);
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), emitter.threads(), target);
  emitter.emit(k);
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = emitter.grid();
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
