// Templates "eigh" and "qr": one workgroup per matrix, in the element type. Scratch holds the matrix and the vectors.
// Vectors that are rotated or projected are rows there, so that the inner loops run over adjacent elements.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/Kernel/Decomposition.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::cpu {

namespace {
using Piece = KernelBuilder::Piece;

/// Code shared by both ops: matrix number `workgroup` of a stack.
class DecompositionEmitter {
public:
  DecompositionEmitter(KernelBuilder &k, DispatchBody &body, Operation *op)
      : k(k), matrices(k, body, op), element(matrices.element), bytes(element.getIntOrFloatBitWidth() / 8) {}

  void emit() {
    matrices.number = k.workgroup();
    k.when(
        matrices.isEnabled(), [&] { isa<moe::EighOp>(matrices.op) ? solveEigh() : solveQr(); },
        [&] {
          if (matrices.movesPrevious())
            rows(matrices.height, [&](Value row) {
              k.loopPieces(element, matrices.width,
                           [&](Value column, Piece piece) { matrices.keepPrevious(row, column, piece); });
            });
          rows(matrices.width, [&](Value i) { matrices.storeValue(i, number(0)); });
        });
  }

private:
  void rows(int64_t count, llvm::function_ref<void(Value)> visit) { k.loop(k.i64(0), k.i64(count), 1, visit); }
  Value number(double value) { return k.constant(element, value); }
  Value square(Value row, Value column, int64_t width) { return k.add(k.mul(row, k.i64(width)), column); }
  /// Element `at` of scratch.
  Value get(Value memory, Value at) { return k.load(element, memory, at); }
  Value row(Value memory, Value index, int64_t width) { return k.at(memory, k.mul(index, k.i64(width)), element); }
  /// join over body(column, lanes) of a row of `width`.
  Value fold(int64_t width, double init, llvm::function_ref<Value(Value, int64_t)> body, bool isSum);
  Value dot(Value a, Value b, int64_t width);
  Value largest(Value a, int64_t count);

  //===--- eigh ---===//
  void solveEigh();
  void sweep();
  void rotateRows(Value memory, Value p, Value q, Value s, Value tau);

  //===--- qr ---===//
  void solveQr();
  void project(Value vector, Value count);

  KernelBuilder &k;
  kernel::MatrixStack matrices;
  Type element;
  int64_t bytes;
  int64_t size = 0; // of the matrix that is rotated: an even number
  Value a, vectors, sines, taus, firsts, seconds;
  Value basis, coefficients;
};

Value DecompositionEmitter::fold(int64_t width, double init, llvm::function_ref<Value(Value, int64_t)> body,
                                 bool isSum) {
  auto join = [&](Value x, Value y) { return isSum ? k.fadd(x, y) : k.fmax(x, y); };
  return k.reduceVectors(
      element, width, number(init), [&](Value i, int64_t lanes, Value so) { return join(so, body(i, lanes)); }, join,
      [&](Value v) { return isSum ? k.sumLanes(v) : k.maxLanes(v); });
}

Value DecompositionEmitter::dot(Value x, Value y, int64_t width) {
  return fold(
      width, 0,
      [&](Value i, int64_t lanes) { return k.fmul(k.load(element, x, i, lanes), k.load(element, y, i, lanes)); },
      /*isSum=*/true);
}

Value DecompositionEmitter::largest(Value x, int64_t count) {
  return fold(
      count, 0,
      [&](Value i, int64_t lanes) -> Value { return math::AbsFOp::create(k.b, k.load(element, x, i, lanes)); },
      /*isSum=*/false);
}

//===--- eigh ---===//

void DecompositionEmitter::rotateRows(Value memory, Value p, Value q, Value s, Value tau) {
  Value first = row(memory, p, size), second = row(memory, q, size);
  k.loopPieces(element, size, [&](Value i, Piece piece) {
    auto [x, y] = kernel::rotate(k, k.load(element, first, i, piece), k.load(element, second, i, piece),
                                 k.splat(s, piece.lanes), k.splat(tau, piece.lanes));
    k.store(x, first, i, piece);
    k.store(y, second, i, piece);
  });
}

// size - 1 rounds of size/2 disjoint pairs, so every pair comes once.
void DecompositionEmitter::sweep() {
  int64_t half = size / 2;
  Type integer = k.b.getI64Type();
  rows(size - 1, [&](Value round) {
    rows(half, [&](Value j) {
      auto [p, q] = kernel::pairOf(k, round, j, size);
      auto [s, tau] =
          kernel::rotationOf(k, get(a, square(p, p, size)), get(a, square(q, q, size)), get(a, square(p, q, size)));
      k.store(p, firsts, j);
      k.store(q, seconds, j);
      k.store(s, sines, j);
      k.store(tau, taus, j);
    });
    auto forPairs = [&](llvm::function_ref<void(Value, Value, Value, Value)> visit) {
      rows(half, [&](Value j) {
        visit(k.load(integer, firsts, j), k.load(integer, seconds, j), get(sines, j), get(taus, j));
      });
    };
    forPairs([&](Value p, Value q, Value s, Value tau) {
      rotateRows(a, p, q, s, tau);
      rotateRows(vectors, p, q, s, tau);
    });
    rows(size, [&](Value r) {
      Value own = row(a, r, size);
      forPairs([&](Value p, Value q, Value s, Value tau) {
        auto [x, y] = kernel::rotate(k, get(own, p), get(own, q), s, tau);
        k.store(x, own, p);
        k.store(y, own, q);
      });
    });
    forPairs([&](Value p, Value q, Value, Value) {
      k.store(number(0), a, square(p, q, size));
      k.store(number(0), a, square(q, p, size));
    });
  });
}

void DecompositionEmitter::solveEigh() {
  int64_t n = matrices.width;
  size = kernel::evenSize(n);
  a = k.scratch(size * size * bytes);
  vectors = k.scratch(size * size * bytes); // eigenvectors in rows
  sines = k.scratch(size / 2 * bytes);
  taus = k.scratch(size / 2 * bytes);
  firsts = k.scratch(size / 2 * 8);
  seconds = k.scratch(size / 2 * 8);
  Value order = k.scratch(n * 8);
  k.fillZero(a, element, size * size);
  k.fillZero(vectors, element, size * size);
  rows(n, [&](Value r) {
    rows(n, [&](Value c) { k.store(matrices.load(r, c), a, square(r, c, size)); });
    k.store(number(1), vectors, square(r, r, size));
  });
  auto [down, up] = kernel::scalesOf(k, largest(a, size * size));
  k.loopPieces(element, size * size, [&, down = down](Value i, Piece piece) {
    k.store(k.fmul(k.load(element, a, i, piece), k.splat(down, piece.lanes)), a, i, piece);
  });
  Value bound = k.fmul(dot(a, a, size * size), number(kernel::resolutionOf(element) * kernel::resolutionOf(element)));
  k.repeat(
      kernel::kMostSweeps,
      [&]() -> Value {
        Value off = k.loop(k.i64(0), k.i64(size), 1, ValueRange{number(0)}, [&](Value r, ValueRange so) {
          Value own = row(a, r, size);
          Value sum = fold(
              size, 0,
              [&](Value i, int64_t lanes) {
                Value x = k.load(element, own, i, lanes), column = k.add(k.splat(i, lanes), k.iota(lanes));
                Value isDiagonal = k.equal(column, k.splat(r, lanes));
                return k.select(isDiagonal, k.splat(number(0), lanes), k.fmul(x, x));
              },
              /*isSum=*/true);
          return SmallVector<Value>{k.fadd(so[0], sum)};
        })[0];
        return arith::CmpFOp::create(k.b, arith::CmpFPredicate::OGT, off, bound);
      },
      [&] { sweep(); });

  auto valueAt = [&](Value i) { return get(a, square(i, i, size)); };
  rows(n, [&](Value i) {
    Value rank = k.loop(k.i64(0), k.i64(n), 1, ValueRange{k.i64(0)}, [&](Value j, ValueRange so) {
      return SmallVector<Value>{k.add(so[0], kernel::comesBefore(k, valueAt(j), j, valueAt(i), i))};
    })[0];
    k.store(i, order, rank);
    matrices.storeValue(rank, k.fmul(valueAt(i), up));
  });
  rows(n, [&](Value r) {
    rows(n, [&](Value c) { matrices.store(r, c, get(vectors, square(k.load(k.b.getI64Type(), order, c), r, size))); });
  });
}

//===--- qr ---===//

/// Subtracts from `vector` its projections on the first `count` vectors of the basis.
void DecompositionEmitter::project(Value vector, Value count) {
  int64_t height = matrices.height;
  k.loop(k.i64(0), count, 1, [&](Value i) { k.store(dot(row(basis, i, height), vector, height), coefficients, i); });
  k.loopPieces(element, height, [&](Value r, Piece piece) {
    Value rest = k.loop(k.i64(0), count, 1, ValueRange{k.load(element, vector, r, piece)}, [&](Value i, ValueRange so) {
      Value along =
          k.fmul(k.load(element, row(basis, i, height), r, piece), k.splat(get(coefficients, i), piece.lanes));
      return SmallVector<Value>{k.fsub(so[0], along)};
    })[0];
    k.store(rest, vector, r, piece);
  });
}

void DecompositionEmitter::solveQr() {
  int64_t height = matrices.height, width = matrices.width;
  basis = k.scratch(height * width * bytes); // columns as rows
  coefficients = k.scratch(width * bytes);
  Value distances = k.scratch(height * bytes);
  rows(height,
       [&](Value r) { rows(width, [&](Value c) { k.store(matrices.load(r, c), basis, square(c, r, height)); }); });
  rows(width, [&](Value j) {
    Value own = row(basis, j, height);
    auto scale = [&](Value factor) {
      k.loopPieces(element, height, [&](Value r, Piece piece) {
        k.store(k.fmul(k.load(element, own, r, piece), k.splat(factor, piece.lanes)), own, r, piece);
      });
    };
    auto norm = [&]() -> Value { return math::SqrtOp::create(k.b, dot(own, own, height)); };
    scale(kernel::scalesOf(k, largest(own, height)).first);
    Value before = norm();
    project(own, j);
    project(own, j);
    Value bound = k.fmul(before, number(kernel::vanishingPart(element, height)));
    Value isGone = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OLE, norm(), bound);
    k.when(isGone, [&] {
      // The squared length of each unit vector's projection on the span.
      k.loopPieces(element, height, [&](Value r, Piece piece) {
        Value zero = k.splat(number(0), piece.lanes);
        Value sum = k.loop(k.i64(0), j, 1, ValueRange{zero}, [&](Value i, ValueRange so) {
          Value x = k.load(element, row(basis, i, height), r, piece);
          return SmallVector<Value>{k.fadd(so[0], k.fmul(x, x))};
        })[0];
        k.store(sum, distances, r, piece);
      });
      Value farthest = k.loop(k.i64(1), k.i64(height), 1, ValueRange{k.i64(0)}, [&](Value r, ValueRange so) {
        Value isLess = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OLT, get(distances, r), get(distances, so[0]));
        return SmallVector<Value>{k.select(isLess, r, so[0])};
      })[0];
      k.fillZero(own, element, height);
      k.store(number(1), own, farthest);
      project(own, j);
      project(own, j);
    });
    scale(k.fdiv(number(1), norm()));
  });
  rows(height, [&](Value r) { rows(width, [&](Value c) { matrices.store(r, c, get(basis, square(c, r, height))); }); });
}
} // namespace

FailureOr<KernelInfo> emitDecompositionKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                              const CpuTarget &target) {
  DispatchBody body(dispatch);
  Operation *root = kernel::findDecomposition(body);
  if (!root)
    return failure();
  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  DecompositionEmitter(k, body, root).emit();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = cast<RankedTensorType>(root->getOperand(0).getType()).getDimSize(0);
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
