// Steps of small models in f64, and their gradients against central differences.
#ifndef MOEC_TEST_GOLDEN_SMALLRUNS_H
#define MOEC_TEST_GOLDEN_SMALLRUNS_H

#include "test/golden/CompiledModel.h"

#include <catch2/catch.hpp>
#include <cmath>

namespace moec::test {

inline std::vector<int32_t> tokens(int first, int sequences, int length) {
  std::vector<int32_t> all;
  for (int number = first; number < first + sequences; ++number) {
    uint64_t state = 777 + number;
    for (int i = 0; i < length; ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      all.push_back(static_cast<int32_t>('a' + (state >> 40) % 20));
    }
  }
  return all;
}

/// Gradients and metrics of one step, without its update. Sequences have 8 tokens and the one behind.
inline void runStep(CompiledModel &model, int sequences, int microSequences) {
  model.call(moe::kBeginStepFunction);
  for (int first = 0; first < sequences; first += microSequences) {
    model.writeInts("batch.tokens", tokens(first, microSequences, 9));
    model.call(moe::kForwardBackwardFunction);
  }
}

/// The gradient of `parameter` along a fixed direction: as computed, and from the difference of total losses.
inline std::pair<double, double> slopes(CompiledModel &model, const std::string &parameter, int microSequences) {
  runStep(model, 4, microSequences);
  std::vector<double> gradient = model.read("grad." + parameter), values = model.read(parameter), moved = values;
  std::vector<double> direction(values.size());
  double found = 0, step = 1e-6, losses[2];
  for (size_t i = 0; i < values.size(); ++i) {
    direction[i] = std::sin(1.0 + 0.7 * static_cast<double>(i));
    found += gradient[i] * direction[i];
  }
  for (int side : {0, 1}) {
    for (size_t i = 0; i < values.size(); ++i)
      moved[i] = values[i] + (side ? step : -step) * direction[i];
    model.write(parameter, moved);
    runStep(model, 4, microSequences);
    losses[side] = model.scalar("metric.total_loss");
  }
  model.write(parameter, values);
  return {found, (losses[1] - losses[0]) / (2 * step)};
}

/// Of a model with 4 sequences per step.
inline void expectSlopes(CompiledModel &model, const std::vector<std::string> &parameters, int microSequences = 4) {
  for (const std::string &parameter : parameters) {
    auto [found, expected] = slopes(model, parameter, microSequences);
    INFO(parameter);
    CHECK(std::fabs(expected) > 1e-3);
    CHECK(found == Approx(expected).epsilon(1e-6));
  }
}

inline void expectSlopes(const std::string &spec, const std::vector<std::string> &parameters, int microSequences = 4) {
  CompiledModel model(spec, {});
  model.call(moe::kInitFunction);
  expectSlopes(model, parameters, microSequences);
}

/// The largest difference between states of a kind, relative to the largest entry of each.
inline double worstDifference(CompiledModel &a, CompiledModel &b, rt::StateKind kind) {
  double worst = 0;
  for (const std::string &name : a.names(kind)) {
    std::vector<double> x = a.read(name), y = b.read(name);
    double scale = 1e-30, difference = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      scale = std::max(scale, std::fabs(x[i]));
      difference = std::max(difference, std::isnan(x[i] - y[i]) ? INFINITY : std::fabs(x[i] - y[i]));
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

} // namespace moec::test

#endif
