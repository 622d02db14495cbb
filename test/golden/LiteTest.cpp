// What LITE claims, on a quadratic: f(W) = 1/2 sum_i lambda_i |row i of Q W|^2, Q orthogonal, lambda from 1 down to
// 1e-3, gradients with the noise of least squares, whose covariance goes with the curvature. The matrix starts where
// every direction has the same share of the loss, so errors in flat directions are thirty times those in sharp ones.
#include "test/golden/CompiledModel.h"
#include "test/golden/SmallMatrix.h"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

constexpr int64_t kRows = 16, kCols = 64;
constexpr int kSteps = 100;

/// Three matrices trained side by side: q by an optimizer as it is, k by it with LITE, v by it at chi times the rate,
/// which is chi along every direction.
struct Quadratic {
  CompiledModel model;
  SmallMatrix turn; // Q
  std::vector<double> lambda;
  uint64_t random = 3;

  static std::string spec(const std::string &plain, const std::string &lite, const std::string &everywhere) {
    return R"({"moec": 1, "name": "quadratic", "model": {"vocab_size": 256, "hidden_size": 16, "num_layers": 1,
        "attention": {"num_heads": 1, "head_dim": 64}, "ffn": {"inner_size": 8}},
      "optimizer": {"kind": "adamw", "lr": 1, "clip_norm": null, "schedule": {"kind": "constant"}, "groups": {
        "plain": {"match": ["*.attention.q"], )" +
           plain + R"(}, "lite": {"match": ["*.attention.k"], )" + lite +
           R"(}, "everywhere": {"match": ["*.attention.v"], )" + everywhere + R"(}}},
      "data": {"seq_len": 4, "train": {"text": {"path": "x"}}}, "batch": {"sequences": 1}, "duration": {"steps": 100},
      "precision": {"compute": "f64"}, "evaluate": null})";
  }

  Quadratic(const std::string &spec, bool isTurned) : model(spec, {}) {
    SmallMatrix start = normal();
    turn = SmallMatrix{kRows, kRows, std::vector<double>(kRows * kRows)};
    for (int64_t i = 0; i < kRows; ++i) {
      turn.at(i, i) = 1;
      lambda.push_back(std::pow(10, -3.0 * static_cast<double>(i) / (kRows - 1)));
      for (int64_t j = 0; j < kCols; ++j)
        start.at(i, j) /= std::sqrt(lambda[i]);
    }
    if (isTurned) {
      SmallMatrix any{kRows, kRows, {}};
      for (int64_t i = 0; i < kRows * kRows; ++i)
        any.values.push_back(drawn());
      turn = orthogonal(any);
    }
    model.call(moe::kInitFunction);
    for (const char *name : {"q", "k", "v"})
      model.write(parameter(name), product(transposed(turn), start).values);
  }

  static std::string parameter(const char *name) { return std::string("layers.0.attention.") + name; }

  /// |row i of Q W| for every i.
  std::vector<double> errors(const char *name) {
    SmallMatrix w = product(turn, {kRows, kCols, model.read(parameter(name))});
    std::vector<double> result;
    for (int64_t i = 0; i < kRows; ++i)
      result.push_back(frobenius({1, kCols, {w.values.begin() + i * kCols, w.values.begin() + (i + 1) * kCols}}));
    return result;
  }

  void step() {
    SmallMatrix noise = normal();
    model.call(moe::kBeginStepFunction);
    for (const std::string &name : model.names(rt::StateKind::Gradient))
      model.write(name, std::vector<double>(model.read(name).size(), 0.0));
    for (const char *name : {"q", "k", "v"}) {
      SmallMatrix g = product(turn, {kRows, kCols, model.read(parameter(name))});
      for (int64_t i = 0; i < kRows; ++i)
        for (int64_t j = 0; j < kCols; ++j)
          g.at(i, j) = lambda[i] * g.at(i, j) + std::sqrt(lambda[i]) * noise.at(i, j);
      model.write("grad." + parameter(name), product(transposed(turn), g).values);
    }
    model.call(moe::kUpdateFunction);
  }

private:
  double drawn() { // in (-1, 1)
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    return (static_cast<double>(random >> 11) + 0.5) * 0x1p-52 - 1;
  }
  /// Rows of length 1 on average.
  SmallMatrix normal() {
    SmallMatrix x{kRows, kCols, std::vector<double>(kRows * kCols)};
    for (double &value : x.values) {
      for (int i = 0; i < 12; ++i) // twelve numbers of variance 1/3
        value += drawn() / 2;
      value /= std::sqrt(static_cast<double>(kCols));
    }
    return x;
  }
};

struct Outcome {
  double flatFall = 0;             // of the flattest quarter's error, while it is still far from 0
  double sharpError = 0, loss = 0; // of the sharpest quarter, and the whole f: over the second half
};

Outcome judge(const Quadratic &quadratic, const std::vector<std::vector<double>> &history) {
  Outcome o;
  for (int64_t i = 3 * kRows / 4; i < kRows; ++i)
    o.flatFall += (history.front()[i] - history[kSteps * 2 / 5][i]) / (kRows / 4.0);
  for (size_t t = history.size() / 2; t < history.size(); ++t)
    for (int64_t i = 0; i < kRows; ++i) {
      double square = history[t][i] * history[t][i] / (static_cast<double>(history.size()) / 2);
      o.loss += quadratic.lambda[i] * square / 2;
      o.sharpError += i < kRows / 4 ? square / (kRows / 4.0) : 0;
    }
  o.sharpError = std::sqrt(o.sharpError);
  return o;
}

/// Outcomes of q, k and v.
std::array<Outcome, 3> train(const std::string &spec, bool isTurned) {
  Quadratic quadratic(spec, isTurned);
  std::array<std::vector<std::vector<double>>, 3> history;
  const std::array<const char *, 3> names{"q", "k", "v"};
  for (int step = 0; step <= kSteps; ++step) {
    if (step > 0)
      quadratic.step();
    for (size_t i = 0; i < 3; ++i)
      history[i].push_back(quadratic.errors(names[i]));
  }
  std::array<Outcome, 3> outcomes;
  for (size_t i = 0; i < 3; ++i)
    outcomes[i] = judge(quadratic, history[i]);
  return outcomes;
}

} // namespace

TEST_CASE("LITE on a quadratic: chi times faster along flat directions, sharp ones as they were") {
  // Three spectral or elementwise preconditioners; rates are those at which sharp directions end at the noise's floor.
  const std::string muon = R"("kind": "muon", "weight_decay": 0, "scale": "none",
      "ns": {"steps": 9, "coefficients": "polar_express"})";
  const std::string soap = R"("kind": "soap", "weight_decay": 0, "every": 1, "max_side": 32)";
  const std::string adamw = R"("kind": "adamw", "weight_decay": 0)";
  const std::string chi = R"("chi": 3, "sharp_fraction": 0.3)";
  struct Case {
    std::string plain, lite;
    double lr;
    bool isTurned; // AdamW looks at elements
  };
  for (const Case &one : {Case{muon, muon + R"(, "lite": {)" + chi + "}", 0.05, true},
                          Case{soap, soap + R"(, "lite": {)" + chi + "}", 0.02, true},
                          Case{adamw, R"("kind": "adamw_lite", "weight_decay": 0, )" + chi, 0.02, false}}) {
    std::string rate = R"(, "lr": )" + std::to_string(one.lr), more = R"(, "lr": )" + std::to_string(3 * one.lr);
    auto [plain, lite, everywhere] =
        train(Quadratic::spec(one.plain + rate, one.lite + rate, one.plain + more), one.isTurned);
    INFO(one.plain << "\n  flat fall " << plain.flatFall << " " << lite.flatFall << "  sharp error " << plain.sharpError
                   << " " << lite.sharpError << " " << everywhere.sharpError << "  loss " << plain.loss << " "
                   << lite.loss << " " << everywhere.loss);
    CHECK(lite.flatFall > 2.5 * plain.flatFall);
    CHECK(lite.flatFall < 3.1 * plain.flatFall);
    CHECK(lite.sharpError < 1.1 * plain.sharpError);
    // chi everywhere: as fast, but what the noise leaves along sharp directions grows.
    CHECK(everywhere.sharpError > 1.4 * plain.sharpError);
    CHECK(lite.loss < 0.95 * everywhere.loss);
    CHECK(lite.loss < 0.6 * plain.loss);
  }
}
