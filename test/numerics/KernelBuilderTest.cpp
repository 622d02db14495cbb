// The builder and the object emitter without moe: loops, partial vectors, and bytes that do not depend on the number of
// threads.
#include "compiler/Target/CPU/CpuKernelBuilder.h"
#include "compiler/Target/CPU/ObjectEmitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "test/numerics/LoadedCode.h"
#include <catch2/catch.hpp>

using namespace mlir;
using moec::cpu::assembleKernels;
using moec::cpu::CpuTarget;
using moec::cpu::KernelBuilder;

namespace {
struct TestModule {
  TestModule() {
    context.loadDialect<arith::ArithDialect, math::MathDialect, func::FuncDialect, scf::SCFDialect,
                        vector::VectorDialect, LLVM::LLVMDialect>();
    module = ModuleOp::create(UnknownLoc::get(&context));
  }
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

// y[i] = 2 x[i] + i over `count` elements, then y[count] = sum of x.
void emitSample(TestModule &builder, const std::string &name, int64_t count, const CpuTarget &target) {
  KernelBuilder k(*builder.module, UnknownLoc::get(&builder.context), name, 2, target);
  Type f32 = k.b.getF32Type();
  k.loopVectors(f32, count, [&](Value i, int64_t lanes) {
    Value x = k.load(f32, k.param(0), i, lanes);
    k.store(k.fadd(x, x), k.param(1), i);
  });
  k.loop(k.i64(0), k.i64(count), 1, [&](Value i) {
    Value number = arith::SIToFPOp::create(k.b, f32, i);
    k.store(k.fadd(k.load(f32, k.param(1), i), number), k.param(1), i);
  });
  Value sum = k.reduceVectors(
      f32, count, k.constant(f32, 0),
      [&](Value i, int64_t lanes, Value so) { return k.fadd(so, k.load(f32, k.param(0), i, lanes)); },
      [&](Value a, Value b) { return k.fadd(a, b); }, [&](Value v) { return k.sumLanes(v); });
  k.store(sum, k.param(1), k.i64(count));
  k.finish();
}
} // namespace

TEST_CASE("builder: loops and reductions for each target", "[builder]") {
  for (std::string name : {"native", "x86-64", "x86-64-v3"})
    for (int64_t count : {1, 3, 16, 31, 128, 200}) {
      CAPTURE(name, count);
      CpuTarget target = CpuTarget::get(name);
      REQUIRE(!target.triple.empty());
      TestModule builder;
      emitSample(builder, "sample", count, target);
      FailureOr<moec::CodeBlob> object = assembleKernels(*builder.module, target, {.useCache = false});
      REQUIRE(succeeded(object));
      moec::test::LoadedCode code(std::move(*object));
      auto kernel = code.find<void (*)(void *const *, int64_t, void *)>("sample");
      std::vector<float> x(count), y(count + 1);
      float sum = 0;
      for (int64_t i = 0; i < count; ++i)
        sum += x[i] = static_cast<float>(i % 7);
      void *args[] = {x.data(), y.data()};
      kernel(args, 0, nullptr);
      for (int64_t i = 0; i < count; ++i)
        CHECK(y[i] == 2 * x[i] + i);
      CHECK(y[count] == sum);
    }
  CHECK(CpuTarget::get("x86-64-v9").triple.empty());
}

TEST_CASE("emitter: the same bytes from one thread and from three", "[builder]") {
  CpuTarget target = CpuTarget::get("x86-64-v3");
  auto compile = [&](unsigned threads) {
    TestModule builder;
    for (int i = 0; i < 40; ++i)
      emitSample(builder, "kernel_" + std::to_string(i), 16 + i, target);
    FailureOr<moec::CodeBlob> code = assembleKernels(*builder.module, target, {.threads = threads, .useCache = false});
    REQUIRE(succeeded(code));
    return code->bytes;
  };
  std::vector<char> one = compile(1), three = compile(3);
  CHECK(one == three);
}
