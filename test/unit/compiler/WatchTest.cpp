// Measures against plain loops.
#include "test/unit/compiler/Bench.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using moec::test::Bench;
using moec::test::Matrix;

namespace {

using Fields = llvm::SmallVector<mlir::NamedAttribute>;

const WatchMethod &find(Bench &bench, const char *kind) { return bench.find<WatchMethod>("watch", kind); }

mlir::Value ids(Bench &bench, llvm::StringRef name, const Matrix &matrix) {
  return bench.input(name, matrix, bench.b.getI32Type());
}

mlir::Value buildLayer(Bench &bench, const char *kind, const LayerValues &r, Fields fields = {}) {
  return find(bench, kind).buildLayer(bench.t, bench.attr("watch", kind, fields), r, bench);
}

mlir::Value buildStep(Bench &bench, const char *kind, int64_t numExperts, Fields fields = {}) {
  StepLoad load{};
  load.counts = bench.input("counts", Matrix{1, numExperts, std::vector<double>(numExperts)}, bench.b.getI64Type());
  load.numExperts = numExperts;
  return find(bench, kind).buildStep(bench.t, bench.attr("watch", kind, fields), load, bench);
}

double entropy(const std::vector<double> &counts) {
  double total = 0, sum = 0;
  for (double count : counts)
    total += count;
  for (double count : counts)
    sum -= count > 0 ? count / total * std::log(count / total) : 0;
  return sum;
}

/// Pseudo-random ids that differ within a row.
Matrix someIds(int64_t rows, int64_t cols, int64_t experts, int64_t seed) {
  Matrix m{rows, cols, {}};
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t col = 0; col < cols; ++col)
      m.values.push_back(static_cast<double>((row * row + 3 * row * seed + seed + col * (1 + row % 2)) % experts));
  return m;
}

} // namespace

TEST_CASE("routing_entropy, score_share, load_share", "[watch]") {
  Bench bench;
  LayerValues r{};
  r.numTokens = 3;
  r.rowScores = bench.input("scores", {3, 4, {1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0, 0}});
  mlir::Value mean = buildLayer(bench, "routing_entropy", r), share = buildLayer(bench, "score_share", r);
  StepLoad load{};
  load.counts = bench.input("counts", {1, 4, {3, 0, 1, 4}}, bench.b.getI64Type());
  mlir::Value loads = find(bench, "load_share").buildStep(bench.t, bench.attr("watch", "load_share", {}), load, bench);
  bench.run();
  CHECK(bench.evaluator.get(mean).values[0] == Approx((std::log(4.0) + std::log(2.0)) / 3));
  CHECK(bench.evaluator.get(share).at(0, 0) == Approx(1.75 / 3));
  CHECK(bench.evaluator.get(share).at(0, 3) == Approx(0.25 / 3));
  CHECK(bench.evaluator.get(loads).values == std::vector<double>{0.375, 0, 0.125, 0.5});
}

TEST_CASE("max_logit is that of all micro-batches", "[watch]") {
  Bench bench;
  LayerValues r{};
  r.numTokens = 2;
  for (const char *name : {"first", "second"}) {
    bool isFirst = name == std::string("first");
    r.logits = bench.input(name, {2, 3, {1, -2, 0.5, isFirst ? -7.0 : 3.0, 2, 6}});
    CHECK_FALSE(buildLayer(bench, "max_logit", r));
  }
  CHECK(bench.evaluate(buildStep(bench, "max_logit", 3)).values[0] == 7);
}

TEST_CASE("activation_rms and coactivation_cosine", "[watch]") {
  Bench bench;
  LayerValues r{};
  r.numTokens = 2;
  r.hidden = bench.input("hidden", {2, 2, {1, 2, 3, 4}});
  r.activations = bench.input("rows", {4, 2, {3, 4, 0, 0, 6, 8, -4, 3}}); // the second is padding
  r.slotRow = ids(bench, "slot_row", {2, 2, {0, 2, 3, -1}});
  r.rowSlot = ids(bench, "row_slot", {4, 1, {0, -1, 1, 2}});
  mlir::Value input = buildLayer(bench, "activation_rms", r, {bench.field("of", "input")});
  mlir::Value inner = buildLayer(bench, "activation_rms", r, {bench.field("of", "experts")});
  mlir::Value cosine = buildLayer(bench, "coactivation_cosine", r);
  bench.run();
  CHECK(bench.evaluator.get(input).values[0] == Approx(std::sqrt(30.0 / 4)));
  CHECK(bench.evaluator.get(inner).values[0] == Approx(std::sqrt((25.0 + 100 + 25) / 6)));
  CHECK(bench.evaluator.get(cosine).values[0] == Approx(0.5)); // one token's experts agree, the other has one
}

TEST_CASE("next_layer_predictability", "[watch]") {
  auto measure = [](const Matrix &before, const Matrix &here, int64_t experts) {
    Bench bench;
    LayerValues r{};
    r.numTokens = before.rows, r.numExperts = experts;
    r.ids = ids(bench, "before", before);
    const WatchMethod &method = find(bench, "next_layer_predictability");
    exp::MethodAttr attr = bench.attr("watch", "next_layer_predictability", {});
    CHECK(method.carriedColumns(attr, r) == experts);
    r.carried = method.buildCarried(bench.t, attr, r);
    r.ids = ids(bench, "here", here);
    method.buildLayer(bench.t, attr, r, bench);
    return bench.evaluate(buildStep(bench, "next_layer_predictability", experts)).values[0];
  };
  Matrix each{4, 1, {0, 1, 2, 3}}, turned{4, 1, {2, 0, 3, 1}};
  CHECK(measure(each, turned, 4) == Approx(0).margin(1e-12));
  Matrix half{4, 1, {0, 0, 1, 1}}, split{4, 1, {2, 3, 2, 3}};
  CHECK(measure(half, split, 4) == Approx(std::log(2.0)));
  CHECK(measure(Matrix{4, 1, {-1, -1, -1, -1}}, split, 4) == 0); // nothing before

  Matrix before = someIds(20, 2, 5, 1), here = someIds(20, 2, 5, 3);
  std::vector<double> pairs(25), first(5);
  for (int64_t token = 0; token < 20; ++token)
    for (int64_t i : {0, 1})
      for (int64_t j : {0, 1}) {
        ++pairs[static_cast<size_t>(before.at(token, i) * 5 + here.at(token, j))];
        ++first[static_cast<size_t>(before.at(token, i))];
      }
  CHECK(measure(before, here, 5) == Approx(entropy(pairs) - entropy(first)).epsilon(1e-12));
}

TEST_CASE("domain_information", "[watch]") {
  // Sequences of two tokens; every micro-batch adds to the counts.
  auto measure = [](const std::vector<std::pair<Matrix, Matrix>> &batches, int64_t experts, int64_t sources,
                    std::vector<double> *counts) {
    Bench bench;
    for (const auto &[chosen, domains] : batches) {
      std::string number = std::to_string(&chosen - &batches[0].first);
      LayerValues r{};
      r.numTokens = chosen.rows, r.seqLen = 2, r.numExperts = experts, r.numSources = sources;
      r.ids = ids(bench, "ids" + number, chosen);
      auto readSources = [&, &domains = domains] { return ids(bench, "domains" + number, domains); };
      r.readSources = readSources;
      buildLayer(bench, "domain_information", r);
    }
    double result = bench.evaluate(buildStep(bench, "domain_information", experts)).values[0];
    *counts = bench.evaluator.states.at("expert_tokens_by_source").values;
    return result;
  };
  std::vector<double> counts;
  Matrix byDomain{4, 1, {1, 1, 0, 0}}, mixed{4, 1, {0, 1, 0, 1}}, domains{2, 1, {0, 1}};
  CHECK(measure({{byDomain, domains}}, 2, 2, &counts) == Approx(std::log(2.0)));
  CHECK(counts == std::vector<double>{0, 2, 2, 0});
  CHECK(measure({{mixed, domains}}, 2, 2, &counts) == Approx(0).margin(1e-12));
  CHECK(measure({{byDomain, domains}, {mixed, domains}}, 2, 2, &counts) > 0.01);
  CHECK(counts == std::vector<double>{1, 3, 3, 1});

  Matrix chosen = someIds(12, 3, 5, 2), sources{6, 1, {2, 0, 1, 1, 2, 0}};
  chosen.values[4] = -1; // an empty slot
  std::vector<double> both(15), source(3), expert(5);
  for (int64_t token = 0; token < 12; ++token)
    for (int64_t slot = 0; slot < 3; ++slot)
      if (chosen.at(token, slot) >= 0) {
        auto s = static_cast<size_t>(sources.at(token / 2, 0)), e = static_cast<size_t>(chosen.at(token, slot));
        ++both[s * 5 + e], ++source[s], ++expert[e];
      }
  double expected = entropy(source) + entropy(expert) - entropy(both);
  CHECK(measure({{chosen, sources}}, 5, 3, &counts) == Approx(expected).epsilon(1e-12));
  CHECK(counts == both);
}

TEST_CASE("route_churn: against the routes remembered last", "[watch]") {
  // Three tokens, the first two of which are asked about; one expert each, the one of the largest logit.
  std::map<std::string, Matrix> kept;
  auto step = [&](int64_t done, const Matrix &hidden, const Matrix &router) {
    Bench bench;
    bench.evaluator.states = kept;
    LayerValues r{};
    r.numTokens = 3, r.topK = 1, r.numExperts = 2;
    r.step = bench.input("step", {1, 1, {static_cast<double>(done)}}, bench.b.getI64Type());
    r.hidden = bench.input("hidden", hidden);
    r.router = bench.input("router", router);
    Fields fields{bench.field("every", int64_t(2)), bench.field("tokens", int64_t(2))};
    mlir::Value churn = buildLayer(bench, "route_churn", r, fields);
    StepLoad load{};
    load.stepsDone = r.step;
    CHECK_FALSE(find(bench, "route_churn").buildStep(bench.t, bench.attr("watch", "route_churn", fields), load, bench));
    bench.run();
    kept = bench.evaluator.states;
    return bench.evaluator.get(churn).values[0];
  };
  Matrix probe{3, 2, {1, 0, 0, 1, 5, 5}}, other{3, 2, {-1, 0, 0, -1, 5, 5}};
  Matrix straight{2, 2, {1, 0, 0, 1}}, half{2, 2, {0, 1, 0, 1}}, crossed{2, 2, {0, 1, 1, 0}};
  CHECK(step(0, probe, straight) == 0); // remembered
  CHECK(step(1, other, half) == 0.5);   // the probe is that of the first step; then remembered: every second step
  CHECK(step(2, other, crossed) == 0.5);
  CHECK(step(3, other, straight) == 0.5); // remembered
  CHECK(step(4, other, straight) == 0);
  CHECK(step(5, other, crossed) == 1);
}

TEST_CASE("congestion: recovers what was planted", "[watch]") {
  // rho = softmax(q - gamma rho) by bisection: rho_e falls as the normaliser grows, and is itself a root between 0
  // and 1.
  auto equilibrium = [](const std::vector<double> &q, double gamma) {
    std::vector<double> rho(q.size());
    double low = -1e3, high = 1e3;
    for (int i = 0; i < 200; ++i) {
      double normaliser = (low + high) / 2, sum = 0;
      for (size_t e = 0; e < q.size(); ++e) {
        double first = 0, last = 1e3;
        for (int j = 0; j < 200; ++j) {
          double middle = (first + last) / 2;
          bool isBelow = std::log(middle) + gamma * middle < q[e] - normaliser;
          (isBelow ? first : last) = middle;
        }
        sum += rho[e] = first;
      }
      (sum > 1 ? low : high) = normaliser;
    }
    return rho;
  };
  auto measure = [](const std::vector<double> &q, const std::vector<double> &loads) {
    auto n = static_cast<int64_t>(q.size());
    Bench bench;
    // Two micro-batches of two tokens, whose mean logits are q.
    for (double shift : {-1.0, 1.0}) {
      Matrix logits{2, n, {}};
      for (double sign : {-1.0, 1.0})
        for (double value : q)
          logits.values.push_back(value + 0.3 * sign + shift);
      LayerValues r{};
      r.numExperts = n;
      r.logits = bench.input("logits" + std::to_string(shift), logits);
      CHECK_FALSE(buildLayer(bench, "congestion", r));
    }
    Matrix counts{1, n, {}};
    for (double load : loads)
      counts.values.push_back(std::round(load * 1e9));
    StepLoad load{};
    load.counts = bench.input("counts", counts, bench.b.getI64Type());
    load.numExperts = n, load.tokens = 4;
    exp::MethodAttr attr = bench.attr("watch", "congestion", {});
    return bench.evaluate(find(bench, "congestion").buildStep(bench.t, attr, load, bench)).values[0];
  };
  std::vector<double> q{1.5, -0.3, 0.2, 0.9, -1.1, 0.4, -2.0, 0.1};
  CHECK(measure(q, equilibrium(q, 0)) < 0.01); // plain softmax
  for (double gamma : {2.0, 7.0, 36.0})
    CHECK(measure(q, equilibrium(q, gamma)) == Approx(gamma).epsilon(0.02));
  CHECK(measure(q, std::vector<double>(8, 0.125)) == Approx(80).epsilon(0.02)); // even: the end of the range
}
