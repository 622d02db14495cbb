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

/// base.json of optimizers.py, or of a folder within, with a section "optimizer".
std::string specWith(const std::string &optimizer, const std::string &within = "") {
  return changed(readText(folder + within + "base.json"), "\"optimizer\": null", "\"optimizer\": " + optimizer);
}

/// A model whose parameters and gradients are those of optimizers.py.
class Trainer {
public:
  explicit Trainer(const std::string &spec, unsigned threads = 1) : model(spec, {threads}) {
    names = model.names(rt::StateKind::Parameter);
    std::sort(names.begin(), names.end());
    model.call(moe::kInitFunction);
    for (size_t i = 0; i < names.size(); ++i) {
      bool isScale = names[i].ends_with("scale");
      fill(names[i], 100 * i, isScale ? 1 : 0, isScale ? 0.2 : 0.5);
    }
  }
  void step(int step) {
    model.call(moe::kBeginStepFunction);
    for (size_t i = 0; i < names.size(); ++i)
      fill("grad." + names[i], 100 * i + 1 + step, 0, 1);
    model.call(moe::kUpdateFunction);
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

void followsOracle(const std::string &name, const std::string &within = "") {
  auto golden = readGoldens(folder + within + name + ".safetensors");
  Trainer trainer(specWith(readText(folder + within + name + ".json"), within));
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

  /// What is taken off attention.`name`, whose gradient is given; of several such steps, the last.
  SmallMatrix operator()(const std::string &name, const SmallMatrix &gradient, int steps = 1) {
    model.call(moe::kInitFunction);
    for (int step = 0; step < steps; ++step) {
      model.call(moe::kBeginStepFunction);
      for (const std::string &parameter : model.names(rt::StateKind::Parameter)) {
        model.write(parameter, std::vector<double>(model.read(parameter).size(), 0.0));
        model.write("grad." + parameter, std::vector<double>(model.read(parameter).size(), 0.0));
      }
      model.write("grad.layers.0.attention." + name, gradient.values);
      model.call(moe::kUpdateFunction);
    }
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
TEST_CASE("muonh and adamh follow the oracle") { followsOracle("hyperball"); }
TEST_CASE("muon and adamw with LITE follow the oracle") { followsOracle("lite"); }
TEST_CASE("soap follows the oracle") { followsOracle("soap"); }
TEST_CASE("soap follows the oracle where row tiles divide the sides") { followsOracle("soap", "tiles/"); }
TEST_CASE("muon and adamw with LITE follow the oracle where row tiles divide the sides") {
  followsOracle("lite", "tiles/");
}
TEST_CASE("galore follows the oracle") { followsOracle("galore"); }

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

TEST_CASE("LITE with chi 1 and no betas is Muon, and so it is while both wait for the ramp, to the bit") {
  std::string plain = specWith(readText(folder + "muon.json"));
  std::string neutral =
      changed(plain, "\"scale\": \"keller\"", R"("scale": "keller", "lite": {"sharp_fraction": 0.3})");
  std::string waiting = changed(plain, "\"scale\": \"keller\"",
                                R"("scale": "keller", "lite": {"beta2": 1, "chi": 4, "chi_schedule": "ramp"})");
  Trainer muon(plain), same(neutral), later(waiting);
  for (int step = 0; step < 4; ++step) {
    for (Trainer *trainer : {&muon, &same, &later})
      trainer->step(step);
    INFO("step " << step);
    CHECK(muon.model.stateBytes() == same.model.stateBytes());
    bool differs = false;
    for (const std::string &name : muon.names)
      differs |= muon.model.read(name) != later.model.read(name);
    // The warm-up is two steps, and at the first step behind it the ramp still stands at 0.
    CHECK(differs == (step > 2));
  }
}

TEST_CASE("LITE's flat part is a projection that leaves the wanted number of directions, and sharp ones to Muon") {
  const int64_t rows = 16, cols = 24, sharp = 3; // of 16: floor(0.15 * 16) + 1
  auto group = [](const char *name, const char *lite) {
    return std::string("\"") + name + R"(": {"match": ["*.attention.)" + name +
           R"("], "kind": "muon", "momentum": 0, "weight_decay": 0, "scale": "none",
              "ns": {"steps": 10, "coefficients": "polar_express"}, "lite": )" +
           lite + "}";
  };
  OneUpdate update(rows, cols,
                   R"({"kind": "adamw", "lr": 1, "clip_norm": null, "groups": {)" +
                       group("q", R"({"chi": 2, "sharp_fraction": 0.15})") + ", " + group("k", "{}") + "}}");
  SmallMatrix x = withSpectrum(rows, cols, 0.03);
  SmallMatrix plain = update("k", x), lite = update("q", x, 60), twice = lite;
  // lite = O + F O, so F O O^T = F, as O O^T is the unit matrix.
  for (size_t i = 0; i < lite.values.size(); ++i)
    twice.values[i] -= plain.values[i];
  SmallMatrix flat = product(twice, transposed(plain));
  double trace = 0;
  for (int64_t i = 0; i < rows; ++i)
    trace += flat.at(i, i);
  // The threshold swings around the singular value that it looks for.
  CHECK((std::fabs(trace - (rows - sharp)) < 1e-6 || std::fabs(trace - (rows - sharp - 1)) < 1e-6 ||
         std::fabs(trace - (rows - sharp + 1)) < 1e-6));
  CHECK(largestDifference(flat, transposed(flat)) < 1e-8);
  CHECK(largestDifference(product(flat, flat), flat) < 1e-8);
  SmallMatrix sharpLite = lite, sharpPlain = plain, inLite = product(flat, lite), inPlain = product(flat, plain);
  for (size_t i = 0; i < lite.values.size(); ++i) {
    sharpLite.values[i] -= inLite.values[i];
    sharpPlain.values[i] -= inPlain.values[i];
  }
  CHECK(largestDifference(sharpLite, sharpPlain) < 1e-8);
}

TEST_CASE("muonh and adamh keep the norm of each matrix over 1000 steps, in f32, and step by lr") {
  std::string text =
      changed(readText(folder + "hyperball.json"), R"("kind": "linear", "floor": 0.1)", R"("kind": "constant")");
  Trainer trainer(changed(specWith(text), "\"f64\"", "\"f32\""));
  auto norms = [&](const std::string &name, int64_t matrices) {
    std::vector<double> values = trainer.model.read(name), result;
    int64_t size = values.size() / matrices;
    for (int64_t i = 0; i < matrices; ++i)
      result.push_back(frobenius({1, size, {values.begin() + i * size, values.begin() + (i + 1) * size}}));
    return result;
  };
  const std::vector<std::pair<std::string, int64_t>> parameters = {
      {"layers.1.moe.experts.up", 3}, {"layers.0.attention.v", 1}, {"head", 1}, {"layers.2.moe.router", 1}};
  std::vector<std::vector<double>> before;
  for (auto &[name, matrices] : parameters)
    before.push_back(norms(name, matrices));
  for (int step = 0; step < 1000; ++step) {
    std::vector<double> old = trainer.model.read("layers.0.attention.v"), now;
    trainer.step(step % 90);
    now = trainer.model.read("layers.0.attention.v");
    for (size_t i = 0; i < now.size(); ++i)
      now[i] -= old[i];
    double moved = frobenius({1, static_cast<int64_t>(now.size()), now}) / before[1][0];
    // lr times 1 + O(lr) for a direction along the sphere; the part that points away from it is taken back.
    REQUIRE(moved < 0.02 * 1.02);
    if (step == 0)
      CHECK(moved > 0.02 * 0.9);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::vector<double> after = norms(parameters[i].first, parameters[i].second);
    for (size_t m = 0; m < after.size(); ++m) {
      INFO(parameters[i].first << " matrix " << m);
      CHECK(std::fabs(after[m] / before[i][m] - 1) < 1e-6);
    }
  }
}

TEST_CASE("soap without bases is adamw, one step late") {
  auto optimizer = [](const char *kind) {
    return std::string(
               R"({"kind": "adamw", "lr": 0.02, "clip_norm": null, "groups": {"all": {"match": ["*"], "kind": ")") +
           kind + "}}}";
  };
  Trainer late(specWith(optimizer(R"(soap", "betas": [0.9, 0.95], "eps": 1e-18, "weight_decay": 0, "max_side": 1)")));
  Trainer adamw(specWith(optimizer(R"(adamw", "eps": 1e-18, "weight_decay": 0)"))); // eps has another place there
  late.step(70);
  for (int step = 0; step < 4; ++step) {
    late.step(step);
    adamw.step(step);
    for (const std::string &name : late.names) {
      std::vector<double> found = late.model.read(name), expected = adamw.model.read(name);
      int64_t size = found.size();
      INFO(name);
      CHECK(largestDifference({1, size, found}, {1, size, expected}) < 1e-14);
    }
  }
}

TEST_CASE("galore keeps moments of its rank, an orthonormal basis, and turns it when it is due") {
  Trainer trainer(specWith(readText(folder + "galore.json")));
  auto basis = [&] {
    SmallMatrix x{12, 4, trainer.model.read("optimizer.basis.layers.0.attention.q")};
    return x;
  };
  CHECK(trainer.model.read("optimizer.m.layers.0.attention.q").size() == 4 * 12);
  CHECK(trainer.model.read("optimizer.v.layers.0.attention.k").size() == 12 * 4);
  CHECK(trainer.model.read("optimizer.m.layers.1.moe.experts.up").size() == 3 * 12 * 10);
  SmallMatrix before = basis();
  for (int step = 0; step < 5; ++step) {
    trainer.step(step);
    SmallMatrix now = basis(), gram = product(transposed(now), now);
    for (int64_t i = 0; i < 4; ++i)
      gram.at(i, i) -= 1;
    CHECK(frobenius(gram) < 1e-12);
    INFO("step " << step);
    CHECK((largestDifference(before, now) > 1e-3) == (step % 2 == 0));
    before = now;
  }
}

TEST_CASE("mup: five steps move the logits as far at four times the width, and without scaling farther") {
  auto moved = [](int64_t width, const std::string &scaling) {
    std::string number = std::to_string(width);
    CompiledModel model(R"({"moec": 1, "name": "w", "model": {"vocab_size": 256, "hidden_size": )" + number +
                            R"(, "num_layers": 2, "attention": {"num_heads": )" + std::to_string(width / 16) +
                            R"(}, "ffn": {"inner_size": )" + std::to_string(2 * width) +
                            R"(}}, "optimizer": {"kind": "adamw", "lr": 1e-3, "scaling": )" + scaling +
                            R"(}, "data": {"seq_len": 32, "train": {"text": {"path": "x"}}}, "batch": {"sequences": 2},
                              "duration": {"steps": 5}, "evaluate": null})",
                        {});
    model.call(moe::kInitFunction);
    std::vector<int32_t> tokens(2 * 33);
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = 'a' + (i * i + i / 5) % 20;
    model.writeInts("generate.tokens", {tokens.begin(), tokens.begin() + 32});
    model.writeInts("generate.position", {31});
    model.call(moe::kLogitsFunction);
    std::vector<double> before = model.read("generate.logits");
    for (int step = 0; step < 5; ++step) {
      model.call(moe::kBeginStepFunction);
      model.writeInts("batch.tokens", tokens);
      model.call(moe::kForwardBackwardFunction);
      model.call(moe::kUpdateFunction);
    }
    model.call(moe::kLogitsFunction);
    std::vector<double> change = model.read("generate.logits");
    for (size_t i = 0; i < change.size(); ++i)
      change[i] -= before[i];
    int64_t size = change.size();
    return frobenius({1, size, change}) / std::sqrt(static_cast<double>(size));
  };
  const std::string mup = R"({"kind": "mup", "base_width": 64})";
  double narrow = moved(64, mup), wide = moved(256, mup), unscaled = moved(256, "\"none\"");
  INFO(narrow << " " << wide << " " << unscaled);
  CHECK(narrow == moved(64, "\"none\""));
  // A slope of less than 0.1 in logarithms; without scaling more than 0.4.
  CHECK(std::fabs(std::log(wide / narrow) / std::log(4)) < 0.1);
  CHECK(std::log(unscaled / narrow) / std::log(4) > 0.4);
}

TEST_CASE("every optimizer follows the oracle when each has a group of one model") { followsOracle("every"); }

TEST_CASE("every optimizer gives the same bits for one and two threads, in f32") {
  std::string spec = changed(specWith(readText(folder + "every.json")), "\"f64\"", "\"f32\"");
  Trainer one(spec), two(spec, 2);
  for (int step = 0; step < 3; ++step)
    for (Trainer *trainer : {&one, &two})
      trainer->step(step);
  CHECK(one.model.stateBytes() == two.model.stateBytes());
}
