// Matrix products and what is fused with them, against plain loops.
#include "runtime/kernels/ProductLoops.h"
#include "test/numerics/DispatchText.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

Array multiply(const Array &a, const Array &b, bool ta = false, bool tb = false) {
  int64_t M = a.shape[ta ? 1 : 0], K = a.shape[ta ? 0 : 1], N = b.shape[tb ? 0 : 1];
  Array c({M, N});
  loops::matmul(a.data(), b.data(), c.data(), M, N, K, ta, tb);
  return c;
}

Array gather(const Array &input, const Array &rows) {
  Array result({rows.shape[0], input.shape[1]});
  loops::gatherRows(input.data(), rows.data(), result.data(), rows.shape[0], input.shape[1]);
  return result;
}

// All rows of groups, those of padding too; nothing may be written beyond.
std::string differenceInGroups(const Array &actual, const Array &expected, const Groups &groups, double tolerance) {
  Array e = expected;
  int64_t columns = e.shape[1];
  auto end = static_cast<int64_t>(groups.offsets.values.back());
  std::fill(e.values.begin() + end * columns, e.values.end(), NAN);
  return difference(actual, e, tolerance);
}

double silu(double x) { return x / (1 + std::exp(-x)); }

const char *kSilu = R"(
      %one = arith.constant 1.0 : $T
      %n = arith.negf %v : $T
      %ex = math.exp %n : $T
      %d = arith.addf %one, %ex : $T
      %s = arith.divf %v, %d : $T
      %y = arith.mulf %s, %z : $T
)";

} // namespace

TEST_CASE("matmul: sizes and transposes", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  struct Size {
    int64_t M, N, K;
  };
  Size size = GENERATE(Size{1, 1, 1}, Size{5, 3, 2}, Size{8, 32, 16}, Size{17, 45, 33}, Size{64, 8, 31},
                       Size{130, 100, 70}, Size{9, 33, 1100});
  bool ta = GENERATE(false, true), tb = GENERATE(false, true);
  CAPTURE(element, size.M, size.N, size.K, ta, tb);
  auto [M, N, K] = size;
  std::vector<int64_t> aShape = ta ? std::vector{K, M} : std::vector{M, K},
                       bShape = tb ? std::vector{N, K} : std::vector{K, N};
  std::string op = std::string("moe.matmul") + (ta ? " ta" : "") + (tb ? " tb" : "");
  CompiledDispatch kernel(module("", {{"a", tensor(aShape)}, {"b", tensor(bShape)}}, {tensor({M, N})},
                                 product("%p", op, {{"%a", tensor(aShape)}, {"%b", tensor(bShape)}}, tensor({M, N})) +
                                     "    moe.yield %p : " + tensor({M, N})),
                          element);
  Array a = Array::random(aShape, 1), b = Array::random(bShape, 2);
  REQUIRE(difference(kernel.run({a, b}).results[0], multiply(a, b, ta, tb), toleranceOf(element)) == "");
}

TEST_CASE("matmul: every target", "[matmul][targets]") {
  std::string target = GENERATE("x86-64", "x86-64-v3", "native");
  std::string element = GENERATE("f32", "f64");
  bool tb = GENERATE(false, true);
  int64_t M = 21, N = 37, K = 29;
  std::vector<int64_t> bShape = tb ? std::vector{N, K} : std::vector{K, N};
  CompiledDispatch kernel(module("", {{"a", tensor({M, K})}, {"b", tensor(bShape)}}, {tensor({M, N})},
                                 product("%p", tb ? "moe.matmul tb" : "moe.matmul",
                                         {{"%a", tensor({M, K})}, {"%b", tensor(bShape)}}, tensor({M, N})) +
                                     "    moe.yield %p : " + tensor({M, N})),
                          element, target);
  Array a = Array::random({M, K}, 1), b = Array::random(bShape, 2);
  REQUIRE(difference(kernel.run({a, b}).results[0], multiply(a, b, false, tb), toleranceOf(element)) == "");
}

TEST_CASE("matmul: gathered rows, -1 is zeros", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  bool ta = GENERATE(false, true);
  int64_t R = 27, T = 11, D = 19, N = 40;
  int64_t M = ta ? D : R, K = ta ? R : D;
  CompiledDispatch kernel(module("", {{"x", tensor({T, D})}, {"rows", tensor({R, 1}, "i32")}, {"b", tensor({K, N})}},
                                 {tensor({M, N})},
                                 "    %a = moe.gather_rows %x, %rows : " + tensor({T, D}) + ", " +
                                     tensor({R, 1}, "i32") + " -> " + tensor({R, D}) + "\n" +
                                     product("%p", ta ? "moe.matmul ta" : "moe.matmul",
                                             {{"%a", tensor({R, D})}, {"%b", tensor({K, N})}}, tensor({M, N})) +
                                     "    moe.yield %p : " + tensor({M, N})),
                          element);
  Array x = Array::random({T, D}, 1), rows = Array::integers({R, 1}, 3, -1, T), b = Array::random({K, N}, 2);
  REQUIRE(difference(kernel.run({x, rows, b}).results[0], multiply(gather(x, rows), b, ta), toleranceOf(element)) ==
          "");
}

TEST_CASE("matmul: epilogue with every kind of operand", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t N = GENERATE(32, 50), K = GENERATE(24, 700), M = 22;
  std::string full = tensor({M, N});
  // y = p + residual * column(row) + row(column) * scalar + per-group, then a second map that also yields p.
  std::string body = R"(
      %0 = arith.mulf %r0, %c0 : $T
      %1 = arith.mulf %w0, %s0 : $T
      %2 = arith.addf %p0, %0 : $T
      %3 = arith.addf %2, %1 : $T
      %y = arith.addf %3, %g0 : $T
)";
  CompiledDispatch kernel(module("",
                                 {{"a", tensor({M, K})},
                                  {"b", tensor({K, N})},
                                  {"r", full},
                                  {"c", tensor({M, 1})},
                                  {"w", tensor({1, N})},
                                  {"s", tensor({1, 1})},
                                  {"g", tensor({2, N})}},
                                 {full, full},
                                 product("%p", "moe.matmul", {{"%a", tensor({M, K})}, {"%b", tensor({K, N})}}, full) +
                                     map("%q",
                                         {{"%p", full},
                                          {"%r", full},
                                          {"%c", tensor({M, 1})},
                                          {"%w", tensor({1, N})},
                                          {"%s", tensor({1, 1})},
                                          {"%g", tensor({2, N})}},
                                         full, "%p0: $T, %r0: $T, %c0: $T, %w0: $T, %s0: $T, %g0: $T", body) +
                                     "    moe.yield %q, %p : " + full + ", " + full),
                          element);
  std::vector<Array> in = {Array::random({M, K}, 1), Array::random({K, N}, 2), Array::random({M, N}, 3),
                           Array::random({M, 1}, 4), Array::random({1, N}, 5), Array::random({1, 1}, 6),
                           Array::random({2, N}, 7)};
  Array p = multiply(in[0], in[1]), q = p;
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n)
      q.at(m, n) =
          p.at(m, n) + in[2].at(m, n) * in[3].at(m, 0) + in[4].at(0, n) * in[5].at(0, 0) + in[6].at(m * 2 / M, n);
  Outcome outcome = kernel.run(in);
  REQUIRE(difference(outcome.results[0], q, toleranceOf(element)) == "");
  REQUIRE(difference(outcome.results[1], p, toleranceOf(element)) == "");
}

TEST_CASE("matmul: map with position and ids", "[matmul]") {
  int64_t M = 10, N = 21, K = 6;
  std::string element = GENERATE("f32", "f64"), full = tensor({M, N});
  CompiledDispatch kernel(
      module("", {{"a", tensor({M, K})}, {"b", tensor({K, N})}, {"t", tensor({M, 1}, "i32")}}, {full},
             product("%p", "moe.matmul", {{"%a", tensor({M, K})}, {"%b", tensor({K, N})}}, full) +
                 "    %q = moe.map position (%p, %t) : (" + full + ", " + tensor({M, 1}, "i32") + ") -> " + full +
                 " {\n    ^bb0(%p0: $T, %t0: i32, %row: i64, %col: i64):\n      %t64 = arith.extsi %t0 : i32 to i64\n"
                 "      %yes = arith.cmpi eq, %col, %t64 : i64\n      %one = arith.constant 1.0 : $T\n"
                 "      %less = arith.subf %p0, %one : $T\n      %y = arith.select %yes, %less, %p0 : $T\n"
                 "      moe.yield %y : $T\n    }\n    moe.yield %q : " +
                 full),
      element);
  Array a = Array::random({M, K}, 1), b = Array::random({K, N}, 2), t = Array::integers({M, 1}, 3, 0, N);
  Array q = multiply(a, b);
  for (int64_t m = 0; m < M; ++m)
    q.at(m, static_cast<int64_t>(t.values[m])) -= 1;
  REQUIRE(difference(kernel.run({a, b, t}).results[0], q, toleranceOf(element)) == "");
}

TEST_CASE("matmul: sum of two products, weights and gradient in states", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t M = 20, N = 36, K = 13, L = GENERATE(9, 800);
  std::string full = tensor({M, N}), body = "      %y = arith.addf %x, %z : $T\n";
  std::string states = "moe.state @w parameter : " + tensor({K, N}) + " count 3\nmoe.state @sum gradient : " + full +
                       " count 3\nmoe.state @last output : " + full;
  CompiledDispatch kernel(
      module(states, {{"a", tensor({M, K})}, {"c", tensor({M, L})}, {"d", tensor({N, L})}, {"l", "index"}}, {},
             "    %w = moe.read @w[%l] : " + tensor({K, N}) + "\n" +
                 product("%p", "moe.matmul", {{"%a", tensor({M, K})}, {"%w", tensor({K, N})}}, full) +
                 product("%q", "moe.matmul tb", {{"%c", tensor({M, L})}, {"%d", tensor({N, L})}}, full) +
                 map("%s", {{"%p", full}, {"%q", full}}, full, "%x: $T, %z: $T", body) +
                 "    moe.accumulate @sum[%l], %s : " + full + "\n    moe.write @last, %q : " + full +
                 "\n    moe.yield"),
      element);
  Array a = Array::random({M, K}, 1), c = Array::random({M, L}, 2), d = Array::random({N, L}, 3),
        w = Array::random({3, K, N}, 4), old = Array::random({3, M, N}, 5);
  Outcome outcome = kernel.run({a, c, d}, {{"w", w}, {"sum", old}}, /*copy=*/1);
  Array w1({K, N}, std::vector<double>(w.values.begin() + K * N, w.values.begin() + 2 * K * N));
  Array p = multiply(a, w1), q = multiply(c, d, false, true), expected = old;
  for (int64_t i = 0; i < M * N; ++i)
    expected.values[M * N + i] += p.values[i] + q.values[i];
  REQUIRE(difference(outcome.states["sum"], expected, toleranceOf(element)) == "");
  REQUIRE(difference(outcome.states["last"], q, toleranceOf(element)) == "");
}

TEST_CASE("matmul: weight gradient accumulates", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t T = GENERATE(1, 100, 1300), K = 37, N = 70;
  std::string full = tensor({K, N});
  CompiledDispatch kernel(
      module("moe.state @g gradient : " + full, {{"x", tensor({T, K})}, {"dy", tensor({T, N})}}, {},
             product("%p", "moe.matmul ta", {{"%x", tensor({T, K})}, {"%dy", tensor({T, N})}}, full) +
                 "    moe.accumulate @g, %p : " + full + "\n    moe.yield"),
      element);
  Array x = Array::random({T, K}, 1), dy = Array::random({T, N}, 2), old = Array::random({K, N}, 3);
  Array expected = multiply(x, dy, true);
  for (int64_t i = 0; i < K * N; ++i)
    expected.values[i] += old.values[i];
  REQUIRE(difference(kernel.run({x, dy}, {{"g", old}}).states["g"], expected, toleranceOf(element)) == "");
}

namespace {
std::vector<int64_t> someCounts() {
  return GENERATE(std::vector<int64_t>{5, 0, 16, 1, 9}, std::vector<int64_t>{40, 0, 0}, std::vector<int64_t>{0, 0, 33},
                  std::vector<int64_t>{0, 0}, std::vector<int64_t>{7}, std::vector<int64_t>{600, 3});
}
} // namespace

TEST_CASE("grouped matmul: SwiGLU over gathered rows", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  std::vector<int64_t> counts = someCounts();
  bool tb = GENERATE(false, true);
  int64_t K = GENERATE(21, 600), align = GENERATE(8, 3);
  if (counts[0] == 600 && K == 600)
    return;
  int64_t E = counts.size(), T = 30, N = 40;
  Groups groups = makeGroups(counts, align, T, /*spare=*/5);
  int64_t R = groups.rows;
  std::string full = tensor({R, N}), weights = tb ? tensor({E, N, K}) : tensor({E, K, N}),
              op = tb ? "moe.grouped_matmul tb" : "moe.grouped_matmul", off = tensor({1, E + 1}, "i32"),
              cnt = tensor({1, E}, "i32");
  CompiledDispatch kernel(
      module("",
             {{"x", tensor({T, K})},
              {"rows", tensor({R, 1}, "i32")},
              {"wg", weights},
              {"wu", weights},
              {"off", off},
              {"cnt", cnt}},
             {full, full, full},
             "    %a = moe.gather_rows %x, %rows : " + tensor({T, K}) + ", " + tensor({R, 1}, "i32") + " -> " +
                 tensor({R, K}) + "\n" +
                 product("%g", op, {{"%a", tensor({R, K})}, {"%wg", weights}, {"%off", off}, {"%cnt", cnt}}, full) +
                 product("%u", op, {{"%a", tensor({R, K})}, {"%wu", weights}, {"%off", off}, {"%cnt", cnt}}, full) +
                 map("%h", {{"%g", full}, {"%u", full}}, full, "%v: $T, %z: $T", kSilu) +
                 "    moe.yield %g, %u, %h : " + full + ", " + full + ", " + full),
      element);
  Array x = Array::random({T, K}, 1), wg = Array::random({E, K, N}, 2), wu = Array::random({E, K, N}, 3);
  Array a = gather(x, groups.rowToken), g({R, N}), u({R, N}), h({R, N});
  loops::groupedMatmul(a.data(), wg.data(), groups.offsets.data(), g.data(), E, N, K, tb);
  loops::groupedMatmul(a.data(), wu.data(), groups.offsets.data(), u.data(), E, N, K, tb);
  for (int64_t i = 0; i < R * N; ++i)
    h.values[i] = silu(g.values[i]) * u.values[i];
  Outcome outcome = kernel.run({x, groups.rowToken, wg, wu, groups.offsets, groups.counts});
  REQUIRE(differenceInGroups(outcome.results[0], g, groups, toleranceOf(element)) == "");
  REQUIRE(differenceInGroups(outcome.results[1], u, groups, toleranceOf(element)) == "");
  REQUIRE(differenceInGroups(outcome.results[2], h, groups, toleranceOf(element)) == "");
}

TEST_CASE("grouped matmul: a sum of products with different left sides, padding computed like other rows", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t E = 4, K = 13, L = GENERATE(22, 700), N = 36;
  Groups groups = makeGroups({5, 0, 70, 1}, GENERATE(8, 64), /*tokens=*/1, /*spare=*/5);
  int64_t R = groups.rows;
  std::string full = tensor({R, N}), off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32");
  std::vector<Operand> inputs = {{"a", tensor({R, K})},    {"c", tensor({R, L})}, {"w", tensor({E, K, N})},
                                 {"v", tensor({E, N, L})}, {"off", off},          {"cnt", cnt}};
  auto grouped = [&](const std::string &result, const std::string &op, const Operand &left, const Operand &right) {
    return product(result, op, {left, right, {"%off", off}, {"%cnt", cnt}}, full);
  };
  CompiledDispatch kernel(
      module(
          "", inputs, {full, full},
          grouped("%p", "moe.grouped_matmul", {"%a", tensor({R, K})}, {"%w", tensor({E, K, N})}) +
              grouped("%q", "moe.grouped_matmul tb", {"%c", tensor({R, L})}, {"%v", tensor({E, N, L})}) +
              map("%s", {{"%p", full}, {"%q", full}}, full, "%x: $T, %z: $T", "      %y = arith.addf %x, %z : $T\n") +
              "    moe.yield %s, %p : " + full + ", " + full),
      element);
  Array a = Array::random({R, K}, 1), c = Array::random({R, L}, 2), w = Array::random({E, K, N}, 3),
        v = Array::random({E, N, L}, 4), p({R, N}), q({R, N});
  loops::groupedMatmul(a.data(), w.data(), groups.offsets.data(), p.data(), E, N, K);
  loops::groupedMatmul(c.data(), v.data(), groups.offsets.data(), q.data(), E, N, L, /*tb=*/true);
  for (int64_t i = 0; i < R * N; ++i)
    q.values[i] += p.values[i];
  Outcome outcome = kernel.run({a, c, w, v, groups.offsets, groups.counts});
  REQUIRE(differenceInGroups(outcome.results[0], q, groups, toleranceOf(element)) == "");
  REQUIRE(differenceInGroups(outcome.results[1], p, groups, toleranceOf(element)) == "");
}

TEST_CASE("grouped outer: yields and accumulates", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  std::vector<int64_t> counts = someCounts();
  bool gathered = GENERATE(false, true);
  int64_t E = counts.size(), T = 30, K = GENERATE(19, 140), N = 40;
  Groups groups = makeGroups(counts, 8, T, /*spare=*/3);
  int64_t R = groups.rows;
  std::string full = tensor({E, K, N}), off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32"),
              input = gathered ? tensor({T, K}) : tensor({R, K});
  CompiledDispatch kernel(
      module(
          "moe.state @g gradient : " + full + " count 2",
          {{"x", input},
           {"rows", tensor({R, 1}, "i32")},
           {"dy", tensor({R, N})},
           {"off", off},
           {"cnt", cnt},
           {"l", "index"}},
          {full},
          (gathered ? "    %a = moe.gather_rows %x, %rows : " + input + ", " + tensor({R, 1}, "i32") + " -> " +
                          tensor({R, K}) + "\n"
                    : std::string("")) +
              product("%p", "moe.grouped_outer",
                      {{gathered ? "%a" : "%x", tensor({R, K})}, {"%dy", tensor({R, N})}, {"%off", off}, {"%cnt", cnt}},
                      full) +
              "    moe.accumulate @g[%l], %p : " + full + "\n    moe.yield %p : " + full),
      element);
  Array x = Array::random(gathered ? std::vector{T, K} : std::vector{R, K}, 1), dy = Array::random({R, N}, 2),
        old = Array::random({2, E, K, N}, 3);
  Array a = gathered ? gather(x, groups.rowToken) : x;
  // Only the rows of experts may be read.
  for (int64_t r = 0; r < R; ++r)
    if (groups.rowToken.values[r] < 0) {
      for (int64_t n = 0; n < N; ++n)
        dy.at(r, n) = NAN;
      for (int64_t k = 0; !gathered && k < K; ++k)
        x.at(r, k) = NAN;
    }
  Array expected({E, K, N});
  loops::groupedOuter(a.data(), dy.data(), groups.offsets.data(), groups.counts.data(), expected.data(), E, K, N);
  Outcome outcome = kernel.run({x, groups.rowToken, dy, groups.offsets, groups.counts}, {{"g", old}}, /*copy=*/1);
  REQUIRE(difference(outcome.results[0], expected, toleranceOf(element)) == "");
  for (int64_t i = 0; i < E * K * N; ++i)
    old.values[E * K * N + i] += expected.values[i];
  REQUIRE(difference(outcome.states["g"], old, toleranceOf(element)) == "");
}

// Gradients of gate and up: the first is stored before the second is made.
TEST_CASE("grouped outer: a pair of gathered rows, each into its state", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  std::vector<int64_t> counts = someCounts();
  int64_t E = counts.size(), T = 30, K = GENERATE(19, 140), N = 40;
  Groups groups = makeGroups(counts, 8, T, /*spare=*/3);
  int64_t R = groups.rows;
  std::string full = tensor({E, K, N}), off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32"),
              input = tensor({T, K}), made = tensor({R, K}), grad = tensor({R, N});
  auto outer = [&](const std::string &name, const std::string &right) {
    return product(name, "moe.grouped_outer", {{"%a", made}, {right, grad}, {"%off", off}, {"%cnt", cnt}}, full);
  };
  CompiledDispatch kernel(
      module("moe.state @up gradient : " + full + "\n  moe.state @gate gradient : " + full,
             {{"x", input}, {"rows", tensor({R, 1}, "i32")}, {"du", grad}, {"dg", grad}, {"off", off}, {"cnt", cnt}},
             {},
             "    %a = moe.gather_rows %x, %rows : " + input + ", " + tensor({R, 1}, "i32") + " -> " + made + "\n" +
                 outer("%p", "%du") + "    moe.write @up, %p : " + full + "\n" + outer("%q", "%dg") +
                 "    moe.accumulate @gate, %q : " + full + "\n    moe.yield"),
      element);
  Array x = Array::random({T, K}, 1), du = Array::random({R, N}, 2), dg = Array::random({R, N}, 3),
        old = Array::random({E, K, N}, 4), up({E, K, N}), gate({E, K, N});
  Array a = gather(x, groups.rowToken);
  loops::groupedOuter(a.data(), du.data(), groups.offsets.data(), groups.counts.data(), up.data(), E, K, N);
  loops::groupedOuter(a.data(), dg.data(), groups.offsets.data(), groups.counts.data(), gate.data(), E, K, N);
  for (int64_t i = 0; i < gate.size(); ++i)
    gate.values[i] += old.values[i];
  Outcome outcome =
      kernel.run({x, groups.rowToken, du, dg, groups.offsets, groups.counts}, {{"up", old}, {"gate", old}});
  REQUIRE(difference(outcome.states["up"], up, toleranceOf(element)) == "");
  REQUIRE(difference(outcome.states["gate"], gate, toleranceOf(element)) == "");
}

// Rows on either side that slots name: slot n * K + k is of token n. Slots of padding are -1.
TEST_CASE("grouped products read spread rows through their slots", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  std::vector<int64_t> counts = someCounts();
  int64_t slotsOfToken = GENERATE(1, 3, 4), E = counts.size(), T = 30, K = GENERATE(19, 140), N = 40;
  CAPTURE(element, slotsOfToken, K);
  Groups groups = makeGroups(counts, 8, T, /*spare=*/3);
  int64_t R = groups.rows;
  std::string off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32"), made = tensor({R, K}),
              weights = tensor({E, N, K}), gradient = tensor({E, N, K}), result = tensor({R, N});
  std::string spread = "    %a = moe.spread_rows %x, %slot top_k " + std::to_string(slotsOfToken) + " : " +
                       tensor({T, K}) + ", " + tensor({R, 1}, "i32") + " -> " + made + "\n";
  Array x = Array::random({T, K}, 1), h = Array::random({R, N}, 2), w = Array::random({E, N, K}, 3), slot({R, 1}, -1.0);
  for (int64_t r = 0; r < R; ++r)
    if (groups.rowToken.values[r] >= 0)
      slot.values[r] = groups.rowToken.values[r] * slotsOfToken + static_cast<double>(r % slotsOfToken);
  Array a = gather(x, groups.rowToken);

  CompiledDispatch left(
      module("", {{"x", tensor({T, K})}, {"slot", tensor({R, 1}, "i32")}, {"w", weights}, {"off", off}, {"cnt", cnt}},
             {result},
             spread +
                 product("%p", "moe.grouped_matmul tb", {{"%a", made}, {"%w", weights}, {"%off", off}, {"%cnt", cnt}},
                         result) +
                 "    moe.yield %p : " + result),
      element);
  Array p({R, N});
  loops::groupedMatmul(a.data(), w.data(), groups.offsets.data(), p.data(), E, N, K, /*tb=*/true);
  REQUIRE(differenceInGroups(left.run({x, slot, w, groups.offsets, groups.counts}).results[0], p, groups,
                             toleranceOf(element)) == "");

  CompiledDispatch right(
      module(
          "",
          {{"h", tensor({R, N})}, {"x", tensor({T, K})}, {"slot", tensor({R, 1}, "i32")}, {"off", off}, {"cnt", cnt}},
          {gradient},
          spread +
              product("%p", "moe.grouped_outer", {{"%h", result}, {"%a", made}, {"%off", off}, {"%cnt", cnt}},
                      gradient) +
              "    moe.yield %p : " + gradient),
      element);
  Array expected({E, N, K});
  loops::groupedOuter(h.data(), a.data(), groups.offsets.data(), groups.counts.data(), expected.data(), E, N, K);
  REQUIRE(difference(right.run({h, x, slot, groups.offsets, groups.counts}).results[0], expected,
                     toleranceOf(element)) == "");
}

TEST_CASE("matmul: results through reshapes", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t E = 3, K = 10, N = 33;
  Groups groups = makeGroups({4, 0, 9}, 8, 5);
  int64_t R = groups.rows;
  std::string full = tensor({E, K, N}), flat = tensor({E * K, N}), off = tensor({1, E + 1}, "i32"),
              cnt = tensor({1, E}, "i32");
  CompiledDispatch kernel(
      module("", {{"x", tensor({R, K})}, {"dy", tensor({R, N})}, {"off", off}, {"cnt", cnt}, {"m", full}}, {full},
             product("%p", "moe.grouped_outer",
                     {{"%x", tensor({R, K})}, {"%dy", tensor({R, N})}, {"%off", off}, {"%cnt", cnt}}, full) +
                 "    %pf = moe.reshape %p : " + full + " -> " + flat + "\n    %mf = moe.reshape %m : " + full +
                 " -> " + flat + "\n" +
                 map("%q", {{"%pf", flat}, {"%mf", flat}}, flat, "%x0: $T, %z: $T",
                     "      %y = arith.mulf %x0, %z : $T\n") +
                 "    %r = moe.reshape %q : " + flat + " -> " + full + "\n    moe.yield %r : " + full),
      element);
  Array x = Array::random({R, K}, 1), dy = Array::random({R, N}, 2), m = Array::random({E, K, N}, 3), e({E, K, N});
  loops::groupedOuter(x.data(), dy.data(), groups.offsets.data(), groups.counts.data(), e.data(), E, K, N);
  for (int64_t i = 0; i < e.size(); ++i)
    e.values[i] *= m.values[i];
  REQUIRE(difference(kernel.run({x, dy, groups.offsets, groups.counts, m}).results[0], e, toleranceOf(element)) == "");
}

namespace {
Array sumParts(const Array &x, int64_t every) {
  Array sums({x.shape[0], x.shape[1] / every});
  for (int64_t i = 0; i < x.size(); ++i)
    sums.values[i / every] += x.values[i];
  return sums;
}

std::string rowSum(const std::string &result, const std::string &of, int64_t every, int64_t rows, int64_t columns) {
  return "    " + result + " = moe.row_reduce sum " + of + " every " + std::to_string(every) + " : " +
         tensor({rows, columns}) + " -> " + tensor({rows, columns / every}) + "\n";
}
} // namespace

// Columns and parts: whole panels, several panels a part, several parts a panel, a last panel that is not whole, and
// parts that no vector divides.
TEST_CASE("matmul: sums of parts of rows", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  auto [N, every] = GENERATE(std::pair<int64_t, int64_t>{64, 64}, std::pair<int64_t, int64_t>{192, 64},
                             std::pair<int64_t, int64_t>{208, 16}, std::pair<int64_t, int64_t>{96, 32},
                             std::pair<int64_t, int64_t>{60, 20}, std::pair<int64_t, int64_t>{45, 15});
  int64_t M = GENERATE(3, 70), K = GENERATE(24, 1100);
  if (K == 1100 && (M == 70 || N == 96 || N == 60))
    return;
  CAPTURE(element, N, every, M, K);
  std::string full = tensor({M, N}), sums = tensor({M, N / every});
  // The state that one result replaces is read by the other, which is only summed.
  CompiledDispatch kernel(
      module("moe.state @r output : " + full, {{"a", tensor({M, K})}, {"b", tensor({K, N})}}, {sums, sums},
             product("%p", "moe.matmul", {{"%a", tensor({M, K})}, {"%b", tensor({K, N})}}, full) +
                 "    %r = moe.read @r : " + full + "\n" +
                 map("%m:2", {{"%p", full}, {"%r", full}}, full, "%x: $T, %v: $T",
                     "      %y = arith.mulf %x, %v : $T\n      %z = arith.addf %x, %v : $T\n", "%y, %z", 2) +
                 rowSum("%s", "%m#1", every, M, N) + rowSum("%t", "%p", every, M, N) +
                 "    moe.write @r, %m#0 : " + full + "\n    moe.yield %s, %t : " + sums + ", " + sums),
      element);
  Array a = Array::random({M, K}, 1), b = Array::random({K, N}, 2), r = Array::random({M, N}, 3);
  Array p = multiply(a, b), y = p, z = p;
  for (int64_t i = 0; i < M * N; ++i) {
    y.values[i] *= r.values[i];
    z.values[i] += r.values[i];
  }
  Outcome outcome = kernel.run({a, b}, {{"r", r}});
  REQUIRE(difference(outcome.states["r"], y, toleranceOf(element)) == "");
  REQUIRE(difference(outcome.results[0], sumParts(z, every), toleranceOf(element)) == "");
  REQUIRE(difference(outcome.results[1], sumParts(p, every), toleranceOf(element)) == "");
}

TEST_CASE("grouped matmul: sums of parts of a pair's rows, over gathered rows", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  std::vector<int64_t> counts = someCounts();
  auto [N, every] = GENERATE(std::pair<int64_t, int64_t>{64, 64}, std::pair<int64_t, int64_t>{192, 64},
                             std::pair<int64_t, int64_t>{144, 16});
  int64_t K = GENERATE(21, 600);
  if ((counts[0] == 600 || N == 144) && (K == 600 || N == 192))
    return;
  CAPTURE(element, N, every, K);
  int64_t E = counts.size(), T = 30;
  Groups groups = makeGroups(counts, 8, T, /*spare=*/5);
  int64_t R = groups.rows;
  std::string full = tensor({R, N}), sums = tensor({R, N / every}), weights = tensor({E, K, N}),
              off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32"), made = tensor({R, K});
  auto grouped = [&](const std::string &name, const std::string &weight) {
    return product(name, "moe.grouped_matmul", {{"%a", made}, {weight, weights}, {"%off", off}, {"%cnt", cnt}}, full);
  };
  CompiledDispatch kernel(
      module("",
             {{"x", tensor({T, K})},
              {"rows", tensor({R, 1}, "i32")},
              {"wg", weights},
              {"wu", weights},
              {"off", off},
              {"cnt", cnt}},
             {full, sums},
             "    %a = moe.gather_rows %x, %rows : " + tensor({T, K}) + ", " + tensor({R, 1}, "i32") + " -> " + made +
                 "\n" + grouped("%g", "%wg") + grouped("%u", "%wu") +
                 map("%m:2", {{"%g", full}, {"%u", full}}, full, "%v: $T, %w: $T",
                     "      %y = arith.mulf %v, %w : $T\n      %z = arith.subf %v, %w : $T\n", "%y, %z", 2) +
                 rowSum("%s", "%m#1", every, R, N) + "    moe.yield %m#0, %s : " + full + ", " + sums),
      element);
  Array x = Array::random({T, K}, 1), wg = Array::random({E, K, N}, 2), wu = Array::random({E, K, N}, 3);
  Array a = gather(x, groups.rowToken), g({R, N}), u({R, N}), y({R, N}), z({R, N});
  loops::groupedMatmul(a.data(), wg.data(), groups.offsets.data(), g.data(), E, N, K, false);
  loops::groupedMatmul(a.data(), wu.data(), groups.offsets.data(), u.data(), E, N, K, false);
  for (int64_t i = 0; i < R * N; ++i) {
    y.values[i] = g.values[i] * u.values[i];
    z.values[i] = g.values[i] - u.values[i];
  }
  Outcome outcome = kernel.run({x, groups.rowToken, wg, wu, groups.offsets, groups.counts});
  REQUIRE(differenceInGroups(outcome.results[0], y, groups, toleranceOf(element)) == "");
  REQUIRE(differenceInGroups(outcome.results[1], sumParts(z, every), groups, toleranceOf(element)) == "");
}

TEST_CASE("grouped outer: sums of parts of rows", "[matmul]") {
  std::string element = GENERATE("f32", "f64");
  int64_t E = 3, K = 19, N = 192, every = 64;
  Groups groups = makeGroups({4, 0, 90}, 8, 5);
  int64_t R = groups.rows;
  std::string full = tensor({E, K, N}), flat = tensor({E * K, N}), sums = tensor({E * K, N / every}),
              off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32");
  CompiledDispatch kernel(
      module("", {{"x", tensor({R, K})}, {"dy", tensor({R, N})}, {"off", off}, {"cnt", cnt}}, {sums},
             product("%p", "moe.grouped_outer",
                     {{"%x", tensor({R, K})}, {"%dy", tensor({R, N})}, {"%off", off}, {"%cnt", cnt}}, full) +
                 "    %pf = moe.reshape %p : " + full + " -> " + flat + "\n" +
                 map("%q", {{"%pf", flat}}, flat, "%x0: $T", "      %y = arith.mulf %x0, %x0 : $T\n") +
                 rowSum("%s", "%q", every, E * K, N) + "    moe.yield %s : " + sums),
      element);
  Array x = Array::random({R, K}, 1), dy = Array::random({R, N}, 2), p({E * K, N});
  loops::groupedOuter(x.data(), dy.data(), groups.offsets.data(), groups.counts.data(), p.data(), E, K, N);
  for (double &value : p.values)
    value *= value;
  REQUIRE(difference(kernel.run({x, dy, groups.offsets, groups.counts}).results[0], sumParts(p, every),
                     toleranceOf(element)) == "");
}
