// One small whole model in f64 against test/golden/oracle/oracle.py: losses, every gradient, every updated parameter,
// over three steps.
#include "test/golden/Goldens.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

const std::string oracle = MOEC_SOURCE_DIR "/test/golden/oracle/";

/// Relative to the tensor's largest entry, so that entries near zero do not count rounding of the others as an error.
double relativeError(const std::vector<double> &got, const std::vector<double> &expected) {
  if (got.size() != expected.size())
    return INFINITY;
  double scale = 1e-30, error = 0;
  for (double value : expected)
    scale = std::max(scale, std::fabs(value));
  for (size_t i = 0; i < got.size(); ++i) {
    double difference = std::fabs(got[i] - expected[i]);
    error = std::isnan(difference) ? INFINITY : std::max(error, difference);
  }
  return error / scale;
}

void followsOracle(const std::string &name) {
  auto golden = readGoldens(oracle + name + ".safetensors");
  CompiledModel model(readText(oracle + name + ".json"), {});
  std::vector<std::string> parameters = model.names(rt::StateKind::Parameter);

  model.call(moe::kInitFunction);
  size_t goldenParameters = 0;
  for (const auto &[key, values] : golden)
    goldenParameters += key.rfind("param0.", 0) == 0;
  REQUIRE(parameters.size() == goldenParameters);
  for (const std::string &parameter : parameters)
    model.write(parameter, golden.at("param0." + parameter));

  for (int step = 0; step < 3; ++step) {
    std::string at = "." + std::to_string(step);
    INFO(name << " step " << step);
    model.call(moe::kBeginStepFunction);
    for (int micro = 0; micro < 2; ++micro) {
      const std::vector<double> &tokens = golden.at("tokens" + at + "." + std::to_string(micro));
      model.writeInts("batch.tokens", {tokens.begin(), tokens.end()});
      model.call(moe::kForwardBackwardFunction);
    }
    CHECK(relativeError(model.read("metric.loss"), golden.at("loss" + at)) < 1e-9);
    CHECK(relativeError(model.read("metric.total_loss"), golden.at("total" + at)) < 1e-9);
    CHECK(relativeError(model.read("metric.load_balance"), golden.at("load_balance" + at)) < 1e-9);
    CHECK(relativeError(model.read("metric.router_z"), golden.at("router_z" + at)) < 1e-9);
    for (const std::string &parameter : parameters) {
      INFO("gradient of " << parameter);
      CHECK(relativeError(model.read("grad." + parameter), golden.at("grad" + at + "." + parameter)) < 1e-9);
    }
    model.call(moe::kUpdateFunction);
    CHECK(relativeError(model.read("metric.grad_norm"), golden.at("grad_norm" + at)) < 1e-9);
    CHECK(relativeError(model.read("metric.lr"), golden.at("lr" + at)) < 1e-12);
    for (const std::string &parameter : parameters) {
      INFO("parameter " << parameter);
      CHECK(relativeError(model.read(parameter), golden.at("param" + at + "." + parameter)) < 1e-9);
    }
  }
  CHECK(model.scalar("counter.step") == 3);
}

} // namespace

TEST_CASE("oracle case 1: sigmoid router, shared expert, GQA, head QK norm, sequence balance") {
  followsOracle("case1");
}

TEST_CASE("oracle case 2: softmax router, peri norm, tied embeddings, full QK norm, micro balance") {
  followsOracle("case2");
}
