// Code shared by the forward and the backward attention kernels: blocks, packing, masks.
#ifndef MOEC_COMPILER_TARGET_CPU_ATTENTIONPARTS_H
#define MOEC_COMPILER_TARGET_CPU_ATTENTIONPARTS_H

#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/CPU/MicroTile.h"
#include "compiler/Target/Kernel/AttentionBody.h"

namespace moec::cpu {

using kernel::AttentionParams;
using kernel::AttentionSizes;

class AttentionParts {
public:
  using Value = mlir::Value;
  AttentionParts(KernelBuilder &kb, const AttentionSizes &sizes);

  KernelBuilder &kb;
  const AttentionSizes &sizes;
  int64_t block;     // keys, and query rows, of one block: a multiple of the tiles' rows and of `scores`' columns
  MicroTile scores;  // results [query rows, keys]
  MicroTile heads;   // results [rows, headSize]
  int64_t headWidth; // headSize, rounded up to whole panels of `heads`
  bool evenRows;     // no row tile reaches beyond the sequence
  bool wholeSteps;   // every sum over positions is a multiple of the mainloop's step

  int64_t bytes(int64_t elements) const { return elements * scores.elementBytes(); }
  Value at(Value pointer, Value offset) const { return kb.at(pointer, offset, sizes.element); }
  Value at(Value pointer, int64_t offset) const { return kb.at(pointer, kb.i64(offset), sizes.element); }

  /// Elements of the transposed panels [headSize, keys] of one block, and of row panels [rows, headWidth].
  int64_t transposedSize() const { return sizes.headSize * block; }
  int64_t rowsSize() const { return headWidth * block; }
  /// Packs `count` rows from `source` (`left` rows exist from there on) as columns of panels for `scores`.
  void packTransposed(Value panels, Value source, int64_t stride, Value count, Value left) const;
  /// Packs `count` rows as rows of panels for `heads`, rounded up to whole steps: rows that do not exist repeat the
  /// last row.
  void packRows(Value panels, Value source, int64_t stride, Value count, Value left) const;
  Value panel(Value panels, Value index, int64_t rows, const MicroTile &tile) const {
    return at(panels, kb.mul(index, kb.i64(rows * tile.columns())));
  }
  Value ceilDiv(Value a, int64_t c) const { return kb.div(kb.add(a, kb.i64(c - 1)), kb.i64(c)); }
  /// `count` rows or keys, rounded up to whole steps of the mainloop.
  Value upToSteps(Value count) const;

  /// tile[r, 0 .. count) = rows of A (stride; the first `existing` of them exist) times the transposed panels.
  void multiplyScores(Value tile, Value rows, int64_t stride, Value existing, Value panels, Value count) const;
  /// `count` keys, rounded up to whole vectors and whole steps: the part of a row of scores that is written and read
  /// again.
  Value upToLanes(Value count) const {
    int64_t whole = std::max(scores.lanes(), MicroTile::kUnroll);
    return kb.mul(ceilDiv(count, whole), kb.i64(whole));
  }
  /// The larger of two, in one instruction. It drops a NaN in `a`, which comes back through the exponential of its
  /// score.
  Value larger(Value a, Value b) const;
  /// One value for each row of a tile out of one vector for each row: lanes are joined pairwise, in an order fixed by
  /// the target.
  Value joinRows(llvm::SmallVector<Value> vectors, llvm::function_ref<Value(Value, Value)> join) const;
  /// A mask of lanes first .. first+lanes-1 of a row of a block: those below `count`.
  Value below(Value first, Value count) const;
  /// A mask of lanes first .. first+lanes-1 of a row of a block: the keys that the row sees, the last of which is
  /// `seen` - 1.
  Value visible(Value first, Value seen) const;
  /// Blocks of keys for a block of queries begin at this key.
  Value firstKeyBlock(Value firstQuery) const;
  /// The end of the queries that see a key of the block at `firstKey`, rounded up to whole tiles and whole steps.
  Value endOfQueries(Value firstKey) const;
  /// Writes `rows` rows of headSize from [.., headWidth] to all of `pointers`, each row through `value`.
  void storeHeads(Value source, Value rows, llvm::ArrayRef<Value> pointers, int64_t stride,
                  llvm::function_ref<Value(Value row, Value vector)> value) const;
};

} // namespace moec::cpu

#endif
