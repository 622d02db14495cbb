// Optimizers in f64: against test/golden/oracle/optimizers.py, and what must hold of their updates whatever the
// numbers. The models' gradients are written by the tests: only init and update run.
#include "test/golden/Goldens.h"
#include "test/golden/SmallMatrix.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

const std::string folder = MOEC_SOURCE_DIR "/test/golden/oracle/optimizers/";

/// The numbers of optimizers.py, in [-1, 1).
double number(uint64_t place, uint64_t stream) {
  uint64_t x = (place + 1) * 6364136223846793005ull + (stream + 1) * 1442695040888963407ull;
  for (int turn = 0; turn < 2; ++turn) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
  }
  x ^= x >> 33;
  return static_cast<double>(x >> 11) * 0x1p-52 - 1;
}

/// base.json with a section "optimizer".
std::string specWith(const std::string &optimizer) {
  return changed(readText(folder + "base.json"), "\"optimizer\": null", "\"optimizer\": " + optimizer);
}

/// A model whose parameters and gradients are those of optimizers.py.
class Trainer {
public:
  explicit Trainer(const std::string &spec, unsigned threads = 1) : model(spec, {threads}) {
    names = model.names(rt::StateKind::Parameter);
    std::sort(names.begin(), names.end());
    model.call("init");
    for (size_t i = 0; i < names.size(); ++i) {
      bool isScale = names[i].ends_with("scale");
      fill(names[i], 100 * i, isScale ? 1 : 0, isScale ? 0.2 : 0.5);
    }
  }
  void step(int step) {
    model.call("begin_step");
    for (size_t i = 0; i < names.size(); ++i)
      fill("grad." + names[i], 100 * i + 1 + step, 0, 1);
    model.call("update");
  }

  CompiledModel model;
  std::vector<std::string> names;

private:
  void fill(const std::string &name, uint64_t stream, double base, double scale) {
    std::vector<double> values = model.read(name);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = base + scale * number(i, stream);
    model.write(name, values);
  }
};

void followsOracle(const std::string &name) {
  auto golden = readGoldens(folder + name + ".safetensors");
  Trainer trainer(specWith(readText(folder + name + ".json")));
  REQUIRE(trainer.names.size() == golden.size());
  for (int step = 0; step < 5; ++step)
    trainer.step(step);
  for (const std::string &parameter : trainer.names) {
    INFO(parameter);
    std::vector<double> found = trainer.model.read(parameter);
    const std::vector<double> &expected = golden.at(parameter);
    REQUIRE(found.size() == expected.size());
    double worst = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      double difference = std::fabs(found[i] - expected[i]);
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    }
    CHECK(worst < 1e-9);
  }
}

//===--- One update of one matrix ---===//

/// One layer with one head, whose attention is q, k, v [rows, cols] and o [cols, rows]. Parameters start at zero and
/// the rate is 1, so an update is what a method makes of a gradient. `optimizer`: the section's text.
class OneUpdate {
public:
  OneUpdate(int64_t rows, int64_t cols, const std::string &optimizer) : model(spec(rows, cols, optimizer), {}) {}

  /// What is taken off attention.`name`, whose gradient is given.
  SmallMatrix operator()(const std::string &name, const SmallMatrix &gradient) {
    model.call("init");
    model.call("begin_step");
    for (const std::string &parameter : model.names(rt::StateKind::Parameter)) {
      model.write(parameter, std::vector<double>(model.read(parameter).size(), 0.0));
      model.write("grad." + parameter, std::vector<double>(model.read(parameter).size(), 0.0));
    }
    model.write("grad.layers.0.attention." + name, gradient.values);
    model.call("update");
    SmallMatrix update{gradient.rows, gradient.cols, model.read("layers.0.attention." + name)};
    for (double &value : update.values)
      value = -value;
    return update;
  }

private:
  static std::string spec(int64_t rows, int64_t cols, const std::string &optimizer) {
    return R"({"moec": 1, "name": "one", "model": {"vocab_size": 256, "hidden_size": )" + std::to_string(rows) +
           R"(, "num_layers": 1, "attention": {"num_heads": 1, "head_dim": )" + std::to_string(cols) +
           R"(}, "ffn": {"inner_size": 8}}, "optimizer": )" + optimizer +
           R"(, "data": {"seq_len": 4, "train": {"text": {"path": "x"}}}, "batch": {"sequences": 1},
              "duration": {"steps": 1}, "precision": {"compute": "f64"}, "evaluate": null})";
  }

  CompiledModel model;
};

/// q and o: keller; k: polar5; v: keller with moonlight's scale.
const std::string muonKinds = R"({"kind": "adamw", "lr": 1, "clip_norm": null, "groups": {
  "keller": {"match": ["*.attention.{q,o}"], "kind": "muon", "momentum": 0, "weight_decay": 0, "scale": "none"},
  "polar": {"match": ["*.attention.k"], "kind": "muon", "momentum": 0, "weight_decay": 0, "scale": "none",
            "ns": {"coefficients": "polar5"}},
  "moonlight": {"match": ["*.attention.v"], "kind": "muon", "momentum": 0, "weight_decay": 0}}})";

SmallMatrix random(int64_t rows, int64_t cols, uint64_t stream) {
  SmallMatrix x{rows, cols, std::vector<double>(rows * cols)};
  for (size_t i = 0; i < x.values.size(); ++i)
    x.values[i] = number(i, stream);
  return x;
}

/// Singular values from 1 down to `least`, evenly in logarithm, in front of random singular vectors.
SmallMatrix withSpectrum(int64_t rows, int64_t cols, double least) {
  int64_t rank = std::min(rows, cols);
  SmallMatrix left = orthogonal(random(rows, rows, 71)), right = orthogonal(random(cols, cols, 72));
  SmallMatrix middle{rows, cols, std::vector<double>(rows * cols)};
  for (int64_t i = 0; i < rank; ++i)
    middle.at(i, i) = std::pow(least, static_cast<double>(i) / (rank - 1));
  return product(product(left, middle), right);
}

} // namespace

TEST_CASE("muon follows the oracle") { followsOracle("muon"); }

TEST_CASE("Newton-Schulz: ranges of singular values, turns, sizes, and moonlight's RMS, for every shape") {
  for (auto [rows, cols] : {std::pair<int64_t, int64_t>{16, 24}, {13, 30}, {22, 14}, {16, 16}}) {
    INFO(rows << " x " << cols);
    OneUpdate update(rows, cols, muonKinds);
    // The least singular value is 0.01 or more of the Frobenius norm. The bounds are those of the polynomials' fifth
    // iterate on [0.01, 1].
    SmallMatrix x = withSpectrum(rows, cols, 0.03), tall = withSpectrum(cols, rows, 0.03);
    REQUIRE(0.03 / frobenius(x) >= 0.01);
    for (const SmallMatrix &result : {update("q", x), update("o", tall)}) {
      std::vector<double> values = singularValues(result);
      CHECK(values.front() > 0.6818);
      CHECK(values.back() < 1.1344);
    }
    std::vector<double> values = singularValues(update("k", x));
    CHECK(values.front() > 0.9777);
    CHECK(values.back() < 1.0318);

    SmallMatrix q = orthogonal(random(rows, rows, 6)), r = orthogonal(random(cols, cols, 7));
    SmallMatrix turned = update("q", product(product(q, x), r));
    CHECK(largestDifference(turned, product(product(q, update("q", x)), r)) < 1e-12);
    SmallMatrix large = x;
    for (double &value : large.values)
      value *= 1e6;
    CHECK(largestDifference(update("q", large), update("q", x)) < 1e-6); // 1e-7 stands beside the norm

    SmallMatrix even = update("v", random(rows, cols, 9));
    double rms = frobenius(even) / std::sqrt(static_cast<double>(rows * cols));
    CHECK(rms > 0.16);
    CHECK(rms < 0.24);
  }
}

TEST_CASE("optimizers give the same bits for one and two threads, in f32") {
  for (const char *name : {"muon"}) {
    std::string spec = changed(specWith(readText(folder + name + ".json")), "\"f64\"", "\"f32\"");
    Trainer one(spec), two(spec, 2);
    for (int step = 0; step < 3; ++step)
      for (Trainer *trainer : {&one, &two})
        trainer->step(step);
    INFO(name);
    CHECK(one.model.stateBytes() == two.model.stateBytes());
  }
}
