// A kernel of the GPU ABI (docs/plan-format.md, "Plans for GPUs") under construction: one thread's program. Thread and
// lane numbers, shared memory, warp shuffles and wide accesses on top of the shared KernelBuilder.
#ifndef MOEC_COMPILER_TARGET_GPU_SIMTBUILDER_H
#define MOEC_COMPILER_TARGET_GPU_SIMTBUILDER_H

#include "compiler/Target/GPU/GpuTarget.h"
#include "compiler/Target/Kernel/KernelBuilder.h"
#include "compiler/Target/Target.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace moec::gpu {

/// The block's dynamic shared memory: one symbol for all kernels of a module.
mlir::LLVM::GlobalOp sharedSymbol(mlir::ModuleOp module);

class SimtBuilder : public kernel::KernelBuilder {
public:
  static constexpr int64_t kWarp = 32;
  static constexpr int64_t kCounterBytes = 4096; // at the start of scratch; zero between kernels
  static constexpr int64_t kCounters = kCounterBytes / 4;

  /// Opens kernel `symbol` for blocks of `threads` with `numParams` global pointers.
  SimtBuilder(mlir::ModuleOp module, mlir::Location loc, llvm::StringRef symbol, unsigned numParams, int64_t threads,
              const GpuTarget &target);
  /// Adds the return. Afterwards nothing may be built.
  void finish();
  /// Bounds the registers so that `blocks` blocks of this kernel fit on a multiprocessor.
  void keepResident(int64_t blocks);
  /// The launch record {threads, shared, maps} of the kernel.
  mlir::DictionaryAttr launch();
  int64_t scratchBytes() const { return scratchUsed; }

  const GpuTarget &target;
  const int64_t threads;

  //===--- Who am I (i64) ---===//
  Value thread() const { return threadId; } // 0 .. threads-1; workgroup() is the block
  Value lane() const { return laneId; }
  Value warp() const { return warpId; }

  //===--- Memory ---===//
  /// `bytes` of the block's shared memory, 16-byte aligned: !llvm.ptr<3>.
  Value shared(int64_t bytes);
  /// Pointer to the device's counters / to `bytes` of its workspace, shared by all blocks of the launch.
  Value counters();
  Value workspace(int64_t bytes);
  /// Adds to an integer in global or shared memory and returns the old value. The order among threads is not defined.
  Value atomicAdd(Value value, Value pointer, Value index);
  /// Vector accesses that promise `alignment` bytes, so that they become one instruction (16 bytes at most).
  Value loadAligned(mlir::Type element, Value pointer, Value offset, int64_t lanes, int64_t alignment);
  void storeAligned(Value value, Value pointer, Value offset, int64_t alignment);

  //===--- Together (all threads of the warp or block must arrive) ---===//
  void barrier();
  /// Value of the lane whose number differs from ours by `mask` (xor); 32-bit and 64-bit scalars.
  Value shuffleXor(Value value, int64_t mask);
  /// Joins over the lanes of a warp, then (when `threads` > 32 and `wholeBlock`) over warps in order; every thread gets
  /// the result. The order depends on `threads` alone.
  Value reduce(Value value, llvm::function_ref<Value(Value, Value)> join, bool wholeBlock);
  /// Threads of the warp see each other's writes.
  void syncWarp();
  /// Joins several values over groups of `group` neighbouring threads: a power of two up to a warp, or the whole block.
  /// Every thread gets its group's results. `joins(i, a, b)` joins two of value i. `again`: the code may run more than
  /// once (it is in a loop), so its shared memory must be free before.
  llvm::SmallVector<Value> reduceGroup(mlir::ValueRange values, int64_t group, bool again,
                                       llvm::function_ref<Value(size_t, Value, Value)> joins);
  /// Masks of lanes, i32: the lanes whose i1 is set; the lanes that hold the same i32 as this one.
  Value ballot(Value condition);
  Value matchLanes(Value value);
  /// The number of lanes (i64) in a mask, and the number of them before this lane.
  Value countLanes(Value mask);
  Value lanesBefore(Value mask);
  /// `then` runs in the last of `blocks` blocks that arrive at counter `index` (below kCounters), and sees what the
  /// others wrote before they arrived.
  void whenLast(Value index, int64_t blocks, llvm::function_ref<void()> then);
  /// Waits for all `blocks` of the grid, which must fit on the device at once, with counters 0 and 1. Once a kernel.
  void gridBarrier(int64_t blocks);

private:
  void fence();

  Value threadId, laneId, warpId;
  Value scratchBase;
  Value sharedBase;
  int64_t sharedUsed = 0, scratchUsed = 0;
};

} // namespace moec::gpu

#endif
