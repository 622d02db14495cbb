// Code shared by the forward and the backward attention kernels: tiles of [block, headSize] and [block, block] in
// shared memory, and the three kinds of products of these tiles.
//
// 256 threads form a grid of 16 x 16. Thread (y, x) owns rows y*R .. y*R + R-1 of a block (R = block / 16). In a tile
// of scores it owns columns x, x + 16, ...; in a tile of heads the pieces of 4 columns that begin at 4x, 4x + 64, ...
// The sixteen threads of one row are half a warp.
#ifndef MOEC_COMPILER_TARGET_GPU_ATTENTIONTILES_H
#define MOEC_COMPILER_TARGET_GPU_ATTENTIONTILES_H

#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/AttentionBody.h"

namespace moec::gpu {

class AttentionTiles {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<Value>;
  static constexpr int64_t kThreads = 256, kSide = 16, kLanes = 4;

  /// The largest block with which `headTiles` tiles of heads and `scoreTiles` tiles of scores fit; 0 if none fits.
  static int64_t chooseBlock(const kernel::AttentionSizes &sizes, int64_t headTiles, int64_t scoreTiles,
                             const GpuTarget &target);
  AttentionTiles(SimtBuilder &k, const kernel::DispatchBody &body, const kernel::AttentionSizes &sizes, int64_t block);

  SimtBuilder &k;
  const kernel::DispatchBody &body;
  const kernel::AttentionSizes &sizes;
  const int64_t block, rows;       // rows: R
  const int64_t headWidth;         // headSize up to whole pieces
  const int64_t pieces;            // of a thread, in a row of heads
  const mlir::Type element, piece; // piece: kLanes of `element`
  Value firstRow, x;               // y * R; x

  Value headTile() { return k.shared(block * headStride() * bytes()); }
  Value scoreTile() { return k.shared(block * scoreStride() * bytes()); }

  /// The first element of head `head` (with `stride` elements per row) in row 0 of a sequence.
  Value headStart(Value sequence, Value head, int64_t stride) const;
  /// Rows first .. first + block - 1 of a head to a tile. Rows after the sequence repeat its last one.
  void loadHeads(unsigned param, Value start, int64_t stride, Value first, Value tile) const;
  void storeScores(mlir::ValueRange scores, Value tile) const;

  /// scores[i * R + j] = row i of this thread in tile `a` times column j of this thread, which is a row of tile `b`.
  Values multiplyRows(Value a, Value b) const;
  /// sums[i * pieces + p] += row i of scores (its columns are K) times heads.
  Values addScoresTimesHeads(Value scores, Value heads, mlir::ValueRange sums) const;
  /// The same with the scores transposed: their rows are K.
  Values addTransposedTimesHeads(Value scores, Value heads, mlir::ValueRange sums) const;
  Values zeroSums() const { return Values(rows * pieces, k.constant(piece, 0)); }

  /// Joins over the threads of a row.
  Value joinRow(Value value, llvm::function_ref<Value(Value, Value)> join) const;
  /// Position of row i of this thread and of its column j, in a block that starts at `first`.
  Value rowAt(Value first, int64_t i) const { return k.add(first, k.add(firstRow, k.i64(i))); }
  Value columnAt(Value first, int64_t j) const { return k.add(first, k.add(x, k.i64(j * kSide))); }
  /// Whether a query sees a key no later than itself.
  Value inWindow(Value query, Value key) const;
  /// Blocks of keys for a block of queries begin at this key / blocks of queries for a block of keys end before this
  /// one.
  Value firstKeyBlock(Value firstQuery) const;
  Value endOfQueries(Value firstKey) const;
  /// This thread's part of row i of a tile times the same row of a head in memory; joined over the row.
  Value dotRow(Value tile, unsigned param, Value start, int64_t stride, Value first, int64_t i) const;
  /// Writes this thread's rows that exist to all of `params`.
  void storeHeads(mlir::ValueRange sums, llvm::ArrayRef<unsigned> params, Value start, int64_t stride,
                  Value first) const;

private:
  int64_t bytes() const { return element.getIntOrFloatBitWidth() / 8; }
  int64_t headStride() const { return headWidth + kLanes; }
  int64_t scoreStride() const { return block + kLanes; }
  Value columnOf(int64_t p) const; // of heads; inside the tile even where there is no such column
  Value loadPiece(unsigned param, Value offset, Value column) const;

  Value firstColumn; // 4x
};

} // namespace moec::gpu

#endif
