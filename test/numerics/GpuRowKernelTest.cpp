// What only the GPU's row template has: tensors that are bf16 in memory, rows shared out in other ways. All other cases
// of the row template run for GPUs too (numerics.sm_90a).
#include "runtime/kernels/RowLoops.h"
#include "test/numerics/Narrow.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

TEST_CASE("rms norm of bf16 rows, narrow to wide", "[row][gpu]") {
  for (auto [n, c] : {std::pair<int64_t, int64_t>{3, 8},
                      {37, 64},
                      {5, 100},
                      {9, 129},
                      {4, 1000},
                      {3, 2048},
                      {2, 3000},
                      {2, 16384},
                      {1, 20000},
                      {2, 17001}}) {
    CAPTURE(n, c);
    std::string x = tensor(n, c), narrow = bf16(n, c), one = tensor(n, 1), scale = tensor(1, c);
    CompiledDispatch kernel(
        dispatchText("row", {{"n", narrow}, {"s", scale}}, narrow,
                     "%x = moe.cast %n : " + narrow + " -> " + x + "\n" +
                         mapText("%q", {{"%x", x, "a"}}, x, "%p = arith.mulf %a, %a : f32", "p") +
                         "%r = moe.row_reduce sum %q : " + x + " -> " + one + "\n" +
                         mapText("%y", {{"%x", x, "a"}, {"%s", scale, "b"}, {"%r", one, "c"}}, x,
                                 "%count = arith.constant " + std::to_string(c) + ".0 : f32\n" +
                                     "%m = arith.divf %c, %count : f32\n" + "%eps = arith.constant 1.0e-5 : f32\n" +
                                     "%e = arith.addf %m, %eps : f32\n" +
                                     "%f = math.rsqrt %e : f32\n%p = arith.mulf %a, %f : f32\n" +
                                     "%z = arith.mulf %p, %b : f32",
                                 "z") +
                         "%o = moe.cast %y : " + x + " -> " + narrow + "\nmoe.yield %o : " + narrow),
        "f32", kGpu);
    Array a = rounded(Array::random({n, c}, 1)), s = Array::random({1, c}, 2), expected({n, c});
    loops::rmsNorm(a.data(), s.data(), expected.data(), n, c, 1e-5);
    CHECK(difference(kernel.run({a, s}).results[0], expected, kBf16) == "");
  }
}

TEST_CASE("rows of bf16 tables, combined in f32", "[row][gpu]") {
  for (int64_t d : {24, 512, 2048}) {
    int64_t n = 5, r = 40, k = 8;
    CAPTURE(d);
    std::string rows = tensor(r, d), narrow = bf16(r, d), slots = tensor(n, k, "i32"), w = tensor(n, k),
                x = tensor(n, d), out = bf16(n, d);
    CompiledDispatch kernel(dispatchText("row", {{"n", narrow}, {"slots", slots}, {"w", w}}, out + ", " + w,
                                         "%rows = moe.cast %n : " + narrow + " -> " + rows +
                                             "\n%c = moe.combine_rows %rows, %slots weights "
                                             "%w : " +
                                             w + " : " + rows + ", " + slots + " -> " + x +
                                             "\n%d = moe.dot_rows %c, %rows, %slots : " + x + ", " + rows + ", " +
                                             slots + " -> " + w + "\n%o = moe.cast %c : " + x + " -> " + out +
                                             "\nmoe.yield %o, %d : " + out + ", " + w),
                            "f32", kGpu);
    Array table = rounded(Array::random({r, d}, 3)), slot = Array::integers({n, k}, 4, -1, r),
          weight = Array::random({n, k}, 5), combined({n, d}), dots({n, k});
    loops::combineRows(table.data(), slot.data(), weight.data(), combined.data(), n, k, d);
    loops::dotRows(combined.data(), table.data(), slot.data(), dots.data(), n, k, d);
    Outcome outcome = kernel.run({table, slot, weight});
    CHECK(difference(outcome.results[0], combined, kBf16) == "");
    CHECK(difference(outcome.results[1], dots, 1e-5) == "");
  }
}

TEST_CASE("log-sum-exp of rows too wide for registers", "[row][gpu]") {
  for (int64_t c : {16388, 40001, 50304}) {
    int64_t n = 4;
    CAPTURE(c);
    std::string x = tensor(n, c), one = tensor(n, 1);
    CompiledDispatch kernel(dispatchText("row", {{"x", x}}, one,
                                         "%m = moe.row_reduce max %x : " + x + " -> " + one + "\n" +
                                             mapText("%e", {{"%x", x, "a"}, {"%m", one, "b"}}, x,
                                                     "%d = arith.subf %a, %b : f32\n%z = math.exp %d : f32", "z") +
                                             "%s = moe.row_reduce sum %e : " + x + " -> " + one + "\n" +
                                             mapText("%l", {{"%m", one, "a"}, {"%s", one, "b"}}, one,
                                                     "%g = math.log %b : f32\n%z = arith.addf %a, %g : f32", "z") +
                                             "moe.yield %l : " + one),
                            "f32", kGpu);
    Array a = Array::random({n, c}, 7, -30, 30), expected({n, 1});
    for (int64_t j = 0; j < c; ++j) {
      a.at(1, j) = j < c - 1 ? -INFINITY : 3; // one number at the end
      a.at(2, j) = double(j) / 1000;          // each larger than those before
    }
    a.at(3, c / 2) = NAN;
    loops::logSumExp(a.data(), expected.data(), n, c);
    expected.at(3, 0) = NAN;
    CHECK(difference(kernel.run({a}).results[0], expected, 1e-5) == "");
  }
}

// The sum and what is stored come from one pass, since no store waits for the sum; in the other case they wait.
TEST_CASE("rows too wide for registers, updated in place beside their sum", "[row][gpu]") {
  for (bool waits : {false, true})
    for (int64_t c : {9001, 14336}) {
      int64_t n = 3;
      CAPTURE(waits, c);
      std::string x = tensor(n, c), one = tensor(n, 1);
      std::string factor = waits ? "%s" : "%w";
      std::string body = "%p = moe.read @p : " + x + "\n%m = moe.read @m : " + x + "\n" +
                         mapText("%e", {{"%p", x, "a"}, {"%g", x, "b"}, {"%h", x, "c"}}, x,
                                 "%d = arith.mulf %b, %c : f32\n%z = arith.addf %a, %d : f32", "z") +
                         "%s = moe.row_reduce sum %e : " + x + " -> " + one + "\n" +
                         mapText("%f", {{"%m", x, "a"}, {"%g", x, "b"}, {factor, one, "c"}}, x,
                                 "%d = arith.mulf %a, %b : f32\n%z = arith.mulf %d, %c : f32", "z") +
                         "moe.write @p, %e : " + x + "\nmoe.write @m, %f : " + x + "\nmoe.yield %s : " + one;
      std::string text = "moe.state @p parameter : " + x + "\nmoe.state @m optimizer : " + x + "\n" +
                         dispatchText("row", {{"g", x}, {"h", x}, {"w", one}}, one, body);
      CompiledDispatch kernel(text, "f32", kGpu);
      Array g = Array::random({n, c}, 1), h = Array::random({n, c}, 2), w = Array::random({n, 1}, 3),
            p = Array::random({n, c}, 4), m = Array::random({n, c}, 5), newP = p, newM = m, sum({n, 1});
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < c; ++j) {
          newP.at(i, j) = p.at(i, j) + g.at(i, j) * h.at(i, j);
          sum.at(i, 0) += newP.at(i, j);
        }
        for (int64_t j = 0; j < c; ++j)
          newM.at(i, j) = m.at(i, j) * g.at(i, j) * (waits ? sum.at(i, 0) : w.at(i, 0));
      }
      Outcome outcome = kernel.run({g, h, w}, {{"p", p}, {"m", m}});
      CHECK(difference(outcome.results[0], sum, 1e-5) == "");
      CHECK(difference(outcome.states["p"], newP, 1e-6) == "");
      CHECK(difference(outcome.states["m"], newM, 1e-5) == "");
    }
}

TEST_CASE("more choices and slots than threads keep in registers", "[row][gpu]") {
  int64_t n = 3, e = 300, k = 40;
  std::string x = tensor(n, e), ids = tensor(n, k, "i32"), v = tensor(n, k);
  CompiledDispatch kernel(dispatchText("row", {{"x", x}}, ids + ", " + v + ", " + x,
                                       "%t = moe.top_k %x : " + x + " -> " + ids + "\n%v = moe.take %x, %t : " + x +
                                           ", " + ids + " -> " + v + "\n%p = moe.put %v, %t : " + v + ", " + ids +
                                           " -> " + x + "\nmoe.yield %t, %v, %p : " + ids + ", " + v + ", " + x),
                          "f32", kGpu);
  Array a = Array::random({n, e}, 8), top({n, k}), taken({n, k}), put({n, e});
  loops::topK(a.data(), top.data(), n, e, k);
  loops::take(a.data(), top.data(), taken.data(), n, e, k);
  loops::put(taken.data(), top.data(), put.data(), n, e, k);
  Outcome outcome = kernel.run({a});
  CHECK(difference(outcome.results[0], top, 0) == "");
  CHECK(difference(outcome.results[1], taken, 0) == "");
  CHECK(difference(outcome.results[2], put, 0) == "");
}
