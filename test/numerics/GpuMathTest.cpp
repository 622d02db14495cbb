// The expansions of math for GPUs, run on the CPU: the same arith, with libm in the place of the hardware's exp2 and
// rsqrt (which are good to 2^-22).
#include "compiler/Target/CPU/CpuTarget.h"
#include "compiler/Target/CPU/ObjectEmitter.h"
#include "compiler/Target/GPU/MathLowering.h"
#include "dialects/Moe/IR/Moe.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "test/numerics/LoadedCode.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <functional>
#include <optional>

using namespace moec;

namespace {

/// `body` computes %r of %x, and of %y where it wants two arguments.
class Compiled {
public:
  Compiled(const std::string &body, const std::string &element) {
    std::string text = R"(
      func.func @f(%in: !llvm.ptr, %other: !llvm.ptr, %out: !llvm.ptr, %n: i64) {
        %zero = arith.constant 0 : i64
        %one = arith.constant 1 : i64
        scf.for %i = %zero to %n step %one : i64 {
          %p = llvm.getelementptr %in[%i] : (!llvm.ptr, i64) -> !llvm.ptr, $T
          %o = llvm.getelementptr %other[%i] : (!llvm.ptr, i64) -> !llvm.ptr, $T
          %q = llvm.getelementptr %out[%i] : (!llvm.ptr, i64) -> !llvm.ptr, $T
          %x = llvm.load %p : !llvm.ptr -> $T
          %y = llvm.load %o : !llvm.ptr -> $T
          %r = )" + body +
                       R"( : $T
          llvm.store %r, %q : $T, !llvm.ptr
        }
        return
      })";
    for (size_t at; (at = text.find("$T")) != std::string::npos;)
      text.replace(at, 2, element);
    mlir::DialectRegistry registry;
    registry.insert<moe::MoeDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect, mlir::LLVM::LLVMDialect,
                    mlir::math::MathDialect, mlir::scf::SCFDialect, mlir::ub::UBDialect, mlir::vector::VectorDialect>();
    mlir::MLIRContext context(registry);
    context.loadAllAvailableDialects();
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    REQUIRE(module);
    mlir::RewritePatternSet patterns(&context);
    gpu::populateMathExpansions(patterns);
    REQUIRE(succeeded(mlir::applyPatternsGreedily(*module, std::move(patterns))));
    mlir::FailureOr<CodeBlob> object =
        cpu::assembleKernels(*module, cpu::CpuTarget::get("native"), {.useCache = false});
    REQUIRE(succeeded(object));
    code.emplace(std::move(*object));
    function = code->find<Function>("f");
  }
  Compiled(const Compiled &) = delete;

  template <typename T> std::vector<T> operator()(const std::vector<T> &x, const std::vector<T> &y) const {
    std::vector<T> result(x.size());
    function(x.data(), y.data(), result.data(), static_cast<int64_t>(x.size()));
    return result;
  }

private:
  using Function = void (*)(const void *, const void *, void *, int64_t);
  std::optional<test::LoadedCode> code;
  Function function;
};

struct Case {
  const char *name, *body;
  std::function<long double(long double, long double)> reference;
  double low, high;
  double single, twice; // largest error relative to the result (or to 1e-3, where that is larger); 0: not for this type
};

const Case kCases[] = {
    {"exp", "math.exp %x", [](auto x, auto) { return expl(x); }, -87, 88.7, 4e-6, 1e-15},
    {"exp of small numbers", "math.exp %x", [](auto x, auto) { return expl(x); }, -4, 4, 4e-7, 1e-15},
    {"sigmoid", "moe.sigmoid %x", [](auto x, auto) { return 1 / (1 + expl(-x)); }, -80, 80, 4e-6, 1e-15},
    {"log", "math.log %x", [](auto x, auto) { return logl(x); }, 1e-6, 1e4, 2e-7, 1e-15},
    {"log2", "math.log2 %x", [](auto x, auto) { return log2l(x); }, 1e-6, 1e4, 3e-7, 2e-15},
    {"log1p", "math.log1p %x", [](auto x, auto) { return log1pl(x); }, -.9, 9, 4e-7, 2e-15},
    {"expm1", "math.expm1 %x", [](auto x, auto) { return expm1l(x); }, -5, 5, 4e-7, 1e-15},
    {"tanh", "math.tanh %x", [](auto x, auto) { return tanhl(x); }, -12, 12, 6e-7, 1e-15},
    {"erf", "math.erf %x", [](auto x, auto) { return erfl(x); }, -7, 7, 6e-7, 1e-15},
    {"sin", "math.sin %x", [](auto x, auto) { return sinl(x); }, -1e5, 1e5, 1e-7, 1e-12},
    {"cos", "math.cos %x", [](auto x, auto) { return cosl(x); }, -1e5, 1e5, 1e-7, 1e-12},
    {"pow", "math.powf %x, %y", [](auto x, auto y) { return powl(x, y); }, 1e-3, 30, 1e-7, 1e-12},
    {"rsqrt", "math.rsqrt %x", [](auto x, auto) { return 1 / sqrtl(x); }, 1e-6, 1e4, 0, 5e-16},
    {"exp2", "math.exp2 %x", [](auto x, auto) { return exp2l(x); }, -1000, 1000, 0, 1e-12},
};

template <typename T> void check(const Case &test, const std::string &element, double bound) {
  if (bound == 0)
    return;
  CAPTURE(test.name, element);
  Compiled compiled(test.body, element);
  // A grid over the range, then one over the part near 0, where relative errors are hardest.
  std::vector<T> x, y;
  constexpr int kPoints = 20000;
  for (double scale : {1.0, 1e-2})
    for (int i = 0; i < kPoints; ++i) {
      double from = std::max(test.low, test.low < 0 ? test.low * scale : test.low), to = test.high * scale;
      x.push_back(static_cast<T>(from + (to - from) * (i + 0.5) / kPoints));
      y.push_back(static_cast<T>(-4 + 9.0 * ((i * 7919) % kPoints) / kPoints));
    }
  std::vector<T> got = compiled(x, y);
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    long double expected = test.reference(x[i], y[i]);
    auto error = static_cast<double>(std::fabs(got[i] - expected) / std::max(std::fabs(expected), 1e-3L));
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  CAPTURE(x[at], y[at], got[at]);
  CHECK(worst <= bound);
}

} // namespace

TEST_CASE("expansions of math for GPUs", "[gpu-math]") {
  for (const Case &test : kCases) {
    check<float>(test, "f32", test.single);
    check<double>(test, "f64", test.twice);
  }
}

TEST_CASE("expansions keep infinities and NaN", "[gpu-math]") {
  double inf = INFINITY, nan = NAN;
  struct Special {
    const char *body;
    std::vector<double> x, expected;
  };
  const Special specials[] = {
      {"math.exp %x", {inf, -inf, nan, 0, -2000, 2000}, {inf, 0, nan, 1, 0, inf}},
      {"moe.sigmoid %x", {inf, -inf, nan, 0, -2000, 2000}, {1, 0, nan, .5, 0, 1}},
      {"math.log %x", {inf, -inf, nan, 0, -1, 1}, {inf, nan, nan, -inf, nan, 0}},
      {"math.tanh %x", {inf, -inf, nan, 0, 2000, -2000}, {1, -1, nan, 0, 1, -1}},
      {"math.erf %x", {inf, -inf, nan, 0, 2000, -2000}, {1, -1, nan, 0, 1, -1}},
      {"math.expm1 %x", {inf, -inf, nan, 0, 2000, -2000}, {inf, -1, nan, 0, inf, -1}},
      {"math.log1p %x", {inf, nan, 0, -1, -2}, {inf, nan, 0, -inf, nan}},
      {"math.sin %x", {inf, -inf, nan, 0}, {nan, nan, nan, 0}},
      {"math.cos %x", {inf, -inf, nan, 0}, {nan, nan, nan, 1}},
      {"math.powf %x, %y", {-2, -2, 0, 0, 1, nan}, {-8, -8, 0, 0, 1, nan}}, // y = 3
  };
  auto same = [](double a, double b) { return (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= 1e-6 || a == b; };
  for (const Special &special : specials) {
    std::vector<double> cubes(special.x.size(), 3);
    std::vector<float> x(special.x.begin(), special.x.end()), y(cubes.begin(), cubes.end());
    std::vector<float> single = Compiled(special.body, "f32")(x, y);
    std::vector<double> twice = Compiled(special.body, "f64")(special.x, cubes);
    for (size_t i = 0; i < x.size(); ++i) {
      CAPTURE(special.body, special.x[i], single[i], twice[i]);
      CHECK(same(single[i], special.expected[i]));
      CHECK(same(twice[i], special.expected[i]));
    }
  }
}
