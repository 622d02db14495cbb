// Fused chains of the row template: what moe-form-dispatches makes of norms, activations, losses, routers and
// optimizers.
#include "runtime/kernels/RowLoops.h"
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
std::string reduce(const std::string &result, const std::string &kind, const std::string &value, int64_t n, int64_t c) {
  return result + " = moe.row_reduce " + kind + " " + value + " : " + tensor(n, c) + " -> " + tensor(n, 1) + "\n";
}
const std::pair<int64_t, int64_t> kShapes[] = {{1, 1},  {3, 1},   {1, 3},    {5, 17},
                                               {3, 33}, {7, 129}, {70, 256}, {2, 1536}};

// %n = rms norm of %h, scaled by %scale [1, c].
std::string normText(int64_t n, int64_t c) {
  std::string x = tensor(n, c), one = tensor(n, 1), row = tensor(1, c);
  return mapText("%sq", {{"%h", x, "a"}}, x, "%p = arith.mulf %a, %a : $T", "p") + reduce("%sum", "sum", "%sq", n, c) +
         mapText("%rr", {{"%sum", one, "a"}}, one,
                 "%c = arith.constant " + std::to_string(c) +
                     ".0 : $T\n%e = arith.constant 1.0e-5 : $T\n%m = arith.divf %a, %c : $T\n"
                     "%s = arith.addf %m, %e : $T\n%r = math.rsqrt %s : $T",
                 "r") +
         mapText("%n", {{"%h", x, "a"}, {"%rr", one, "r"}, {"%scale", row, "s"}}, x,
                 "%p = arith.mulf %a, %r : $T\n%q = arith.mulf %p, %s : $T", "q");
}
} // namespace

TEST_CASE("residual and norm", "[chain]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : kShapes) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), row = tensor(1, c);
      CompiledDispatch kernel(
          dispatchText("row", {{"x", x}, {"y", x}}, x + ", " + x,
                       "%scale = moe.read @scale : " + row + "\n" +
                           mapText("%h", {{"%x", x, "a"}, {"%y", x, "b"}}, x, "%p = arith.addf %a, %b : $T", "p") +
                           normText(n, c) + "moe.yield %h, %n : " + x + ", " + x,
                       "moe.state @scale parameter : " + row),
          element);
      Array a = Array::random({n, c}, 1), b = Array::random({n, c}, 2), scale = Array::random({1, c}, 3), h({n, c}),
            norm({n, c});
      for (int64_t i = 0; i < n * c; ++i)
        h.values[i] = a.values[i] + b.values[i];
      loops::rmsNorm(h.data(), scale.data(), norm.data(), n, c, 1e-5);
      Outcome outcome = kernel.run({a, b}, {{"scale", scale}});
      CHECK(difference(outcome.results[0], h, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[1], norm, toleranceOf(element)) == "");
      CHECK(kernel.scratchBytes() == 0); // the result is the sum's memory
    }
}

TEST_CASE("combine, residual and norm in one loop", "[chain]") {
  int64_t n = 9, k = 2, r = 30;
  for (int64_t c : {17, 96}) {
    CAPTURE(c);
    std::string x = tensor(n, c), rows = tensor(r, c), slots = tensor(n, k, "i32"), one = tensor(r, 1, "i32"),
                w = tensor(n, k);
    CompiledDispatch kernel(
        dispatchText("row",
                     {{"x", x}, {"rows", rows}, {"slots", slots}, {"rs", one}, {"w", w}, {"scale", tensor(1, c)}},
                     x + ", " + x,
                     "%combined = moe.combine_rows %rows, %slots row_slot %rs : " + one + " weights %w : " + w + " : " +
                         rows + ", " + slots + " -> " + x + "\n" +
                         mapText("%h", {{"%x", x, "a"}, {"%combined", x, "b"}}, x, "%p = arith.addf %a, %b : $T", "p") +
                         normText(n, c) + "moe.yield %h, %n : " + x + ", " + x),
        "f64");
    Array a = Array::random({n, c}, 1), permuted = Array::random({r, c}, 2), slot = Array::integers({n, k}, 3, -1, r),
          rs({r, 1}, -1.0);
    Array weight = Array::random({n, k}, 4), scale = Array::random({1, c}, 5), h({n, c}), norm({n, c});
    loops::combineRows(permuted.data(), slot.data(), weight.data(), h.data(), n, k, c);
    for (int64_t i = 0; i < n * c; ++i)
      h.values[i] += a.values[i];
    loops::rmsNorm(h.data(), scale.data(), norm.data(), n, c, 1e-5);
    Outcome outcome = kernel.run({a, permuted, slot, rs, weight, scale});
    CHECK(difference(outcome.results[0], h, 1e-12) == "");
    CHECK(difference(outcome.results[1], norm, 1e-12) == "");
    CHECK(kernel.scratchBytes() == 0);
  }
}

TEST_CASE("SwiGLU and its gradient in one pass", "[chain]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {3, 33}, {9, 17}, {40, 1024}}) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c);
      std::string map = "%y:3 = moe.map(%g, %u, %d) : (" + x + ", " + x + ", " + x + ") -> (" + x + ", " + x + ", " +
                        x + R"() {
        ^bb0(%a: $T, %b: $T, %dy: $T):
          %one = arith.constant 1.0 : $T
          %neg = arith.negf %a : $T
          %e = math.exp %neg : $T
          %den = arith.addf %one, %e : $T
          %s = arith.divf %one, %den : $T
          %silu = arith.mulf %a, %s : $T
          %h = arith.mulf %silu, %b : $T
          %rest = arith.subf %one, %s : $T
          %t = arith.mulf %silu, %rest : $T
          %slope = arith.addf %s, %t : $T
          %db = arith.mulf %dy, %b : $T
          %da = arith.mulf %db, %slope : $T
          %du = arith.mulf %dy, %silu : $T
          moe.yield %h, %da, %du : $T, $T, $T
        }
        moe.yield %y#0, %y#1, %y#2 : )" +
                        x + ", " + x + ", " + x;
      CompiledDispatch kernel(dispatchText("row", {{"g", x}, {"u", x}, {"d", x}}, x + ", " + x + ", " + x, map),
                              element);
      Array g = Array::random({n, c}, 1, -8, 8), u = Array::random({n, c}, 2), d = Array::random({n, c}, 3), h({n, c}),
            dg({n, c}), du({n, c});
      for (int64_t i = 0; i < n * c; ++i) {
        double s = 1 / (1 + std::exp(-g.values[i]));
        h.values[i] = g.values[i] * s * u.values[i];
        dg.values[i] = d.values[i] * u.values[i] * (s + g.values[i] * s * (1 - s));
        du.values[i] = d.values[i] * g.values[i] * s;
      }
      Outcome outcome = kernel.run({g, u, d});
      CHECK(difference(outcome.results[0], h, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[1], dg, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[2], du, toleranceOf(element)) == "");
    }
}

TEST_CASE("softmax cross entropy with its gradient", "[chain]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : kShapes) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), one = tensor(n, 1), ids = tensor(n, 1, "i32");
      CompiledDispatch kernel(
          dispatchText("row", {{"x", x}, {"t", ids}}, one + ", " + x,
                       reduce("%max", "max", "%x", n, c) +
                           mapText("%e", {{"%x", x, "a"}, {"%max", one, "m"}}, x,
                                   "%d = arith.subf %a, %m : $T\n%p = math.exp %d : $T", "p") +
                           reduce("%sum", "sum", "%e", n, c) + "%picked = moe.take %x, %t : " + x + ", " + ids +
                           " -> " + one + "\n" +
                           mapText("%loss", {{"%sum", one, "s"}, {"%max", one, "m"}, {"%picked", one, "l"}}, one,
                                   "%q = math.log %s : $T\n%v = arith.addf %q, %m : $T\n%r = arith.subf %v, %l : $T",
                                   "r") +
                           mapText("%grad", {{"%e", x, "a"}, {"%sum", one, "s"}, {"%t", ids, "id", "i32"}}, x,
                                   "%one = arith.constant 1.0 : $T\n%zero = arith.constant 0.0 : $T\n%scale = "
                                   "arith.constant 0.125 : $T\n"
                                   "%id64 = arith.extsi %id : i32 to i64\n%hit = arith.cmpi eq, %id64, %column : i64\n"
                                   "%h = arith.select %hit, %one, %zero : $T\n%p = arith.divf %a, %s : $T\n%d = "
                                   "arith.subf %p, %h : $T\n"
                                   "%g = arith.mulf %d, %scale : $T",
                                   "g", /*position=*/true) +
                           "moe.yield %loss, %grad : " + one + ", " + x),
          element);
      Array a = Array::random({n, c}, 1, -5, 5), ids_ = Array::integers({n, 1}, 2, 0, c), loss({n, 1}), grad({n, c});
      loops::logSumExp(a.data(), loss.data(), n, c);
      loops::softmax(a.data(), grad.data(), n, c);
      for (int64_t i = 0; i < n; ++i) {
        loss.values[i] -= a.at(i, int64_t(ids_.values[i]));
        grad.at(i, int64_t(ids_.values[i])) -= 1;
      }
      for (double &value : grad.values)
        value *= 0.125;
      Outcome outcome = kernel.run({a, ids_});
      CHECK(difference(outcome.results[0], loss, toleranceOf(element) * 10) == "");
      CHECK(difference(outcome.results[1], grad, toleranceOf(element)) == "");
    }
}

namespace {
// One step on %p, %m, %v, %g with the rate in a [1, 1] state, writing three states and clearing the gradient.
std::string adamText(const std::string &x, const std::string &index) {
  return "%p = moe.read @p" + index + " : " + x + "\n%m = moe.read @m" + index + " : " + x + "\n%v = moe.read @v" +
         index + " : " + x + "\n%g = moe.read @g" + index + " : " + x +
         "\n%rate = moe.read @rate : tensor<1x1x$T>\n%n:3 = moe.map(%p, %m, %v, %g, %rate) : (" + x + ", " + x + ", " +
         x + ", " + x + ", tensor<1x1x$T>) -> (" + x + ", " + x + ", " + x + R"() {
      ^bb0(%a: $T, %b: $T, %c: $T, %d: $T, %lr: $T):
        %b1 = arith.constant 0.9 : $T
        %b2 = arith.constant 0.95 : $T
        %o1 = arith.constant 0.1 : $T
        %o2 = arith.constant 0.05 : $T
        %eps = arith.constant 1.0e-8 : $T
        %decay = arith.constant 0.01 : $T
        %m0 = arith.mulf %b, %b1 : $T
        %m1 = arith.mulf %d, %o1 : $T
        %mn = arith.addf %m0, %m1 : $T
        %v0 = arith.mulf %c, %b2 : $T
        %dd = arith.mulf %d, %d : $T
        %v1 = arith.mulf %dd, %o2 : $T
        %vn = arith.addf %v0, %v1 : $T
        %root = math.sqrt %vn : $T
        %den = arith.addf %root, %eps : $T
        %u0 = arith.divf %mn, %den : $T
        %u1 = arith.mulf %a, %decay : $T
        %u = arith.addf %u0, %u1 : $T
        %step = arith.mulf %u, %lr : $T
        %pn = arith.subf %a, %step : $T
        moe.yield %pn, %mn, %vn : $T, $T, $T
      }
      %zero = arith.constant dense<0.0> : )" +
         x + "\nmoe.write @p" + index + ", %n#0 : " + x + "\nmoe.write @m" + index + ", %n#1 : " + x +
         "\nmoe.write @v" + index + ", %n#2 : " + x + "\nmoe.write @g" + index + ", %zero : " + x + "\nmoe.yield\n";
}

void adamReference(double *p, double *m, double *v, double *g, int64_t count, double rate) {
  for (int64_t i = 0; i < count; ++i) {
    m[i] = 0.9 * m[i] + 0.1 * g[i];
    v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
    p[i] -= rate * (m[i] / (std::sqrt(v[i]) + 1e-8) + 0.01 * p[i]);
    g[i] = 0;
  }
}
} // namespace

TEST_CASE("AdamW in place, on one copy of stacked states", "[chain]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {1, 33}, {37, 129}, {3, 40000}}) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), states = "moe.state @rate counter : tensor<1x1x$T>\n";
      for (std::string name : {"p", "m", "v", "g"})
        states += "moe.state @" + name + " optimizer : " + x + " count 3\n";
      std::string text = states + "func.func @f(%l: index) {\nmoe.dispatch \"row\" (%i = %l) : (index) -> () {\n" +
                         adamText(x, "[%i]") + "}\nreturn\n}";
      CompiledDispatch kernel(text, element);
      std::map<std::string, Array> given = {{"p", Array::random({3, n, c}, 1)},
                                            {"m", Array::random({3, n, c}, 2)},
                                            {"v", Array::random({3, n, c}, 3, 0, 1)},
                                            {"g", Array::random({3, n, c}, 4)},
                                            {"rate", Array({1, 1}, 0.125)}};
      Outcome outcome = kernel.run({}, given, /*copy=*/1);
      int64_t at = n * c;
      adamReference(given["p"].data() + at, given["m"].data() + at, given["v"].data() + at, given["g"].data() + at,
                    n * c, 0.125);
      for (std::string name : {"p", "m", "v", "g"})
        CHECK(difference(outcome.states[name], given[name], toleranceOf(element)) == "");
      if (n * c > 100000)
        CHECK(kernel.grid() > 4); // columns are shared out
    }
}

TEST_CASE("router: softmax, choice with a bias, normalised weights", "[chain]") {
  for (std::string element : {"f32", "f64"})
    for (auto [e, k] : {std::pair<int64_t, int64_t>{4, 4}, {8, 2}, {33, 3}, {16, 1}}) {
      int64_t n = 11;
      CAPTURE(element, e, k);
      std::string x = tensor(n, e), one = tensor(n, 1), ids = tensor(n, k, "i32"), w = tensor(n, k);
      CompiledDispatch kernel(
          dispatchText(
              "row", {{"x", x}, {"bias", tensor(1, e)}}, ids + ", " + w + ", " + x,
              reduce("%max", "max", "%x", n, e) +
                  mapText("%ex", {{"%x", x, "a"}, {"%max", one, "m"}}, x,
                          "%d = arith.subf %a, %m : $T\n%p = math.exp %d : $T", "p") +
                  reduce("%sum", "sum", "%ex", n, e) +
                  mapText("%prob", {{"%ex", x, "a"}, {"%sum", one, "s"}}, x, "%p = arith.divf %a, %s : $T", "p") +
                  mapText("%score", {{"%prob", x, "a"}, {"%bias", tensor(1, e), "s"}}, x, "%p = arith.addf %a, %s : $T",
                          "p") +
                  "%ids = moe.top_k %score : " + x + " -> " + ids + "\n%raw = moe.take %prob, %ids : " + x + ", " +
                  ids + " -> " + w + "\n" + reduce("%total", "sum", "%raw", n, k) +
                  mapText("%w", {{"%raw", w, "a"}, {"%total", one, "s"}}, w, "%p = arith.divf %a, %s : $T", "p") +
                  "moe.yield %ids, %w, %prob : " + ids + ", " + w + ", " + x),
          element);
      Array a = Array::random({n, e}, 1, -3, 3), bias = Array::random({1, e}, 2), prob({n, e}), score({n, e}),
            id({n, k}), weight({n, k});
      loops::softmax(a.data(), prob.data(), n, e);
      for (int64_t i = 0; i < n * e; ++i)
        score.values[i] = prob.values[i] + bias.values[i % e];
      loops::topK(score.data(), id.data(), n, e, k);
      loops::take(prob.data(), id.data(), weight.data(), n, e, k);
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < k; ++j)
          sum += weight.at(i, j);
        for (int64_t j = 0; j < k; ++j)
          weight.at(i, j) /= sum;
      }
      Outcome outcome = kernel.run({a, bias});
      CHECK(difference(outcome.results[0], id, 0) == "");
      CHECK(difference(outcome.results[1], weight, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[2], prob, toleranceOf(element)) == "");
    }
}

TEST_CASE("states keep their old contents for those that read later", "[chain]") {
  for (int64_t c : {1, 5, 40}) {
    CAPTURE(c);
    int64_t n = 6;
    std::string x = tensor(n, c), one = tensor(n, 1),
                state = "moe.state @s optimizer : " + x + "\nmoe.state @t optimizer : " + x + "\n";
    // The loop that computes the new @s runs before the one that reads the old.
    CompiledDispatch late(
        dispatchText("row", {{"x", x}}, x,
                     "%s = moe.read @s : " + x + "\n" +
                         mapText("%w", {{"%x", x, "a"}}, x, "%p = arith.addf %a, %a : $T", "p") +
                         reduce("%m", "max", "%w", n, c) +
                         mapText("%y", {{"%s", x, "a"}, {"%m", one, "b"}}, x, "%p = arith.addf %a, %b : $T", "p") +
                         "moe.write @s, %w : " + x + "\nmoe.accumulate @t, %y : " + x + "\nmoe.yield %y : " + x,
                     state),
        "f64");
    Array a = Array::random({n, c}, 1), s = Array::random({n, c}, 2), t = Array::random({n, c}, 3), w = a, y({n, c}),
          total = t;
    for (int64_t i = 0; i < n; ++i) {
      double most = -INFINITY;
      for (int64_t j = 0; j < c; ++j)
        most = std::max(most, w.at(i, j) *= 2);
      for (int64_t j = 0; j < c; ++j)
        total.at(i, j) += y.at(i, j) = s.at(i, j) + most;
    }
    Outcome outcome = late.run({a}, {{"s", s}, {"t", t}});
    CHECK(difference(outcome.results[0], y, 1e-12) == "");
    CHECK(difference(outcome.states["s"], w, 1e-12) == "");
    CHECK(difference(outcome.states["t"], total, 1e-12) == "");

    CompiledDispatch swap(dispatchText("row", {}, "",
                                       "%s = moe.read @s : " + x + "\n%t = moe.read @t : " + x +
                                           "\nmoe.write @s, %t : " + x + "\nmoe.write @t, %s : " + x + "\nmoe.yield",
                                       state),
                          "f64");
    outcome = swap.run({}, {{"s", s}, {"t", t}});
    CHECK(difference(outcome.states["s"], t, 0) == "");
    CHECK(difference(outcome.states["t"], s, 0) == "");
  }
}

TEST_CASE("scalars, counters and fills", "[chain]") {
  CompiledDispatch scalars(
      dispatchText(
          "row", {{"loss", tensor(1, 1)}}, "tensor<1x1x$T>", R"(
      %step = moe.read @step : tensor<1x1xi64>
      %next:2 = moe.map(%step, %loss) : (tensor<1x1xi64>, tensor<1x1x$T>) -> (tensor<1x1xi64>, tensor<1x1x$T>) {
      ^bb0(%s: i64, %l: $T):
        %one = arith.constant 1 : i64
        %n = arith.addi %s, %one : i64
        %f = arith.sitofp %n : i64 to $T
        %r = arith.divf %l, %f : $T
        moe.yield %n, %r : i64, $T
      }
      moe.write @step, %next#0 : tensor<1x1xi64>
      moe.accumulate @loss, %loss : tensor<1x1x$T>
      moe.yield %next#1 : tensor<1x1x$T>)",
          "moe.state @step counter : tensor<1x1xi64>\nmoe.state @loss metric : tensor<1x1x$T> logged \"loss\""),
      "f32");
  Outcome outcome = scalars.run({Array({1, 1}, 6.0)}, {{"step", Array({1, 1}, 2.0)}, {"loss", Array({1, 1}, 1.5)}});
  CHECK(outcome.results[0].values[0] == 2.0);
  CHECK(outcome.states["step"].values[0] == 3.0);
  CHECK(outcome.states["loss"].values[0] == 7.5);

  // A stack [E, K, M] through views; a fill and a copy beside it.
  CompiledDispatch stack(dispatchText("row", {}, "", R"(
      %w = moe.read @w : tensor<3x5x7x$T>
      %v = moe.reshape %w : tensor<3x5x7x$T> -> tensor<15x7x$T>
      %d = moe.map(%v) : (tensor<15x7x$T>) -> tensor<15x7x$T> {
      ^bb0(%a: $T):
        %p = arith.addf %a, %a : $T
        moe.yield %p : $T
      }
      %b = moe.reshape %d : tensor<15x7x$T> -> tensor<3x5x7x$T>
      %zero = arith.constant dense<0.0> : tensor<3x5x7x$T>
      moe.write @w, %b : tensor<3x5x7x$T>
      moe.write @z, %zero : tensor<3x5x7x$T>
      moe.write @c, %w : tensor<3x5x7x$T>
      moe.yield)",
                                      "moe.state @w parameter : tensor<3x5x7x$T>\nmoe.state @z gradient : "
                                      "tensor<3x5x7x$T>\nmoe.state @c optimizer : tensor<3x5x7x$T>"),
                         "f64");
  Array w = Array::random({3, 5, 7}, 1), twice = w;
  for (double &value : twice.values)
    value *= 2;
  outcome = stack.run({}, {{"w", w}});
  CHECK(difference(outcome.states["w"], twice, 0) == "");
  CHECK(difference(outcome.states["z"], Array({3, 5, 7}), 0) == "");
  CHECK(difference(outcome.states["c"], w, 0) == "");
}

TEST_CASE("what the row template refuses", "[chain]") {
  std::string x = tensor(4, 8), state = "moe.state @s optimizer : " + x;
  auto message = [&](const std::string &body, const std::string &results) -> std::string {
    try {
      CompiledDispatch(dispatchText("row", {{"x", x}}, results, body, state), "f32");
    } catch (const std::exception &error) {
      return error.what();
    }
    return "";
  };
  using Catch::Contains;
  CHECK_THAT(message("moe.write @s, %x : " + x + "\n%s = moe.read @s : " + x + "\nmoe.yield %s : " + x, x),
             Contains("reads a state after"));
  CHECK_THAT(message("%c = moe.column_kth %x n 1 : " + x + " -> tensor<1x8x$T>\nmoe.yield %c : tensor<1x8x$T>",
                     "tensor<1x8x$T>"),
             Contains("is not an op of the row template"));
}
