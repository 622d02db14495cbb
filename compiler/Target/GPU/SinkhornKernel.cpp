// Template "sinkhorn": in steps that need a plan, one block computes it. In other steps, all blocks of the grid share
// the writing of zeros.
//
// A row of the plan is the softmax of K + log v, so only log v passes from round to round. In a round the warps first
// find the largest entry and the sum of each of their rows; then each lane goes down its columns.
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <cmath>

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;
using kernel::Elementwise;
using kernel::tensorColumns;
using kernel::tensorRows;

constexpr int64_t kMostThreads = 512, kRowsPerWarp = 4;
constexpr int64_t kZerosPerBlock = 16384; // elements
constexpr int64_t kMostShared = 96 * 1024;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

class SinkhornEmitter {
public:
  SinkhornEmitter(moe::SinkhornOp op, const DispatchBody &body, const GpuTarget &target)
      : op(op), body(body), sinks(body.sinks()), rows(tensorRows(op.getScores())),
        columns(tensorColumns(op.getScores())), element(op.getScores().getType().getElementType()),
        share(static_cast<double>(rows) / static_cast<double>(columns)),
        threads(std::min(kMostThreads, SimtBuilder::kWarp * static_cast<int64_t>(llvm::PowerOf2Ceil(
                                                                llvm::divideCeil(rows, kRowsPerWarp))))),
        grid(std::clamp<int64_t>(rows * columns / kZerosPerBlock, 1, target.numSms)) {}

  void emit(SimtBuilder &builder);

private:
  int64_t bytes() const { return element.getIntOrFloatBitWidth() / 8; }
  Value number(double value) { return k->constant(element, value); }
  Value get(Value memory, Value at) { return k->load(element, memory, at); }
  Value scaled(Value row, Value column);
  Value logPlan(Value row, Value column) { return k->fadd(scaled(row, column), get(logV, column)); }
  void put(Value row, Value column, Value value);
  /// The rows of this warp; the columns of this lane, and those of this thread.
  void forRows(llvm::function_ref<void(Value)> visit) { k->loop(k->warp(), k->i64(rows), warps(), visit); }
  void forColumns(llvm::function_ref<void(Value)> visit) {
    k->loop(k->lane(), k->i64(columns), SimtBuilder::kWarp, visit);
  }
  void forOwn(llvm::function_ref<void(Value)> visit) { k->loop(k->thread(), k->i64(columns), threads, visit); }
  int64_t warps() const { return threads / SimtBuilder::kWarp; }
  /// sums[e] = join over all rows of body(row, e): down the rows of a warp, then warp after warp.
  void foldRows(double init, llvm::function_ref<Value(Value, Value)> body,
                llvm::function_ref<Value(Value, Value)> join);
  /// Largest entries of K + log v and reciprocals of the sums of exp relative to them, by row.
  void normaliseRows();
  Value plan(Value row, Value column) {
    return k->fmul(k->exp(k->fsub(logPlan(row, column), get(largest, row))), get(inverse, row));
  }
  void update(double sign);
  void solve();

  moe::SinkhornOp op;
  const DispatchBody &body;
  SmallVector<DispatchBody::Sink> sinks;
  int64_t rows, columns;
  Type element;
  double share; // of a column

public:
  const int64_t threads, grid;

private:
  SimtBuilder *k = nullptr;
  std::optional<Elementwise> here;
  Value logV, sums, parts, largest, inverse;
};

Value SinkhornEmitter::scaled(Value row, Value column) {
  here->moveTo(rows, row, column, {1, 1});
  return k->fmul(here->get(op.getScores()), number(1 / op.getXi().convertToDouble()));
}

void SinkhornEmitter::put(Value row, Value column, Value value) {
  here->moveTo(rows, row, column, {1, 1});
  here->bind(op.getPlan(), value);
  here->store(sinks);
}

void SinkhornEmitter::foldRows(double init, llvm::function_ref<Value(Value, Value)> body,
                               llvm::function_ref<Value(Value, Value)> join) {
  forColumns([&](Value column) {
    Value part = k->loop(k->warp(), k->i64(rows), warps(), ValueRange{number(init)}, [&](Value row, ValueRange so) {
      return SmallVector<Value>{join(so[0], body(row, column))};
    })[0];
    k->store(part, parts, k->add(k->mul(k->warp(), k->i64(columns)), column));
  });
  k->barrier();
  forOwn([&](Value column) {
    Value sum = k->loop(k->i64(1), k->i64(warps()), 1, ValueRange{get(parts, column)}, [&](Value warp, ValueRange so) {
      return SmallVector<Value>{join(so[0], get(parts, k->add(k->mul(warp, k->i64(columns)), column)))};
    })[0];
    k->store(sum, sums, column);
  });
  k->barrier();
}

void SinkhornEmitter::normaliseRows() {
  auto overLanes = [&](Value init, llvm::function_ref<Value(Value)> body,
                       llvm::function_ref<Value(Value, Value)> join) {
    Value own = k->loop(k->lane(), k->i64(columns), SimtBuilder::kWarp, ValueRange{init},
                        [&](Value e, ValueRange so) { return SmallVector<Value>{join(so[0], body(e))}; })[0];
    return k->reduceGroup({own}, SimtBuilder::kWarp, /*again=*/true,
                          [&](size_t, Value a, Value b) { return join(a, b); })[0];
  };
  forRows([&](Value row) {
    Value most = overLanes(
        number(kMinusInfinity), [&](Value e) { return logPlan(row, e); },
        [&](Value a, Value b) { return k->fmax(a, b); });
    Value sum = overLanes(
        number(0), [&](Value e) { return k->exp(k->fsub(logPlan(row, e), most)); },
        [&](Value a, Value b) { return k->fadd(a, b); });
    k->when(k->equal(k->lane(), k->i64(0)), [&] {
      k->store(most, largest, row);
      k->store(k->fdiv(number(1), sum), inverse, row);
    });
  });
  k->barrier();
}

// The new log v is sign * log v + log(wanted sum / sum). The sign is -1 in the first update, where log v holds the
// largest entries of columns.
void SinkhornEmitter::update(double sign) {
  forOwn([&](Value column) {
    Value log = k->fsub(number(std::log(share)), k->log(get(sums, column)));
    k->store(k->fadd(k->fmul(get(logV, column), number(sign)), log), logV, column);
  });
  k->barrier();
}

void SinkhornEmitter::solve() {
  auto plus = [&](Value a, Value b) { return k->fadd(a, b); };
  // With log u = 0, the largest entry of each column comes first, then the sum relative to it. Later sums do not need
  // this: after a row update no entry is above 1, and no sum of a column is below 1/E.
  foldRows(
      kMinusInfinity, [&](Value row, Value e) { return scaled(row, e); },
      [&](Value a, Value b) { return k->fmax(a, b); });
  forOwn([&](Value e) { k->store(get(sums, e), logV, e); });
  k->barrier();
  foldRows(0, [&](Value row, Value e) { return k->exp(k->fsub(scaled(row, e), get(logV, e))); }, plus);
  update(-1);
  double tol = op.getTol().convertToDouble();
  k->repeat(
      static_cast<int64_t>(op.getMaxIters()) - 1,
      [&]() -> Value {
        normaliseRows();
        foldRows(0, [&](Value row, Value e) { return plan(row, e); }, plus);
        Value own = k->loop(k->thread(), k->i64(columns), threads, ValueRange{number(0)}, [&](Value e, ValueRange so) {
          Value off = k->fsub(get(sums, e), number(share));
          return SmallVector<Value>{k->fadd(so[0], k->fmul(off, off))};
        })[0];
        Value error =
            k->reduceGroup({own}, threads, /*again=*/true, [&](size_t, Value a, Value b) { return plus(a, b); })[0];
        return arith::CmpFOp::create(k->b, arith::CmpFPredicate::OGE, error, number(tol * tol));
      },
      [&] { update(1); });
  normaliseRows();
  forRows([&](Value row) { forColumns([&](Value e) { put(row, e, plan(row, e)); }); });
}

void SinkhornEmitter::emit(SimtBuilder &builder) {
  k = &builder;
  here.emplace(*k, body);
  auto memory = [&](int64_t count) {
    return count * bytes() <= kMostShared / 2 ? k->shared(count * bytes()) : k->workspace(count * bytes());
  };
  logV = memory(columns);
  sums = memory(columns);
  parts = memory(warps() * columns);
  largest = k->workspace(rows * bytes());
  inverse = k->workspace(rows * bytes());
  Value isFirst = k->equal(k->workgroup(), k->i64(0));
  k->when(
      kernel::isSet(*k, *here, op.getEnabled()), [&] { k->when(isFirst, [&] { solve(); }); },
      [&] {
        Value first = k->add(k->mul(k->workgroup(), k->i64(threads)), k->thread());
        k->loop(first, k->i64(rows * columns), grid * threads,
                [&](Value i) { put(k->div(i, k->i64(columns)), k->rem(i, k->i64(columns)), number(0)); });
      });
}
} // namespace

FailureOr<KernelInfo> emitSinkhornKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                         const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::SinkhornOp>(findRoot(body));
  if (!op || failed(checkRootBody(body, op, /*allowMaps=*/false)) || failed(checkRootOperands(body, op)))
    return failure();
  SinkhornEmitter emitter(op, body, target);
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), emitter.threads, target);
  emitter.emit(k);
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = emitter.grid;
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
