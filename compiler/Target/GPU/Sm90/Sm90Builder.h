// Instructions of a Hopper kernel of warp-specialised warpgroups: barriers in shared memory, bulk copies by tensor
// maps, products of warpgroups, on top of llvm, nvvm, scf and arith.
//
// Integers and addresses in shared memory are i32. Accumulators are lists of f32 values, one for each register: what
// ptxas gets is what is written here. A product runs in the background from multiply...() to the wait() that its
// accumulators are passed through; nothing may touch them, or the registers it reads, in between.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_SM90BUILDER_H
#define MOEC_COMPILER_TARGET_GPU_SM90_SM90BUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace moec::sm90 {

/// A tensor map of the launch record (docs/plan-format.md, "Plans for GPUs"): bf16, innermost dimension first.
struct TensorMap {
  unsigned param = 0;
  llvm::SmallVector<int64_t> dims, strides, box; // strides: bytes, of all dimensions but the innermost
};

class Sm90Builder {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;
  /// A value, or a number that becomes a constant.
  struct Int {
    Int(Value value) : value(value) {}
    Int(int64_t number) : number(number) {}
    Int(int number) : number(number) {}
    Value value;
    int64_t number = 0;
  };
  static constexpr int64_t kWarpgroup = 128;
  static constexpr int64_t kCounterBytes = 4096; // at the start of scratch; zero between kernels
  static constexpr int64_t kMaxRegisters =
      504; // of a producer's thread and two consumers': what 384 threads start with

  mlir::ImplicitLocOpBuilder b;

  /// Opens kernel `symbol` for blocks of `threads`, with `numParams` global pointers.
  Sm90Builder(mlir::ModuleOp module, mlir::Location loc, llvm::StringRef symbol, unsigned numParams,
              llvm::ArrayRef<TensorMap> maps, int64_t threads);
  /// Adds the return. No more building afterwards.
  void finish();
  /// {threads, shared, maps}.
  mlir::DictionaryAttr launch(int64_t sharedBytes);

  Value param(unsigned index) const { return arguments[index]; }
  Value scratch() const { return arguments[numParams]; }
  Value map(unsigned index) const { return arguments[numParams + 1 + index]; }

  //===--- Integers (i32 unless said) ---===//
  Value i32(int64_t value);
  Value i64(int64_t value);
  Value add(Int x, Int y) { return binary<mlir::arith::AddIOp>(x, y); }
  Value sub(Int x, Int y) { return binary<mlir::arith::SubIOp>(x, y); }
  Value mul(Int x, Int y) { return binary<mlir::arith::MulIOp>(x, y); }
  Value div(Int x, Int y) { return binary<mlir::arith::DivUIOp>(x, y); } // both non-negative
  Value rem(Int x, Int y) { return binary<mlir::arith::RemUIOp>(x, y); }
  Value bitAnd(Int x, Int y) { return binary<mlir::arith::AndIOp>(x, y); }
  Value bitXor(Int x, Int y) { return binary<mlir::arith::XOrIOp>(x, y); }
  Value shiftLeft(Int x, Int y) { return binary<mlir::arith::ShLIOp>(x, y); }
  Value shiftRight(Int x, Int y) { return binary<mlir::arith::ShRUIOp>(x, y); }
  Value compare(mlir::arith::CmpIPredicate predicate, Int x, Int y) {
    return mlir::arith::CmpIOp::create(b, predicate, value(x), value(y));
  }
  Value equal(Int x, Int y) { return compare(mlir::arith::CmpIPredicate::eq, x, y); }
  Value less(Int x, Int y) { return compare(mlir::arith::CmpIPredicate::slt, x, y); }
  Value both(Value x, Value y) { return mlir::arith::AndIOp::create(b, x, y); }
  Value select(Value condition, Value x, Value y) { return mlir::arith::SelectOp::create(b, condition, x, y); }
  Value widen(Value x); // to i64, zero-extended

  //===--- Floats (f32) ---===//
  Value f32(double value);
  Value fadd(Value x, Value y) { return mlir::arith::AddFOp::create(b, x, y); }
  Value fsub(Value x, Value y) { return mlir::arith::SubFOp::create(b, x, y); }
  Value fmul(Value x, Value y) { return mlir::arith::MulFOp::create(b, x, y); }
  Value fmax(Value x, Value y) { return mlir::arith::MaxNumFOp::create(b, x, y); }
  Value fma(Value x, Value y, Value z);
  Value exp2(Value x);       // approximate, 2 ulp; -inf gives 0
  Value log2(Value x);       // approximate
  Value reciprocal(Value x); // approximate
  /// Two f32 as one register of bf16, `low` in the low half.
  Value packBf16(Value low, Value high);
  Values packBf16(llvm::ArrayRef<Value> values);
  /// The two bf16 of a register as f32.
  std::pair<Value, Value> unpackBf16(Value pair);

  //===--- Threads ---===//
  Value thread();           // of the block
  Value block();            // of the grid
  Value blocks();           // in the grid
  Value firstLane(Value x); // the value that lane 0 of the warp has
  Value shuffleXor(Value x, int64_t mask);
  /// All threads of the block.
  void syncBlock();
  /// `threads` threads meet at one of the 16 hardware barriers; `id` 0 is syncBlock's.
  void syncNamed(Value id, int64_t threads);
  /// Gives registers of the warpgroup back, or waits for more.
  void setRegisters(int64_t count, bool increase);

  //===--- Control ---===//
  void when(Value condition, llvm::function_ref<void()> then);
  void ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  Values choose(Value condition, llvm::function_ref<Values()> then, llvm::function_ref<Values()> otherwise);
  /// for (i = 0; i < count; ++i)
  Values loop(Int count, llvm::ArrayRef<Value> carried,
              llvm::function_ref<Values(Value i, llvm::ArrayRef<Value> carried)> body);
  /// `test` sees the carried values and returns whether to go on and what `body` gets; the result is what it returned
  /// last.
  Values loopWhile(llvm::ArrayRef<Value> carried,
                   llvm::function_ref<std::pair<Value, Values>(llvm::ArrayRef<Value> carried)> test,
                   llvm::function_ref<Values(llvm::ArrayRef<Value>)> body);

  //===--- Memory ---===//
  /// Address of the block's dynamic shared memory, 1024-byte aligned.
  Value shared();
  Value sharedPointer(Value address);
  Value at(Value pointer, Value index, mlir::Type element); // index: i32 or i64
  Value load(mlir::Type type, Value pointer, int64_t alignment = 0);
  Value loadConstant(mlir::Type type, Value pointer, int64_t alignment = 0); // nothing writes there meanwhile
  Value loadVolatile(mlir::Type type, Value pointer);                        // others do
  void store(Value value, Value pointer);
  Value element(Value vector, int64_t index);
  /// Adds to a counter in global memory, and returns what it was.
  Value fetchAdd(Value pointer, Value x, bool acquireRelease);

  //===--- Barriers in shared memory ---===//
  void initBarrier(Value address, int64_t arrivals);
  /// Makes initialised barriers known to bulk copies.
  void fenceBarriers();
  void waitBarrier(Value address, Value parity);
  void arrive(Value address);
  /// Arrives, and announces bytes that bulk copies will bring.
  void arriveExpecting(Value address, int64_t bytes);

  //===--- Bulk copies ---===//
  void copyIn(Value map, Value to, Value barrier, llvm::ArrayRef<Value> coordinates);
  void copyInFlat(Value from, Value to, Value barrier, int64_t bytes);
  void copyOut(Value map, Value from, llvm::ArrayRef<Value> coordinates);
  void commitCopies();
  /// Until copies out have read shared memory, or (`written`) written global memory.
  void waitCopies(bool written);
  /// Makes stores to shared memory visible to bulk copies and products.
  void fenceAsync();

  //===--- Products of a warpgroup: 64 rows by `columns`, steps of 16 deep ---===//
  /// How a tile of 64-column panels (128-byte rows, swizzled) in shared memory is read: rows are M or N and columns the
  /// depth, or (transposed) columns are M or N and rows the depth; `panelBytes` from one panel to the next.
  Value descriptor(Value address);
  Value descriptorTransposed(Value address, int64_t panelBytes);
  Value advance(Value descriptor, Value bytes);
  /// Offsets for descriptors, of the steps of `depth`.
  static llvm::SmallVector<int64_t> steps(int64_t depth, int64_t panelBytes);
  static llvm::SmallVector<int64_t> stepsTransposed(int64_t depth);
  /// A B^T, both in shared memory, into fresh accumulators.
  Values multiply(int64_t columns, Value a, llvm::ArrayRef<int64_t> aSteps, Value b, llvm::ArrayRef<int64_t> bSteps);
  /// accumulators + A B; A in registers (accumulators of a product packed pairwise are such an A), B transposed.
  Values multiplyRegisters(llvm::ArrayRef<Value> a, Value b, llvm::ArrayRef<int64_t> bSteps,
                           llvm::ArrayRef<Value> accumulators);
  /// Until at most `pending` products run. `accumulators` come out finished; `reading` are registers that unfinished
  /// products read: they keep their place until here.
  Values wait(int64_t pending, llvm::ArrayRef<Value> accumulators, llvm::ArrayRef<Value> reading = {});
  /// Stores four 8x8 tiles of bf16; lane l gives the address of row l % 8 of tile l / 8.
  void storeMatrix(Value address, llvm::ArrayRef<Value> registers);

private:
  template <typename Op> Value binary(Int x, Int y) {
    mlir::Type type = x.value ? x.value.getType() : y.value.getType();
    return b.createOrFold<Op>(value(x, type), value(y, type));
  }
  Value value(Int x, mlir::Type type = {});
  Values assembly(const std::string &text, const std::string &constraints, llvm::ArrayRef<Value> operands,
                  int64_t results, mlir::Type resultType, bool sideEffects);

  Values arguments;
  unsigned numParams;
  int64_t threads;
  llvm::SmallVector<TensorMap> maps;
  Value sharedBase;
};

} // namespace moec::sm90

#endif
