// Code shared by the tensor-core attention kernels: the persistent skeleton of a producer and two consumer warpgroups,
// rings of tiles, and the stores of accumulators.
//
//   q [B*S, H*dh]   k, v [B*S, G*dh]   H query heads read G key heads   S positions   B sequences   blocks of 128 rows
//
// With a window, tiles visit only blocks that hold a visible pair, and mask the blocks at the window's far edge.
//
// A block of threads takes tiles (a block of rows of one head) until there are none left. The producer's first thread
// draws the next tile from a counter, writes its number to the tile slot and starts all copies; each consumer warpgroup
// works on 64 of the 128 rows. The barriers of the tile slot also guard the tile's resident operands.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONPARTS_H
#define MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONPARTS_H

#include "compiler/Target/GPU/Sm90/AttentionBuilder.h"

namespace moec::sm90 {

/// A template: replaces its tile.kernel by an llvm.func.
class AttentionKernel {
protected:
  using Value = mlir::Value;
  using Values = AttentionBuilder::Values;

  AttentionKernel(tile::KernelOp kernel, tile::AttentionAttr shape)
      : k(kernel), kernel(kernel), shape(shape), schedule(kernel.getSchedule()) {}
  virtual ~AttentionKernel() = default;

  /// The producer's copies of a tile, and the consumers' work on it. `step` counts the ring's stages used so far; the
  /// result is the new count. produce() arrives at the tile barrier with its first copies.
  virtual Value produce(Value tile, Value step) = 0;
  virtual Value consume(Value tile, Value step) = 0;
  /// Emits the values that consumers compute once.
  virtual void prepareConsumer() = 0;
  /// The turn keeper's work on a tile, as consume(): one thread beside the producer, of templates with isOrdered.
  virtual Value keepTurns(Value tile, Value step) { return step; }

  static constexpr int64_t kBlock = 128; // rows of a tile
  static constexpr int64_t kPanel = 64;  // columns (128 bytes) of a tile's panel
  double scoreScale() const;

  //===--- Shared memory (offsets) ---===//
  static constexpr int64_t kConsumers = 2, kWarps = 4,
                           kWarpgroup = 128; // consumer warpgroups, warps and threads of each
  int64_t reserve(int64_t bytes);
  struct Ring {
    int64_t data, stageBytes, stages, full, empty;
  };
  int64_t reserveBarrier(int64_t arrivals);
  /// A ring of the schedule's stages of `stageBytes` at `data`; `arrivals` threads give a stage back. Call it after all
  /// data is reserved.
  Ring reserveRing(int64_t data, int64_t stageBytes, int64_t arrivals = kConsumers * kWarps);
  int64_t tileBytes(int64_t rows) const { return rows * shape.getHeadSize() * 2; }
  Value address(int64_t offset) { return k.add(k.sharedAddress(), offset); }

  //===--- Skeleton ---===//
  /// Emits the whole kernel; reserve all memory before. Tiles are drawn from the first counter of scratch.
  void emitRoles();
  /// Whether tiles may wait for tiles of smaller numbers. Then every tile is drawn, even the first of a block, so that
  /// a tile for which others wait belongs to a running block.
  bool isOrdered = false;

  struct Stage {
    Value index, data, full, empty, parity; // number of the stage, addresses, parity of this round
  };
  Stage stage(const Ring &ring, Value step);
  /// Producer: waits until consumers gave the stage back, and announces its bytes.
  void acquire(const Stage &stage, int64_t bytes);
  /// Copies a tile of `rows` rows, panel after panel: from row `row` of `head` of `sequence` on.
  void copyTile(Value map, Value to, Value barrier, int64_t rows, Value row, Value head, Value sequence);

  //===--- Consumers ---===//
  struct Position {
    Value block, flatHead, sequence, head; // flatHead = sequence * heads + head
  };
  /// The block and the head of tile `tile`.
  Position position(Value tile, int64_t heads, bool descending);
  /// Each warp arrives once: the memory that its products, or its first lane, have read is free.
  void release(Value barrier);
  void releaseTile() { release(address(tileEmpty)); }
  /// Joins over the four threads that share a row.
  Value joinQuad(Value x, llvm::function_ref<Value(Value, Value)> join);
  /// Accumulators of a block, -inf where `hidden` holds for (column, row); `firstRow` is the thread's first row counted
  /// as columns are on the diagonal.
  Values maskScores(llvm::ArrayRef<Value> scores, Value firstRow, AttentionBuilder::Predicate hidden);
  /// The same for the pairs that the window hides, in the block that is `distance` blocks of `width` from the diagonal
  /// (null: on it). `hidden`: slt if columns are keys, sgt if they are queries.
  Values maskWindow(Values scores, Value firstRow, Value distance, int64_t width, AttentionBuilder::Predicate hidden);
  /// The number of blocks of keys that a tile of queries visits before its diagonal block.
  Value earlierBlocks(Value block);
  /// Rounds 64 rows of accumulators to bf16 and writes them as panels at `to`.
  void stageRows(Value to, llvm::ArrayRef<Value> accumulators) { stagePacked(to, k.packBf16(accumulators)); }
  void stagePacked(Value to, llvm::ArrayRef<Value> packed); // the same, rounded already
  /// beginStaging waits until staging memory may be written again; the other function starts the copies to global
  /// memory.
  void beginStaging();
  void endStaging(llvm::function_ref<void()> copies);
  void copyRowsOut(Value map, Value from, Value row, Value head, Value sequence);

  /// Row statistics of the backward: -log2 e * lse and rowsum(dO * O), f32 [B*H, padded S] each, in the workspace of
  /// scratch.
  std::pair<Value, Value> statistics();

  AttentionBuilder k;
  tile::KernelOp kernel;
  tile::AttentionAttr shape;
  tile::ScheduleAttr schedule;

  Value consumer;   // 0 or 1
  Value lane, warp; // of the warpgroup
  Value isLeader;   // first thread of the warpgroup
  Value row;        // of the warpgroup's 64 rows, this thread's first one; the second is 8 further down
  Value column;     // first of this thread's two neighbouring columns of eight
  int64_t tileFull = 0;

private:
  void emitProducer();
  void emitConsumer();
  void emitKeeper();
  /// Tile by tile until the producer says that there are no more; `readSlot` returns the tile's number.
  void followTiles(llvm::function_ref<Value()> readSlot, llvm::function_ref<Value(Value tile, Value step)> work);
  Value readSlot();

  struct Barrier {
    int64_t offset, arrivals;
  };
  llvm::SmallVector<Barrier> barriers;
  int64_t used = 0, tileEmpty = 0, tileSlot = 0;
  Values matrixOffsets; // of this thread's address for storeMatrix, by 16 columns of a panel
};

/// Each replaces `kernel` by its llvm.func.
void expandAttentionFwd(tile::KernelOp kernel, tile::AttentionFwdOp op);
void expandAttentionDq(tile::KernelOp kernel, tile::AttentionDqOp op);
void expandAttentionDkv(tile::KernelOp kernel, tile::AttentionDkvOp op);
void expandAttentionGrad(tile::KernelOp kernel, tile::AttentionGradOp op);

} // namespace moec::sm90

#endif
