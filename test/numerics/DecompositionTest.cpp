// Templates eigh and qr: what defines a decomposition holds to rounding, whatever the matrix.
#include "runtime/kernels/DecompositionLoops.h"
#include "test/numerics/DispatchText.h"
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
double resolutionOf(const std::string &element) { return element == "f64" ? 0x1p-52 : 0x1p-23; }

// One matrix of a stack, by row and column.
struct Matrix {
  const Array &stack;
  int64_t number, height, width;
  Matrix(const Array &stack, int64_t number)
      : stack(stack), number(number), height(stack.shape[1]), width(stack.shape[2]) {}
  double operator()(int64_t r, int64_t c) const { return stack.values[(number * height + r) * width + c]; }
};

// The largest |(x^T y)(i, j) - (i == j)|.
double offUnity(const Matrix &x) {
  double worst = 0;
  for (int64_t i = 0; i < x.width; ++i)
    for (int64_t j = 0; j < x.width; ++j) {
      double dot = 0;
      for (int64_t r = 0; r < x.height; ++r)
        dot += x(r, i) * x(r, j);
      worst = std::max(worst, std::fabs(dot - (i == j ? 1 : 0)));
      if (std::isnan(dot))
        return NAN;
    }
  return worst;
}

double largest(const Matrix &x) {
  double most = 0;
  for (int64_t r = 0; r < x.height; ++r)
    for (int64_t c = 0; c < x.width; ++c)
      most = std::max(most, std::fabs(x(r, c)));
  return most;
}

Array symmetric(int64_t count, int64_t n, std::function<double(int64_t, int64_t, int64_t)> at) {
  Array stack({count, n, n});
  for (int64_t b = 0; b < count; ++b)
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c <= r; ++c)
        stack.values[(b * n + r) * n + c] = stack.values[(b * n + c) * n + r] = static_cast<float>(at(b, r, c));
  return stack;
}

// Q diag(values) Q^T with the orthonormal factor of random matrices.
Array withSpectrum(int64_t count, int64_t n, std::function<double(int64_t)> value) {
  Array random = Array::random({count, n, n}, 11), stack({count, n, n});
  std::vector<double> q(n * n), diagonal(n);
  for (int64_t b = 0; b < count; ++b) {
    loops::qr(random.data() + b * n * n, q.data(), diagonal.data(), n, n);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < n; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i)
          sum += q[r * n + i] * value(i) * q[c * n + i];
        stack.values[(b * n + r) * n + c] = sum;
      }
  }
  return stack;
}

std::string eighText(int64_t count, int64_t n, const std::string &flag = "f32") {
  std::string stack = tensor({count, n, n}), values = tensor({count, n}), one = tensor({1, 1}, flag);
  return module("", {{"a", stack}, {"p", stack}, {"now", one}}, {stack, values},
                "%v, %l = moe.eigh %a previous %p if %now : " + stack + ", " + one + " -> " + values +
                    "\nmoe.yield %v, %l : " + stack + ", " + values,
                "eigh");
}

void checkEigh(const Outcome &outcome, const Array &input, const std::string &element) {
  const Array &vectors = outcome.results[0], &values = outcome.results[1];
  int64_t n = input.shape[1];
  double bound = 8 * std::sqrt(static_cast<double>(n)) * resolutionOf(element);
  for (int64_t b = 0; b < input.shape[0]; ++b) {
    CAPTURE(b);
    Matrix a(input, b), v(vectors, b);
    double size = largest(a) * static_cast<double>(n), worst = 0;
    CHECK(offUnity(v) <= bound);
    for (int64_t i = 0; i < n; ++i) {
      double value = values.values[b * n + i];
      CHECK_FALSE(std::isnan(value));
      if (i)
        CHECK(values.values[b * n + i - 1] >= value);
      for (int64_t r = 0; r < n; ++r) {
        double sum = -value * v(r, i);
        for (int64_t c = 0; c < n; ++c)
          sum += a(r, c) * v(c, i);
        worst = std::max(worst, std::fabs(sum));
      }
    }
    CHECK(worst <= bound * size);
  }
}
} // namespace

TEST_CASE("eigh of matrices of any spectrum", "[decomposition]") {
  for (std::string element : {"f32", "f64"})
    for (int64_t n : {1, 2, 3, 8, 17}) {
      int64_t count = 2;
      CompiledDispatch kernel(eighText(count, n), element);
      Array unit = symmetric(count, n, [](int64_t, int64_t r, int64_t c) { return r == c; });
      auto check = [&](const std::string &name, const Array &input) {
        CAPTURE(element, n, name);
        checkEigh(kernel.run({input, Array({count, n, n}, static_cast<double>(NAN)), Array({1, 1}, 1.0)}), input,
                  element);
      };
      Array random = Array::random({count, n, n}, 3);
      auto randomAt = [&](int64_t b, int64_t r, int64_t c) { return random.values[(b * n + r) * n + c]; };
      check("random", symmetric(count, n, randomAt));
      check("unit", unit);
      check("zeros", Array({count, n, n}));
      check("descending by a hundred", withSpectrum(count, n, [](int64_t i) { return std::pow(100.0, -double(i)); }));
      check("rank one", symmetric(count, n, [&](int64_t b, int64_t r, int64_t c) {
              return randomAt(b, r, 0) * randomAt(b, c, 0);
            }));
      check("two values", withSpectrum(count, n, [](int64_t i) { return i % 2 ? 3.0 : -3.0; }));
      check("a permutation", symmetric(count, n, [&](int64_t, int64_t r, int64_t c) { return r + c == n - 1; }));
      check("diagonal, ascending", symmetric(count, n, [](int64_t, int64_t r, int64_t c) { return r == c ? r : 0; }));
      for (double scale : {1e-25, 1e25})
        check("far from 1",
              symmetric(count, n, [&](int64_t b, int64_t r, int64_t c) { return scale * randomAt(b, r, c); }));
    }
}

TEST_CASE("eigh finds known vectors, largest value first", "[decomposition]") {
  // [2 1; 1 2]: 3 along (1, 1), 1 along (1, -1).
  CompiledDispatch kernel(eighText(1, 2), "f64");
  Outcome outcome = kernel.run({Array({1, 2, 2}, {2, 1, 1, 2}), Array({1, 2, 2}), Array({1, 1}, 1.0)});
  CHECK(difference(outcome.results[1], Array({1, 2}, {3, 1}), 1e-15) == "");
  double half = std::sqrt(0.5);
  Matrix v(outcome.results[0], 0);
  CHECK(std::fabs(v(0, 0)) == Approx(half));
  CHECK(v(0, 0) == Approx(v(1, 0)));
  CHECK(v(0, 1) == Approx(-v(1, 1)));
}

TEST_CASE("eigh and qr keep what there was when nothing new is due", "[decomposition]") {
  for (std::string flag : {"f32", "i64"})
    for (int64_t n : {5, 300}) {
      CAPTURE(flag, n);
      int64_t count = 2;
      std::string stack = tensor({count, n, n}), one = tensor({1, 1}, flag);
      CompiledDispatch eigh(eighText(count, n, flag), "f32");
      CompiledDispatch qr(
          module("", {{"a", stack}, {"p", stack}, {"now", one}}, {stack},
                 "%q = moe.qr %a previous %p if %now : " + stack + ", " + one + "\nmoe.yield %q : " + stack, "qr"),
          "f32");
      Array input({count, n, n}, static_cast<double>(NAN)), previous = Array::random({count, n, n}, 4), off({1, 1});
      Outcome outcome = eigh.run({input, previous, off});
      CHECK(difference(outcome.results[0], previous, 0) == "");
      CHECK(difference(outcome.results[1], Array({count, n}), 0) == "");
      CHECK(difference(qr.run({input, previous, off}).results[0], previous, 0) == "");
    }
}

TEST_CASE("eigh and qr in the place of what there was", "[decomposition]") {
  for (std::string kind : {"eigh", "qr"}) {
    CAPTURE(kind);
    int64_t n = 6;
    std::string stack = tensor({1, n, n}), one = tensor({1, 1}, "i64"), values = tensor({1, n});
    CompiledDispatch kernel(module("moe.state @q optimizer : " + stack, {{"a", stack}, {"now", one}}, {stack},
                                   "%p = moe.read @q : " + stack + "\n%v" + (kind == "eigh" ? ", %l" : "") + " = moe." +
                                       kind + " %a previous %p if %now : " + stack + ", " + one +
                                       (kind == "eigh" ? " -> " + values : "") + "\nmoe.write @q, %v : " + stack +
                                       "\nmoe.yield %v : " + stack,
                                   kind),
                            "f64");
    Array input = withSpectrum(1, n, [](int64_t i) { return 1.0 / static_cast<double>(i + 1); });
    Array previous = Array::random({1, n, n}, 4);
    Outcome outcome = kernel.run({input, Array({1, 1})}, {{"q", previous}});
    CHECK(difference(outcome.states["q"], previous, 0) == "");
    CHECK(difference(outcome.results[0], previous, 0) == "");
    outcome = kernel.run({input, Array({1, 1}, 1.0)}, {{"q", previous}});
    CHECK(difference(outcome.states["q"], outcome.results[0], 0) == "");
    CHECK(offUnity(Matrix(outcome.results[0], 0)) < 1e-14);
  }
}

namespace {
std::string qrText(int64_t count, int64_t m, int64_t n) {
  std::string stack = tensor({count, m, n}), one = tensor({1, 1});
  return module("", {{"a", stack}, {"p", stack}, {"now", one}}, {stack},
                "%q = moe.qr %a previous %p if %now : " + stack + ", " + one + "\nmoe.yield %q : " + stack, "qr");
}

// Orthonormal columns; what is left of R below its diagonal is rounding, and its diagonal is not negative.
void checkQr(const Array &result, const Array &input, const std::string &element) {
  double bound = 16 * std::sqrt(static_cast<double>(input.shape[1])) * resolutionOf(element);
  for (int64_t b = 0; b < input.shape[0]; ++b) {
    CAPTURE(b);
    Matrix a(input, b), q(result, b);
    CHECK(offUnity(q) <= bound);
    for (int64_t i = 0; i < q.width; ++i)
      for (int64_t c = 0; c <= i; ++c) {
        double r = 0, size = 0;
        for (int64_t k = 0; k < q.height; ++k) {
          r += q(k, i) * a(k, c);
          size = std::max(size, std::fabs(a(k, c)));
        }
        CHECK((c < i ? std::fabs(r) : -r) <= bound * size);
      }
  }
}
} // namespace

TEST_CASE("qr of full rank is Householder's with a positive diagonal", "[decomposition]") {
  for (std::string element : {"f32", "f64"})
    for (auto [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {4, 4}, {9, 3}, {17, 17}, {70, 5}}) {
      CAPTURE(element, m, n);
      int64_t count = 2;
      Array input = Array::random({count, m, n}, 5), expected({count, m, n});
      for (int64_t b = 0; b < count; ++b) {
        std::vector<double> diagonal(n);
        loops::qr(input.data() + b * m * n, expected.data() + b * m * n, diagonal.data(), m, n);
      }
      CompiledDispatch kernel(qrText(count, m, n), element);
      Array result = kernel.run({input, Array({count, m, n}), Array({1, 1}, 1.0)}).results[0];
      // A badly conditioned matrix moves Q further than rounding: 30 times is ample for these.
      CHECK(difference(result, expected, 30 * toleranceOf(element)) == "");
      checkQr(result, input, element);
    }
}

TEST_CASE("qr replaces columns that vanish, and keeps what is nearly dependent orthogonal", "[decomposition]") {
  for (std::string element : {"f32", "f64"})
    for (auto [m, n] : {std::pair<int64_t, int64_t>{5, 5}, {12, 7}}) {
      CompiledDispatch kernel(qrText(1, m, n), element);
      Array random = Array::random({1, m, n}, 6);
      auto check = [&](const std::string &name, std::function<double(int64_t, int64_t)> at) {
        CAPTURE(element, m, n, name);
        Array input({1, m, n});
        for (int64_t r = 0; r < m; ++r)
          for (int64_t c = 0; c < n; ++c)
            input.values[r * n + c] = static_cast<float>(at(r, c));
        checkQr(kernel.run({input, Array({1, m, n}), Array({1, 1}, 1.0)}).results[0], input, element);
      };
      auto randomAt = [&](int64_t r, int64_t c) { return random.values[r * n + c]; };
      check("zeros", [](int64_t, int64_t) { return 0.0; });
      check("a zero column", [&](int64_t r, int64_t c) { return c == 2 ? 0.0 : randomAt(r, c); });
      check("equal columns", [&](int64_t r, int64_t) { return randomAt(r, 0); });
      check("multiples", [&](int64_t r, int64_t c) { return std::ldexp(randomAt(r, c % 2), static_cast<int>(c)); });
      check("Hilbert", [](int64_t r, int64_t c) { return 1.0 / static_cast<double>(r + c + 1); });
      check("small", [&](int64_t r, int64_t c) { return 1e-25 * randomAt(r, c); });
      check("large", [&](int64_t r, int64_t c) { return 1e25 * randomAt(r, c); });
      check("columns of many sizes",
            [&](int64_t r, int64_t c) { return randomAt(r, c) * std::pow(10.0, static_cast<double>(5 * c - 15)); });
    }
}
