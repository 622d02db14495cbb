// Rounding to eight bits, and products of what was rounded, against LLVM's software arithmetic and loops in f64. Values
// and scales must agree to the bit; products only add up in another order.
#include "runtime/kernels/ProductLoops.h"
#include "test/numerics/DispatchText.h"
#include "test/numerics/Float8.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

/// The smallest power of two, from 2^-100 on, with which `largest` stays within 448; NaN when nothing will do.
double scaleOf(double largest) {
  if (!std::isfinite(largest))
    return NAN;
  double scale = 0x1p-100;
  while (largest / scale > 448)
    scale *= 2;
  return scale;
}

struct Quantized {
  Array values, scale;
};

/// Rows of [rows, columns]; `scale` has their number.
Quantized quantizeRows(const Array &input, const std::vector<const Array *> &together = {}) {
  int64_t columns = input.shape.back(), rows = input.size() / columns;
  Quantized result{input, Array({rows, 1})};
  for (int64_t r = 0; r < rows; ++r) {
    double largest = 0;
    auto look = [&](const Array &array) {
      int64_t width = array.shape.back();
      for (int64_t c = 0; c < width; ++c)
        largest += std::isfinite(array.values[r * width + c]) ? 0 : NAN;
      for (int64_t c = 0; c < width && !std::isnan(largest); ++c)
        largest = std::max(largest, std::abs(array.values[r * width + c]));
    };
    look(input);
    for (const Array *other : together)
      look(*other);
    double scale = result.scale.values[r] = scaleOf(largest);
    for (int64_t c = 0; c < columns; ++c)
      result.values.at(r, c) = roundToFloat8(input.values[r * columns + c] / scale);
  }
  return result;
}

Array transposed(const Array &stack) {
  int64_t e = stack.shape[0], k = stack.shape[1], n = stack.shape[2];
  Array result({e, n, k});
  for (int64_t i = 0; i < e; ++i)
    for (int64_t r = 0; r < k; ++r)
      for (int64_t c = 0; c < n; ++c)
        result.values[(i * n + c) * k + r] = stack.values[(i * k + r) * n + c];
  return result;
}

/// Rows whose sizes differ by far, with zeros, ties, numbers below the least normal one and a row of nothing.
Array wild(std::vector<int64_t> shape, uint64_t seed) {
  Array array = Array::random(shape, seed);
  int64_t columns = shape.back();
  for (int64_t i = 0; i < array.size(); ++i) {
    int64_t row = i / columns, column = i % columns;
    array.values[i] *= row % 7 == 3 ? 0 : std::ldexp(1.0, static_cast<int>(row % 5) * 9 - 20);
    if (column % 11 == 5)
      array.values[i] *= std::ldexp(1.0, -static_cast<int>(column % 17));
    if (column % 13 == 7 && array.values[i] != 0) { // a tie: four bits, then a half
      int exponent;
      double fraction = std::frexp(array.values[i], &exponent);
      array.values[i] = std::ldexp(std::trunc(fraction * 16) + std::copysign(0.5, fraction), exponent - 4);
    }
    array.values[i] = static_cast<float>(array.values[i]);
  }
  // The second and the third row hold something that is no number.
  for (int64_t row = 1; row <= 2 && (row + 1) * columns <= array.size(); ++row)
    array.values[row * columns + columns / 2] = row == 1 ? NAN : -INFINITY;
  return array;
}

const char *kScale = R"(
      %below = arith.constant 2097151 : i32
      %mask = arith.constant 2139095040 : i32
      %eight = arith.constant 67108864 : i32
      %least = arith.constant 226492416 : i32
      %twice = arith.constant 2130706432 : i32
      %b = arith.bitcast %m : f32 to i32
      %b1 = arith.addi %b, %below : i32
      %b2 = arith.andi %b1, %mask : i32
      %b3 = arith.subi %b2, %eight : i32
      %b4 = arith.maxsi %b3, %least : i32
      %s0 = arith.bitcast %b4 : i32 to f32
      %j = arith.subi %twice, %b4 : i32
      %t0 = arith.bitcast %j : i32 to f32
      %nothing = arith.subf %m, %m : f32
      %s = arith.addf %s0, %nothing : f32
      %t = arith.addf %t0, %nothing : f32
)";

/// What moe-decompose makes of quantize_rows: a row kernel. `cast`: how values are yielded.
std::string rowsModule(int64_t rows, int64_t columns, const std::string &stored) {
  std::string x = tensor({rows, columns}), one = tensor({rows, 1}), out = tensor({rows, columns}, stored);
  std::string text = map("%a", {{"%x", x}}, x, "%v: f32", "      %y = math.absf %v : f32\n") +
                     "    %l = moe.row_reduce max %a : " + x + " -> " + one + "\n" +
                     map("%scale, %inverse", {{"%l", one}}, one, "%m: f32", kScale, "%s, %t", 2);
  // Two results of one map.
  size_t at = text.find("%scale, %inverse = ");
  text.replace(at, std::string("%scale, %inverse").size(), "%two:2");
  text += map("%q", {{"%x", x}, {"%two#1", one}}, x, "%v: f32, %i: f32",
              "      %p = arith.mulf %v, %i : f32\n      %n = arith.truncf %p : f32 to f8E4M3FN\n"
              "      %y = arith.extf %n : f8E4M3FN to f32\n");
  if (stored == "$T")
    return module("", {{"x", x}}, {x, one}, text + "    moe.yield %q, %two#0 : " + x + ", " + one, "row");
  text += "    %narrow = moe.cast %q : " + x + " -> " + out + "\n    moe.yield %narrow, %two#0 : " + out + ", " + one;
  return module("", {{"x", x}}, {out, one}, text, "row");
}

} // namespace

TEST_CASE("quantised rows", "[quantization]") {
  auto [rows, columns] = GENERATE(std::pair<int64_t, int64_t>{1, 1}, std::pair<int64_t, int64_t>{9, 16},
                                  std::pair<int64_t, int64_t>{5, 33}, std::pair<int64_t, int64_t>{8, 300},
                                  std::pair<int64_t, int64_t>{3, 2048});
  CAPTURE(rows, columns);
  Array x = wild({rows, columns}, 3);
  Quantized expected = quantizeRows(x);
  Outcome outcome = CompiledDispatch(rowsModule(rows, columns, "$T"), "f32").run({x});
  CHECK(difference(outcome.results[0], expected.values, 0) == "");
  CHECK(difference(outcome.results[1], expected.scale, 0) == "");
}

TEST_CASE("quantised rows, stored in eight bits", "[quantization][gpu]") {
  auto [rows, columns] = GENERATE(std::pair<int64_t, int64_t>{9, 16}, std::pair<int64_t, int64_t>{5, 33},
                                  std::pair<int64_t, int64_t>{3, 2048});
  CAPTURE(rows, columns);
  Array x = wild({rows, columns}, 3);
  Quantized expected = quantizeRows(x);
  Outcome outcome = CompiledDispatch(rowsModule(rows, columns, "f8E4M3FN"), "f32", "sm_90a").run({x});
  CHECK(difference(outcome.results[0], expected.values, 0) == "");
  CHECK(difference(outcome.results[1], expected.scale, 0) == "");
}

TEST_CASE("quantised columns", "[quantization]") {
  struct Size {
    int64_t matrices, height, width;
  };
  Size size = GENERATE(Size{1, 1, 1}, Size{2, 8, 32}, Size{3, 5, 7}, Size{2, 130, 33}, Size{1, 64, 100});
  auto [e, k, n] = size;
  CAPTURE(e, k, n);
  std::string x = tensor({e, k, n}), q = tensor({e, n, k}), s = tensor({e, n});
  auto text = [&](const std::string &stored) {
    std::string out = tensor({e, n, k}, stored);
    std::string body = "    %q, %s = moe.quantize_columns %x : " + x + " -> " + q + ", " + s + "\n";
    if (stored == "$T")
      return module("", {{"x", x}}, {q, s}, body + "    moe.yield %q, %s : " + q + ", " + s, "quantize_columns");
    body += "    %o = moe.cast %q : " + q + " -> " + out + "\n    moe.yield %o, %s : " + out + ", " + s;
    return module("", {{"x", x}}, {out, s}, body, "quantize_columns");
  };
  Array input = transposed(wild({e, n, k}, 4));
  Quantized expected = quantizeRows(transposed(input));
  expected.scale.shape = {e, n};
  for (const char *stored : {"$T", "f8E4M3FN"}) {
    bool narrow = std::string(stored) != "$T";
    Outcome outcome = narrow ? CompiledDispatch(text(stored), "f32", "sm_90a").run({input})
                             : CompiledDispatch(text(stored), "f32").run({input});
    CHECK(difference(outcome.results[0], expected.values, 0) == "");
    CHECK(difference(outcome.results[1], expected.scale, 0) == "");
  }
}

TEST_CASE("products of quantised rows and columns", "[quantization]") {
  // With f8 in memory, by the template of GPUs for ordinary arithmetic; in f32 on each target.
  bool narrow = GENERATE(false, true);
  auto [K, N] = GENERATE(std::pair<int64_t, int64_t>{24, 40}, std::pair<int64_t, int64_t>{33, 21},
                         std::pair<int64_t, int64_t>{1100, 8});
  CAPTURE(narrow, K, N);
  const int64_t E = 3, T = 9;
  Groups groups = makeGroups({5, 0, 11}, 8, T, 8);
  int64_t R = groups.rows;
  std::string stored = narrow ? "f8E4M3FN" : "$T";
  std::string x = tensor({T, K}), a = tensor({R, K}), w = tensor({E, N, K}), y = tensor({R, N}),
              ids = tensor({R, 1}, "i32"), offsets = tensor({1, E + 1}, "i32"), counts = tensor({1, E}, "i32"),
              rs = tensor({R, 1}), cs = tensor({E, N});
  std::string body;
  if (narrow)
    body = "    %xw = moe.cast %x : " + tensor({T, K}, stored) + " -> " + x +
           "\n    %ww = moe.cast %w : " + tensor({E, N, K}, stored) + " -> " + w + "\n";
  std::string xn = narrow ? "%xw" : "%x", wn = narrow ? "%ww" : "%w";
  body += "    %a = moe.gather_rows " + xn + ", %rows : " + x + ", " + ids + " -> " + a + "\n" +
          "    %p = moe.grouped_matmul tb %a, " + wn + ", %o, %c scales %rs, %cs : " + rs + ", " + cs + " : " + a +
          ", " + w + ", " + offsets + ", " + counts + " -> " + y + "\n" +
          map("%z", {{"%p", y}}, y, "%v: $T", "      %y = arith.addf %v, %v : $T\n") + "    moe.yield %z : " + y;
  CompiledDispatch kernel(module("",
                                 {{"x", tensor({T, K}, stored)},
                                  {"w", tensor({E, N, K}, stored)},
                                  {"rows", ids},
                                  {"o", offsets},
                                  {"c", counts},
                                  {"rs", rs},
                                  {"cs", cs}},
                                 {y}, body),
                          "f32", narrow ? "sm_90a" : "native");
  Quantized tokens = quantizeRows(Array::random({T, K}, 1)),
            weights = quantizeRows(Array::random({E, N, K}, 2, -0.1, 0.1));
  weights.scale.shape = {E, N};
  Array rowScale({R, 1}), expected({R, N});
  for (int64_t e = 0; e < E; ++e)
    for (int64_t i = 0; i < static_cast<int64_t>(groups.counts.values[e]); ++i) {
      int64_t r = static_cast<int64_t>(groups.offsets.values[e]) + i,
              t = static_cast<int64_t>(groups.rowToken.values[r]);
      rowScale.values[r] = tokens.scale.values[t];
      for (int64_t n = 0; n < N; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < K; ++k)
          sum += tokens.values.at(t, k) * weights.values.values[(e * N + n) * K + k];
        expected.at(r, n) = 2 * sum * rowScale.values[r] * weights.scale.at(e, n);
      }
    }
  Array actual =
      kernel
          .run({tokens.values, weights.values, groups.rowToken, groups.offsets, groups.counts, rowScale, weights.scale})
          .results[0];
  auto end = static_cast<int64_t>(groups.offsets.values[E]);
  for (int64_t r = 0; r < R; ++r)
    for (int64_t n = 0; n < N; ++n) {
      if (r >= end)
        CHECK(std::isnan(actual.at(r, n)));
      if (r >= end || groups.rowToken.values[r] < 0)
        actual.at(r, n) = expected.at(r, n) = 0;
    }
  CHECK(difference(actual, expected, toleranceOf("f32")) == "");
}
