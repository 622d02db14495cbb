// The router lab: what balancing and routing do to skewed random logits. Logits are a normal number for each token and
// expert plus one for each expert; MaxVio = largest load / mean load - 1. Expected figures are those of an independent
// simulation in numpy of the same setting; drawn numbers differ, so they are met within 20 %.
#include "test/unit/compiler/RouterLab.h"

#include <catch2/catch.hpp>

using namespace moec;
using namespace moec::test;

namespace {

bool within20(double value, double expected) { return std::abs(value - expected) <= 0.2 * expected + 0.03; }

double bipVio(const Matrix &scores, const Lab &lab, int64_t iterations, bool clip) {
  Bench bench;
  RoutingValues r = lab.sizes();
  r.scores = bench.input("scores", scores);
  const auto &method = bench.find<BalanceMethod>("balance", "bip");
  r.selection = method.buildSelection(bench.t, bip(bench, iterations, clip), r, bench);
  return maxVio(load(choose(bench, "token_choice", bench.attr("routing", "token_choice", {}), r), lab.experts));
}

} // namespace

TEST_CASE("router lab: bip balances within rounds", "[lab]") {
  Lab lab;
  Matrix scores = softmax(lab.logits());
  CHECK(within20(maxVio(load(topK(scores, 4), 64)), 5.8));
  double before = 10;
  for (auto [rounds, expected] : {std::pair(1, 1.54), {2, 0.82}, {4, 0.37}, {8, 0.16}, {14, 0.04}}) {
    double vio = bipVio(scores, lab, rounds, true);
    CAPTURE(rounds, vio);
    CHECK(within20(vio, expected));
    CHECK(vio < before);
    before = vio;
  }
  // Within a few tokens of the equal load, C = 256, once it has converged.
  Lab even;
  even.skew.assign(64, 0);
  CHECK(bipVio(softmax(even.logits()), even, 64, true) <= 4.0 / 256);
  // Equalities converge faster.
  CHECK(bipVio(scores, lab, 4, false) < bipVio(scores, lab, 4, true) / 2);
}

TEST_CASE("router lab: bip starts from its last prices", "[lab]") {
  Lab lab;
  Bench bench;
  RoutingValues r = lab.sizes();
  Matrix first = map(lab.logits(), sigmoid);
  r.scores = bench.input("scores", first);
  const auto &method = bench.find<BalanceMethod>("balance", "bip");
  r.selection = method.buildSelection(bench.t, bip(bench, 4, true), r, bench);
  const auto &routing = bench.find<RoutingMethod>("routing", "token_choice");
  mlir::Value ids = routing.buildIds(bench.t, bench.attr("routing", "token_choice", {}), r, r.selection);
  std::vector<double> vios;
  for (int batch = 0; batch < 5; ++batch) {
    if (batch)
      bench.evaluator.states["scores"] = map(lab.logits(), sigmoid);
    vios.push_back(maxVio(load(bench.evaluate(ids), 64)));
  }
  CAPTURE(vios);
  CHECK(within20(vios[0], 1.0));
  CHECK(within20(vios[1], 0.57));
  CHECK(vios[4] < 0.3);
}

TEST_CASE("router lab: a bias needs some two hundred steps", "[lab]") {
  auto run = [&](double rate, const char *update, int steps) {
    Lab lab;
    Bench bench;
    StepLoad step{bench.input("counts", {1, 64, std::vector<double>(64)}, bench.b.getI64Type()),
                  4096,
                  64,
                  64,
                  4,
                  1,
                  bench.input("step", {1, 1, {1}}),
                  1000,
                  mlir::Value()};
    exp::MethodAttr attr = bench.attr("balance", "bias",
                                      {bench.field("center", bench.b.getBoolAttr(false)), bench.field("rate", rate),
                                       bench.field("until", int64_t(0)), bench.field("update", update)});
    bench.find<BalanceMethod>("balance", "bias").buildUpdate(bench.t, attr, step, bench);
    std::vector<double> vios;
    for (int i = 1; i <= steps; ++i) {
      Matrix selection = map(lab.logits(), sigmoid);
      const Matrix &bias = bench.evaluator.states["bias"];
      for (size_t j = 0; j < selection.values.size(); ++j)
        selection.values[j] += bias.values[j % 64];
      std::vector<double> counts = load(topK(selection, 4), 64);
      vios.push_back(maxVio(counts));
      bench.evaluator.states["counts"].values = counts;
      bench.run();
    }
    return vios;
  };
  std::vector<double> slow = run(1e-3, "sign", 300), fast = run(1e-2, "sign", 120);
  CAPTURE(slow[0], slow[99], slow[199], slow[299], fast[49], fast[119]);
  CHECK(within20(slow[0], 5.8));
  CHECK(within20(slow[99], 2.6));
  CHECK(slow[199] < 0.5);
  CHECK(slow[299] < 0.5);
  CHECK(fast[49] < 0.5);
  // A larger step ends earlier and at a higher floor.
  double slowFloor = 0, fastFloor = 0;
  for (int i = 0; i < 20; ++i)
    slowFloor += slow[280 + i] / 20, fastFloor += fast[100 + i] / 20;
  CHECK(fastFloor > slowFloor);
  CHECK(run(0.05, "proportional", 60).back() < 1.0);
}

TEST_CASE("bias: exact steps", "[lab]") {
  auto after = [&](const char *update, int64_t until) {
    Bench bench;
    StepLoad load{};
    load.counts = bench.input("counts", {1, 4, {10, 20, 10, 0}}, bench.b.getI64Type());
    load.tokens = 40, load.numExperts = load.ffnExperts = 4, load.topK = load.microBatches = 1;
    load.step = bench.input("step", {1, 1, {5}});
    exp::MethodAttr attr = bench.attr("balance", "bias",
                                      {bench.field("center", bench.b.getBoolAttr(false)), bench.field("rate", 0.5),
                                       bench.field("until", until), bench.field("update", update)});
    bench.find<BalanceMethod>("balance", "bias").buildUpdate(bench.t, attr, load, bench);
    bench.run();
    return bench.evaluator.states["bias"].values;
  };
  CHECK(after("sign", 0) == std::vector<double>{0, -0.5, 0, 0.5});
  CHECK(after("proportional", 0) == std::vector<double>{0, -0.5, 0, 0.5});
  // Step 5: biases rest from the step on that `until` names.
  CHECK(after("sign", 5) == std::vector<double>{0, 0, 0, 0});
  CHECK(after("sign", 6) == std::vector<double>{0, -0.5, 0, 0.5});
}

TEST_CASE("router lab: quantile follows the quantiles", "[lab]") {
  Lab lab;
  Bench bench;
  RoutingValues r = lab.sizes();
  r.logits = bench.input("logits", lab.logits());
  exp::MethodAttr attr = bench.attr("balance", "quantile", {bench.field("ema", 0.5)});
  const auto &method = bench.find<BalanceMethod>("balance", "quantile");
  mlir::Value selection = method.buildSelection(bench.t, attr, r, bench);
  mlir::Value ids = bench.find<RoutingMethod>("routing", "token_choice")
                        .buildIds(bench.t, bench.attr("routing", "token_choice", {}), r, selection);
  StepLoad step{mlir::Value(), 4096, 64, 64, 4, 1, mlir::Value(), 100, mlir::Value()};
  method.buildUpdate(bench.t, attr, step, bench);
  double vio = 10;
  for (int i = 0; i < 20; ++i) {
    if (i)
      bench.evaluator.states["logits"] = lab.logits();
    bench.evaluator.states["quantiles"].values.assign(64, 0);
    vio = maxVio(load(bench.evaluate(ids), 64));
  }
  CAPTURE(vio);
  CHECK(vio < 0.35);
  double sum = 0;
  for (double price : bench.evaluator.states["bias"].values)
    sum += price;
  CHECK(std::abs(sum) < 1e-9);
}

TEST_CASE("router lab: plans of sinkhorn", "[lab]") {
  auto vio = [&](const char *cost, double xi, double coin) {
    Lab lab;
    Bench bench;
    FixedNoise noise(bench, coin);
    RoutingValues r = lab.sizes();
    r.noise = &noise;
    r.logits = bench.input("logits", lab.logits());
    r.scores = r.logits;
    exp::MethodAttr attr =
        bench.attr("balance", "sinkhorn",
                   {bench.field("cost", cost), bench.field("max_iterations", int64_t(100)), bench.field("noise", 0.0),
                    bench.field("share", 0.5), bench.field("tolerance", 1e-4), bench.field("xi", xi)});
    const auto &method = bench.find<BalanceMethod>("balance", "sinkhorn");
    r.selection = method.buildSelection(bench.t, attr, r, bench);
    return maxVio(load(choose(bench, "token_choice", bench.attr("routing", "token_choice", {}), r), 64));
  };
  CHECK(within20(vio("linear", 0.5, 0.1), 0.11));
  CHECK(within20(vio("softmax", 0.05, 0.1), 0.71));
  CHECK(within20(vio("softmax", 0.5, 0.1), 2.2));
  CHECK(within20(vio("linear", 0.5, 0.9), 5.8)); // the coin fell on the ordinary choice
}

TEST_CASE("router lab: the budget of experts with weights is kept", "[lab]") {
  Lab lab(48);
  lab.topK = 6;
  Bench bench;
  StepLoad step{bench.input("counts", {1, 48, std::vector<double>(48)}, bench.b.getI64Type()),
                4096,
                48,
                32,
                6,
                1,
                bench.input("step", {1, 1, {1}}),
                1000,
                mlir::Value()};
  exp::MethodAttr attr =
      bench.attr("balance", "budget_bias",
                 {bench.field("decay_from", int64_t(0)), bench.field("expected", 4.0), bench.field("rate", 0.05)});
  bench.find<BalanceMethod>("balance", "budget_bias").buildUpdate(bench.t, attr, step, bench);
  double mean = 0, spread = 0, vio = 0;
  for (double &number : lab.skew)
    number *= 0.5;
  for (int i = 0; i < 200; ++i) {
    Matrix selection = softmax(lab.logits());
    const Matrix &bias = bench.evaluator.states["bias"];
    for (size_t j = 0; j < selection.values.size(); ++j)
      selection.values[j] += bias.values[j % 48];
    Matrix ids = topK(selection, 6);
    std::vector<double> counts = load(ids, 48);
    bench.evaluator.states["counts"].values = counts;
    bench.run();
    if (i < 199)
      continue;
    vio = maxVio({counts.begin(), counts.begin() + 32});
    for (int64_t token = 0; token < 4096; ++token) {
      double met = 0;
      for (int64_t slot = 0; slot < 6; ++slot)
        met += ids.at(token, slot) < 32;
      mean += met / 4096, spread += met * met / 4096;
    }
  }
  CAPTURE(mean, spread, vio);
  CHECK(mean == Approx(4.0).epsilon(0.02));
  CHECK(std::sqrt(spread - mean * mean) > 0.5);
  CHECK(vio < 0.25);
  for (int64_t e = 32; e < 48; ++e)
    CHECK(bench.evaluator.states["bias"].values[e] == 0);
}

TEST_CASE("token_choice: groups bound what a token reaches", "[lab]") {
  Lab lab;
  lab.tokens = 256;
  Matrix scores = map(lab.logits(), sigmoid);
  for (exp::GroupScore how : {exp::GroupScore::max, exp::GroupScore::top2_sum}) {
    Bench bench;
    RoutingValues r = lab.sizes();
    r.groups = 8, r.topGroups = 2, r.groupScore = how;
    r.selection = bench.input("scores", scores);
    Matrix ids = choose(bench, "token_choice", bench.attr("routing", "token_choice", {}), r);
    for (int64_t token = 0; token < 256; ++token) {
      // The best groups by plain loops.
      std::vector<std::pair<double, int64_t>> groups;
      for (int64_t g = 0; g < 8; ++g) {
        std::vector<double> mine(scores.values.begin() + token * 64 + g * 8,
                                 scores.values.begin() + token * 64 + g * 8 + 8);
        std::sort(mine.rbegin(), mine.rend());
        groups.push_back({-(mine[0] + (how == exp::GroupScore::max ? 0 : mine[1])), g});
      }
      std::sort(groups.begin(), groups.end());
      for (int64_t slot = 0; slot < 4; ++slot) {
        int64_t g = static_cast<int64_t>(ids.at(token, slot)) / 8;
        CHECK((g == groups[0].second || g == groups[1].second));
      }
    }
  }
  Bench all, plain;
  RoutingValues r = lab.sizes();
  r.groups = 8, r.topGroups = 8, r.groupScore = exp::GroupScore::max;
  r.selection = all.input("scores", scores);
  CHECK(choose(all, "token_choice", all.attr("routing", "token_choice", {}), r).values == topK(scores, 4).values);
}

TEST_CASE("expert_choice: equal loads, and no look ahead by position", "[lab]") {
  Lab lab;
  lab.tokens = 1024;
  Matrix scores = softmax(lab.logits());
  auto run = [&](const char *scope, Matrix given, int64_t seqLen) {
    Bench bench;
    RoutingValues r = lab.sizes();
    r.seqLen = seqLen;
    r.selection = bench.input("scores", std::move(given));
    exp::MethodAttr attr = bench.attr("routing", "expert_choice",
                                      {bench.field("capacity_factor", 2.0), bench.field("scope", scope),
                                       bench.field("see_future", bench.b.getBoolAttr(true)),
                                       bench.field("then.at", int64_t(0)), bench.field("then.capacity_factor", 1.0),
                                       bench.field("then.over", int64_t(0)), bench.field("then.stages", int64_t(4))});
    int64_t most = bench.find<RoutingMethod>("routing", "expert_choice").maxChosen(attr, r);
    Matrix ids = choose(bench, "expert_choice", attr, r);
    CHECK(std::count_if(ids.values.begin(), ids.values.end(), [](double id) { return id >= 0; }) == most);
    return ids;
  };
  for (const char *scope : {"batch", "sequence", "position"}) {
    Matrix ids = run(scope, scores, scope == std::string("position") ? 16 : 256);
    CHECK(maxVio(load(ids, 64)) == 0);
    std::vector<int> histogram(65);
    for (int64_t token = 0; token < 1024; ++token) {
      int met = 0;
      for (int64_t e = 0; e < 64; ++e) {
        CHECK((ids.at(token, e) == -1 || ids.at(token, e) == e));
        met += ids.at(token, e) >= 0;
      }
      ++histogram[met];
    }
    CHECK(histogram[0] > 0); // some tokens are met by none, some by more than the mean
    CHECK(std::any_of(histogram.begin() + 4, histogram.end(), [](int count) { return count > 0; }));
  }
  // Another last position changes no route before it, in sequences of 16.
  Matrix other = scores, ids = run("position", scores, 16);
  for (int64_t token = 15; token < 1024; token += 16)
    for (int64_t e = 0; e < 64; ++e)
      other.values[token * 64 + e] = 1 - other.values[token * 64 + e];
  Matrix after = run("position", other, 16);
  bool changed = false;
  for (int64_t i = 0; i < 1024 * 64; ++i) {
    if ((i / 64) % 16 != 15)
      CHECK(after.values[i] == ids.values[i]);
    else
      changed |= after.values[i] != ids.values[i];
  }
  CHECK(changed);
}

TEST_CASE("sqrt_softmax: the size of a mixture does not depend on k", "[lab]") {
  Lab lab;
  lab.skew.assign(64, 0);
  lab.tokens = 2000;
  Matrix logits = lab.logits();
  for (auto [k, expected] : {std::pair(1, 1.0), {2, 0.80}, {4, 0.62}, {8, 0.48}, {16, 0.36}, {32, 0.27}}) {
    auto rms = [&, k = k](const char *kind) {
      Bench bench;
      RoutingValues r = lab.sizes();
      r.topK = k;
      r.logits = r.scores = bench.input("logits", logits);
      r.ids = bench.input("ids", topK(logits, k), bench.b.getI32Type());
      llvm::SmallVector<mlir::NamedAttribute> fields;
      if (std::string(kind) == "softmax")
        fields.push_back(bench.field("order", "post"));
      const auto &score = bench.find<ScoreMethod>("score", kind);
      Matrix w = bench.evaluate(score.buildWeights(bench.t, bench.attr("score", kind, fields), r, false));
      double sum = 0; // independent results of unit size: squares of weights add up
      for (double weight : w.values)
        sum += weight * weight;
      return std::sqrt(sum / w.rows);
    };
    CAPTURE(k);
    CHECK(within20(rms("softmax"), expected));
    CHECK(rms("sqrt_softmax") == Approx(1.0));
  }
}

TEST_CASE("sqrt_softplus: scores and weights", "[lab]") {
  Bench bench;
  RoutingValues r{};
  r.numTokens = 2, r.numExperts = 3, r.topK = 2;
  r.logits = bench.input("logits", {2, 3, {0, 1, -800, 700, -2, 3}});
  r.ids = bench.input("ids", {2, 2, {1, 0, 0, 2}}, bench.b.getI32Type());
  const auto &score = bench.find<ScoreMethod>("score", "sqrt_softplus");
  exp::MethodAttr attr = bench.attr("score", "sqrt_softplus", {});
  r.scores = score.buildScores(bench.t, attr, r.logits);
  Matrix w = bench.evaluate(score.buildWeights(bench.t, attr, r, true));
  const Matrix &s = bench.evaluator.get(r.scores);
  CHECK(s.at(0, 0) == Approx(std::sqrt(std::log(2.0))));
  CHECK(s.at(1, 0) == Approx(std::sqrt(700.0)));
  CHECK(std::isfinite(s.at(0, 2)));
  CHECK(w.at(0, 0) == Approx(s.at(0, 1) / (s.at(0, 1) + s.at(0, 0))));
  CHECK(w.at(1, 0) + w.at(1, 1) == Approx(1.0));
}

namespace {
/// Uniform numbers.
struct Drawn : NoiseSource {
  Bench &bench;
  Lab &lab;
  Drawn(Bench &bench, Lab &lab) : bench(bench), lab(lab) {}
  mlir::Value uniform(TensorBuilder &, llvm::StringRef, int64_t rows, int64_t cols, bool) override {
    Matrix m{rows, cols, {}};
    for (int64_t i = 0; i < rows * cols; ++i)
      m.values.push_back(static_cast<double>(lab.random() >> 11) * 0x1p-53);
    return bench.input("noise", std::move(m));
  }
};
} // namespace

TEST_CASE("forced routes: balanced and skewed", "[lab]") {
  Lab lab;
  Bench bench;
  RoutingValues r = lab.sizes();
  const auto &balanced = bench.find<ForcedMethod>("forced", "balanced");
  Matrix ids = bench.evaluate(balanced.buildIds(bench.t, bench.attr("forced", "balanced", {}), r, bench));
  CHECK(maxVio(load(ids, 64)) == 0);

  Drawn drawn(bench, lab);
  r.noise = &drawn;
  r.topK = 1;
  const auto &skewed = bench.find<ForcedMethod>("forced", "skewed");
  exp::MethodAttr attr = bench.attr("forced", "skewed", {bench.field("exponent", 1.0)});
  std::vector<double> counts = load(bench.evaluate(skewed.buildIds(bench.t, attr, r, bench)), 64);
  double harmonic = 0;
  for (int e = 1; e <= 64; ++e)
    harmonic += 1.0 / e;
  CHECK(counts[0] / 4096 == Approx(1 / harmonic).epsilon(0.1));
  CHECK(counts[1] / 4096 == Approx(0.5 / harmonic).epsilon(0.15));
}

TEST_CASE("forced routes: replay has the loads of a run", "[lab]") {
  Lab lab(4);
  Bench bench;
  Drawn drawn(bench, lab);
  RoutingValues r = lab.sizes();
  r.noise = &drawn;
  r.topK = 1;
  // Bench's layer is the first: 32, 16, 8, 8 tokens in the last record, 40, 10, 10, 4 in that of step 10.
  auto loads = [&](int64_t step) {
    exp::MethodAttr attr = bench.attr(
        "forced", "replay", {bench.field("path", MOEC_TEST_DIR "/spec/good/loads.jsonl"), bench.field("step", step)});
    return load(bench.evaluate(bench.find<ForcedMethod>("forced", "replay").buildIds(bench.t, attr, r, bench)), 4);
  };
  std::vector<double> last = loads(0), tenth = loads(10);
  for (auto [i, share] : {std::pair(0, 0.5), {1, 0.25}, {2, 0.125}, {3, 0.125}})
    CHECK(last[i] / 4096 == Approx(share).epsilon(0.12));
  CHECK(tenth[0] / 4096 == Approx(40.0 / 64).epsilon(0.1));
}
