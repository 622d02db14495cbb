// Attention by blocks against attention by full rows.
#include "runtime/kernels/AttentionLoops.h"
#include "test/numerics/DispatchText.h"
#include <catch2/catch.hpp>

using namespace moec;
using namespace moec::test;

namespace {

std::string attributes(const loops::AttentionShape &shape) {
  return " heads " + std::to_string(shape.H) + " kv_heads " + std::to_string(shape.G) + " seq_len " +
         std::to_string(shape.S) + (shape.window ? " window " + std::to_string(shape.window) : "");
}

struct Case {
  Array q, k, v, grad, o, lse, dq, dk, dv;
  std::string query, key, sums;

  explicit Case(const loops::AttentionShape &shape, double range = 1) {
    auto [B, S, H, G, dh, window] = shape;
    std::vector<int64_t> wide = {B * S, H * dh}, narrow = {B * S, G * dh};
    q = Array::random(wide, 1, -range, range);
    k = Array::random(narrow, 2, -range, range);
    v = Array::random(narrow, 3);
    grad = Array::random(wide, 4);
    o = dq = Array(wide);
    dk = dv = Array(narrow);
    lse = Array({B * S, H});
    loops::attention(shape, q.data(), k.data(), v.data(), o.data(), lse.data());
    loops::attentionGrad(shape, q.data(), k.data(), v.data(), o.data(), lse.data(), grad.data(), dq.data(), dk.data(),
                         dv.data());
    query = tensor(wide);
    key = tensor(narrow);
    sums = tensor({B * S, H});
  }
};

std::string forward(const Case &c, const loops::AttentionShape &shape) {
  return module("", {{"q", c.query}, {"k", c.key}, {"v", c.key}}, {c.query, c.sums},
                "    %r:2 = moe.attention %q, %k, %v" + attributes(shape) + " : " + c.query + ", " + c.key + " -> " +
                    c.sums + "\n    moe.yield %r#0, %r#1 : " + c.query + ", " + c.sums,
                "attention");
}

std::string backward(const Case &c, const loops::AttentionShape &shape) {
  return module("", {{"q", c.query}, {"k", c.key}, {"v", c.key}, {"o", c.query}, {"l", c.sums}, {"g", c.query}},
                {c.query, c.key, c.key},
                "    %r:3 = moe.attention_grad %q, %k, %v, %o, %l, %g" + attributes(shape) + " : " + c.query + ", " +
                    c.key + ", " + c.sums + "\n    moe.yield %r#0, %r#1, %r#2 : " + c.query + ", " + c.key + ", " +
                    c.key,
                "attention_grad");
}

loops::AttentionShape someShape() {
  using Shape = loops::AttentionShape;
  return GENERATE(Shape{2, 1, 2, 1, 4}, Shape{2, 7, 2, 2, 8}, Shape{1, 64, 2, 1, 32}, Shape{2, 100, 4, 2, 20},
                  Shape{1, 200, 1, 1, 64}, Shape{1, 130, 6, 2, 48}, Shape{3, 33, 3, 1, 1}, Shape{1, 256, 2, 1, 33});
}

// Blocks have 64 rows (fewer where heads are wide, in f64, on GPUs): windows of one position, odd ones, multiples of a
// block, just beside them, and as long as the sequence or longer.
loops::AttentionShape someWindow() {
  using Shape = loops::AttentionShape;
  return GENERATE(Shape{2, 7, 2, 2, 8, 1}, Shape{1, 130, 6, 2, 48, 1}, Shape{2, 100, 4, 2, 20, 17},
                  Shape{1, 200, 1, 1, 64, 64}, Shape{1, 200, 2, 1, 16, 65}, Shape{1, 256, 2, 1, 33, 128},
                  Shape{1, 259, 2, 1, 4, 63}, Shape{3, 33, 3, 1, 1, 32}, Shape{1, 70, 4, 2, 12, 70},
                  Shape{1, 64, 2, 1, 32, 1000});
}

void checkForwardAndBackward(const std::string &element, const loops::AttentionShape &shape) {
  CAPTURE(element, shape.B, shape.S, shape.H, shape.G, shape.dh, shape.window);
  Case c(shape);
  double tolerance = toleranceOf(element);

  Outcome outcome = CompiledDispatch(forward(c, shape), element).run({c.q, c.k, c.v});
  REQUIRE(difference(outcome.results[0], c.o, tolerance) == "");
  REQUIRE(difference(outcome.results[1], c.lse, tolerance) == "");

  outcome = CompiledDispatch(backward(c, shape), element).run({c.q, c.k, c.v, c.o, c.lse, c.grad});
  REQUIRE(difference(outcome.results[0], c.dq, tolerance) == "");
  REQUIRE(difference(outcome.results[1], c.dk, tolerance) == "");
  REQUIRE(difference(outcome.results[2], c.dv, tolerance) == "");
}

} // namespace

TEST_CASE("attention: forward and backward", "[attention]") {
  std::string element = GENERATE("f32", "f64");
  checkForwardAndBackward(element, someShape());
}

TEST_CASE("attention: windows", "[attention]") {
  std::string element = GENERATE("f32", "f64");
  checkForwardAndBackward(element, someWindow());
}

// What lies outside of the window is not even loaded: infinite there, it would leave NaN through a weight of zero.
TEST_CASE("attention: blocks outside of the window are not visited", "[attention]") {
  std::string element = GENERATE("f32", "f64");
  loops::AttentionShape shape{1, 320, 2, 1, 8, 20};
  Case c(shape);
  double tolerance = toleranceOf(element);
  // Rows 128 and later reach back to 109 at most, which no block of 64 or fewer shares with rows before 64.
  Array k = c.k, v = c.v, q = c.q, grad = c.grad;
  std::fill(k.data(), k.data() + 64 * 8, INFINITY);
  std::fill(v.data(), v.data() + 64 * 8, INFINITY);
  Outcome outcome = CompiledDispatch(forward(c, shape), element).run({q, k, v});
  auto tail = [](const Array &all, int64_t from, int64_t to) {
    int64_t width = all.shape[1];
    return Array({to - from, width},
                 std::vector<double>(all.values.begin() + from * width, all.values.begin() + to * width));
  };
  for (int i : {0, 1})
    REQUIRE(difference(tail(outcome.results[i], 128, 320), tail(i ? c.lse : c.o, 128, 320), tolerance) == "");
  outcome = CompiledDispatch(backward(c, shape), element).run({q, k, v, c.o, c.lse, grad});
  REQUIRE(difference(tail(outcome.results[0], 128, 320), tail(c.dq, 128, 320), tolerance) == "");
  // And keys 0 .. 63 never meet queries from 128 on.
  std::fill(q.data() + 128 * 16, q.data() + q.size(), INFINITY);
  std::fill(grad.data() + 128 * 16, grad.data() + grad.size(), INFINITY);
  outcome = CompiledDispatch(backward(c, shape), element).run({q, c.k, c.v, c.o, c.lse, grad});
  for (int i : {1, 2})
    REQUIRE(difference(tail(outcome.results[i], 0, 64), tail(i == 1 ? c.dk : c.dv, 0, 64), tolerance) == "");
}

TEST_CASE("attention: every target", "[attention][targets]") {
  std::string target = GENERATE("x86-64", "x86-64-v3"), element = GENERATE("f32", "f64");
  loops::AttentionShape shape = GENERATE(loops::AttentionShape{1, 70, 2, 1, 12}, loops::AttentionShape{1, 64, 2, 2, 16},
                                         loops::AttentionShape{1, 70, 2, 1, 12, 9});
  Case c(shape);
  double tolerance = toleranceOf(element);
  Outcome outcome = CompiledDispatch(forward(c, shape), element, target).run({c.q, c.k, c.v});
  REQUIRE(difference(outcome.results[0], c.o, tolerance) == "");
  outcome = CompiledDispatch(backward(c, shape), element, target).run({c.q, c.k, c.v, c.o, c.lse, c.grad});
  for (int i = 0; i < 3; ++i)
    REQUIRE(difference(outcome.results[i], i == 0 ? c.dq : i == 1 ? c.dk : c.dv, tolerance) == "");
}

TEST_CASE("attention: large scores do not overflow", "[attention]") {
  std::string element = GENERATE("f32", "f64");
  loops::AttentionShape shape{1, 90, 2, 1, 16};
  Case c(shape, /*range=*/20);
  // Scores reach +-1000, so that f32 itself leaves errors of 1e-4 in an exponent.
  double tolerance = element == "f64" ? 1e-11 : 1e-3;
  Outcome outcome = CompiledDispatch(forward(c, shape), element).run({c.q, c.k, c.v});
  REQUIRE(difference(outcome.results[0], c.o, tolerance) == "");
  REQUIRE(difference(outcome.results[1], c.lse, tolerance) == "");
}

TEST_CASE("attention: inputs through reshapes, result in a state", "[attention]") {
  std::string element = GENERATE("f32", "f64");
  loops::AttentionShape shape{2, 20, 2, 1, 8};
  Case c(shape);
  std::string flat = tensor({c.q.size() / 8, 8});
  std::string text =
      module("moe.state @o output : " + c.query, {{"q", flat}, {"k", c.key}, {"v", c.key}}, {flat},
             "    %q2 = moe.reshape %q : " + flat + " -> " + c.query + "\n    %r:2 = moe.attention %q2, %k, %v" +
                 attributes(shape) + " : " + c.query + ", " + c.key + " -> " + c.sums +
                 "\n    moe.write @o, %r#0 : " + c.query + "\n    %o2 = moe.reshape %r#0 : " + c.query + " -> " + flat +
                 "\n    moe.yield %o2 : " + flat,
             "attention");
  Outcome outcome = CompiledDispatch(text, element).run({c.q, c.k, c.v});
  REQUIRE(difference(outcome.results[0], c.o, toleranceOf(element)) == "");
  REQUIRE(difference(outcome.states["o"], c.o, toleranceOf(element)) == "");
}
