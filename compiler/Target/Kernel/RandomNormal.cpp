#include "compiler/Target/Kernel/RandomNormal.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
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

// Philox4x32-10 in i64 arithmetic: every word is kept below 2^32.
std::pair<Value, Value> randomPair(KernelBuilder &k, moe::RandomNormalOp op, Value copy, Value pair) {
  Type type = cast<RankedTensorType>(op.getType()).getElementType(), f64 = k.b.getF64Type();
  auto low = [&](Value a) -> Value { return arith::AndIOp::create(k.b, a, k.i64(0xFFFFFFFF)); };
  auto high = [&](Value a) -> Value { return arith::ShRUIOp::create(k.b, a, k.i64(32)); };
  auto exclusive = [&](Value a, Value b) -> Value { return arith::XOrIOp::create(k.b, a, b); };

  Value words[4] = {low(pair), high(pair), k.i64(op.getStream() & 0xFFFFFFFF), low(copy)};
  uint64_t keys[2] = {uint64_t(op.getSeed()) & 0xFFFFFFFF, uint64_t(op.getSeed()) >> 32};
  for (int round = 0; round < 10; ++round) {
    Value product0 = k.mul(words[0], k.i64(0xD2511F53)), product1 = k.mul(words[2], k.i64(0xCD9E8D57));
    Value next[4] = {exclusive(exclusive(high(product1), words[1]), k.i64(keys[0])), low(product1),
                     exclusive(exclusive(high(product0), words[3]), k.i64(keys[1])), low(product0)};
    std::copy(next, next + 4, words);
    keys[0] = (keys[0] + 0x9E3779B9) & 0xFFFFFFFF;
    keys[1] = (keys[1] + 0xBB67AE85) & 0xFFFFFFFF;
  }
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
