// Template "col_reduce": sums over rows whose order is fixed when the kernel is compiled.
//
// A block owns some columns and a share of the rows of one group. Threads with neighbouring x take neighbouring
// columns; threads with the same x take every ty-th row, and their sums are joined in halves in shared memory. If the
// rows of a group are divided among blocks, each block leaves its sums in the workspace, and the last to arrive joins
// them in the order of the blocks. Maps before the sum are evaluated on the fly.
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
constexpr int64_t kBlocksPerSm = 3;   // fit the registers with rows of two operands in flight
constexpr int64_t kRowsInFlight = 4;  // of one thread
constexpr int64_t kPartsInFlight = 8; // of one thread that joins the blocks' sums
constexpr int64_t kRowsPerShare = 32; // fewest rows of a thread that justify another block

Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }
int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

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
                                           : std::clamp<int64_t>(target.numSms * kBlocksPerSm / owners, 1,
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

// This thread's rows: first + y, first + y + ty, ... Several rows are loaded at a time and joined in pairs before they
// are added to the sum, so that loads overlap and only one sum stays in registers.
Value ColReduceEmitter::sumRows(SimtBuilder &k, Value first, Value end) {
  Piece piece{lanes, lanes};
  Value zero = k.constant(pieceType(element, lanes), 0);
  auto addRows = [&](Value row, Value sum, int64_t count, bool mayEnd) {
    SmallVector<Elementwise> here;
    SmallVector<Value> terms;
    for (int64_t i = 0; i < count; ++i) {
      Value own = k.add(row, k.i64(i * ty));
      here.emplace_back(k, body);
      here[i].moveTo(rows, mayEnd ? k.min(own, k.sub(end, k.i64(1))) : own, column, piece);
      terms.push_back(here[i].get(op.getInput()));
      if (mayEnd)
        terms[i] = k.select(k.less(own, end), terms[i], zero);
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
  Value sum = k.loop(start, rest, step, ValueRange{zero},
                     [&](Value row, ValueRange so) { return addRows(row, so[0], kRowsInFlight, false); })[0];
  // If the last rows were loaded one after the other, they would wait for memory as long as all rows before them.
  bool together = before.empty();
  return k.loop(rest, end, together ? step : ty, ValueRange{sum}, [&](Value row, ValueRange so) {
    return addRows(row, so[0], together ? kRowsInFlight : 1, together);
  })[0];
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
  k.keepResident(kBlocksPerSm);
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
    // No other block works at this point, so only the next load hides the latency of a load.
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

} // namespace

FailureOr<KernelInfo> emitReductionKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto root = cast_if_present<moe::ColReduceOp>(findRoot(body));
  if (!root)
    return failure();
  ColReduceEmitter emitter(root, body, target);
  if (failed(checkRootBody(body, root, /*allowMaps=*/true)) || failed(emitter.splitSinks()))
    return failure();
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), kThreads, target);
  emitter.emit(k);
  k.finish();
  KernelInfo info;
  info.symbol = symbol.str();
  info.flops = emitter.flops();
  info.bytes = body.bytes();
  info.grid = emitter.grid();
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
