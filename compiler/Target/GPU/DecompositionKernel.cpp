// Templates "eigh" and "qr": one block per matrix, which works in the device's workspace. If the step needs no new
// result, all blocks share the copying of the previous one; if that is already in its place, nothing is copied.
//
// eigh: the rotations of a round act on disjoint pairs of rows and columns. So the matrix consists of blocks of 2 x 2,
// which threads rotate from both sides at once. qr: warps compute the products with earlier vectors, and threads update
// the elements.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Decomposition.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;

constexpr int64_t kLeastThreads = 64, kMostThreads = 512;
constexpr int64_t kElementsPerThread = 8; // below the most threads
constexpr int64_t kCopiedPerBlock = 32768, kMostCopiers = 64;

class DecompositionEmitter {
public:
  DecompositionEmitter(SimtBuilder &k, const DispatchBody &body, Operation *op)
      : k(k), matrices(k, body, op), element(matrices.element), bytes(element.getIntOrFloatBitWidth() / 8),
        copiers(copiersOf(op)) {}

  static int64_t sizeOf(Operation *op) {
    auto type = cast<RankedTensorType>(op->getOperand(0).getType());
    return type.getDimSize(1) * type.getDimSize(2);
  }
  static int64_t threadsOf(Operation *op) {
    auto wanted = static_cast<int64_t>(llvm::PowerOf2Ceil(llvm::divideCeil(sizeOf(op), kElementsPerThread)));
    return std::clamp(wanted, kLeastThreads, kMostThreads);
  }
  static int64_t copiersOf(Operation *op) { return std::clamp<int64_t>(sizeOf(op) / kCopiedPerBlock, 1, kMostCopiers); }
  int64_t grid() const { return matrices.count * copiers; }
  void emit();

private:
  /// All threads of the block visit 0 .. count-1.
  void forAll(int64_t count, llvm::function_ref<void(Value)> visit) {
    k.loop(k.thread(), k.i64(count), k.threads, visit);
  }
  void forSquare(int64_t height, int64_t width, llvm::function_ref<void(Value, Value)> visit) {
    forAll(height * width, [&](Value i) { visit(k.div(i, k.i64(width)), k.rem(i, k.i64(width))); });
  }
  Value number(double value) { return k.constant(element, value); }
  Value square(Value row, Value column, int64_t width) { return k.add(k.mul(row, k.i64(width)), column); }
  Value get(Value memory, Value at) { return k.load(element, memory, at); }
  Value row(Value memory, Value index, int64_t width) { return k.at(memory, k.mul(index, k.i64(width)), element); }
  Value own(Value workspace, int64_t each) { return row(workspace, matrices.number, each); }
  /// The join over body(i), i below `count`, computed by the whole block; every thread gets the result.
  Value fold(int64_t count, llvm::function_ref<Value(Value)> body, bool isSum);
  Value joined(Value value, bool isSum) {
    return k.reduceGroup({value}, k.threads, /*again=*/true,
                         [&](size_t, Value x, Value y) { return isSum ? k.fadd(x, y) : k.fmax(x, y); })[0];
  }
  Value compare(arith::CmpFPredicate predicate, Value x, Value y) {
    return arith::CmpFOp::create(k.b, predicate, x, y);
  }

  void solveEigh();
  void turnRound(Value round);
  void solveQr();
  void project(Value vector, Value count);
  void replace(Value vector, Value count);

  SimtBuilder &k;
  kernel::MatrixStack matrices;
  Type element;
  int64_t bytes, copiers;
  int64_t size = 0; // of the matrix that is rotated: an even number
  Value a, vectors, sines, taus;
  Value basis, coefficients;
};

Value DecompositionEmitter::fold(int64_t count, llvm::function_ref<Value(Value)> body, bool isSum) {
  Value part = k.loop(k.thread(), k.i64(count), k.threads, ValueRange{number(0)}, [&](Value i, ValueRange so) {
    return SmallVector<Value>{isSum ? k.fadd(so[0], body(i)) : k.fmax(so[0], body(i))};
  })[0];
  return joined(part, isSum);
}

void DecompositionEmitter::emit() {
  matrices.number = k.div(k.workgroup(), k.i64(copiers));
  Value part = k.rem(k.workgroup(), k.i64(copiers));
  k.when(
      matrices.isEnabled(),
      [&] { k.when(k.equal(part, k.i64(0)), [&] { isa<moe::EighOp>(matrices.op) ? solveEigh() : solveQr(); }); },
      [&] {
        Value first = k.add(k.mul(part, k.i64(k.threads)), k.thread());
        auto share = [&](int64_t count, llvm::function_ref<void(Value)> visit) {
          k.loop(first, k.i64(count), copiers * k.threads, visit);
        };
        int64_t width = matrices.width;
        if (matrices.movesPrevious())
          share(matrices.height * width,
                [&](Value i) { matrices.keepPrevious(k.div(i, k.i64(width)), k.rem(i, k.i64(width)), {1, 1}); });
        share(width, [&](Value i) { matrices.storeValue(i, number(0)); });
      });
}

//===--- eigh ---===//

void DecompositionEmitter::turnRound(Value round) {
  int64_t half = size / 2;
  forAll(half, [&](Value j) {
    auto [p, q] = kernel::pairOf(k, round, j, size);
    auto [s, tau] =
        kernel::rotationOf(k, get(a, square(p, p, size)), get(a, square(q, q, size)), get(a, square(p, q, size)));
    k.store(s, sines, j);
    k.store(tau, taus, j);
  });
  k.barrier();
  forSquare(half, half, [&](Value i, Value j) {
    auto [p, q] = kernel::pairOf(k, round, i, size);
    auto [left, right] = kernel::pairOf(k, round, j, size);
    SmallVector<Value> places = {square(p, left, size), square(p, right, size), square(q, left, size),
                                 square(q, right, size)};
    SmallVector<Value> x;
    for (Value place : places)
      x.push_back(get(a, place));
    Value s = get(sines, i), tau = get(taus, i);
    std::tie(x[0], x[2]) = kernel::rotate(k, x[0], x[2], s, tau);
    std::tie(x[1], x[3]) = kernel::rotate(k, x[1], x[3], s, tau);
    s = get(sines, j);
    tau = get(taus, j);
    std::tie(x[0], x[1]) = kernel::rotate(k, x[0], x[1], s, tau);
    std::tie(x[2], x[3]) = kernel::rotate(k, x[2], x[3], s, tau);
    Value isOwn = k.equal(i, j);
    x[1] = k.select(isOwn, number(0), x[1]);
    x[2] = k.select(isOwn, number(0), x[2]);
    for (auto [value, place] : llvm::zip_equal(x, places))
      k.store(value, a, place);
  });
  forSquare(half, size, [&](Value i, Value column) {
    auto [p, q] = kernel::pairOf(k, round, i, size);
    Value first = square(p, column, size), second = square(q, column, size);
    auto [x, y] = kernel::rotate(k, get(vectors, first), get(vectors, second), get(sines, i), get(taus, i));
    k.store(x, vectors, first);
    k.store(y, vectors, second);
  });
  k.barrier();
}

void DecompositionEmitter::solveEigh() {
  int64_t n = matrices.width;
  size = kernel::evenSize(n);
  a = own(k.workspace(matrices.count * size * size * bytes), size * size);
  vectors = own(k.workspace(matrices.count * size * size * bytes), size * size); // eigenvectors in rows
  sines = k.shared(size / 2 * bytes);
  taus = k.shared(size / 2 * bytes);
  Value order = k.shared(n * 4), last = k.i64(n - 1);
  Type i32 = k.b.getI32Type();

  auto inputAt = [&](Value i) {
    Value r = k.div(i, k.i64(size)), c = k.rem(i, k.i64(size));
    Value exists = k.both(k.less(r, k.i64(n)), k.less(c, k.i64(n)));
    return k.select(exists, matrices.load(k.min(r, last), k.min(c, last)), number(0));
  };
  Value most =
      fold(size * size, [&](Value i) -> Value { return math::AbsFOp::create(k.b, inputAt(i)); }, /*isSum=*/false);
  auto [down, up] = kernel::scalesOf(k, most);
  forAll(size * size, [&, down = down](Value i) {
    Value isDiagonal = k.equal(k.div(i, k.i64(size)), k.rem(i, k.i64(size)));
    k.store(k.fmul(inputAt(i), down), a, i);
    k.store(k.select(isDiagonal, number(1), number(0)), vectors, i);
  });
  k.barrier();
  auto squareAt = [&](Value i) { return k.fmul(get(a, i), get(a, i)); };
  double resolution = kernel::resolutionOf(element);
  Value bound = k.fmul(fold(size * size, squareAt, /*isSum=*/true), number(resolution * resolution));
  k.repeat(
      kernel::kMostSweeps,
      [&]() -> Value {
        Value off = fold(
            size * size,
            [&](Value i) {
              Value isDiagonal = k.equal(k.div(i, k.i64(size)), k.rem(i, k.i64(size)));
              return k.select(isDiagonal, number(0), squareAt(i));
            },
            /*isSum=*/true);
        return compare(arith::CmpFPredicate::OGT, off, bound);
      },
      [&] { k.loop(k.i64(0), k.i64(size - 1), 1, [&](Value round) { turnRound(round); }); });

  auto valueAt = [&](Value i) { return get(a, square(i, i, size)); };
  forAll(n, [&, up = up](Value i) {
    Value rank = k.loop(k.i64(0), k.i64(n), 1, ValueRange{k.i64(0)}, [&](Value j, ValueRange so) {
      return SmallVector<Value>{k.add(so[0], kernel::comesBefore(k, valueAt(j), j, valueAt(i), i))};
    })[0];
    k.store(k.toI32(i), order, rank);
    matrices.storeValue(rank, k.fmul(valueAt(i), up));
  });
  k.barrier();
  forSquare(n, n, [&](Value r, Value c) {
    matrices.store(r, c, get(vectors, square(k.toI64(k.load(i32, order, c)), r, size)));
  });
}

//===--- qr ---===//

// A thread always has the same elements of a vector, so only products need a barrier.
void DecompositionEmitter::project(Value vector, Value count) {
  int64_t height = matrices.height, warps = k.threads / SimtBuilder::kWarp;
  k.loop(k.warp(), count, warps, [&](Value i) {
    Value earlier = row(basis, i, height);
    Value part =
        k.loop(k.lane(), k.i64(height), SimtBuilder::kWarp, ValueRange{number(0)}, [&](Value r, ValueRange so) {
          return SmallVector<Value>{k.fadd(so[0], k.fmul(get(earlier, r), get(vector, r)))};
        })[0];
    Value product = k.reduceGroup({part}, SimtBuilder::kWarp, /*again=*/true,
                                  [&](size_t, Value x, Value y) { return k.fadd(x, y); })[0];
    k.when(k.equal(k.lane(), k.i64(0)), [&] { k.store(product, coefficients, i); });
  });
  k.barrier();
  forAll(height, [&](Value r) {
    Value rest = k.loop(k.i64(0), count, 1, ValueRange{get(vector, r)}, [&](Value i, ValueRange so) {
      Value along = k.fmul(get(row(basis, i, height), r), get(coefficients, i));
      return SmallVector<Value>{k.fsub(so[0], along)};
    })[0];
    k.store(rest, vector, r);
  });
  k.barrier();
}

// Replaces the vector by the unit vector with the smallest part in the span; among several, by the first.
void DecompositionEmitter::replace(Value vector, Value count) {
  int64_t height = matrices.height;
  Value none = k.i64(height), largest = number(std::numeric_limits<float>::max());
  SmallVector<Value> best =
      k.loop(k.thread(), k.i64(height), k.threads, ValueRange{largest, none}, [&](Value r, ValueRange so) {
        Value inSpan = k.loop(k.i64(0), count, 1, ValueRange{number(0)}, [&](Value i, ValueRange sum) {
          Value x = get(row(basis, i, height), r);
          return SmallVector<Value>{k.fadd(sum[0], k.fmul(x, x))};
        })[0];
        Value isLess = compare(arith::CmpFPredicate::OLT, inSpan, so[0]);
        return SmallVector<Value>{k.select(isLess, inSpan, so[0]), k.select(isLess, r, so[1])};
      });
  Value least = k.fsub(number(0), joined(k.fsub(number(0), best[0]), /*isSum=*/false));
  Value mine = k.select(compare(arith::CmpFPredicate::OEQ, best[0], least), best[1], none);
  Value farthest =
      k.reduceGroup({mine}, k.threads, /*again=*/true, [&](size_t, Value x, Value y) { return k.min(x, y); })[0];
  forAll(height, [&](Value r) { k.store(k.select(k.equal(r, farthest), number(1), number(0)), vector, r); });
  k.barrier();
}

void DecompositionEmitter::solveQr() {
  int64_t height = matrices.height, width = matrices.width;
  basis = own(k.workspace(matrices.count * height * width * bytes), height * width); // columns as rows
  coefficients = k.shared(width * bytes);
  forSquare(height, width, [&](Value r, Value c) { k.store(matrices.load(r, c), basis, square(c, r, height)); });
  k.barrier();
  k.loop(k.i64(0), k.i64(width), 1, [&](Value j) {
    Value vector = row(basis, j, height);
    auto scale = [&](Value factor) {
      forAll(height, [&](Value r) { k.store(k.fmul(get(vector, r), factor), vector, r); });
      k.barrier();
    };
    auto norm = [&]() -> Value {
      auto squareAt = [&](Value r) { return k.fmul(get(vector, r), get(vector, r)); };
      return math::SqrtOp::create(k.b, fold(height, squareAt, /*isSum=*/true));
    };
    Value most =
        fold(height, [&](Value r) -> Value { return math::AbsFOp::create(k.b, get(vector, r)); }, /*isSum=*/false);
    scale(kernel::scalesOf(k, most).first);
    Value bound = k.fmul(norm(), number(kernel::vanishingPart(element, height)));
    project(vector, j);
    project(vector, j);
    k.when(compare(arith::CmpFPredicate::OLE, norm(), bound), [&] {
      replace(vector, j);
      project(vector, j);
      project(vector, j);
    });
    scale(k.fdiv(number(1), norm()));
  });
  forSquare(height, width, [&](Value r, Value c) { matrices.store(r, c, get(basis, square(c, r, height))); });
}
} // namespace

FailureOr<KernelInfo> emitDecompositionKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                              const GpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = kernel::findDecomposition(body);
  if (!root)
    return failure();
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), DecompositionEmitter::threadsOf(root), target);
  DecompositionEmitter emitter(k, body, root);
  emitter.emit();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = emitter.grid();
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
