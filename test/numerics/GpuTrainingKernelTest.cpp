// Kernels of a training step as bf16 plans have them: narrow tensors in memory, several results, rows of padding,
// skewed ids.
#include "runtime/kernels/ReductionLoops.h"
#include "runtime/kernels/RowLoops.h"
#include "test/numerics/Narrow.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

TEST_CASE("SwiGLU's backward over rows of experts, with the gradient of their weights", "[row][gpu]") {
  for (int64_t c : {1, 37, 96, 1032}) {
    // Rows of padding have no token (-1): their weight is 0, and so must their gradients be.
    int64_t r = 70, n = 9, k = 4;
    CAPTURE(c);
    std::string x = tensor(r, c), one = tensor(r, 1), ids = tensor(r, 1, "i32"), w = tensor(n * k, 1);
    std::string body = widen("%g", "%gn", r, c) + widen("%u", "%un", r, c) + widen("%d", "%dn", r, c) +
                       "%weight = moe.gather_rows %w, %slot : " + w + ", " + ids + " -> " + one +
                       "\n%y:3 = moe.map(%g, %u, %d, %weight) : (" + x + ", " + x + ", " + x + ", " + one + ") -> (" +
                       x + ", " + x + ", " + x + R"() {
        ^bb0(%a: $T, %b: $T, %dy: $T, %z: $T):
          %one = arith.constant 1.0 : $T
          %neg = arith.negf %a : $T
          %e = math.exp %neg : $T
          %den = arith.addf %one, %e : $T
          %s = arith.divf %one, %den : $T
          %silu = arith.mulf %a, %s : $T
          %h = arith.mulf %silu, %b : $T
          %own = arith.mulf %dy, %h : $T
          %in = arith.mulf %dy, %z : $T
          %rest = arith.subf %one, %s : $T
          %t = arith.mulf %silu, %rest : $T
          %slope = arith.addf %s, %t : $T
          %db = arith.mulf %in, %b : $T
          %da = arith.mulf %db, %slope : $T
          %du = arith.mulf %in, %silu : $T
          moe.yield %da, %du, %own : $T, $T, $T
        }
        %dw = moe.row_reduce sum %y#2 : )" +
                       x + " -> " + one + "\n" + narrow("%da", "%y#0", r, c) + narrow("%du", "%y#1", r, c) +
                       "moe.yield %da, %du, %dw : " + bf16(r, c) + ", " + bf16(r, c) + ", " + one;
    CompiledDispatch kernel(
        dispatchText("row", {{"gn", bf16(r, c)}, {"un", bf16(r, c)}, {"dn", bf16(r, c)}, {"w", w}, {"slot", ids}},
                     bf16(r, c) + ", " + bf16(r, c) + ", " + one, body),
        "f32", kGpu);
    Array g = rounded(Array::random({r, c}, 1, -8, 8)), u = rounded(Array::random({r, c}, 2)),
          d = rounded(Array::random({r, c}, 3)), weight = Array::random({n * k, 1}, 4, 0, 1),
          slot = Array::integers({r, 1}, 5, 0, n * k), dg({r, c}), du({r, c}), dw({r, 1});
    for (int64_t i = 0; i < r; ++i)
      if (i % 8 > 4) {
        slot.values[i] = -1;
        for (int64_t j = 0; j < c; ++j)
          g.at(i, j) = u.at(i, j) = d.at(i, j) = 0;
      }
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < c; ++j) {
        double s = 1 / (1 + std::exp(-g.at(i, j))),
               own = slot.values[i] < 0 ? 0 : weight.values[static_cast<size_t>(slot.values[i])];
        dg.at(i, j) = d.at(i, j) * own * u.at(i, j) * (s + g.at(i, j) * s * (1 - s));
        du.at(i, j) = d.at(i, j) * own * g.at(i, j) * s;
        dw.values[i] += d.at(i, j) * g.at(i, j) * s * u.at(i, j);
      }
    Outcome outcome = kernel.run({g, u, d, weight, slot});
    CHECK(difference(outcome.results[0], dg, kBf16) == "");
    CHECK(difference(outcome.results[1], du, kBf16) == "");
    CHECK(difference(outcome.results[2], dw, 1e-5) == "");
    for (int64_t i = 0; i < r; ++i)
      if (slot.values[i] < 0)
        for (int64_t j = 0; j < c; ++j)
          REQUIRE((outcome.results[0].at(i, j) == 0 && outcome.results[1].at(i, j) == 0));
  }
}

TEST_CASE("the gradient of an RMS norm of bf16 rows", "[row][gpu]") {
  for (auto [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {37, 99}, {5, 104}, {3, 2048}, {2, 17001}}) {
    CAPTURE(n, c);
    // dx = f (dy s - x f^2 / c sum(dy s x)), f = rsqrt(mean(x^2) + eps)
    std::string x = tensor(n, c), one = tensor(n, 1), scale = tensor(1, c);
    std::string count = "%count = arith.constant " + std::to_string(c) + ".0 : f32\n";
    CompiledDispatch kernel(
        dispatchText(
            "row", {{"xn", bf16(n, c)}, {"dn", bf16(n, c)}, {"s", scale}}, bf16(n, c),
            widen("%x", "%xn", n, c) + widen("%d", "%dn", n, c) +
                mapText("%q", {{"%x", x, "a"}}, x, "%p = arith.mulf %a, %a : f32", "p") +
                "%r = moe.row_reduce sum %q : " + x + " -> " + one + "\n" +
                mapText("%t", {{"%x", x, "a"}, {"%d", x, "b"}, {"%s", scale, "c"}}, x,
                        "%p = arith.mulf %b, %c : f32\n%z = arith.mulf %p, %a : f32", "z") +
                "%dot = moe.row_reduce sum %t : " + x + " -> " + one + "\n" +
                mapText("%y",
                        {{"%x", x, "a"}, {"%d", x, "b"}, {"%s", scale, "c"}, {"%r", one, "e"}, {"%dot", one, "g"}}, x,
                        count + "%m = arith.divf %e, %count : f32\n%eps = arith.constant 1.0e-5 : f32\n"
                                "%o = arith.addf %m, %eps : f32\n%f = math.rsqrt %o : f32\n"
                                "%ff = arith.mulf %f, %f : f32\n%h = arith.mulf %ff, %g : f32\n"
                                "%k = arith.divf %h, %count : f32\n%l = arith.mulf %a, %k : f32\n"
                                "%p = arith.mulf %b, %c : f32\n%u = arith.subf %p, %l : f32\n"
                                "%z = arith.mulf %u, %f : f32",
                        "z") +
                narrow("%o", "%y", n, c) + "moe.yield %o : " + bf16(n, c)),
        "f32", kGpu);
    Array a = rounded(Array::random({n, c}, 1)), d = rounded(Array::random({n, c}, 2)), s = Array::random({1, c}, 3),
          expected({n, c});
    for (int64_t i = 0; i < n; ++i) {
      double square = 0, dot = 0;
      for (int64_t j = 0; j < c; ++j) {
        square += a.at(i, j) * a.at(i, j);
        dot += d.at(i, j) * s.values[j] * a.at(i, j);
      }
      double f = 1 / std::sqrt(square / static_cast<double>(c) + 1e-5);
      for (int64_t j = 0; j < c; ++j)
        expected.at(i, j) = f * (d.at(i, j) * s.values[j] - a.at(i, j) * f * f * dot / static_cast<double>(c));
    }
    // Of one column nothing is left but rounding of what cancels.
    CHECK(difference(kernel.run({a, d, s}).results[0], expected, c == 1 ? 1e-2 : kBf16) == "");
  }
}

TEST_CASE("AdamW on f32 masters writes the bf16 copy", "[row][gpu]") {
  for (auto [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {5, 33}, {3, 104}, {9, 4096}}) {
    CAPTURE(n, c);
    std::string x = tensor(n, c), states;
    for (std::string name : {"p", "m", "v"})
      states += "moe.state @" + name + " optimizer : " + x + "\n";
    states += "moe.state @g gradient : " + bf16(n, c) + "\nmoe.state @copy copy : " + bf16(n, c) + "\n";
    std::string text = "%p = moe.read @p : " + x + "\n%m = moe.read @m : " + x + "\n%v = moe.read @v : " + x +
                       "\n%gn = moe.read @g : " + bf16(n, c) + "\n" + widen("%g", "%gn", n, c) +
                       "%n:3 = moe.map(%p, %m, %v, %g) : (" + x + ", " + x + ", " + x + ", " + x + ") -> (" + x + ", " +
                       x + ", " + x + R"() {
      ^bb0(%a: f32, %b: f32, %e: f32, %d: f32):
        %b1 = arith.constant 0.9 : f32
        %b2 = arith.constant 0.95 : f32
        %o1 = arith.constant 0.1 : f32
        %o2 = arith.constant 0.05 : f32
        %eps = arith.constant 1.0e-8 : f32
        %lr = arith.constant 0.125 : f32
        %m0 = arith.mulf %b, %b1 : f32
        %m1 = arith.mulf %d, %o1 : f32
        %mn = arith.addf %m0, %m1 : f32
        %v0 = arith.mulf %e, %b2 : f32
        %dd = arith.mulf %d, %d : f32
        %v1 = arith.mulf %dd, %o2 : f32
        %vn = arith.addf %v0, %v1 : f32
        %root = math.sqrt %vn : f32
        %den = arith.addf %root, %eps : f32
        %u = arith.divf %mn, %den : f32
        %step = arith.mulf %u, %lr : f32
        %pn = arith.subf %a, %step : f32
        moe.yield %pn, %mn, %vn : f32, f32, f32
      }
      )" + narrow("%c", "%n#0", n, c) +
                       "moe.write @p, %n#0 : " + x + "\nmoe.write @m, %n#1 : " + x + "\nmoe.write @v, %n#2 : " + x +
                       "\nmoe.write @copy, %c : " + bf16(n, c) + "\nmoe.yield\n";
    CompiledDispatch kernel(dispatchText("row", {}, "", text, states), "f32", kGpu);
    std::map<std::string, Array> given = {{"p", Array::random({n, c}, 1)},
                                          {"m", Array::random({n, c}, 2)},
                                          {"v", Array::random({n, c}, 3, 0, 1)},
                                          {"g", rounded(Array::random({n, c}, 4))}};
    Outcome outcome = kernel.run({}, given);
    Array p = given["p"], m = given["m"], v = given["v"];
    for (int64_t i = 0; i < n * c; ++i) {
      double g = given["g"].values[i];
      m.values[i] = 0.9 * m.values[i] + 0.1 * g;
      v.values[i] = 0.95 * v.values[i] + 0.05 * g * g;
      p.values[i] -= 0.125 * m.values[i] / (std::sqrt(v.values[i]) + 1e-8);
    }
    CHECK(difference(outcome.states["p"], p, 1e-5) == "");
    CHECK(difference(outcome.states["m"], m, 1e-5) == "");
    CHECK(difference(outcome.states["v"], v, 1e-5) == "");
    CHECK(difference(outcome.states["copy"], rounded(outcome.states["p"]), 0) == "");
  }
}

TEST_CASE("embed_grad written as bf16, wide rows and many ids of a block", "[reduction][gpu]") {
  // More ids than a block has threads, in ranges whose last one is short; blocks that share columns; ids that are hot.
  for (auto [n, v, d] : {std::tuple<int64_t, int64_t, int64_t>{600, 700, 520}, {300, 5000, 24}, {5000, 9, 8}}) {
    CAPTURE(n, v, d);
    std::string ids = tensor(n, 1, "i32"), table = tensor(v, d);
    CompiledDispatch kernel(dispatchText("embed_grad", {{"gn", bf16(n, d)}, {"ids", ids}}, "",
                                         widen("%g", "%gn", n, d) + "%e = moe.embed_grad %g, %ids : " + tensor(n, d) +
                                             ", " + ids + " -> " + table + "\n%n = moe.cast %e : " + table + " -> " +
                                             bf16(v, d) + "\nmoe.write @s, %n : " + bf16(v, d) + "\nmoe.yield",
                                         "moe.state @s gradient : " + bf16(v, d)),
                            "f32", kGpu);
    Array g = rounded(Array::random({n, d}, 1)), id = Array::integers({n, 1}, 2, 0, v), sum({v, d});
    for (int64_t i = 0; i < n; i += 3)
      id.values[i] = static_cast<double>(v / 2);
    loops::embedGrad(g.data(), id.data(), sum.data(), n, v, d);
    Array before = rounded(Array::random({v, d}, 3));
    CHECK(difference(kernel.run({g, id}, {{"s", before}}).states["s"], sum, 8e-3) == "");
  }
}

TEST_CASE("embed_grad of bf16 rows with skewed ids, some never seen", "[reduction][gpu]") {
  for (int64_t d : {3, 8, 104}) {
    int64_t n = 700, v = 61;
    CAPTURE(d);
    std::string ids = tensor(n, 1, "i32"), table = tensor(v, d);
    CompiledDispatch kernel(dispatchText("embed_grad", {{"gn", bf16(n, d)}, {"ids", ids}}, "",
                                         widen("%g", "%gn", n, d) + "%e = moe.embed_grad %g, %ids : " + tensor(n, d) +
                                             ", " + ids + " -> " + table + "\nmoe.accumulate @s, %e : " + table +
                                             "\nmoe.yield",
                                         "moe.state @s gradient : " + table),
                            "f32", kGpu);
    Array g = rounded(Array::random({n, d}, 1)), id({n, 1}, 60.0), start = Array::random({v, d}, 3), sum({v, d});
    for (int64_t i = 0; i < n; i += 5) // most are the last id, the rest pile up at the first, and many have none
      id.values[i] = static_cast<double>((i * i) % 11);
    loops::embedGrad(g.data(), id.data(), sum.data(), n, v, d);
    for (int64_t i = 0; i < v * d; ++i)
      sum.values[i] += start.values[i];
    CHECK(difference(kernel.run({g, id}, {{"s", start}}).states["s"], sum, 1e-5) == "");
  }
}
