// A small embedded language for writing one kernel as scf/arith/math/vector/llvm IR: loops, loads, stores, vector
// arithmetic.
//
// All values are i64 indices, LLVM pointers, and scalars or 1-D vectors. There are no memrefs, so LLVM sees exactly
// what is written here. The target defines how a kernel begins and ends: CPU/CpuKernelBuilder.h has one ABI of
// docs/plan-format.md, GPU/SimtBuilder.h the other.
#ifndef MOEC_COMPILER_TARGET_KERNEL_KERNELBUILDER_H
#define MOEC_COMPILER_TARGET_KERNEL_KERNELBUILDER_H

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include <limits>

namespace moec::kernel {

class KernelBuilder {
public:
  using Value = mlir::Value;
  using Body = llvm::function_ref<void(Value)>;
  using CarryBody = llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)>;

  mlir::ImplicitLocOpBuilder b;

  Value param(unsigned index) const { return params[index]; } // pointer
  Value workgroup() const { return group; }                   // i64

  //===--- Integers (all i64 unless said) ---===//
  Value i64(int64_t value);
  Value i32(int64_t value);
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); // both non-negative
  Value rem(Value a, Value b);
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value less(Value a, Value b);
  Value equal(Value a, Value b);
  Value both(Value a, Value b);
  Value select(Value condition, Value a, Value b);
  Value toI64(Value i32Value);
  Value toI32(Value i64Value);

  //===--- Floats: scalars or vectors, whatever the operands are ---===//
  Value constant(mlir::Type type, double value); // splat for a vector type
  Value fadd(Value a, Value b);
  Value fsub(Value a, Value b);
  Value fmul(Value a, Value b);
  Value fdiv(Value a, Value b);
  Value fmax(Value a, Value b); // NaN in either gives NaN
  Value fma(Value a, Value b, Value c);
  Value exp(Value a);
  Value log(Value a);
  /// The same numbers in another type: between floats, or `a` itself.
  Value convert(Value a, mlir::Type element);
  Value splat(Value scalar, int64_t lanes); // lanes == 1: the scalar itself
  Value sumLanes(Value vector);             // scalar passes through; order: halves onto halves
  Value maxLanes(Value vector);
  /// i64 of the same order as a float: -0 equals +0, NaN (kNanKey) is below everything. Non-NaN keys of f32 fit into 32
  /// bits.
  Value orderedKey(Value a);
  static constexpr int64_t kNanKey = std::numeric_limits<int64_t>::min() + 1;
  /// The same order as unsigned integers of the float's width; 0, which no number has, is for NaN. For searching bit by
  /// bit. And the inverse: the float (a scalar) that has a key.
  Value selectionKey(Value a);
  Value fromSelectionKey(Value key, mlir::Type element);
  Value iota(int64_t lanes); // i64: 0, 1, ...

  //===--- Memory: `offset` counts elements of `element` ---===//
  int64_t lanes(mlir::Type element) const; // elements of a full vector
  Value at(Value pointer, Value offset, mlir::Type element);
  Value load(mlir::Type element, Value pointer, Value offset, int64_t lanes = 1); // lanes == 1: scalar
  void store(Value value, Value pointer, Value offset);
  /// Only the first `count` of the lanes exist (count is a constant or an i64 value); the others read as 0 / are not
  /// written.
  Value loadPart(mlir::Type element, Value pointer, Value offset, int64_t lanes, Value count);
  void storePart(Value value, Value pointer, Value offset, Value count);
  void fillZero(Value pointer, mlir::Type element, int64_t count);
  /// Promises that from here on, vectors that are loaded and stored whole lie at multiples of their size (or of a full
  /// vector's size, if that is smaller), so that a target that needs the alignment can use wide accesses.
  void promiseAlignedVectors() { vectorsAligned = true; }

  /// A piece of a row: `lanes` lanes of which the first `count` exist.
  struct Piece {
    int64_t lanes;
    int64_t count;
    bool isFull() const { return lanes == count; }
  };
  Value load(mlir::Type element, Value pointer, Value offset, Piece piece);
  void store(Value value, Value pointer, Value offset, Piece piece);

  //===--- Control ---===//
  void loop(Value from, Value to, int64_t step, Body body);
  llvm::SmallVector<Value> loop(Value from, Value to, int64_t step, mlir::ValueRange carried, CarryBody body);
  /// Runs `body` at most `most` times, as long as `goesOn` (an i1) holds; `goesOn` is evaluated before each iteration
  /// and after the last.
  void repeat(int64_t most, llvm::function_ref<Value()> goesOn, llvm::function_ref<void()> body);
  /// 0 <= i < count in full vectors, then the rest one by one: body(i, lanes). `count` is a compile-time number.
  void loopVectors(mlir::Type element, int64_t count, llvm::function_ref<void(Value, int64_t)> body);
  /// The same with the rest as one masked vector, so that there are at most two copies of the body.
  void loopPieces(mlir::Type element, int64_t count, llvm::function_ref<void(Value, Piece)> body) {
    loopPieces(lanes(element), count, body);
  }
  void loopPieces(int64_t lanes, int64_t count, llvm::function_ref<void(Value, Piece)> body);
  /// The same with a reduction (`init` is a scalar and must be the neutral element of `join`): `body(i, lanes,
  /// accumulator)` returns the new accumulator of `lanes` lanes; `join` folds two of equal width.
  Value reduceVectors(mlir::Type element, int64_t count, Value init,
                      llvm::function_ref<Value(Value, int64_t, Value)> body,
                      llvm::function_ref<Value(Value, Value)> join, llvm::function_ref<Value(Value)> joinLanes);
  void when(Value condition, llvm::function_ref<void()> then);
  void when(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  /// The values, of these types, of the branch that is taken.
  llvm::SmallVector<Value> choose(mlir::TypeRange types, Value condition,
                                  llvm::function_ref<llvm::SmallVector<Value>()> then,
                                  llvm::function_ref<llvm::SmallVector<Value>()> otherwise);
  /// The type that LLVM loads and stores for an element, since LLVM has no 8-bit floats.
  static mlir::Type memoryType(mlir::Type element);
  /// Converts between an element (or a vector of elements) and the value that is loaded or stored for it.
  Value fromMemory(Value loaded, mlir::Type element);
  Value toMemory(Value value);
  /// The element type of a scalar or a vector.
  static mlir::Type elementOf(mlir::Type type);
  static int64_t lanesOf(mlir::Type type);

protected:
  /// A full vector holds `vectorBytes`. The target's builder opens the function, then sets `params` and `group`.
  KernelBuilder(mlir::Location loc, int64_t vectorBytes) : b(loc, loc.getContext()), vectorBytes(vectorBytes) {}

  llvm::SmallVector<Value> params;
  Value group;

private:
  Value tailMask(int64_t lanes, Value count);
  unsigned alignmentOf(mlir::Type type) const;

  int64_t vectorBytes;
  bool vectorsAligned = false;
};

} // namespace moec::kernel

#endif
