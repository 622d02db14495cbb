// Sums over neighbouring rows that the row template makes beside what it does to each row.
#include "runtime/kernels/ReductionLoops.h"
#include "runtime/kernels/RowLoops.h"
#include "test/numerics/Narrow.h"
#include <catch2/catch.hpp>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
struct Shape {
  int64_t n, each, c;
};

std::string sumText(const std::string &result, const std::string &value, const Shape &shape) {
  return result + " = moe.col_reduce " + value + " : " + tensor(shape.n, shape.c) + " -> " +
         tensor(shape.n / shape.each, shape.c) + "\n";
}
std::string rowReduce(const std::string &result, const std::string &value, int64_t n, int64_t c) {
  return result + " = moe.row_reduce sum " + value + " : " + tensor(n, c) + " -> " + tensor(n, 1) + "\n";
}
std::string productText(const std::string &result, const std::vector<MapOperand> &operands, const std::string &type) {
  std::string body = "%p1 = arith.mulf %" + operands[0].name + ", %" + operands[1].name + " : $T\n", last = "p1";
  for (size_t i = 2; i < operands.size(); ++i) {
    std::string next = "p" + std::to_string(i);
    body += "%" + next + " = arith.mulf %" + last + ", %" + operands[i].name + " : $T\n";
    last = next;
  }
  return mapText(result, operands, type, body, last);
}

Array summed(const Array &x, const Shape &shape) {
  Array sums({shape.n / shape.each, shape.c});
  loops::colReduce(x.data(), sums.data(), shape.n, shape.c, shape.n / shape.each);
  return sums;
}

// What the backward of a norm looks like: dx needs a sum over the row, the gradient of the scale one over rows.
void checkNorm(const Shape &shape, const std::string &element, bool isNarrow) {
  auto [n, each, c] = shape;
  CAPTURE(n, each, c, element, isNarrow);
  std::string x = tensor(n, c), one = tensor(n, 1), row = tensor(1, c), sum = tensor(n / each, c);
  std::string memory = isNarrow ? bf16(n, c) : x;
  std::string body = isNarrow ? widen("%x", "%x_in", n, c) + widen("%dy", "%dy_in", n, c) : "";
  body += "%scale = moe.read @scale : " + row + "\n";
  body += productText("%p", {{"%dy", x, "a"}, {"%scale", row, "b"}, {"%x", x, "d"}}, x);
  body += rowReduce("%s", "%p", n, c);
  body += mapText("%dx", {{"%x", x, "a"}, {"%dy", x, "b"}, {"%scale", row, "d"}, {"%r", one, "e"}, {"%s", one, "f"}}, x,
                  "%g = arith.mulf %b, %d : $T\n%h = arith.mulf %a, %f : $T\n%i = arith.subf %g, %h : $T\n"
                  "%j = arith.mulf %i, %e : $T",
                  "j");
  body += productText("%t", {{"%x", x, "a"}, {"%dy", x, "b"}, {"%r", one, "d"}}, x);
  body += sumText("%ds", "%t", shape) + sumText("%db", "%dy", shape);
  body += isNarrow ? narrow("%out", "%dx", n, c) : "";
  body += std::string("moe.yield ") + (isNarrow ? "%out" : "%dx") + ", %ds, %db : " + memory + ", " + sum + ", " + sum;
  CompiledDispatch kernel(
      dispatchText("row", {{isNarrow ? "x_in" : "x", memory}, {isNarrow ? "dy_in" : "dy", memory}, {"r", one}},
                   memory + ", " + sum + ", " + sum, body, "moe.state @scale parameter : " + row),
      element, isNarrow ? kGpu : "native");
  Array a = rounded(Array::random({n, c}, 1)), dy = rounded(Array::random({n, c}, 2)), r = Array::random({n, 1}, 3),
        scale = Array::random({1, c}, 4), dx({n, c}), terms({n, c});
  for (int64_t i = 0; i < n; ++i) {
    double s = 0;
    for (int64_t j = 0; j < c; ++j)
      s += dy.at(i, j) * scale.at(0, j) * a.at(i, j);
    for (int64_t j = 0; j < c; ++j) {
      dx.at(i, j) = (dy.at(i, j) * scale.at(0, j) - a.at(i, j) * s) * r.at(i, 0);
      terms.at(i, j) = a.at(i, j) * dy.at(i, j) * r.at(i, 0);
    }
  }
  Outcome outcome = kernel.run({a, dy, r}, {{"scale", scale}});
  double tolerance = toleranceOf(element);
  CHECK(difference(outcome.results[0], dx, isNarrow ? kBf16 : tolerance) == "");
  CHECK(difference(outcome.results[1], summed(terms, shape), tolerance) == "");
  CHECK(difference(outcome.results[2], summed(dy, shape), tolerance) == "");
}
} // namespace

TEST_CASE("sums over rows beside a norm's backward", "[rowsum]") {
  for (std::string element : {"f32", "f64"})
    for (Shape shape : {Shape{1, 1, 5}, {4, 4, 2}, {8, 2, 17}, {12, 1, 33}, {70, 35, 129}, {96, 48, 64}, {6, 3, 1536}})
      checkNorm(shape, element, false);
}

// Blocks of one row and of many at once, with more and with fewer rows than a sum has; columns that end early.
TEST_CASE("sums over rows of bf16", "[rowsum][gpu]") {
  for (Shape shape :
       {Shape{64, 32, 128}, {192, 96, 128}, {40, 20, 128}, {6, 3, 2048}, {4, 2, 1000}, {4, 4, 3000}, {2, 2, 8192}})
    checkNorm(shape, "f32", true);
}

TEST_CASE("sums over the rows of heads, behind rope", "[rowsum]") {
  for (std::string element : {"f32", "f64"})
    for (int64_t dh : {6, 64, 128}) {
      int64_t heads = 2, n = 48, s = 8;
      Shape shape{n, 24, dh};
      CAPTURE(element, dh);
      std::string x = tensor(n, dh), one = tensor(n, 1), table = tensor(s, dh / 2), sum = tensor(2, dh);
      CompiledDispatch kernel(dispatchText("row", {{"x", x}, {"y", x}, {"c", table}, {"s", table}}, one + ", " + sum,
                                           "%r = moe.rope inverse %x, %c, %s heads 2 : " + x + ", " + table + "\n" +
                                               productText("%p", {{"%r", x, "a"}, {"%y", x, "b"}}, x) +
                                               rowReduce("%q", "%p", n, dh) + sumText("%t", "%p", shape) +
                                               "moe.yield %q, %t : " + one + ", " + sum),
                              element);
      Array a = Array::random({n, dh}, 1), y = Array::random({n, dh}, 2), cos = Array::random({s, dh / 2}, 3),
            sin = Array::random({s, dh / 2}, 4), turned({n, dh}), rows({n, 1});
      loops::rope(a.data(), cos.data(), sin.data(), turned.data(), n / heads, heads, dh, s, true);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < dh; ++j) {
          turned.at(i, j) *= y.at(i, j);
          rows.at(i, 0) += turned.at(i, j);
        }
      Outcome outcome = kernel.run({a, y, cos, sin});
      CHECK(difference(outcome.results[0], rows, toleranceOf(element)) == "");
      CHECK(difference(outcome.results[1], summed(turned, shape), toleranceOf(element)) == "");
    }
}

// Rows after rows share what a block has of shared memory, and read their state before it is written.
TEST_CASE("sums over rows beside choices, and of a state updated in place", "[rowsum]") {
  int64_t e = 300, k = 40;
  Shape shape{6, 3, e};
  std::string x = tensor(6, e), ids = tensor(6, k, "i32"), v = tensor(6, k), one = tensor(6, 1), sum = tensor(2, e);
  CompiledDispatch kernel(
      dispatchText("row", {{"x", x}}, ids + ", " + sum + ", " + sum,
                   "%t = moe.top_k %x : " + x + " -> " + ids + "\n%v = moe.take %x, %t : " + x + ", " + ids + " -> " +
                       v + "\n%p = moe.put %v, %t : " + v + ", " + ids + " -> " + x + "\n" +
                       sumText("%s", "%p", shape) + "%w = moe.read @w : " + x + "\n" + rowReduce("%q", "%w", 6, e) +
                       productText("%u", {{"%w", x, "a"}, {"%q", one, "b"}}, x) + sumText("%z", "%w", shape) +
                       "moe.write @w, %u : " + x + "\nmoe.yield %t, %s, %z : " + ids + ", " + sum + ", " + sum,
                   "moe.state @w optimizer : " + x),
      "f32");
  Array a = Array::random({6, e}, 8), w = Array::random({6, e}, 9), top({6, k}), taken({6, k}), put({6, e}), next = w;
  loops::topK(a.data(), top.data(), 6, e, k);
  loops::take(a.data(), top.data(), taken.data(), 6, e, k);
  loops::put(taken.data(), top.data(), put.data(), 6, e, k);
  for (int64_t i = 0; i < 6; ++i) {
    double total = 0;
    for (int64_t j = 0; j < e; ++j)
      total += w.at(i, j);
    for (int64_t j = 0; j < e; ++j)
      next.at(i, j) *= total;
  }
  Outcome outcome = kernel.run({a}, {{"w", w}});
  CHECK(difference(outcome.results[0], top, 0) == "");
  CHECK(difference(outcome.results[1], summed(put, shape), 1e-5) == "");
  CHECK(difference(outcome.results[2], summed(w, shape), 1e-5) == "");
  CHECK(difference(outcome.states["w"], next, 1e-5) == "");
}

TEST_CASE("sums over rows that the row template refuses", "[rowsum]") {
  std::string x = tensor(4, 8), one = tensor(4, 1), half = tensor(2, 8), all = tensor(1, 8);
  auto message = [&](const std::string &body, const std::string &results = "") -> std::string {
    try {
      CompiledDispatch(dispatchText("row", {{"x", x}, {"o", one}}, results, body, "moe.state @s gradient : " + half),
                       "f32");
    } catch (const std::exception &error) {
      return error.what();
    }
    return "";
  };
  using Catch::Contains;
  std::string sum = "%c = moe.col_reduce %x : " + x + " -> " + half + "\n";
  CHECK_THAT(message(sum + "moe.yield"), Contains("is not stored"));
  CHECK_THAT(message(sum + "moe.accumulate @s, %c : " + half + "\nmoe.yield"),
             Contains("is stored twice or accumulated"));
  CHECK_THAT(message(sum + "%d = moe.col_reduce %x : " + x + " -> " + all + "\nmoe.yield %c, %d : " + half + ", " + all,
                     half + ", " + all),
             Contains("adds up 4 rows each, but another sum of this dispatch 2"));
  CHECK_THAT(message("%d = moe.col_reduce %o : " + one + " -> " + tensor(2, 1) + "\nmoe.yield %d : " + tensor(2, 1),
                     tensor(2, 1)),
             Contains("has one column"));
  CHECK_THAT(message("%d = moe.col_reduce %x : " + x + " -> " + x + "\n" + rowReduce("%r", "%d", 4, 8) +
                         "moe.yield %d, %r : " + x + ", " + one,
                     x + ", " + one),
             Contains("reads a sum over rows"));
  // A block has no registers for these.
  CHECK_THROWS_WITH(
      CompiledDispatch(dispatchText("row", {{"x", tensor(4, 16384)}}, tensor(2, 16384),
                                    sumText("%s", "%x", {4, 2, 16384}) + "moe.yield %s : " + tensor(2, 16384)),
                       "f32", kGpu),
      Contains("adds up rows of 16384 columns"));
}
