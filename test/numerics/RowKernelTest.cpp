// Each op of the row template alone, at awkward sizes. Fused chains: RowChainTest.cpp.
#include "runtime/kernels/RowLoops.h"
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
std::string rowDispatch(const std::vector<std::pair<std::string, std::string>> &inputs, const std::string &results,
                        const std::string &body, const std::string &states = "") {
  return dispatchText("row", inputs, results, body, states);
}

const std::pair<int64_t, int64_t> kShapes[] = {{1, 1},   {1, 3},  {5, 1},     {3, 17},   {7, 33},
                                               {5, 129}, {2, 16}, {130, 256}, {1, 70001}};
} // namespace

TEST_CASE("map with row, column and scalar operands", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : kShapes) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), column = tensor(1, c), one = tensor(n, 1), scalar = tensor(1, 1);
      CompiledDispatch kernel(rowDispatch({{"x", x}, {"s", column}, {"t", one}, {"u", scalar}}, x,
                                          R"(
        %y = moe.map(%x, %s, %t, %u) : ()" + x +
                                              ", " + column + ", " + one + ", " + scalar + ") -> " + x + R"( {
        ^bb0(%a: $T, %b: $T, %d: $T, %e: $T):
          %two = arith.constant 2.0 : $T
          %p = arith.mulf %a, %b : $T
          %q = arith.mulf %d, %two : $T
          %r = arith.addf %p, %q : $T
          %z = arith.subf %r, %e : $T
          moe.yield %z : $T
        }
        moe.yield %y : )" + x),
                              element);
      Array a = Array::random({n, c}, 1), b = Array::random({1, c}, 2), d = Array::random({n, 1}, 3),
            e = Array::random({1, 1}, 4);
      Array expected({n, c});
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < c; ++j)
          expected.at(i, j) = a.at(i, j) * b.at(0, j) + 2 * d.at(i, 0) - e.at(0, 0);
      CHECK(difference(kernel.run({a, b, d, e}).results[0], expected, toleranceOf(element)) == "");
    }
}

TEST_CASE("map broadcasts groups of rows", "[row]") {
  CompiledDispatch kernel(rowDispatch({{"x", tensor(6, 5)}, {"g", tensor(2, 5)}, {"h", tensor(3, 1)}}, tensor(6, 5), R"(
      %y = moe.map(%x, %g, %h) : (tensor<6x5x$T>, tensor<2x5x$T>, tensor<3x1x$T>) -> tensor<6x5x$T> {
      ^bb0(%a: $T, %b: $T, %d: $T):
        %p = arith.mulf %a, %b : $T
        %z = arith.addf %p, %d : $T
        moe.yield %z : $T
      }
      moe.yield %y : tensor<6x5x$T>)"),
                          "f64");
  Array x = Array::random({6, 5}, 1), g = Array::random({2, 5}, 2), h = Array::random({3, 1}, 3), expected({6, 5});
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t j = 0; j < 5; ++j)
      expected.at(i, j) = x.at(i, j) * g.at(i / 3, j) + h.at(i / 2, 0);
  CHECK(difference(kernel.run({x, g, h}).results[0], expected, 1e-12) == "");
}

TEST_CASE("map of integers, positions and choices", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{3, 19}, {1, 1}, {4, 32}}) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), ids = tensor(n, 1, "i32"), wide = tensor(n, c, "i32"), counts = tensor(n, c, "i64");
      CompiledDispatch kernel(rowDispatch({{"x", x}, {"ids", ids}, {"w", wide}}, x + ", " + counts,
                                          R"(
        %y:2 = moe.map position(%x, %ids, %w) : ()" +
                                              x + ", " + ids + ", " + wide + ") -> (" + x + ", " + counts + R"() {
        ^bb0(%a: $T, %id: i32, %v: i32, %r: i64, %k: i64):
          %zero = arith.constant 0.0 : $T
          %seven = arith.constant 7 : i32
          %wide = arith.extsi %id : i32 to i64
          %hit = arith.cmpi eq, %wide, %k : i64
          %kept = arith.select %hit, %a, %zero : $T
          %number = arith.sitofp %v : i32 to $T
          %row = arith.sitofp %r : i64 to $T
          %sum = arith.addf %kept, %number : $T
          %all = arith.addf %sum, %row : $T
          %q = arith.divsi %seven, %v : i32
          %q64 = arith.extsi %q : i32 to i64
          %total = arith.addi %q64, %k : i64
          moe.yield %all, %total : $T, i64
        }
        moe.yield %y#0, %y#1 : )" + x + ", " + counts),
                              element);
      Array a = Array::random({n, c}, 5), id = Array::integers({n, 1}, 6, 0, c), v = Array::integers({n, c}, 7, 1, 9);
      Array expected({n, c}), numbers({n, c});
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < c; ++j) {
          expected.at(i, j) = (id.at(i, 0) == j ? a.at(i, j) : 0) + v.at(i, j) + i;
          numbers.at(i, j) = int64_t(7 / v.at(i, j)) + j;
        }
      Outcome outcome = kernel.run({a, id, v});
      CHECK(difference(outcome.results[0], expected, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[1], numbers, 0) == "");
    }
}

TEST_CASE("math functions on vectors", "[row]") {
  struct Function {
    const char *name;
    double (*reference)(double);
    double low, high;
  };
  const Function functions[] = {
      {"math.exp", std::exp, -20, 20},   {"moe.sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80},
      {"math.log", std::log, 1e-6, 100}, {"math.tanh", std::tanh, -5, 5},
      {"math.sqrt", std::sqrt, 0, 100},  {"math.sin", std::sin, -600, 600},
      {"math.cos", std::cos, -600, 600}, {"math.log1p", std::log1p, -.9, 9},
      {"math.expm1", std::expm1, -5, 5}, {"math.erf", std::erf, -3, 3},
      {"math.absf", std::fabs, -3, 3},   {"math.rsqrt", [](double x) { return 1 / std::sqrt(x); }, 0.01, 100}};
  for (std::string element : {"f32", "f64"})
    for (const Function &function : functions) {
      CAPTURE(element, function.name);
      std::string x = tensor(3, 37);
      CompiledDispatch kernel(rowDispatch({{"x", x}}, x,
                                          "%y = moe.map(%x) : (" + x + ") -> " + x + " {\n^bb0(%a: $T):\n%z = " +
                                              function.name + " %a : $T\nmoe.yield %z : $T\n}\nmoe.yield %y : " + x),
                              element);
      Array a = Array::random({3, 37}, 11, function.low, function.high), expected({3, 37});
      for (int64_t i = 0; i < a.size(); ++i)
        expected.values[i] = function.reference(a.values[i]);
      Array got = kernel.run({a}).results[0];
      double epsilon = element == "f32" ? 0x1.0p-23 : 0x1.0p-52;
      for (int64_t i = 0; i < a.size(); ++i)
        CHECK(std::fabs(got.values[i] - expected.values[i]) <=
              5 * epsilon * std::max(std::fabs(expected.values[i]), 1e-3));
    }
}

TEST_CASE("exp and log keep infinities and NaN", "[row]") {
  double inf = INFINITY, nan = NAN;
  for (std::string element : {"f32", "f64"}) {
    std::string x = tensor(1, 8);
    CompiledDispatch kernel(rowDispatch({{"x", x}}, x + ", " + x, R"(
        %y:2 = moe.map(%x) : ()" + x + ") -> (" + x + ", " + x + R"() {
        ^bb0(%a: $T):
          %e = math.exp %a : $T
          %l = math.log %a : $T
          moe.yield %e, %l : $T, $T
        }
        moe.yield %y#0, %y#1 : )" + x + ", " + x),
                            element);
    Outcome outcome = kernel.run({Array({1, 8}, std::vector<double>{inf, -inf, nan, 0, 1, -1, -2000, 2000})});
    Array exps({1, 8}, std::vector<double>{inf, 0, nan, 1, std::exp(1), std::exp(-1), 0, inf});
    Array logs({1, 8}, std::vector<double>{inf, nan, nan, -inf, 0, nan, nan, std::log(2000)});
    CHECK(difference(outcome.results[0], exps, toleranceOf(element)) == "");
    CHECK(difference(outcome.results[1], logs, toleranceOf(element)) == "");
  }
}

TEST_CASE("row_reduce", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : kShapes) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c), one = tensor(n, 1);
      CompiledDispatch kernel(rowDispatch({{"x", x}}, one + ", " + one,
                                          "%s = moe.row_reduce sum %x : " + x + " -> " + one +
                                              "\n%m = moe.row_reduce max %x : " + x + " -> " + one +
                                              "\nmoe.yield %s, %m : " + one + ", " + one),
                              element);
      Array a = Array::random({n, c}, 21, -3, -1), sum({n, 1}), max({n, 1});
      loops::rowSum(a.data(), sum.data(), n, c);
      loops::rowMax(a.data(), max.data(), n, c);
      Outcome outcome = kernel.run({a});
      CHECK(difference(outcome.results[0], sum, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[1], max, toleranceOf(element)) == "");
      a.values[a.size() / 2] = NAN;
      loops::rowMax(a.data(), max.data(), n, c);
      CHECK(difference(kernel.run({a}).results[1], max, toleranceOf(element)) == "");
    }
}

TEST_CASE("top_k: order, ties and NaN", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [e, k] :
         {std::pair<int64_t, int64_t>{1, 1}, {3, 3}, {8, 2}, {17, 1}, {33, 33}, {64, 8}, {129, 5}, {300, 2}}) {
      int64_t n = 9;
      CAPTURE(element, e, k);
      std::string x = tensor(n, e), ids = tensor(n, k, "i32");
      CompiledDispatch kernel(
          rowDispatch({{"x", x}}, ids, "%t = moe.top_k %x : " + x + " -> " + ids + "\nmoe.yield %t : " + ids), element);
      Array a = Array::random({n, e}, 31), expected({n, k});
      for (int64_t j = 0; j < e; ++j) {
        a.at(1, j) = 0.5;                       // all equal
        a.at(2, j) = NAN;                       // nothing to choose from
        a.at(3, j) = j % 2 ? NAN : -INFINITY;   // NaN below -infinity
        a.at(4, j) = j % 2 ? 0.0 : -0.0;        // equal zeros
        a.at(5, j) = j % 3;                     // ties
        a.at(6, j) = j % 4 ? -1e-42 : INFINITY; // subnormals
      }
      loops::topK(a.data(), expected.data(), n, e, k);
      CHECK(difference(kernel.run({a}).results[0], expected, 0) == "");
    }
}

TEST_CASE("take and put, with dropped slots", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [e, k] : {std::pair<int64_t, int64_t>{1, 1}, {8, 1}, {8, 2}, {33, 5}}) {
      int64_t n = 7;
      CAPTURE(element, e, k);
      std::string x = tensor(n, e), ids = tensor(n, k, "i32"), v = tensor(n, k);
      CompiledDispatch kernel(rowDispatch({{"x", x}, {"ids", ids}, {"v", v}}, v + ", " + x,
                                          "%t = moe.take %x, %ids : " + x + ", " + ids + " -> " + v +
                                              "\n%p = moe.put %v, %ids : " + v + ", " + ids + " -> " + x +
                                              "\nmoe.yield %t, %p : " + v + ", " + x),
                              element);
      Array a = Array::random({n, e}, 41), id = Array::integers({n, k}, 42, -1, e), value = Array::random({n, k}, 43);
      Array taken({n, k}), put({n, e});
      loops::take(a.data(), id.data(), taken.data(), n, e, k);
      loops::put(value.data(), id.data(), put.data(), n, e, k);
      Outcome outcome = kernel.run({a, id, value});
      CHECK(difference(outcome.results[0], taken, 0) == "");
      CHECK(difference(outcome.results[1], put, toleranceOf(element)) == "");
    }
}

TEST_CASE("rope forward and inverse", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [heads, dh] : {std::pair<int64_t, int64_t>{1, 2}, {3, 6}, {2, 32}, {2, 64}, {3, 34}})
      for (bool inverse : {false, true}) {
        int64_t n = 10, s = 5;
        CAPTURE(element, heads, dh, inverse);
        std::string x = tensor(n, heads * dh), table = tensor(s, dh / 2);
        CompiledDispatch kernel(rowDispatch({{"x", x}, {"c", table}, {"s", table}}, x,
                                            std::string("%r = moe.rope ") + (inverse ? "inverse " : "") +
                                                "%x, %c, %s : " + x + ", " + table + "\nmoe.yield %r : " + x),
                                element);
        Array a = Array::random({n, heads * dh}, 51), cos = Array::random({s, dh / 2}, 52),
              sin = Array::random({s, dh / 2}, 53);
        Array expected({n, heads * dh});
        loops::rope(a.data(), cos.data(), sin.data(), expected.data(), n, heads, dh, s, inverse);
        CHECK(difference(kernel.run({a, cos, sin}).results[0], expected, toleranceOf(element)) == "");
      }
}

TEST_CASE("tokens with a slot for every expert, most of them empty", "[row]") {
  for (int64_t d : {1, 24, 1000, 2500})
    for (bool weighted : {false, true}) {
      int64_t n = 6, k = d == 24 ? 61 : 64, r = 40;
      CAPTURE(d, weighted);
      std::string x = tensor(n, d), rows = tensor(r, d), slots = tensor(n, k, "i32"), w = tensor(n, k);
      std::string weights = weighted ? " weights %w : " + w : "";
      CompiledDispatch kernel(rowDispatch({{"x", x}, {"rows", rows}, {"slots", slots}, {"w", w}}, x + ", " + w,
                                          "%c = moe.combine_rows %rows, %slots" + weights + " : " + rows + ", " +
                                              slots + " -> " + x + "\n%d = moe.dot_rows %x, %rows, %slots : " + x +
                                              ", " + rows + ", " + slots + " -> " + w + "\nmoe.yield %c, %d : " + x +
                                              ", " + w),
                              "f32");
      Array input = Array::random({n, d}, 71), permuted = Array::random({r, d}, 72), weight = Array::random({n, k}, 73);
      // Token 0 has none, token 1 all; rows of nobody are NaN, and nobody may read them.
      Array slotRow({n, k}, -1.0), combined({n, d}), dots({n, k});
      for (int64_t i = 0; i < k; ++i)
        slotRow.at(1, i) = static_cast<double>(1 + i % (r - 1));
      for (int64_t token = 2; token < n; ++token)
        for (int64_t i = 0; i < token; ++i)
          slotRow.at(token, (token * 11 + i * 17) % k) = static_cast<double>(1 + (token * 5 + i) % (r - 1));
      for (int64_t i = 0; i < d; ++i)
        permuted.at(0, i) = NAN;
      loops::combineRows(permuted.data(), slotRow.data(), weighted ? weight.data() : nullptr, combined.data(), n, k, d);
      loops::dotRows(input.data(), permuted.data(), slotRow.data(), dots.data(), n, k, d);
      Outcome outcome = kernel.run({input, permuted, slotRow, weight});
      CHECK(difference(outcome.results[0], combined, toleranceOf("f32")) == "");
      CHECK(difference(outcome.results[1], dots, toleranceOf("f32")) == "");
    }
}

TEST_CASE("rows go to experts and back", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (int64_t d : {1, 17, 129})
      for (int64_t k : {1, 2, 11})
        for (bool weighted : {false, true}) {
          int64_t n = 6, r = 40;
          CAPTURE(element, d, k, weighted);
          std::string x = tensor(n, d), rows = tensor(r, d), slots = tensor(n, k, "i32"), one = tensor(r, 1, "i32"),
                      w = tensor(n, k);
          std::string weights = weighted ? " weights %w : " + w : "";
          Array input = Array::random({n, d}, 61), permuted = Array::random({r, d}, 62),
                weight = Array::random({n, k}, 63);
          Array slotRow = Array::integers({n, k}, 64, -1, r), rowSlot = Array::integers({r, 1}, 65, -1, n * k);
          const double *given = weighted ? weight.data() : nullptr;

          CompiledDispatch byToken(
              rowDispatch({{"x", x}, {"rows", rows}, {"slots", slots}, {"rs", one}, {"w", w}}, x + ", " + w,
                          "%c = moe.combine_rows %rows, %slots" + weights + " : " + rows + ", " + slots + " -> " + x +
                              "\n%d = moe.dot_rows %x, %rows, %slots : " + x + ", " + rows + ", " + slots + " -> " + w +
                              "\nmoe.yield %c, %d : " + x + ", " + w),
              element);
          Array combined({n, d}), dots({n, k});
          loops::combineRows(permuted.data(), slotRow.data(), given, combined.data(), n, k, d);
          loops::dotRows(input.data(), permuted.data(), slotRow.data(), dots.data(), n, k, d);
          Outcome outcome = byToken.run({input, permuted, slotRow, rowSlot, weight});
          CHECK(difference(outcome.results[0], combined, toleranceOf(element)) == "");
          CHECK(difference(outcome.results[1], dots, toleranceOf(element)) == "");
          for (double &slot : slotRow.values)
            slot = -1;
          CHECK(difference(byToken.run({input, permuted, slotRow, rowSlot, weight}).results[0], Array({n, d}), 0) ==
                "");

          CompiledDispatch byRow(rowDispatch({{"x", x}, {"rs", one}, {"w", w}, {"t", one}}, rows + ", " + rows,
                                             "%s = moe.spread_rows %x, %rs" + weights + " top_k " + std::to_string(k) +
                                                 " : " + x + ", " + one + " -> " + rows +
                                                 "\n%g = moe.gather_rows %x, %t : " + x + ", " + one + " -> " + rows +
                                                 "\nmoe.yield %s, %g : " + rows + ", " + rows),
                                 element);
          Array spread({r, d}), gathered({r, d}), token = Array::integers({r, 1}, 66, -1, n);
          loops::spreadRows(input.data(), rowSlot.data(), given, spread.data(), r, k, d);
          loops::gatherRows(input.data(), token.data(), gathered.data(), r, d);
          outcome = byRow.run({input, rowSlot, weight, token});
          CHECK(difference(outcome.results[0], spread, toleranceOf(element)) == "");
          CHECK(difference(outcome.results[1], gathered, 0) == "");
        }
}

TEST_CASE("rows go to experts, token by token", "[row]") {
  // As permute makes it: a row serves one slot or none, and some slots have no row. (Few tokens: one block, as blocks
  // that wait for each other cannot be interpreted.)
  for (auto [n, k, d, weighted] : {std::tuple<int64_t, int64_t, int64_t, bool>{6, 2, 32, true},
                                   {31, 3, 36, false},
                                   {30, 4, 260, true},
                                   {3, 2, 1160, false}}) {
    int64_t r = n * k + 9;
    CAPTURE(n, k, d, weighted);
    std::string x = tensor(n, d), rows = tensor(r, d), one = tensor(r, 1, "i32"), w = tensor(n, k);
    CompiledDispatch kernel(
        rowDispatch({{"x", x}, {"rs", one}, {"w", w}}, rows,
                    "%s = moe.spread_rows %x, %rs" + (weighted ? " weights %w : " + w : std::string()) + " top_k " +
                        std::to_string(k) + " : " + x + ", " + one + " -> " + rows + "\nmoe.yield %s : " + rows),
        "f32");
    Array input = Array::random({n, d}, 61), weight = Array::random({n, k}, 63), rowSlot({r, 1}), spread({r, d});
    for (int64_t i = 0; i < r; ++i) // some slots have no row, none has two
      rowSlot.values[i] = i % 7 == 3 || i >= n * k ? -1 : static_cast<double>(n * k - 1 - i);
    loops::spreadRows(input.data(), rowSlot.data(), weighted ? weight.data() : nullptr, spread.data(), r, k, d);
    CHECK(difference(kernel.run({input, rowSlot, weight}).results[0], spread, toleranceOf("f32")) == "");
  }
}

TEST_CASE("embed and slice_columns", "[row]") {
  CompiledDispatch kernel(rowDispatch({{"t", tensor(50, 19)}, {"ids", tensor(7, 1, "i32")}}, tensor(7, 19),
                                      "%e = moe.embed %t, %ids : tensor<50x19x$T>, tensor<7x1xi32> -> "
                                      "tensor<7x19x$T>\nmoe.yield %e : tensor<7x19x$T>"),
                          "f32");
  Array table = Array::random({50, 19}, 71), ids = Array::integers({7, 1}, 72, 0, 50), expected({7, 19});
  loops::gatherRows(table.data(), ids.data(), expected.data(), 7, 19);
  CHECK(difference(kernel.run({table, ids}).results[0], expected, 0) == "");

  // The batch: targets are the inputs one place later; reshaped to one id a row.
  CompiledDispatch batch(rowDispatch({}, "tensor<60x1xi32>, tensor<60x1xi32>", R"(
      %b = moe.read @batch : tensor<3x21xi32>
      %i = moe.slice_columns %b first 0 : tensor<3x21xi32> -> tensor<3x20xi32>
      %t = moe.slice_columns %b first 1 : tensor<3x21xi32> -> tensor<3x20xi32>
      %ir = moe.reshape %i : tensor<3x20xi32> -> tensor<60x1xi32>
      %tr = moe.reshape %t : tensor<3x20xi32> -> tensor<60x1xi32>
      moe.yield %ir, %tr : tensor<60x1xi32>, tensor<60x1xi32>)",
                                     "moe.state @batch batch : tensor<3x21xi32>"),
                         "f32");
  Array tokens = Array::integers({3, 21}, 73, 0, 1000), inputs({3, 20}), targets({3, 20});
  loops::sliceColumns(tokens.data(), inputs.data(), 3, 21, 20, 0);
  loops::sliceColumns(tokens.data(), targets.data(), 3, 21, 20, 1);
  Outcome outcome = batch.run({}, {{"batch", tokens}});
  CHECK(difference(outcome.results[0], inputs, 0) == "");
  CHECK(difference(outcome.results[1], targets, 0) == "");
}

TEST_CASE("random_normal depends on seed, stream, copy and index only", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{4, 6}, {3, 5}, {5, 1}, {2, 600}}) {
      CAPTURE(element, n, c);
      std::string x = tensor(n, c);
      std::string text = "moe.state @p parameter : " + x +
                         " count 3\nfunc.func @f(%i_: index) {\n moe.dispatch \"row\" (%i = %i_) : (index) -> () {\n"
                         "%r = moe.random_normal[%i] seed 1234567890123 stream 7 mean 0.5 stddev 0.02 : " +
                         x + "\nmoe.write @p[%i], %r : " + x + "\nmoe.yield\n}\nreturn\n}";
      CompiledDispatch kernel(text, element);
      for (int64_t copy : {0, 2}) {
        Array got = kernel.run({}, {{"p", Array({3, n, c}, 9.0)}}, copy).states["p"], expected({3, n, c}, 9.0);
        loops::randomNormal(expected.data() + copy * n * c, n * c, 1234567890123, 7, copy, 0.5, 0.02);
        CHECK(difference(got, expected, toleranceOf(element)) == "");
      }
    }
}

TEST_CASE("the comparison itself notices errors", "[row]") {
  Array one({1, 3}, std::vector<double>{1, 2, 3}), off = one, nan = one, infinite = one;
  off.values[1] += 1e-4;
  nan.values[0] = NAN;
  infinite.values[2] = INFINITY;
  CHECK(difference(one, one, 0) == "");
  CHECK(difference(off, one, 1e-5) != "");
  CHECK(difference(off, one, 1e-3) == "");
  CHECK(difference(nan, one, 1e9) != "");
  CHECK(difference(one, nan, 1e9) != "");
  CHECK(difference(infinite, one, 1e9) != "");
  CHECK(difference(nan, nan, 0) == "");
}
