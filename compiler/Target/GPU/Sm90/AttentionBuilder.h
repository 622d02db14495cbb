// Additions to the PipelineBuilder for the attention templates: i32 arithmetic with plain numbers, loops with many
// carried values, and products whose left operand and accumulators are registers.
//
// Accumulators are lists of f32 values, one for each register. A product runs asynchronously from its issue to the
// awaitProducts() that takes its accumulators. Between these, nothing may use the accumulators or the registers that
// the product reads.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONBUILDER_H
#define MOEC_COMPILER_TARGET_GPU_SM90_ATTENTIONBUILDER_H

#include "compiler/Target/GPU/Sm90/PipelineBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

namespace moec::sm90 {

class AttentionBuilder : public PipelineBuilder {
public:
  using PipelineBuilder::PipelineBuilder;
  using Registers = llvm::ArrayRef<Value>;
  using Predicate = mlir::arith::CmpIPredicate;
  /// A value, or a number that becomes a constant of the other operand's type.
  struct Int {
    Int(Value value) : value(value) {}
    Int(int64_t number) : number(number) {}
    Int(int number) : number(number) {}
    Value value;
    int64_t number = 0;
  };

  //===--- Numbers ---===//
  Value add(Int x, Int y) { return binary<mlir::arith::AddIOp>(x, y); }
  Value sub(Int x, Int y) { return binary<mlir::arith::SubIOp>(x, y); }
  Value mul(Int x, Int y) { return binary<mlir::arith::MulIOp>(x, y); }
  Value div(Int x, Int y) { return binary<mlir::arith::DivUIOp>(x, y); } // both non-negative
  Value rem(Int x, Int y) { return binary<mlir::arith::RemUIOp>(x, y); }
  Value bitXor(Int x, Int y) { return binary<mlir::arith::XOrIOp>(x, y); }
  Value compare(Predicate predicate, Int x, Int y);
  Value equal(Int x, Int y) { return compare(Predicate::eq, x, y); }
  Value less(Int x, Int y) { return compare(Predicate::slt, x, y); }
  /// The same i32, but LLVM cannot see how it was computed. Otherwise LLVM makes a counter of each address that is
  /// computed from a loop's counter, and these spill if accumulators fill the registers.
  Value opaque(Value x);
  Value f32(double value) { return constant(b.getF32Type(), value); }
  Value larger(Value x, Value y) { return mlir::arith::MaxNumFOp::create(b, x, y); } // one instruction; drops NaN
  Value log2Fast(Value x);
  using PipelineBuilder::packBf16;
  Values packBf16(Registers values); // pairwise
  Value element(Value vector, int64_t index);

  //===--- Threads and control ---===//
  Value firstLane(Value x) { return shuffleFrom(x, i32(0)); }
  Values choose(Value condition, llvm::function_ref<Values()> then, llvm::function_ref<Values()> otherwise);
  /// for (i = 0; i < count; ++i)
  Values loop(Value count, Registers carried, llvm::function_ref<Values(Value i, Registers carried)> body);
  /// `test` returns whether to go on, and the arguments of `body`. The result is what `test` returned last.
  Values loopWhile(Registers carried, llvm::function_ref<std::pair<Value, Values>(Registers carried)> test,
                   llvm::function_ref<Values(Registers)> body);

  //===--- Memory ---===//
  /// The pointer of a tile.operand.
  Value operand(Value tileOperand) const;
  using PipelineBuilder::load;
  Value loadAligned(mlir::Type type, Value pointer, int64_t alignment, bool isInvariant);
  Value loadVolatile(mlir::Type type, Value pointer); // others write there
  void storeWord(Value value, Value pointer);
  /// Adds 1 to a counter in global memory, and returns its old value.
  Value draw(Value pointer, mlir::LLVM::AtomicOrdering ordering);
  /// A word in global memory by which blocks take turns. Memory that the writer had seen is visible to a block that
  /// reads the written value.
  Value loadAcquire(Value pointer);
  void storeRelease(Value value, Value pointer);
  /// Four neighbouring f32 in global memory, bypassing the first-level cache: stored, loaded, or added to memory.
  void storeFour(Value pointer, Registers four);
  Values loadFour(Value pointer);
  void addFour(Value pointer, Registers four);
  /// `bytes` contiguous bytes from global to shared memory; arrives at `barrier`.
  void loadBytes(Value from, Value shared, Value barrier, int64_t bytes);

  //===--- Products: 64 rows of a warpgroup, in steps of 16 of depth ---===//
  using PipelineBuilder::descriptor;
  Value descriptor(Value address) { return descriptor(address, /*blockStride=*/0); }
  /// Offsets of the steps of `depth` in a tile of panels of 64 columns: along its rows, or (transposed) down them.
  static llvm::SmallVector<int64_t> steps(int64_t depth, int64_t panelBytes);
  static llvm::SmallVector<int64_t> stepsTransposed(int64_t depth);
  /// A B^T of tiles in shared memory, into new accumulators; `transposed`: both are read along their rows, A^T B.
  Values multiplyTiles(int64_t columns, Value a, llvm::ArrayRef<int64_t> aSteps, Value c,
                       llvm::ArrayRef<int64_t> cSteps, bool transposed = false);
  /// accumulators + A B. A is in registers; the accumulators of another product, packed pairwise, have the right form.
  /// B is a tile that is read transposed.
  Values multiplyRegisters(Registers a, Value c, llvm::ArrayRef<int64_t> cSteps, Registers accumulators);
  /// Waits until at most `pending` products run, and returns the finished `accumulators`. `read` are registers that
  /// products still read; they keep their place until here.
  Values awaitProducts(int64_t pending, Registers accumulators, Registers read = {});

private:
  template <typename Op> Value binary(Int x, Int y) {
    mlir::Type type = x.value ? x.value.getType() : y.value.getType();
    return b.createOrFold<Op>(value(x, type), value(y, type));
  }
  Value value(Int x, mlir::Type type);
  Values unpack(Value structure, size_t count);
};

} // namespace moec::sm90

#endif
