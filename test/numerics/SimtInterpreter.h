// Runs GPU kernels on machines without a GPU: executes one block of kernel IR (llvm.func over scf, arith, math, vector,
// llvm and nvvm, before any lowering) with all its threads in lockstep, each op for all threads at once.
//
// Besides the results it checks what a GPU would not tell: loads and stores stay inside the given memory and keep their
// promised alignment; barriers are reached by all threads of the block, and shuffles read lanes that take part; threads
// do not touch the same bytes of shared memory without a barrier (of the block or the warp) between them.
#ifndef MOEC_TEST_NUMERICS_SIMTINTERPRETER_H
#define MOEC_TEST_NUMERICS_SIMTINTERPRETER_H

#include "mlir/IR/BuiltinOps.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

class SimtInterpreter {
public:
  static constexpr int64_t kWarp = 32;

  SimtInterpreter(mlir::ModuleOp module, const std::string &symbol, int64_t threads, int64_t sharedBytes);

  /// Memory that the kernel may touch.
  void addMemory(void *begin, size_t bytes);
  /// Block `block` of `grid` with these kernel arguments. Throws std::runtime_error, which names the op at fault.
  void run(const std::vector<void *> &arguments, int64_t block, int64_t grid);

private:
  using Value = mlir::Value;
  using Operation = mlir::Operation;
  using Mask = std::vector<uint8_t>;

  /// A value of every thread: element e of thread t is bits[e * threads + t].
  struct Slot {
    std::vector<uint64_t> bits;
    int64_t lanes = 1;
    mlir::Type element;
  };
  struct SharedByte;

  [[noreturn]] static void fail(Operation *op, const std::string &what);
  Slot &slot(Value value);
  void copy(Value from, Value to, const Mask &active);

  //===--- Control ---===//
  void runBlock(mlir::Block &block, const Mask &active);
  void runOp(Operation *op, const Mask &active);
  bool runControl(Operation *op, const Mask &active);

  //===--- Memory ---===//
  bool runMemory(Operation *op, const Mask &active);
  bool runVectorOp(Operation *op);
  void checkAccess(Operation *op, uint64_t address, int64_t bytes, int64_t alignment) const;
  void noteShared(Operation *op, uint64_t address, int64_t bytes, int64_t thread, bool isWrite);
  void load(Operation *op, Value pointer, Value result, int64_t alignment, const Mask &active);
  void store(Operation *op, Value pointer, Value value, int64_t alignment, const Mask &active);
  void atomic(Operation *op, const Mask &active);
  void address(Operation *op);

  //===--- Together ---===//
  bool runTogether(Operation *op, const Mask &active);
  void shuffle(Operation *op, const Mask &active);
  void vote(Operation *op, const Mask &active);
  void match(Operation *op, const Mask &active);

  //===--- Arithmetic (SimtArithmetic.cpp) ---===//
  bool runArithmetic(Operation *op);
  bool runConstant(Operation *op);
  bool runFloat(Operation *op);
  bool runInteger(Operation *op);
  bool runConversion(Operation *op);

  mlir::Operation *function;
  int64_t threads, sharedBytes;
  int64_t blockId = 0, gridSize = 1;
  std::vector<std::pair<uint64_t, uint64_t>> memory; // first byte, byte behind the last
  std::vector<uint64_t> shared;
  std::vector<SharedByte> shadow;
  int64_t blockEpoch = 0;
  std::vector<int64_t> warpEpoch;
  llvm::DenseMap<Value, std::unique_ptr<Slot>> slots;

public:
  ~SimtInterpreter();
};

} // namespace moec::test

#endif
