// Logits for the tests of routing and balancing, and what is read off the choices made from them.
#ifndef MOEC_TEST_UNIT_COMPILER_ROUTERLAB_H
#define MOEC_TEST_UNIT_COMPILER_ROUTERLAB_H

#include "test/unit/compiler/Bench.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace moec::test {

// One normal number for each expert: what the simulation drew.
inline constexpr double kSkew[64] = {
    0.126,  -0.132, 0.640,  0.105,  -0.536, 0.362,  1.304,  0.947,  -0.704, -1.265, -0.623, 0.041,  -2.325,
    -0.219, -1.246, -0.732, -0.544, -0.316, 0.412,  1.043,  -0.129, 1.366,  -0.665, 0.352,  0.903,  0.094,
    -0.743, -0.922, -0.458, 0.220,  -1.010, -0.209, -0.159, 0.541,  0.215,  0.355,  -0.654, -0.130, 0.784,
    1.493,  -1.259, 1.514,  1.346,  0.781,  0.264,  -0.314, 1.458,  1.960,  1.802,  1.315,  0.357,  -1.208,
    -0.004, 0.656,  -1.288, 0.395,  0.430,  0.696,  -1.184, -0.662, -0.436, -1.170, 1.739,  -0.496};

struct Lab {
  int64_t tokens = 4096, experts, topK = 4;
  std::mt19937_64 random{11};
  std::vector<double> skew;

  // Box-Muller: std::normal_distribution differs between libraries.
  double normal() {
    auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.14159265358979323846 * uniform());
  }
  explicit Lab(int64_t experts = 64) : experts(experts), skew(kSkew, kSkew + experts) {}
  Matrix logits() {
    Matrix m{tokens, experts, std::vector<double>(tokens * experts)};
    for (int64_t i = 0; i < tokens * experts; ++i)
      m.values[i] = normal() + skew[i % experts];
    return m;
  }
  RoutingValues sizes() const {
    RoutingValues r{};
    r.numTokens = tokens, r.seqLen = tokens, r.numExperts = r.ffnExperts = experts, r.topK = topK;
    r.microBatches = 1, r.training = true, r.groups = 0, r.topGroups = 1;
    return r;
  }
};

inline Matrix map(Matrix m, double (*f)(double)) {
  for (double &value : m.values)
    value = f(value);
  return m;
}
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline Matrix softmax(Matrix m) {
  for (int64_t row = 0; row < m.rows; ++row) {
    double sum = 0;
    for (int64_t col = 0; col < m.cols; ++col)
      sum += m.values[row * m.cols + col] = std::exp(m.at(row, col));
    for (int64_t col = 0; col < m.cols; ++col)
      m.values[row * m.cols + col] /= sum;
  }
  return m;
}

/// How often each expert was chosen.
inline std::vector<double> load(const Matrix &ids, int64_t experts) {
  std::vector<double> counts(experts);
  for (double id : ids.values)
    if (id >= 0)
      ++counts[static_cast<size_t>(id)];
  return counts;
}

/// Largest load / mean load - 1.
inline double maxVio(const std::vector<double> &counts) {
  double sum = 0;
  for (double count : counts)
    sum += count;
  return *std::max_element(counts.begin(), counts.end()) * counts.size() / sum - 1;
}

/// The k largest of each row, ties to the lowest column.
inline Matrix topK(const Matrix &scores, int64_t k) {
  Matrix ids{scores.rows, k, {}};
  std::vector<int64_t> order(scores.cols);
  for (int64_t row = 0; row < scores.rows; ++row) {
    for (int64_t i = 0; i < scores.cols; ++i)
      order[i] = i;
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
      return std::pair(-scores.at(row, a), a) < std::pair(-scores.at(row, b), b);
    });
    ids.values.insert(ids.values.end(), order.begin(), order.begin() + k);
  }
  return ids;
}

/// Noise that a test gives.
struct FixedNoise : NoiseSource {
  Bench &bench;
  double value;
  FixedNoise(Bench &bench, double value) : bench(bench), value(value) {}
  mlir::Value uniform(TensorBuilder &b, llvm::StringRef, int64_t rows, int64_t cols, bool) override {
    return b.fill(value, rows, cols);
  }
};

inline Matrix choose(Bench &bench, const char *kind, exp::MethodAttr attr, RoutingValues r) {
  const auto &routing = bench.find<RoutingMethod>("routing", kind);
  return bench.evaluate(routing.buildIds(bench.t, attr, r, r.selection));
}

inline exp::MethodAttr bip(Bench &bench, int64_t iterations, bool clip) {
  return bench.attr("balance", "bip",
                    {bench.field("clip", bench.b.getBoolAttr(clip)), bench.field("inference", "last"),
                     bench.field("iterations", iterations), bench.field("scope", "micro"),
                     bench.field("warm_start", bench.b.getBoolAttr(true))});
}

} // namespace moec::test

#endif
