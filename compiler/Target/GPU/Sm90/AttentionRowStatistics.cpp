// The statistics of each row that the gradients of attention need, and the words by which their tiles take turns.
//
//   nlse = -log2 e * lse, D = rowsum(dO * O)     f32 [B*H, padded S] each; a row of padding has -inf and 0
//
// A block has 64 rows of one head; as many threads share a row as it has pieces of 16 bytes.
#include "compiler/Target/GPU/Sm90/AttentionRowStatistics.h"

#include "compiler/Target/GPU/SimtBuilder.h"

#include <cmath>

using namespace mlir;

namespace moec::sm90 {

KernelInfo emitAttentionRowStatistics(const AttentionRows &rows, tile::AttentionAttr shape, Location loc,
                                      ModuleOp kernels, StringRef symbol, const gpu::GpuTarget &target) {
  constexpr int64_t kThreads = 256, kRows = 64, kPiece = 8; // elements of 16 bytes
  gpu::SimtBuilder k(kernels, loc, symbol, rows.numParams, kThreads, target);
  Type f32 = k.b.getF32Type(), bf16 = k.b.getBF16Type();
  int64_t sharers = shape.getHeadSize() / kPiece, atOnce = kThreads / sharers;
  Value statistics = k.workspace(shape.getStatisticsBytes()), turns = k.workspace(shape.getTurnBytes());
  Value rowSums = k.at(statistics, k.i64(shape.getStatisticsBytes() / 8), f32);

  Value flatHead = k.div(k.workgroup(), k.i64(shape.getQueryBlocks()));
  Value firstRow = k.mul(k.rem(k.workgroup(), k.i64(shape.getQueryBlocks())), k.i64(kRows));
  Value sequence = k.div(flatHead, k.i64(shape.getHeads())), head = k.rem(flatHead, k.i64(shape.getHeads()));
  Value mine = k.div(k.thread(), k.i64(sharers)), piece = k.mul(k.rem(k.thread(), k.i64(sharers)), k.i64(kPiece));
  k.when(k.both(k.equal(k.thread(), k.i64(0)), k.less(k.workgroup(), k.i64(shape.getTurns()))),
         [&] { k.store(k.i32(0), turns, k.workgroup()); });

  // All loads first; a row of padding reads the last one.
  struct Row {
    Value position, result, grad, lse;
  };
  SmallVector<Row> loaded;
  for (int64_t i = 0; i < kRows; i += atOnce) {
    Row row;
    row.position = k.add(firstRow, k.add(mine, k.i64(i)));
    Value inside = k.min(row.position, k.i64(shape.getPositions() - 1));
    Value headRow =
        k.add(k.mul(k.add(k.mul(sequence, k.i64(shape.getPositions())), inside), k.i64(shape.getHeads())), head);
    Value at = k.add(k.mul(headRow, k.i64(shape.getHeadSize())), piece);
    row.result = k.loadAligned(bf16, k.param(rows.result), at, kPiece, 16);
    row.grad = k.loadAligned(bf16, k.param(rows.grad), at, kPiece, 16);
    row.lse = k.load(f32, k.param(rows.lse), headRow);
    loaded.push_back(row);
  }
  for (const Row &row : loaded) {
    Value products = k.fmul(k.convert(row.result, f32), k.convert(row.grad, f32));
    Value sum = k.reduceGroup({k.sumLanes(products)}, sharers, /*again=*/false,
                              [&](size_t, Value a, Value b) { return k.fadd(a, b); })[0];
    Value exists = k.less(row.position, k.i64(shape.getPositions()));
    k.when(k.equal(piece, k.i64(0)), [&] {
      Value at = k.add(k.mul(flatHead, k.i64(shape.getPaddedPositions())), row.position);
      Value shift = k.fmul(row.lse, k.constant(f32, -M_LOG2E));
      k.store(k.select(exists, shift, k.constant(f32, -INFINITY)), statistics, at);
      k.store(k.select(exists, sum, k.constant(f32, 0)), rowSums, at);
    });
  }
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = shape.getSequences() * shape.getHeads() * shape.getQueryBlocks();
  info.scratchBytes = k.scratchBytes();
  double headRows = static_cast<double>(shape.getSequences()) * shape.getPositions() * shape.getHeads();
  info.flops = 2 * headRows * shape.getHeadSize();
  info.bytes = headRows * (4 * shape.getHeadSize() + 12);
  info.launch = k.launch();
  return info;
}

} // namespace moec::sm90
