#include "compiler/Target/Kernel/RandomNormal.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "runtime/base/Philox.h"
#include <numbers>

using namespace mlir;

namespace moec::kernel {

Value randomCopy(KernelBuilder &k, const DispatchBody &body, moe::RandomNormalOp op) {
  auto index = dyn_cast_if_present<BlockArgument>(op.getIndex());
  if (!index)
    return k.i64(0);
  Value base, place;
  for (auto [i, param] : llvm::enumerate(body.params)) {
    if (param.kind == moe::DispatchParam::Kind::Base)
      base = k.param(i);
    if (param.kind == moe::DispatchParam::Kind::Index && param.copy == index)
      place = k.param(i);
  }
  return k.sub(LLVM::PtrToIntOp::create(k.b, k.b.getI64Type(), place),
               LLVM::PtrToIntOp::create(k.b, k.b.getI64Type(), base));
}

namespace {

/// Words of rt::philox4x32 as i64 that stay below 2^32.
struct PhiloxValues {
  KernelBuilder &k;

  Value product(Value word, uint32_t factor) const { return k.mul(word, k.i64(factor)); }
  Value low(Value a) const { return arith::AndIOp::create(k.b, a, k.i64(0xFFFFFFFF)); }
  Value high(Value a) const { return arith::ShRUIOp::create(k.b, a, k.i64(32)); }
  Value exclusive(Value a, Value b) const { return arith::XOrIOp::create(k.b, a, b); }
  Value exclusive(Value a, uint32_t key) const { return exclusive(a, k.i64(key)); }
};

} // namespace

std::pair<Value, Value> randomPair(KernelBuilder &k, moe::RandomNormalOp op, Value copy, Value pair) {
  Type type = cast<RankedTensorType>(op.getType()).getElementType(), f64 = k.b.getF64Type();
  PhiloxValues philox{k};
  std::array<Value, 4> words{philox.low(pair), philox.high(pair), k.i64(op.getStream() & 0xFFFFFFFF), philox.low(copy)};
  words = rt::philox4x32(words, op.getSeed(), philox);
  auto word64 = [&](Value lowWord, Value highWord) -> Value {
    return arith::OrIOp::create(k.b, lowWord, arith::ShLIOp::create(k.b, highWord, k.i64(32)));
  };
  auto uniform = [&](Value word, int64_t plus) -> Value {
    Value top = k.add(arith::ShRUIOp::create(k.b, word, k.i64(11)), k.i64(plus));
    return k.fmul(arith::SIToFPOp::create(k.b, f64, top), k.constant(f64, 0x1.0p-53));
  };
  // In (0, 1], so that the logarithm is finite; and in [0, 1).
  Value radiusWord = uniform(word64(words[0], words[1]), 1), angleWord = uniform(word64(words[2], words[3]), 0);
  Value radius = math::SqrtOp::create(k.b, k.fmul(k.constant(f64, -2), k.log(radiusWord)));
  Value angle = k.fmul(k.constant(f64, 2 * std::numbers::pi), angleWord);
  auto finish = [&](Value part) -> Value {
    Value value = k.fadd(k.fmul(k.fmul(radius, part), k.constant(f64, op.getStddev().convertToDouble())),
                         k.constant(f64, op.getMean().convertToDouble()));
    return type == f64 ? value : arith::TruncFOp::create(k.b, type, value).getResult();
  };
  return {finish(math::CosOp::create(k.b, angle)), finish(math::SinOp::create(k.b, angle))};
}

} // namespace moec::kernel
