// Template "quantize_columns": a workgroup owns a vector of columns of one matrix and goes down it twice, first for
// their largest magnitudes, then to divide, round and store them as rows.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/Kernel/Elementwise.h"
#include "dialects/Moe/IR/Quantization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace moec::cpu {

FailureOr<KernelInfo> emitQuantizationKernel(moe::DispatchOp dispatch, ModuleOp module, StringRef symbol,
                                             const CpuTarget &target) {
  DispatchBody body(dispatch);
  auto op = cast_if_present<moe::QuantizeColumnsOp>(findRoot(body));
  if (!op || failed(checkRootBody(body, op, /*allowMaps=*/false)))
    return failure();
  auto input = body.paramOf(op.getInput());
  if (!input)
    return dispatch.emitOpError("has no template: quantises columns of what it computes");
  ArrayRef<int64_t> shape = op.getInput().getType().getShape();
  int64_t matrices = shape[0], height = shape[1], width = shape[2];
  Type element = op.getInput().getType().getElementType();

  KernelBuilder k(module, dispatch.getLoc(), symbol, body.numParams(), target);
  int64_t lanes = k.lanes(element), blocks = llvm::divideCeil(width, lanes);
  Type type = VectorType::get(lanes, element);
  Value matrix = k.div(k.workgroup(), k.i64(blocks)), block = k.rem(k.workgroup(), k.i64(blocks));
  Value column = k.mul(block, k.i64(lanes)), count = k.min(k.sub(k.i64(width), column), k.i64(lanes));
  auto load = [&](Value row) {
    Value at = k.add(k.mul(k.add(k.mul(matrix, k.i64(height)), row), k.i64(width)), column);
    return width % lanes == 0 ? k.load(element, k.param(*input), at, lanes)
                              : k.loadPart(element, k.param(*input), at, lanes, count);
  };
  Value largest = k.loop(k.i64(0), k.i64(height), 1, k.constant(type, 0), [&](Value row, ValueRange so) {
    return SmallVector<Value>{k.fmax(so[0], math::AbsFOp::create(k.b, load(row)))};
  })[0];
  moe::QuantizationScale scale = moe::buildQuantizationScale(k.b, dispatch.getLoc(), largest);
  Value first = k.add(k.mul(matrix, k.i64(width)), column); // the first row of the transposed matrix here
  SmallVector<unsigned> rows;
  for (const DispatchBody::Sink &sink : body.sinks()) {
    if (sink.value == op.getScale())
      k.storePart(scale.scale, k.param(sink.param), first, count);
    else
      rows.push_back(sink.param);
  }
  k.loop(k.i64(0), k.i64(height), 1, [&](Value row) {
    Value rounded = moe::buildRounding(k.b, dispatch.getLoc(), k.fmul(load(row), scale.inverse));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      auto store = [&] {
        Value at = k.add(k.mul(k.add(first, k.i64(lane)), k.i64(height)), row);
        for (unsigned param : rows)
          k.store(vector::ExtractOp::create(k.b, rounded, lane), k.param(param), at);
      };
      width % lanes == 0 ? store() : k.when(k.less(k.i64(lane), count), store);
    }
  });
  k.finish();

  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = matrices * blocks;
  info.flops = 4.0 * static_cast<double>(matrices * height) * static_cast<double>(width);
  info.bytes = body.bytes();
  info.scratchBytes = k.scratchBytes();
  return info;
}

} // namespace moec::cpu
