// Templates "col_reduce" and "embed_grad": sums over rows whose order does not depend on the threads.
//
// col_reduce: a workgroup owns a block of columns of one group and adds the rows in order. Maps before it are evaluated
// on the fly. embed_grad into a state: a workgroup owns a block of columns and adds the gradient's rows, in order, to
// their rows of the table. embed_grad into another result: a workgroup owns a range of vocabulary rows, and scans the
// ids.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"

using namespace mlir;

namespace moec::cpu {

namespace {
using Piece = KernelBuilder::Piece;
constexpr int64_t kBlockVectors = 4; // one row of a block is a few cache lines

Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

// Calls body(first column, offsets and pieces) for the block of a workgroup; at most two copies of the body are
// emitted.
struct ColumnBlocks {
  int64_t columns, lanes;

  int64_t size() const { return kBlockVectors * lanes; }
  int64_t count() const { return llvm::divideCeil(columns, size()); }

  using Body = llvm::function_ref<void(Value, ArrayRef<std::pair<int64_t, Piece>>)>;
  void emit(KernelBuilder &k, Value block, Body body) const {
    SmallVector<std::pair<int64_t, Piece>> full, rest;
    for (int64_t v = 0; v < kBlockVectors; ++v)
      full.push_back({v * lanes, Piece{lanes, lanes}});
    int64_t last = columns % size();
    for (int64_t at = 0; at < last; at += lanes) {
      int64_t exist = std::min(lanes, last - at);
      rest.push_back({at, Piece{static_cast<int64_t>(llvm::PowerOf2Ceil(exist)), exist}});
    }
    Value first = k.mul(block, k.i64(size()));
    if (rest.empty())
      return body(first, full);
    if (columns < size())
      return body(k.i64(0), rest);
    k.when(
        k.less(block, k.i64(columns / size())), [&] { body(first, full); },
        [&] { body(k.i64(columns / size() * size()), rest); });
  }
};

Type pieceType(Type element, Piece piece) {
  return piece.lanes == 1 ? element : Type(VectorType::get(piece.lanes, element));
}

double bytesOf(const DispatchBody &body) {
  double bytes = 0;
  for (const moe::DispatchParam &param : body.params)
    if (param.type)
      bytes += double(param.type.getNumElements()) * param.type.getElementType().getIntOrFloatBitWidth() / 8 *
               (param.isRead + param.isWritten);
  return bytes;
}

LogicalResult emitColReduce(moe::ColReduceOp op, DispatchBody &body, KernelBuilder &k, KernelInfo &info) {
  Value input = op.getInput(), result = op.getResult();
  int64_t rows = tensorRows(input), columns = tensorColumns(input), groups = tensorRows(result);
  int64_t rowsPerGroup = rows / groups;
  Type element = elementType(input);
  SmallVector<DispatchBody::Sink> before, after;
  for (const DispatchBody::Sink &sink : body.sinks()) {
    bool late = dependsOn(sink.value, op);
    if (tensorRows(sink.value) != (late ? groups : rows) || tensorColumns(sink.value) != columns)
      return op.emitOpError("shares its dispatch with a value of another shape");
    (late ? after : before).push_back(sink);
  }

  ColumnBlocks blocks{columns, k.lanes(element)};
  info.grid = groups * blocks.count();
  info.flops = double(rows) * columns;
  Value group = k.div(k.workgroup(), k.i64(blocks.count())), block = k.rem(k.workgroup(), k.i64(blocks.count()));
  Elementwise here(k, body);
  blocks.emit(k, block, [&](Value first, ArrayRef<std::pair<int64_t, Piece>> pieces) {
    SmallVector<Value> sums;
    for (auto [offset, piece] : pieces)
      sums.push_back(k.constant(pieceType(element, piece), 0));
    Value start = k.mul(group, k.i64(rowsPerGroup));
    sums = k.loop(start, k.add(start, k.i64(rowsPerGroup)), 1, sums, [&](Value row, ValueRange carried) {
      SmallVector<Value> next;
      for (auto [i, entry] : llvm::enumerate(pieces)) {
        here.moveTo(rows, row, k.add(first, k.i64(entry.first)), entry.second);
        next.push_back(k.fadd(carried[i], here.get(input)));
        here.store(before);
      }
      return next;
    });
    for (auto [i, entry] : llvm::enumerate(pieces)) {
      here.moveTo(groups, group, k.add(first, k.i64(entry.first)), entry.second);
      here.bind(result, sums[i]);
      here.store(after);
    }
  });
  return success();
}

LogicalResult emitEmbedGrad(moe::EmbedGradOp op, DispatchBody &body, KernelBuilder &k, KernelInfo &info) {
  Value grad = op.getGrad(), result = op.getResult();
  int64_t rows = tensorRows(grad), columns = tensorColumns(grad), vocabulary = tensorRows(result);
  Type element = elementType(grad);
  auto idsParam = body.paramOf(op.getIds());
  if (!idsParam)
    return op.emitOpError("computes its ids in the same dispatch");
  SmallVector<DispatchBody::Sink> sinks = body.sinks();
  for (const DispatchBody::Sink &sink : sinks)
    if (!dependsOn(sink.value, op) || tensorRows(sink.value) != vocabulary || tensorColumns(sink.value) != columns)
      return op.emitOpError("shares its dispatch with a value of another shape");
  info.flops = double(rows) * columns;
  Elementwise here(k, body);
  auto idAt = [&](Value row) { return k.toI64(k.load(k.b.getI32Type(), k.param(*idsParam), row)); };
  auto addRow = [&](Value row, Value pointer, Value targetRow, Value first,
                    ArrayRef<std::pair<int64_t, Piece>> pieces) {
    for (auto [offset, piece] : pieces) {
      Value column = k.add(first, k.i64(offset));
      here.moveTo(rows, row, column, piece);
      Value place = k.add(k.mul(targetRow, k.i64(columns)), column);
      k.store(k.fadd(k.load(element, pointer, place, piece), here.get(grad)), pointer, place, piece);
    }
  };

  if (sinks.size() == 1 && sinks[0].accumulates && sinks[0].value == result) {
    ColumnBlocks blocks{columns, k.lanes(element)};
    info.grid = blocks.count();
    blocks.emit(k, k.workgroup(), [&](Value first, ArrayRef<std::pair<int64_t, Piece>> pieces) {
      k.loop(k.i64(0), k.i64(rows), 1,
             [&](Value row) { addRow(row, k.param(sinks[0].param), idAt(row), first, pieces); });
    });
    return success();
  }

  // Rows that a workgroup owns: so many that scanning the ids is comparatively cheap, and few enough for a cache.
  int64_t owned = std::clamp<int64_t>(65536 / columns, 1, vocabulary);
  info.grid = llvm::divideCeil(vocabulary, owned);
  Value start = k.mul(k.workgroup(), k.i64(owned));
  Value end = k.min(k.add(start, k.i64(owned)), k.i64(vocabulary));
  int64_t rowBytes = columns * element.getIntOrFloatBitWidth() / 8;
  Value sums = k.scratch(owned * rowBytes);
  k.fillZero(sums, element, owned * columns);
  k.loop(k.i64(0), k.i64(rows), 1, [&](Value row) {
    Value id = idAt(row);
    Value mine = k.both(k.less(k.sub(start, k.i64(1)), id), k.less(id, end));
    k.when(mine, [&] {
      Value target = k.sub(id, start);
      k.loopPieces(element, columns,
                   [&](Value column, Piece piece) { addRow(row, sums, target, column, {{0, piece}}); });
    });
  });
  k.loop(start, end, 1, [&](Value row) {
    Value from = k.mul(k.sub(row, start), k.i64(columns));
    k.loopPieces(element, columns, [&](Value column, Piece piece) {
      here.moveTo(vocabulary, row, column, piece);
      here.bind(result, k.load(element, sums, k.add(from, column), piece));
      here.store(sinks);
    });
  });
  return success();
}
} // namespace

FailureOr<KernelInfo> emitReductionKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                          const CpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = findRoot(body);
  if (!root || failed(checkRootBody(body, root, /*allowMaps=*/true)))
    return failure();
  KernelInfo info;
  info.symbol = symbol.str();
  info.bytes = bytesOf(body);
  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  LogicalResult emitted = success();
  if (auto reduce = dyn_cast<moe::ColReduceOp>(root))
    emitted = emitColReduce(reduce, body, k, info);
  else
    emitted = emitEmbedGrad(cast<moe::EmbedGradOp>(root), body, k, info);
  k.finish();
  if (failed(emitted))
    return failure();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
