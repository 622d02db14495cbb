// Template "column_kth": a block searches one column of one group, bit by bit: the largest key that n rows reach.
//
// Each thread keeps the keys of its rows in registers, so that a column is read once; neighbouring blocks read the same
// sectors, from L2. Columns with more rows than registers leave their keys in the workspace, side by side, where each
// thread reads again what it wrote.
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

class ColumnKthEmitter {
public:
  ColumnKthEmitter(moe::ColumnKthOp op, const DispatchBody &body, unsigned input)
      : op(op), body(body), input(input), groups(tensorRows(op.getResult())), columns(tensorColumns(op.getResult())),
        each(tensorRows(op.getInput()) / groups),
        element(cast<RankedTensorType>(op.getInput().getType()).getElementType()) {}

  int64_t threads() const {
    auto wanted = static_cast<int64_t>(llvm::PowerOf2Ceil(llvm::divideCeil(each, kRowsPerThread)));
    return std::clamp<int64_t>(wanted, SimtBuilder::kWarp, kMostThreads);
  }
  int64_t grid() const { return groups * columns; }
  void emit(SimtBuilder &builder);

private:
  int64_t bits() const { return element.getIntOrFloatBitWidth(); }
  /// The key of a row, 0 (counted by no bound) beyond the last.
  Value keyAt(Value row, bool mayEnd);
  /// How many keys of this thread reach `bound`, i32.
  Value countOwn(Value bound);
  Value countHits(Value key, Value bound, Value so);

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
};

Value ColumnKthEmitter::keyAt(Value row, bool mayEnd) {
  Value inside = k->less(row, k->i64(each));
  Value place = mayEnd ? k->min(row, k->i64(each - 1)) : row;
  Value loaded = k->load(body.storageOf(input), k->param(input), k->add(first, k->mul(place, k->i64(columns))));
  Value key = k->selectionKey(k->convert(loaded, element));
  return mayEnd ? k->select(inside, key, k->constant(keyType, 0)) : key;
}

Value ColumnKthEmitter::countHits(Value key, Value bound, Value so) {
  Value hit = arith::CmpIOp::create(k->b, arith::CmpIPredicate::uge, key, bound);
  return k->add(so, k->select(hit, k->i32(1), k->i32(0)));
}

Value ColumnKthEmitter::countOwn(Value bound) {
  Value count = k->i32(0);
  for (Value key : held)
    count = countHits(key, bound, count);
  if (!held.empty())
    return count;
  return k->loop(k->thread(), k->i64(each), k->threads, ValueRange{count}, [&](Value row, ValueRange so) {
    return SmallVector<Value>{countHits(k->load(keyType, keys, row), bound, so[0])};
  })[0];
}

void ColumnKthEmitter::emit(SimtBuilder &builder) {
  k = &builder;
  keyType = k->b.getIntegerType(bits());
  Value group = k->div(k->workgroup(), k->i64(columns)), column = k->rem(k->workgroup(), k->i64(columns));
  first = k->add(k->mul(group, k->i64(each * columns)), column);
  int64_t pieces = llvm::divideCeil(each, k->threads);
  if (pieces * bits() / 32 <= kHeldRegisters) {
    for (int64_t piece = 0; piece < pieces; ++piece)
      held.push_back(keyAt(k->add(k->thread(), k->i64(piece * k->threads)), (piece + 1) * k->threads > each));
  } else {
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

  Value found =
      k->loop(k->i64(0), k->i64(bits()), 1, ValueRange{k->constant(keyType, 0)}, [&](Value step, ValueRange so) {
        Value place = k->sub(k->i64(bits() - 1), step);
        Value bit = arith::ShLIOp::create(k->b, k->constant(keyType, 1), bits() == 64 ? place : k->toI32(place));
        Value candidate = arith::OrIOp::create(k->b, so[0], bit);
        Value count = k->reduceGroup({countOwn(candidate)}, k->threads, /*again=*/true,
                                     [&](size_t, Value a, Value b) { return k->add(a, b); })[0];
        return SmallVector<Value>{k->select(k->less(k->i32(op.getN() - 1), count), candidate, so[0])};
      })[0];
  k->when(k->equal(k->thread(), k->i64(0)), [&] {
    kernel::Elementwise here(*k, body);
    here.moveTo(groups, group, column, {1, 1});
    here.bind(op.getResult(), k->fromSelectionKey(found, element));
    here.store(body.sinks());
  });
}
} // namespace

FailureOr<KernelInfo> emitColumnKthKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = *dispatch.getBlock()->getOps<moe::ColumnKthOp>().begin();
  if (failed(checkRootBody(body, op, /*allowMaps=*/false)) || failed(checkRootOperands(body, op)))
    return failure();
  auto input = body.paramOf(op.getInput());
  if (!input)
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
