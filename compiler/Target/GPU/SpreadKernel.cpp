// Template "row" for dispatches that only spread the rows of tokens to the rows of their experts (moe.spread_rows).
//
// A kernel that goes through the rows would read each token K times, from a table that fits in no cache. Here a warp
// reads a token once and stores it to its K rows. The inverse of row_slot gives these rows: all blocks write it to the
// workspace, wait for each other, and then share the tokens. The entries of slots without a row are not written; such
// an entry is recognised because row_slot does not point back to it. Rows without a slot become zeros.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;
using kernel::Elementwise;
using kernel::splatOf;
using kernel::tensorColumns;
using kernel::tensorRows;
using Piece = SimtBuilder::Piece;

constexpr int64_t kThreads = 512;    // two such blocks fit on a multiprocessor, so that all are resident when they meet
constexpr int64_t kRowsInFlight = 4; // of one thread that writes the inverse
constexpr int64_t kMostPieces = 8;   // accesses of one thread in a token
constexpr int64_t kMostSlots = 32;   // of a token
constexpr int64_t kLeastRowBytes = 128; // narrower rows would leave most of a warp idle

moe::SpreadRowsOp rootOf(moe::DispatchOp dispatch) {
  moe::SpreadRowsOp root;
  for (Operation &op : *dispatch.getBlock()) {
    if (auto spread = dyn_cast<moe::SpreadRowsOp>(op)) {
      if (root)
        return {};
      root = spread;
    } else if (!moe::computesNothing(&op)) {
      return {};
    }
  }
  return root;
}

class SpreadEmitter {
public:
  SpreadEmitter(moe::SpreadRowsOp op, const DispatchBody &body, int64_t lanes, const GpuTarget &target)
      : op(op), body(body), sinks(body.sinks()), rowSlot(*body.paramOf(op.getRowSlot())),
        tokens(tensorRows(op.getInput())), columns(tensorColumns(op.getInput())), slots(op.getTopK()),
        rows(tensorRows(op.getRowSlot())), lanes(lanes) {
    int64_t accesses = llvm::divideCeil(columns, lanes * SimtBuilder::kWarp);
    chunks = llvm::divideCeil(accesses, kMostPieces);
    pieces = llvm::divideCeil(accesses, chunks);
    grid = std::clamp<int64_t>(tokens * chunks / kWarps, 1, target.numSms);
  }
  void emit(SimtBuilder &k);

  int64_t grid;
  double flops() const { return double(rows) * double(columns); }

  /// Columns of an access: 16 bytes of the wider of both sides; 0 when rows are no whole accesses.
  static int64_t lanesOf(moe::SpreadRowsOp op, const DispatchBody &body);

private:
  static constexpr int64_t kWarps = kThreads / SimtBuilder::kWarp;

  /// The columns of this thread in chunk `chunk` of a row: `columnsHere`, and which of them exist (null: all).
  void moveToChunk(SimtBuilder &k, Value chunk);
  void storeRow(SimtBuilder &k, Value row, ArrayRef<Value> values);
  void writeInverse(SimtBuilder &k);
  void fillMissing(SimtBuilder &k);
  void spreadToken(SimtBuilder &k, Value unit);

  moe::SpreadRowsOp op;
  const DispatchBody &body;
  SmallVector<DispatchBody::Sink> sinks;
  unsigned rowSlot;
  int64_t tokens, columns, slots, rows, lanes, chunks, pieces;

  Value inverse;  // [tokens, slots]
  Value warpRank; // of this warp in the grid: neighbours are in different blocks
  SmallVector<Value> columnsHere, exists;
};

int64_t SpreadEmitter::lanesOf(moe::SpreadRowsOp op, const DispatchBody &body) {
  int64_t from = body.storageOf(*body.paramOf(op.getInput())).getIntOrFloatBitWidth() / 8;
  int64_t to = body.storageOf(body.sinks().front().param).getIntOrFloatBitWidth() / 8;
  int64_t lanes = 16 / std::max(from, to), columns = tensorColumns(op.getInput());
  return columns % lanes || columns * std::min(from, to) < kLeastRowBytes ? 0 : lanes;
}

void SpreadEmitter::moveToChunk(SimtBuilder &k, Value chunk) {
  bool mayEnd = columns % (chunks * pieces * SimtBuilder::kWarp * lanes) != 0;
  columnsHere.clear();
  exists.clear();
  for (int64_t i = 0; i < pieces; ++i) {
    Value access = k.add(k.mul(k.add(k.mul(chunk, k.i64(pieces)), k.i64(i)), k.i64(SimtBuilder::kWarp)), k.lane());
    Value column = k.mul(access, k.i64(lanes));
    exists.push_back(mayEnd ? k.less(column, k.i64(columns)) : Value());
    columnsHere.push_back(mayEnd ? k.min(column, k.i64(columns - lanes)) : column);
  }
}

void SpreadEmitter::storeRow(SimtBuilder &k, Value row, ArrayRef<Value> values) {
  for (auto [column, value, isThere] : llvm::zip_equal(columnsHere, values, exists)) {
    auto store = [&] {
      Elementwise here(k, body);
      here.moveTo(rows, row, column, Piece{lanes, lanes});
      here.bind(op.getResult(), value);
      here.store(sinks);
    };
    isThere ? k.when(isThere, store) : store();
  }
}

void SpreadEmitter::writeInverse(SimtBuilder &k) {
  Value first = k.add(k.mul(k.workgroup(), k.i64(kThreads)), k.thread());
  k.loop(first, k.i64(rows), kRowsInFlight * kThreads * grid, [&](Value start) {
    SmallVector<Value> numbers, served;
    for (int64_t i = 0; i < kRowsInFlight; ++i) {
      numbers.push_back(k.add(start, k.i64(i * kThreads * grid)));
      served.push_back(k.load(k.b.getI32Type(), k.param(rowSlot), k.min(numbers[i], k.i64(rows - 1))));
    }
    for (auto [row, slot] : llvm::zip_equal(numbers, served))
      k.when(k.both(k.less(row, k.i64(rows)), k.less(k.i32(-1), slot)),
             [&] { k.store(k.toI32(row), inverse, k.toI64(slot)); });
  });
}

void SpreadEmitter::fillMissing(SimtBuilder &k) {
  int64_t groups = llvm::divideCeil(rows, SimtBuilder::kWarp);
  Type type = SimtBuilder::elementOf(op.getResult().getType().getElementType());
  Value zero = k.constant(lanes == 1 ? type : VectorType::get(lanes, type), 0);
  k.loop(warpRank, k.i64(groups), kWarps * grid, [&](Value group) {
    Value first = k.mul(group, k.i64(SimtBuilder::kWarp)), row = k.add(first, k.lane());
    Value slot = k.load(k.b.getI32Type(), k.param(rowSlot), k.min(row, k.i64(rows - 1)));
    Value missing = k.ballot(k.both(k.less(slot, k.i32(0)), k.less(row, k.i64(rows))));
    k.when(k.less(k.i64(0), k.countLanes(missing)), [&] {
      Value inGroup = k.min(k.i64(SimtBuilder::kWarp), k.sub(k.i64(rows), first));
      k.loop(k.i64(0), inGroup, 1, [&](Value lane) {
        Value bit = arith::ShLIOp::create(k.b, k.i32(1), k.toI32(lane));
        k.when(k.equal(k.both(missing, bit), bit), [&] {
          k.loop(k.i64(0), k.i64(chunks), 1, [&](Value chunk) {
            moveToChunk(k, chunk);
            storeRow(k, k.add(first, lane), SmallVector<Value>(pieces, zero));
          });
        });
      });
    });
  });
}

void SpreadEmitter::spreadToken(SimtBuilder &k, Value unit) {
  Type i32 = k.b.getI32Type();
  Value token = k.div(unit, k.i64(chunks)), first = k.mul(token, k.i64(slots));
  moveToChunk(k, k.rem(unit, k.i64(chunks)));
  SmallVector<Value> numbers, values, weights, hasRow;
  for (int64_t i = 0; i < slots; ++i)
    numbers.push_back(k.load(i32, inverse, k.add(first, k.i64(i))));
  for (Value column : columnsHere) {
    Elementwise here(k, body);
    here.moveTo(tokens, token, column, Piece{lanes, lanes});
    values.push_back(here.get(op.getInput()));
  }
  for (int64_t i = 0; i < slots; ++i) {
    Value slot = k.add(first, k.i64(i));
    if (op.getWeights()) {
      Elementwise here(k, body);
      here.moveTo(tokens, token, k.i64(i), Piece{1, 1});
      weights.push_back(k.splat(here.get(op.getWeights()), lanes));
    }
    Value inside = arith::CmpIOp::create(k.b, arith::CmpIPredicate::ult, numbers[i], k.i32(rows));
    numbers[i] = k.select(inside, numbers[i], k.i32(0));
    Value back = k.load(i32, k.param(rowSlot), k.toI64(numbers[i]));
    hasRow.push_back(k.both(inside, k.equal(back, k.toI32(slot))));
  }
  for (int64_t i = 0; i < slots; ++i)
    k.when(hasRow[i], [&] {
      SmallVector<Value> scaled(values);
      if (op.getWeights())
        for (Value &value : scaled)
          value = k.fmul(value, weights[i]);
      storeRow(k, k.toI64(numbers[i]), scaled);
    });
}

void SpreadEmitter::emit(SimtBuilder &k) {
  k.promiseAlignedVectors();
  inverse = k.workspace(tokens * slots * 4);
  warpRank = k.add(k.mul(k.warp(), k.i64(grid)), k.workgroup());
  writeInverse(k);
  k.gridBarrier(grid);
  fillMissing(k);
  k.loop(warpRank, k.i64(tokens * chunks), kWarps * grid, [&](Value unit) { spreadToken(k, unit); });
}
} // namespace

bool coversSpread(moe::DispatchOp dispatch) {
  moe::SpreadRowsOp op = rootOf(dispatch);
  if (!op || op.getTopK() < 2 || op.getTopK() > kMostSlots)
    return false;
  DispatchBody body(dispatch);
  SmallVector<DispatchBody::Sink> sinks = body.sinks();
  if (sinks.size() != 1 || sinks[0].value != op.getResult() || sinks[0].accumulates || !body.paramOf(op.getInput()) ||
      !body.paramOf(op.getRowSlot()))
    return false;
  return SpreadEmitter::lanesOf(op, body) > 0;
}

FailureOr<KernelInfo> emitSpreadKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                       const GpuTarget &target) {
  DispatchBody body(dispatch);
  moe::SpreadRowsOp op = rootOf(dispatch);
  SpreadEmitter emitter(op, body, SpreadEmitter::lanesOf(op, body), target);
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
