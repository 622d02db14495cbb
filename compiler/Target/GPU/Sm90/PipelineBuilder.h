// A builder for warp-specialised kernels: the features of Hopper that the templates of this folder need, on top of the
// shared KernelBuilder. Shared-memory addresses and all counters are i32; an address names a barrier.
//
// Roles: warpgroup 0 (threads 0..127) produces, the others consume. Stages form a ring. The barrier "full" of a stage
// completes when its data has arrived, "empty" when every consumer has read it. A producer first waits for "empty" with
// parity 1, the parity of the phase before the first, so that its first round passes.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_PIPELINEBUILDER_H
#define MOEC_COMPILER_TARGET_GPU_SM90_PIPELINEBUILDER_H

#include "compiler/Target/Kernel/KernelBuilder.h"
#include "dialects/Tile/IR/Tile.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace moec::sm90 {

class PipelineBuilder : public kernel::KernelBuilder {
public:
  using Values = llvm::SmallVector<Value>;

  /// Opens the llvm.func of `kernel` at the place of that op.
  explicit PipelineBuilder(tile::KernelOp kernel);
  void finish(); // adds the return

  Value scratch() const { return scratchBase; }
  /// The kernel's parameter for the result of a tile.map.
  Value map(Value tileMap) const { return maps.lookup(tileMap); }
  Value thread() const { return threadId; }
  Value block() const { return blockId; }
  Value blocks() const { return numBlocks; }
  Value warpgroup() const { return warpgroupId; } // the same for all lanes of a warp, and known to be
  Value sharedAddress() const { return sharedBase; }

  //===--- i32 ---===//
  Value i32add(Value a, int64_t c) { return c ? add(a, i32(c)) : a; }
  Value i32mul(Value a, int64_t c) { return mul(a, i32(c)); }
  Value bitAnd(Value a, int64_t mask);
  Value bitXor(Value a, Value c);
  Value shiftLeft(Value a, int64_t bits);
  Value shiftRight(Value a, int64_t bits);
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, Value c);
  Value below(Value a, Value c) { return compare(mlir::arith::CmpIPredicate::ult, a, c); }
  Value is(Value a, int64_t c) { return compare(mlir::arith::CmpIPredicate::eq, a, i32(c)); }
  Value wide(Value i32Value); // unsigned, to i64
  /// `carried` is not empty.
  Values loop32(Value from, Value to, Value step, mlir::ValueRange carried, CarryBody body);
  /// Both branches return values of `types`.
  Values choose(mlir::TypeRange types, Value condition, llvm::function_ref<Values()> then,
                llvm::function_ref<Values()> otherwise);

  //===--- Barriers ---===//
  void initBarrier(Value address, int64_t count);
  void publishBarriers(); // after all inits, by all threads of the block
  void wait(Value barrier, Value parity);
  void arrive(Value barrier);
  void expect(Value barrier, Value bytes); // arrives too
  void arriveWhenCopied(Value barrier);    // once this thread's copies by copy16 have landed
  /// Waits for `threads` threads at hardware barrier `id`.
  void sync(Value id, int64_t threads);
  void syncWarp(); // its lanes see each other's writes
  /// Writes to shared memory by instructions become visible to TMA and tensor cores.
  void fenceAsync();
  void fenceDevice(); // memory order between blocks
  void setRegisters(int64_t count, bool increase);

  //===--- Copies ---===//
  void loadBox(Value map, Value shared, Value barrier, mlir::ValueRange coordinates);
  /// `leavesCache`: the second-level cache evicts these bytes before others.
  void storeBox(Value map, Value shared, mlir::ValueRange coordinates, bool leavesCache = false);
  /// Adds the box to memory; the cache does the addition, in the map's type.
  void addBox(Value map, Value shared, mlir::ValueRange coordinates);
  void commitStores();
  /// Waits until at most `pending` commits are under way; `readOnly`: until their shared memory was read.
  void waitStores(int64_t pending, bool readOnly);
  /// 16 bytes from global to shared memory, or zeros where `bytes` is 0.
  void copy16(Value shared, Value global, Value bytes = {});
  Value loadInvariant(mlir::Type element, Value pointer, Value offset);
  Value pointer(Value sharedAddress);

  //===--- Tensor cores ---===//
  mlir::Type accumulatorType(int64_t count);
  /// Descriptor of a tile at `address` whose rows are 128 bytes, swizzled. `blockStride`: bytes between blocks of 64
  /// MN-major rows; 0 for K-major tiles.
  Value descriptor(Value address, int64_t blockStride);
  struct Operand {
    Value descriptor;
    tile::Major major;
    int64_t step() const { return major == tile::Major::k ? 2 : 128; } // to the next 32 bytes (or 16 rows) of depth
  };
  /// One stage: 128 bytes of depth. Issues and commits; the result is usable after waitProducts.
  Value multiply(Value accumulators, int64_t columns, Operand a, Operand b, mlir::Type element);
  void waitProducts(int64_t pending);
  /// Waits for all products and returns the registers; code that uses them cannot move before this call.
  Values finishProducts(Value accumulators);

  //===--- Registers ---===//
  Value packBf16(Value low, Value high); // two f32 -> i32
  std::pair<Value, Value> unpackBf16(Value packed);
  Value exp2Fast(Value a);
  Value reciprocalFast(Value a);
  Value shuffleFrom(Value value, Value lane);
  Value shuffleXor(Value value, int64_t mask);
  /// Four 8 x 8 blocks of 16-bit values, lane l giving the address of row l % 8 of block l / 8; with `transposed` of
  /// column l % 8.
  void storeMatrix(Value address, mlir::ValueRange packed, bool transposed = false);
  /// The same from shared memory: four i32, a pair of values each.
  Values loadMatrix(Value address);
  /// An f32 to shared memory.
  void storeSingle(Value address, Value value);
  /// Two f32 side by side, to shared memory.
  void storePair(Value address, Value first, Value second);
  Value inlineAsm(llvm::StringRef text, llvm::StringRef constraints, mlir::ValueRange operands, mlir::Type result,
                  bool hasSideEffects);

private:
  Value scratchBase, sharedBase, threadId, blockId, numBlocks, warpgroupId;
  llvm::DenseMap<Value, Value> maps;
};

} // namespace moec::sm90

#endif
