// Template sinkhorn against alternating updates in f64.
#include "runtime/kernels/DecompositionLoops.h"
#include "test/numerics/Narrow.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
std::string sinkhornText(int64_t n, int64_t e, double xi, int64_t iterations, double tol,
                         const std::string &flag = "f32") {
  char numbers[100];
  std::snprintf(numbers, sizeof(numbers), " xi %.17e max_iters %d tol %.17e", xi, static_cast<int>(iterations), tol);
  std::string type = tensor(n, e), one = tensor(1, 1, flag);
  return dispatchText("sinkhorn", {{"c", type}, {"now", one}}, type,
                      "%p = moe.sinkhorn %c if %now" + std::string(numbers) + " : " + type + ", " + one +
                          "\nmoe.yield %p : " + type);
}

Array sumsOfColumns(Array plan) {
  Array sums({1, plan.shape[1]});
  for (int64_t i = 0; i < plan.size(); ++i)
    sums.values[i % plan.shape[1]] += plan.values[i];
  return sums;
}
} // namespace

TEST_CASE("the plan of two rows that like different columns", "[sinkhorn]") {
  for (std::string element : {"f32", "f64"}) {
    CompiledDispatch kernel(sinkhornText(2, 2, 0.5, 100, 1e-9), element);
    Array plan = kernel.run({Array({2, 2}, {0.73, 0.27, 0.27, 0.73}), Array({1, 1}, 1.0)}).results[0];
    double same = 1 / (1 + std::exp(-0.46 / 0.5)); // by symmetry u = v
    CHECK(difference(plan, Array({2, 2}, {same, 1 - same, 1 - same, same}), 1e-6) == "");
    CHECK(same == Approx(0.715).margin(5e-4));
  }
}

TEST_CASE("sinkhorn after few updates and after many", "[sinkhorn]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, e] : {std::pair<int64_t, int64_t>{24, 4}, {5, 7}, {70, 33}, {1, 3}, {9, 1}})
      for (auto [xi, iterations] : {std::pair<double, int64_t>{0.5, 1}, {0.5, 3}, {0.05, 40}}) {
        CAPTURE(element, n, e, xi, iterations);
        Array scores = Array::random({n, e}, 3, 0, 1), expected({n, e});
        loops::sinkhorn(scores.data(), expected.data(), n, e, xi, iterations, 0.0);
        CompiledDispatch kernel(sinkhornText(n, e, xi, iterations, 0), element);
        // Scores over xi are as large as 20: their rounding comes back in the exponents.
        CHECK(difference(kernel.run({scores, Array({1, 1}, 1.0)}).results[0], expected, 10 * toleranceOf(element)) ==
              "");
      }
}

TEST_CASE("sinkhorn stops when the sums are right", "[sinkhorn]") {
  int64_t n = 40, e = 5;
  double xi = 0.1, tol = 1e-3;
  Array scores = Array::random({n, e}, 4, -1, 1), expected({n, e});
  int64_t pairs = loops::sinkhorn(scores.data(), expected.data(), n, e, xi, 1000, tol);
  REQUIRE(pairs > 2);
  REQUIRE(pairs < 500);
  CompiledDispatch kernel(sinkhornText(n, e, xi, 1000, tol), "f64");
  CHECK(difference(kernel.run({scores, Array({1, 1}, 1.0)}).results[0], expected, 1e-12) == "");
}

TEST_CASE("sinkhorn does not see shifts, and balances what prefers one column", "[sinkhorn]") {
  for (std::string element : {"f32", "f64"}) {
    int64_t n = 32, e = 4;
    CompiledDispatch kernel(sinkhornText(n, e, 0.1, 300, 0), element);
    Array scores = Array::random({n, e}, 5, 0, 1), shifted = scores, one = Array({1, 1}, 1.0);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < e; ++c)
        shifted.at(r, c) += 3.0 * static_cast<double>(r % 3) + (c == 1 ? 20 : 0); // 200 in units of xi
    Array plan = kernel.run({scores, one}).results[0], same = kernel.run({shifted, one}).results[0];
    CHECK(difference(same, plan, element == "f64" ? 1e-11 : 1e-3) == "");
    CHECK(difference(sumsOfColumns(same), Array({1, e}, 8.0), element == "f64" ? 1e-11 : 1e-4) == "");
  }
}

TEST_CASE("sinkhorn makes zeros when it is not asked", "[sinkhorn]") {
  for (std::string flag : {"f32", "i64", "i32"})
    for (int64_t n : {6, 9000}) {
      CompiledDispatch kernel(sinkhornText(n, 8, 0.1, 10, 0, flag), "f32");
      Array nobody({n, 8}, static_cast<double>(NAN));
      CHECK(difference(kernel.run({nobody, Array({1, 1})}).results[0], Array({n, 8}), 0) == "");
    }
}

TEST_CASE("sinkhorn of scores that are bf16 in memory, always", "[sinkhorn][gpu]") {
  int64_t n = 20, e = 6;
  std::string type = tensor(n, e), narrow = bf16(n, e);
  CompiledDispatch kernel(dispatchText("sinkhorn", {{"n", narrow}}, type,
                                       "%c = moe.cast %n : " + narrow + " -> " + type +
                                           "\n%now = arith.constant dense<1> : tensor<1x1xi64>\n"
                                           "%p = moe.sinkhorn %c if %now xi 0.2 max_iters 20 tol 0.0 : " +
                                           type + ", tensor<1x1xi64>\nmoe.yield %p : " + type),
                          "f32", kGpu);
  Array scores = rounded(Array::random({n, e}, 7)), expected({n, e});
  loops::sinkhorn(scores.data(), expected.data(), n, e, 0.2, 20, 0.0);
  CHECK(difference(kernel.run({scores}).results[0], expected, 1e-5) == "");
}
