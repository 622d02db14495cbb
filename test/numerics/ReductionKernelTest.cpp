// Templates col_reduce and embed_grad.
#include "runtime/kernels/ReductionLoops.h"
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <catch2/catch.hpp>

using namespace moec::test;
namespace loops = moec::loops;

TEST_CASE("col_reduce in groups, yielded and accumulated", "[reduction]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{6, 1}, {6, 3}, {12, 17}, {6, 33}, {30, 129}, {66, 256}, {6, 64}})
      for (int64_t g : {1, 2, 6}) {
        CAPTURE(element, n, c, g);
        std::string x = tensor(n, c), y = tensor(g, c);
        CompiledDispatch kernel(
            dispatchText("col_reduce", {{"x", x}}, y,
                         "%r = moe.col_reduce %x : " + x + " -> " + y + "\n" +
                             mapText("%h", {{"%r", y, "a"}}, y,
                                     "%two = arith.constant 0.5 : $T\n%p = arith.mulf %a, %two : $T", "p") +
                             "moe.accumulate @s, %h : " + y + "\nmoe.yield %r : " + y,
                         "moe.state @s gradient : " + y),
            element);
        Array a = Array::random({n, c}, 1), state = Array::random({g, c}, 2), sum({g, c});
        loops::colReduce(a.data(), sum.data(), n, c, g);
        Outcome outcome = kernel.run({a}, {{"s", state}});
        CHECK(difference(outcome.results[0], sum, toleranceOf(element)) == "");
        for (int64_t i = 0; i < g * c; ++i)
          state.values[i] += sum.values[i] * 0.5;
        CHECK(difference(outcome.states["s"], state, toleranceOf(element)) == "");
      }
}

TEST_CASE("col_reduce of maps", "[reduction]") {
  // The gradient of a norm's scale: sum over rows of dy * x * r, r [N, 1], while the product itself is written too.
  for (auto [n, c] : {std::pair<int64_t, int64_t>{5, 19}, {9, 128}}) {
    CAPTURE(n, c);
    std::string x = tensor(n, c), r = tensor(n, 1), y = tensor(1, c);
    CompiledDispatch kernel(dispatchText("col_reduce", {{"x", x}, {"dy", x}, {"r", r}}, x,
                                         mapText("%m", {{"%x", x, "a"}, {"%dy", x, "b"}, {"%r", r, "d"}}, x,
                                                 "%p = arith.mulf %a, %b : $T\n%q = arith.mulf %p, %d : $T", "q") +
                                             "%s = moe.col_reduce %m : " + x + " -> " + y +
                                             "\nmoe.accumulate @g, %s : " + y + "\nmoe.yield %m : " + x,
                                         "moe.state @g gradient : " + y),
                            "f64");
    Array a = Array::random({n, c}, 1), dy = Array::random({n, c}, 2), rr = Array::random({n, 1}, 3),
          state = Array::random({1, c}, 4);
    Array product({n, c});
    for (int64_t i = 0; i < n * c; ++i) {
      product.values[i] = a.values[i] * dy.values[i] * rr.values[i / c];
    }
    Array sum({1, c});
    loops::colReduce(product.data(), sum.data(), n, c, 1);
    Outcome outcome = kernel.run({a, dy, rr}, {{"g", state}});
    for (int64_t i = 0; i < c; ++i)
      state.values[i] += sum.values[i];
    CHECK(difference(outcome.results[0], product, 1e-12) == "");
    CHECK(difference(outcome.states["g"], state, 1e-12) == "");
  }
}

TEST_CASE("embed_grad", "[reduction]") {
  for (std::string element : {"f32", "f64"})
    for (auto [v, d] : {std::pair<int64_t, int64_t>{1, 1}, {10, 3}, {300, 17}, {700, 129}, {50, 256}}) {
      int64_t n = 41;
      CAPTURE(element, v, d);
      std::string grad = tensor(n, d), ids = tensor(n, 1, "i32"), table = tensor(v, d);
      std::string body = "%e = moe.embed_grad %g, %ids : " + grad + ", " + ids + " -> " + table + "\n";
      Array g = Array::random({n, d}, 1), id = Array::integers({n, 1}, 2, 0, v), state = Array::random({v, d}, 3),
            expected({v, d});
      loops::embedGrad(g.data(), id.data(), expected.data(), n, v, d);
      Array sum = state;
      for (int64_t i = 0; i < v * d; ++i)
        sum.values[i] += expected.values[i];

      CompiledDispatch toState(dispatchText("embed_grad", {{"g", grad}, {"ids", ids}}, "",
                                            body + "moe.accumulate @s, %e : " + table + "\nmoe.yield",
                                            "moe.state @s gradient : " + table),
                               element);
      CHECK(difference(toState.run({g, id}, {{"s", state}}).states["s"], sum, toleranceOf(element)) == "");
      CompiledDispatch both(dispatchText("embed_grad", {{"g", grad}, {"ids", ids}}, table,
                                         body + "moe.accumulate @s, %e : " + table + "\nmoe.yield %e : " + table,
                                         "moe.state @s gradient : " + table),
                            element);
      Outcome outcome = both.run({g, id}, {{"s", state}});
      CHECK(difference(outcome.states["s"], sum, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[0], expected, toleranceOf(element)) == "");
    }
}

TEST_CASE("embed_grad with one frequent id", "[reduction]") {
  // Enough rows for several rounds of a GPU's block, which keeps a frequent id apart from the second on.
  int64_t n = 1700, v = 40, d = 6;
  std::string grad = tensor(n, d), ids = tensor(n, 1, "i32"), table = tensor(v, d);
  CompiledDispatch kernel(dispatchText("embed_grad", {{"g", grad}, {"ids", ids}}, "",
                                       "%e = moe.embed_grad %g, %ids : " + grad + ", " + ids + " -> " + table +
                                           "\nmoe.accumulate @s, %e : " + table + "\nmoe.yield",
                                       "moe.state @s gradient : " + table),
                          "f32");
  Array g = Array::random({n, d}, 1), id = Array::integers({n, 1}, 2, 0, v), state = Array::random({v, d}, 3),
        sum({v, d});
  for (int64_t i = 0; i < n; ++i)
    if (i % 3 != 0)
      id.values[i] = i < 1000 ? 7 : 8;
  loops::embedGrad(g.data(), id.data(), sum.data(), n, v, d);
  Outcome outcome = kernel.run({g, id}, {{"s", state}});
  for (int64_t i = 0; i < v * d; ++i)
    state.values[i] += sum.values[i];
  CHECK(difference(outcome.states["s"], state, 1e-5) == "");
}
