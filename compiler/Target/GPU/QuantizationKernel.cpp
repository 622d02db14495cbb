// Template "quantize_columns": a block of 32 x 8 threads owns 32 columns of one matrix and goes down them twice.
//
//   1. the largest magnitude of each column: a thread takes every 8th row, then eight threads join in shared memory
//   2. tiles of 32 or 128 rows: divided and rounded into shared memory, a column's bytes side by side, then stored by
//      rows of the result
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "dialects/Moe/IR/Quantization.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::gpu {

namespace {
using kernel::DispatchBody;
constexpr int64_t kColumns = 32, kRows = 8; // of threads
constexpr int64_t kAhead = 4;               // rows of a thread that are loaded at the same time

class QuantizationEmitter {
public:
  QuantizationEmitter(SimtBuilder &k, const DispatchBody &body, moe::QuantizeColumnsOp op, unsigned input)
      : k(k), body(body), op(op), input(input), element(op.getInput().getType().getElementType()),
        height(op.getInput().getType().getDimSize(1)), width(op.getInput().getType().getDimSize(2)) {}

  int64_t blocks() const { return llvm::divideCeil(width, kColumns); }
  void emit();

private:
  // For rows and columns that do not exist, existing elements are read; their results are not stored.
  Value load(Value row) {
    Value at = k.add(k.mul(matrix, k.i64(height)), k.min(row, k.i64(height - 1)));
    at = k.add(k.mul(at, k.i64(width)), k.min(column, k.i64(width - 1)));
    return k.convert(k.load(body.storageOf(input), k.param(input), at), element);
  }
  Value findLargest();
  void storeRows(Value inverse, ArrayRef<unsigned> params);

  SimtBuilder &k;
  const DispatchBody &body;
  moe::QuantizeColumnsOp op;
  unsigned input;
  Type element;
  int64_t height, width;
  Value across, down; // of this thread
  Value matrix, firstColumn, column;
};

Value QuantizationEmitter::findLargest() {
  auto largerOf = [&](Value so, Value value) { return k.fmax(so, math::AbsFOp::create(k.b, value)); };
  Value largest =
      k.loop(k.i64(0), k.i64(height), kAhead * kRows, k.constant(element, 0), [&](Value row, ValueRange so) {
        SmallVector<Value> loaded;
        for (int64_t i = 0; i < kAhead; ++i)
          loaded.push_back(load(k.add(row, k.add(down, k.i64(i * kRows)))));
        Value here = so[0];
        for (Value value : loaded)
          here = largerOf(here, value);
        return SmallVector<Value>{here};
      })[0];
  Value shared = k.shared(kRows * kColumns * element.getIntOrFloatBitWidth() / 8);
  k.store(largest, shared, k.thread());
  k.barrier();
  for (int64_t row = 0; row < kRows; ++row) {
    Value other = k.load(element, shared, k.add(across, k.i64(row * kColumns)));
    largest = row ? k.fmax(largest, other) : other;
  }
  return largest;
}

void QuantizationEmitter::storeRows(Value inverse, ArrayRef<unsigned> params) {
  int64_t lanes = height % 4 == 0 ? 4 : 1, rows = kColumns * lanes, stride = rows + 4;
  Type byte = Float8E4M3FNType::get(k.b.getContext());
  Value tile = k.shared(kColumns * stride);
  k.loop(k.i64(0), k.i64(height), rows, [&](Value first) {
    for (int64_t i = 0; i < rows; i += kAhead * kRows) {
      SmallVector<Value> places, loaded;
      for (int64_t j = 0; j < std::min(kAhead, (rows - i) / kRows); ++j) {
        places.push_back(k.add(down, k.i64(i + j * kRows)));
        loaded.push_back(load(k.add(first, places.back())));
      }
      for (auto [place, value] : llvm::zip_equal(places, loaded)) {
        Value rounded = moe::buildRounding(k.b, op.getLoc(), k.fmul(value, inverse));
        k.store(k.convert(rounded, byte), tile, k.add(k.mul(across, k.i64(stride)), place));
      }
    }
    k.barrier();
    for (int64_t i = 0; i < kColumns; i += kRows) {
      Value own = k.add(down, k.i64(i)), place = k.mul(across, k.i64(lanes)), row = k.add(first, place);
      Value line = k.add(firstColumn, own);
      k.when(k.both(k.less(line, k.i64(width)), k.less(row, k.i64(height))), [&] {
        Value packed = k.loadAligned(byte, tile, k.add(k.mul(own, k.i64(stride)), place), lanes, lanes);
        Value at = k.add(k.mul(k.add(k.mul(matrix, k.i64(width)), line), k.i64(height)), row);
        for (unsigned param : params) {
          Type storage = body.storageOf(param);
          Value value = storage == byte ? packed : k.convert(k.convert(packed, element), storage);
          k.storeAligned(value, k.param(param), at, lanes * storage.getIntOrFloatBitWidth() / 8);
        }
      });
    }
    k.barrier(); // the tile may be written again
  });
}

void QuantizationEmitter::emit() {
  across = k.rem(k.thread(), k.i64(kColumns));
  down = k.div(k.thread(), k.i64(kColumns));
  matrix = k.div(k.workgroup(), k.i64(blocks()));
  firstColumn = k.mul(k.rem(k.workgroup(), k.i64(blocks())), k.i64(kColumns));
  column = k.add(firstColumn, across);
  moe::QuantizationScale scale = moe::buildQuantizationScale(k.b, op.getLoc(), findLargest());
  SmallVector<unsigned> rows, scales;
  for (const DispatchBody::Sink &sink : body.sinks())
    (sink.value == op.getScale() ? scales : rows).push_back(sink.param);
  k.when(k.both(k.equal(down, k.i64(0)), k.less(column, k.i64(width))), [&] {
    for (unsigned param : scales)
      k.store(k.convert(scale.scale, body.storageOf(param)), k.param(param),
              k.add(k.mul(matrix, k.i64(width)), column));
  });
  storeRows(scale.inverse, rows);
}
} // namespace

FailureOr<KernelInfo> emitQuantizationKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                             const GpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::QuantizeColumnsOp>(findRoot(body));
  if (!op || failed(checkRootBody(body, op, /*allowMaps=*/false)))
    return failure();
  auto input = body.paramOf(op.getInput());
  if (!input)
    return dispatch.emitOpError("has no template: quantises columns of what it computes");
  SimtBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), kColumns * kRows, target);
  QuantizationEmitter emitter(k, body, op, *input);
  emitter.emit();
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = op.getInput().getType().getDimSize(0) * emitter.blocks();
  info.flops = 4.0 * static_cast<double>(op.getInput().getType().getNumElements());
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  info.launch = k.launch();
  return info;
}

} // namespace moec::gpu
