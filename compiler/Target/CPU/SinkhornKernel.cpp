// Template "sinkhorn": one workgroup. A row of the plan is the softmax of K + log v, so only log v is kept. Each round
// goes over the rows once and adds them up by column.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <cmath>

using namespace mlir;

namespace moec::cpu {

namespace {
using Piece = KernelBuilder::Piece;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

class SinkhornEmitter {
public:
  SinkhornEmitter(KernelBuilder &k, DispatchBody &body, moe::SinkhornOp op)
      : k(k), op(op), here(k, body), sinks(body.sinks()), rows(tensorRows(op.getScores())),
        columns(tensorColumns(op.getScores())), element(op.getScores().getType().getElementType()),
        f64(k.b.getF64Type()), share(static_cast<double>(rows) / static_cast<double>(columns)) {}

  void emit() {
    k.when(
        isSet(k, here, op.getEnabled()), [&] { solve(); },
        [&] {
          forRows([&](Value row) {
            forColumns([&](Value column, Piece piece) { put(row, column, piece, splat(element, 0, piece)); });
          });
        });
  }

private:
  Value splat(Type type, double value, Piece piece) {
    return k.constant(piece.lanes == 1 ? type : Type(VectorType::get(piece.lanes, type)), value);
  }
  void forRows(llvm::function_ref<void(Value)> visit) { k.loop(k.i64(0), k.i64(rows), 1, visit); }
  void forColumns(llvm::function_ref<void(Value, Piece)> visit) { k.loopPieces(element, columns, visit); }
  /// K at this place.
  Value scaled(Value row, Value column, Piece piece) {
    here.moveTo(rows, row, column, piece);
    return k.fmul(here.get(op.getScores()), splat(element, 1 / op.getXi().convertToDouble(), piece));
  }
  void put(Value row, Value column, Piece piece, Value value) {
    here.moveTo(rows, row, column, piece);
    here.bind(op.getPlan(), value);
    here.store(sinks);
  }
  /// sums[e] += value, in f64: there may be many rows.
  void addToSum(Value column, Piece piece, Value value) {
    k.store(k.fadd(k.load(f64, sums, column, piece), k.convert(value, f64)), sums, column, piece);
  }
  /// One row of the plan, by pieces.
  void plan(Value row, llvm::function_ref<void(Value, Piece, Value)> use);
  void solve();

  KernelBuilder &k;
  moe::SinkhornOp op;
  Elementwise here;
  SmallVector<DispatchBody::Sink> sinks;
  int64_t rows, columns;
  Type element, f64;
  double share; // of a column
  Value logV, sums, buffer;
};

void SinkhornEmitter::plan(Value row, llvm::function_ref<void(Value, Piece, Value)> use) {
  forColumns([&](Value column, Piece piece) {
    Value x = k.fadd(scaled(row, column, piece), k.load(element, logV, column, piece));
    k.store(x, buffer, column, piece);
  });
  auto load = [&](Value column, int64_t lanes) { return k.load(element, buffer, column, lanes); };
  Value most = k.reduceVectors(
      element, columns, k.constant(element, kMinusInfinity),
      [&](Value column, int64_t lanes, Value so) { return k.fmax(so, load(column, lanes)); },
      [&](Value a, Value b) { return k.fmax(a, b); }, [&](Value v) { return k.maxLanes(v); });
  forColumns([&](Value column, Piece piece) {
    Value x = k.load(element, buffer, column, piece);
    k.store(k.exp(k.fsub(x, k.splat(most, piece.lanes))), buffer, column, piece);
  });
  Value total = k.reduceVectors(
      element, columns, k.constant(element, 0),
      [&](Value column, int64_t lanes, Value so) { return k.fadd(so, load(column, lanes)); },
      [&](Value a, Value b) { return k.fadd(a, b); }, [&](Value v) { return k.sumLanes(v); });
  Value inverse = k.fdiv(k.constant(element, 1), total);
  forColumns([&](Value column, Piece piece) {
    use(column, piece, k.fmul(k.load(element, buffer, column, piece), k.splat(inverse, piece.lanes)));
  });
}

void SinkhornEmitter::solve() {
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  logV = k.scratch(columns * bytes);
  sums = k.scratch(columns * 8);
  buffer = k.scratch(columns * bytes);
  // log u = 0: the largest of each column, then the sum relative to it.
  forColumns([&](Value column, Piece piece) { k.store(splat(element, kMinusInfinity, piece), logV, column, piece); });
  forRows([&](Value row) {
    forColumns([&](Value column, Piece piece) {
      Value so = k.load(element, logV, column, piece);
      k.store(k.fmax(so, scaled(row, column, piece)), logV, column, piece);
    });
  });
  k.fillZero(sums, f64, columns);
  forRows([&](Value row) {
    forColumns([&](Value column, Piece piece) {
      addToSum(column, piece, k.exp(k.fsub(scaled(row, column, piece), k.load(element, logV, column, piece))));
    });
  });
  // The new log v is sign * log v + log(wanted sum / sum). The sign is -1 in the first update, where log v holds the
  // largest entries of columns. Later, after a row update, no entry is above 1 and no sum of a column is below 1/E, so
  // the changes are never large.
  auto update = [&](double sign) {
    forColumns([&](Value column, Piece piece) {
      Value so = k.load(element, logV, column, piece);
      Value log = k.log(k.convert(k.load(f64, sums, column, piece), element));
      Value from = k.fmul(so, splat(element, sign, piece));
      k.store(k.fadd(from, k.fsub(splat(element, std::log(share), piece), log)), logV, column, piece);
    });
  };
  update(-1);
  double tol = op.getTol().convertToDouble();
  k.repeat(
      static_cast<int64_t>(op.getMaxIters()) - 1,
      [&]() -> Value {
        k.fillZero(sums, f64, columns);
        forRows([&](Value row) {
          plan(row, [&](Value column, Piece piece, Value value) { addToSum(column, piece, value); });
        });
        Value error = k.loop(k.i64(0), k.i64(columns), 1, ValueRange{k.constant(f64, 0)}, [&](Value e, ValueRange so) {
          Value off = k.fsub(k.load(f64, sums, e), k.constant(f64, share));
          return SmallVector<Value>{k.fma(off, off, so[0])};
        })[0];
        return arith::CmpFOp::create(k.b, arith::CmpFPredicate::OGE, error, k.constant(f64, tol * tol));
      },
      [&] { update(1); });
  forRows(
      [&](Value row) { plan(row, [&](Value column, Piece piece, Value value) { put(row, column, piece, value); }); });
}
} // namespace

FailureOr<KernelInfo> emitSinkhornKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                         const CpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::SinkhornOp>(findRoot(body));
  if (!op || failed(checkRootBody(body, op, /*allowMaps=*/false)) || failed(checkRootOperands(body, op)))
    return failure();
  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  SinkhornEmitter(k, body, op).emit();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
