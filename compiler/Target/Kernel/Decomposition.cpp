#include "compiler/Target/Kernel/Decomposition.h"

#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;

namespace moec::kernel {

namespace {
// Both ops have (input, previous, enabled) and the matrices as their first result.
constexpr unsigned kInput = 0, kPrevious = 1, kEnabled = 2;

RankedTensorType inputType(Operation *op) { return cast<RankedTensorType>(op->getOperand(kInput).getType()); }
} // namespace

Operation *findDecomposition(const DispatchBody &body) {
  Operation *root = findRoot(body);
  bool fits =
      root && succeeded(checkRootBody(body, root, /*allowMaps=*/false)) && succeeded(checkRootOperands(body, root));
  return fits ? root : nullptr;
}

MatrixStack::MatrixStack(KernelBuilder &k, const DispatchBody &body, Operation *op)
    : op(op), count(inputType(op).getDimSize(0)), height(inputType(op).getDimSize(1)),
      width(inputType(op).getDimSize(2)), element(inputType(op).getElementType()), k(k), here(k, body) {
  auto previous = body.paramOf(op->getOperand(kPrevious));
  for (const DispatchBody::Sink &sink : body.sinks()) {
    if (sink.value != op->getResult(0)) {
      values.push_back(sink);
      continue;
    }
    sinks.push_back(sink);
    if (sink.param != previous)
      elsewhere.push_back(sink);
  }
}

void MatrixStack::moveTo(Value row, Value column, Piece piece) {
  here.moveTo(count * height, k.add(k.mul(number, k.i64(height)), row), column, piece);
}

Value MatrixStack::isEnabled() { return isSet(k, here, op->getOperand(kEnabled)); }

Value MatrixStack::load(Value row, Value column) {
  moveTo(row, column, {1, 1});
  return here.get(op->getOperand(kInput));
}

void MatrixStack::store(Value row, Value column, Value value) {
  moveTo(row, column, {1, 1});
  here.bind(op->getResult(0), value);
  here.store(sinks);
}

void MatrixStack::storeValue(Value place, Value value) {
  if (values.empty())
    return;
  here.moveTo(count, number, place, {1, 1});
  here.bind(op->getResult(1), value);
  here.store(values);
}

void MatrixStack::keepPrevious(Value row, Value column, Piece piece) {
  moveTo(row, column, piece);
  here.bind(op->getResult(0), here.get(op->getOperand(kPrevious)));
  here.store(elsewhere);
}

//===--- Jacobi ---===//

std::pair<Value, Value> pairOf(KernelBuilder &k, Value round, Value j, int64_t size) {
  Value others = k.i64(size - 1);
  Value sum = k.add(round, j), difference = k.sub(round, j);
  Value first = k.select(k.less(sum, others), sum, k.sub(sum, others));
  Value second = k.select(k.less(difference, k.i64(0)), k.add(difference, others), difference);
  return {first, k.select(k.equal(j, k.i64(0)), others, second)};
}

// There are few rotations, so f64 is cheap; s and tau then have one rounding error each, and errors do not accumulate.
std::pair<Value, Value> rotationOf(KernelBuilder &k, Value app, Value aqq, Value apq) {
  Type element = apq.getType(), f64 = k.b.getF64Type();
  app = k.convert(app, f64);
  aqq = k.convert(aqq, f64);
  apq = k.convert(apq, f64);
  Value zero = k.constant(f64, 0), one = k.constant(f64, 1);
  Value ratio = k.fdiv(k.fsub(aqq, app), k.fadd(apq, apq)); // cot of twice the angle
  Value root = math::SqrtOp::create(k.b, k.fadd(k.fmul(ratio, ratio), one));
  Value size = k.fdiv(one, k.fadd(math::AbsFOp::create(k.b, ratio), root));
  Value isNegative = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OLT, ratio, zero);
  Value tangent = k.select(isNegative, k.fsub(zero, size), size);
  // The matrix was scaled so that its largest element is 1.
  Value least = k.constant(f64, 1e-3 * resolutionOf(element) * resolutionOf(element));
  Value isNothing = arith::CmpFOp::create(k.b, arith::CmpFPredicate::OLE, math::AbsFOp::create(k.b, apq), least);
  tangent = k.select(isNothing, zero, tangent);
  Value cosine = k.fdiv(one, math::SqrtOp::create(k.b, k.fadd(k.fmul(tangent, tangent), one)));
  Value sine = k.fmul(tangent, cosine);
  return {k.convert(sine, element), k.convert(k.fdiv(sine, k.fadd(one, cosine)), element)};
}

std::pair<Value, Value> rotate(KernelBuilder &k, Value x, Value y, Value sine, Value tau) {
  Value first = k.fsub(x, k.fmul(sine, k.fadd(y, k.fmul(tau, x))));
  Value second = k.fadd(y, k.fmul(sine, k.fsub(x, k.fmul(tau, y))));
  return {first, second};
}

Value comesBefore(KernelBuilder &k, Value a, Value i, Value b, Value j) {
  Value keyA = k.orderedKey(a), keyB = k.orderedKey(b);
  Value isTie = k.both(k.equal(keyA, keyB), k.less(i, j));
  return k.select(isTie, k.i64(1), k.select(k.less(keyB, keyA), k.i64(1), k.i64(0)));
}

//===--- Sizes of numbers ---===//

std::pair<Value, Value> scalesOf(KernelBuilder &k, Value largest) {
  Type type = largest.getType();
  Value up = k.fmax(largest, k.constant(type, type.isF64() ? 1e-290 : 1e-30));
  return {k.fdiv(k.constant(type, 1), up), up};
}

double resolutionOf(Type element) { return element.isF64() ? 0x1p-52 : 0x1p-23; }

double vanishingPart(Type element, int64_t height) {
  return 4 * std::sqrt(static_cast<double>(height)) * resolutionOf(element);
}

} // namespace moec::kernel
