// What must hold of scores, routing and balancing whatever the numbers: against plain loops, on small cases.
#include "compiler/Methods/Lite.h"
#include "test/unit/compiler/RouterLab.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace moec;
using namespace moec::test;

namespace {

struct Numbers {
  uint64_t state;
  double next() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(state >> 11) * 0x1p-53;
  }
  Matrix matrix(int64_t rows, int64_t cols) {
    Matrix m{rows, cols, {}};
    for (int64_t i = 0; i < rows * cols; ++i)
      m.values.push_back(next());
    return m;
  }
  std::vector<int64_t> order(int64_t count) {
    std::vector<int64_t> places(count);
    std::iota(places.begin(), places.end(), 0);
    for (int64_t i = count - 1; i > 0; --i)
      std::swap(places[i], places[static_cast<size_t>(next() * static_cast<double>(i + 1))]);
    return places;
  }
};

RoutingValues sizes(int64_t tokens, int64_t experts, int64_t topK) {
  Lab lab(experts);
  lab.tokens = tokens, lab.topK = topK;
  return lab.sizes();
}

/// Row i of the result is row rows[i], column j column cols[j].
Matrix permuted(const Matrix &m, const std::vector<int64_t> &rows, const std::vector<int64_t> &cols) {
  Matrix result{m.rows, m.cols, {}};
  for (int64_t row : rows)
    for (int64_t col : cols)
      result.values.push_back(m.at(row, col));
  return result;
}

std::vector<int64_t> inOrder(int64_t count) {
  std::vector<int64_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  return places;
}

double nthLargest(std::vector<double> values, int64_t n) {
  std::sort(values.rbegin(), values.rend());
  return values[n - 1];
}

//===--- bip ---===//

struct BipResult {
  Matrix ids;
  std::vector<double> prices;
};

BipResult runBip(const Matrix &scores, int64_t topK, int64_t iterations) {
  Bench bench;
  RoutingValues r = sizes(scores.rows, scores.cols, topK);
  r.scores = bench.input("scores", scores);
  const auto &method = bench.find<BalanceMethod>("balance", "bip");
  r.selection = method.buildSelection(bench.t, bip(bench, iterations, true), r, bench);
  Matrix ids = choose(bench, "token_choice", bench.attr("routing", "token_choice", {}), r);
  return {ids, bench.evaluator.states["bias"].values};
}

/// The same numbers with another rounding.
Matrix nudged(Matrix m, Numbers &numbers) {
  for (double &value : m.values)
    value *= 1 + 4e-16 * (numbers.next() - 0.5);
  return m;
}

double chosenScore(const Matrix &scores, const Matrix &ids) {
  double sum = 0;
  for (int64_t row = 0; row < ids.rows; ++row)
    for (int64_t slot = 0; slot < ids.cols; ++slot)
      sum += scores.at(row, static_cast<int64_t>(ids.at(row, slot)));
  return sum;
}

/// The largest sum of scores over all ways to give each token topK experts and each expert `capacity` tokens at most.
double bestAssignment(const Matrix &scores, int64_t topK, int64_t capacity, int64_t row, std::vector<int64_t> &room) {
  if (row == scores.rows)
    return 0;
  double best = -INFINITY;
  for (unsigned set = 0; set < 1u << scores.cols; ++set) {
    if (__builtin_popcount(set) != topK)
      continue;
    double sum = 0;
    bool fits = true;
    for (int64_t e = 0; e < scores.cols; ++e)
      if (set >> e & 1)
        sum += scores.at(row, e), fits &= room[e] > 0;
    if (!fits)
      continue;
    for (int64_t e = 0; e < scores.cols; ++e)
      room[e] -= set >> e & 1;
    best = std::max(best, sum + bestAssignment(scores, topK, capacity, row + 1, room));
    for (int64_t e = 0; e < scores.cols; ++e)
      room[e] += set >> e & 1;
  }
  return best;
}

} // namespace

TEST_CASE("bip: tokens exactly between two experts are routed alike however sums are rounded", "[methods]") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Numbers numbers{seed};
    Matrix logits = numbers.matrix(100, 8);
    for (double &value : logits.values)
      value *= 4;
    Matrix scores = softmax(logits);
    CHECK(runBip(scores, 2, 4).ids.values == runBip(nudged(scores, numbers), 2, 4).ids.values);
  }
}

TEST_CASE("scores: weights over all experts are a softmax, and sums are 1", "[methods]") {
  Numbers numbers{3};
  Matrix logits = numbers.matrix(7, 5);
  for (double &value : logits.values)
    value = 6 * value - 3;
  Matrix dense = softmax(logits);
  for (const char *kind : {"softmax", "sigmoid", "sqrt_softplus"})
    for (int64_t k : {2, 5}) {
      Bench bench;
      RoutingValues r = sizes(7, 5, k);
      r.logits = bench.input("logits", logits);
      r.ids = bench.input("ids", topK(logits, k), bench.b.getI32Type());
      const auto &score = bench.find<ScoreMethod>("score", kind);
      llvm::SmallVector<mlir::NamedAttribute> fields;
      if (kind == std::string("softmax"))
        fields.push_back(bench.field("order", "post"));
      exp::MethodAttr attr = bench.attr("score", kind, fields);
      r.scores = score.buildScores(bench.t, attr, r.logits);
      Matrix w = bench.evaluate(score.buildWeights(bench.t, attr, r, true)), ids = bench.evaluator.get(r.ids);
      for (int64_t row = 0; row < 7; ++row) {
        double sum = 0;
        for (int64_t slot = 0; slot < k; ++slot) {
          sum += w.at(row, slot);
          if (k == 5 && !fields.empty())
            CHECK(w.at(row, slot) == Approx(dense.at(row, static_cast<int64_t>(ids.at(row, slot)))).epsilon(1e-12));
        }
        CHECK(sum == Approx(1).epsilon(1e-12));
      }
    }
}

TEST_CASE("bip: among equal loads, the routes of the highest scores there are", "[methods]") {
  int balanced = 0;
  for (uint64_t seed = 0; seed < 60; ++seed)
    for (auto [tokens, experts, k] : {std::tuple<int64_t, int64_t, int64_t>{6, 3, 1}, {4, 4, 2}, {8, 4, 1}}) {
      Matrix scores = Numbers{seed * 77 + tokens}.matrix(tokens, experts);
      BipResult result = runBip(scores, k, 64);
      double plain = chosenScore(scores, topK(scores, k)), found = chosenScore(scores, result.ids);
      CHECK(found <= plain + 1e-12);
      if (maxVio(load(result.ids, experts)) != 0)
        continue; // coordinate descent may stall
      ++balanced;
      std::vector<int64_t> room(experts, tokens * k / experts);
      CHECK(found == Approx(bestAssignment(scores, k, tokens * k / experts, 0, room)).epsilon(1e-12));
    }
  CHECK(balanced > 30); // of 180
}

TEST_CASE("bip: an expert without a price is not over its share, one with a price is at it", "[lab]") {
  Lab lab;
  lab.tokens = 1024;
  BipResult result = runBip(softmax(lab.logits()), 4, 64);
  std::vector<double> counts = load(result.ids, 64);
  int free = 0;
  for (size_t e = 0; e < 64; ++e) {
    INFO("expert " << e << " price " << result.prices[e] << " load " << counts[e]);
    free += result.prices[e] == 0;
    CHECK(counts[e] <= 64 + 4);
    if (result.prices[e] > 0)
      CHECK(counts[e] >= 64 - 4);
  }
  CHECK(free > 0);
}

TEST_CASE("bip: balanced scores need no prices", "[methods]") {
  // Token t likes expert t modulo 4 best and all others alike.
  Matrix scores{12, 4, std::vector<double>(48, 0.1)};
  for (int64_t t = 0; t < 12; ++t)
    scores.values[t * 4 + t % 4] = 0.7;
  BipResult result = runBip(scores, 1, 4);
  CHECK(result.prices == std::vector<double>(4, 0.0));
  CHECK(result.ids.values == topK(scores, 1).values);
}

TEST_CASE("bip: the names of tokens and experts do not matter", "[methods]") {
  Numbers numbers{19};
  Matrix scores = numbers.matrix(64, 16);
  for (int64_t i = 0; i < 64 * 16; ++i)
    scores.values[i] += 0.1 * static_cast<double>(i % 16);
  std::vector<int64_t> tokens = numbers.order(64), experts = numbers.order(16);
  BipResult plain = runBip(scores, 2, 4), renamed = runBip(permuted(scores, tokens, experts), 2, 4);
  for (int64_t e = 0; e < 16; ++e)
    CHECK(renamed.prices[e] == plain.prices[experts[e]]);
  int differ = 0;
  for (int64_t t = 0; t < 64; ++t)
    for (int64_t slot = 0; slot < 2; ++slot) {
      int64_t e = experts[static_cast<size_t>(renamed.ids.at(t, slot))];
      auto other = static_cast<int64_t>(plain.ids.at(tokens[t], slot));
      // A price is where an expert and a token are at a tie, which goes to the lowest number.
      differ += e != other;
      CHECK(scores.at(tokens[t], e) - plain.prices[e] ==
            Approx(scores.at(tokens[t], other) - plain.prices[other]).epsilon(1e-12));
    }
  CHECK(differ <= 16);
}

TEST_CASE("quantile: two steps against loops", "[methods]") {
  constexpr int64_t kTokens = 24, kExperts = 6, kTopK = 2, kLoad = kTokens * kTopK / kExperts;
  Bench bench;
  RoutingValues r = sizes(kTokens, kExperts, kTopK);
  Numbers numbers{5};
  r.logits = bench.input("logits", numbers.matrix(kTokens, kExperts));
  exp::MethodAttr attr = bench.attr("balance", "quantile", {bench.field("ema", 0.7)});
  const auto &method = bench.find<BalanceMethod>("balance", "quantile");
  method.buildSelection(bench.t, attr, r, bench);
  method.buildUpdate(bench.t, attr,
                     {mlir::Value(), kTokens, kExperts, kExperts, kTopK, 1, mlir::Value(), 100, mlir::Value()}, bench);
  std::vector<double> prices(kExperts);
  for (int step = 0; step < 2; ++step) {
    Matrix logits = numbers.matrix(kTokens, kExperts);
    bench.evaluator.states["logits"] = logits;
    bench.evaluator.states["quantiles"].values.assign(kExperts, 0);
    bench.run();
    std::vector<double> alpha, next;
    for (int64_t t = 0; t < kTokens; ++t) {
      std::vector<double> row;
      for (int64_t e = 0; e < kExperts; ++e)
        row.push_back(logits.at(t, e) - prices[e]);
      alpha.push_back(nthLargest(row, kTopK + 1));
    }
    double mean = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
      std::vector<double> column;
      for (int64_t t = 0; t < kTokens; ++t)
        column.push_back(logits.at(t, e) - alpha[t]);
      next.push_back(0.7 * prices[e] + 0.3 * nthLargest(column, kLoad + 1));
      mean += next.back() / kExperts;
    }
    for (int64_t e = 0; e < kExperts; ++e) {
      prices[e] = next[e] - mean;
      CHECK(bench.evaluator.states["bias"].values[e] == Approx(prices[e]).epsilon(1e-12));
    }
  }
}

TEST_CASE("sinkhorn: a plan has equal loads, and where loads are equal anyway it is the softmax", "[methods]") {
  auto plan = [](const Matrix &logits, double xi) {
    Bench bench;
    FixedNoise noise(bench, 0.0); // the coin falls on the plan
    RoutingValues r = sizes(logits.rows, logits.cols, 1);
    r.noise = &noise;
    r.logits = r.scores = bench.input("logits", logits);
    exp::MethodAttr attr = bench.attr("balance", "sinkhorn",
                                      {bench.field("cost", "linear"), bench.field("max_iterations", int64_t(200)),
                                       bench.field("noise", 0.0), bench.field("share", 0.5),
                                       bench.field("tolerance", 1e-6), bench.field("xi", xi)});
    return bench.evaluate(bench.find<BalanceMethod>("balance", "sinkhorn").buildSelection(bench.t, attr, r, bench));
  };
  Matrix logits = Numbers{8}.matrix(48, 6);
  for (int64_t t = 0; t < 48; ++t)
    logits.values[t * 6] += 1; // all like the first expert
  Matrix found = plan(logits, 0.5);
  for (int64_t t = 0; t < 48; ++t)
    CHECK(std::accumulate(&found.values[t * 6], &found.values[t * 6] + 6, 0.0) == Approx(1).margin(1e-5));
  for (int64_t e = 0; e < 6; ++e) {
    double sum = 0;
    for (int64_t t = 0; t < 48; ++t)
      sum += found.at(t, e);
    CHECK(sum == Approx(48.0 / 6).margin(1e-5));
  }
  // Each row is another turned by one place: no column is liked better than another.
  Matrix first = Numbers{9}.matrix(2, 4), turned{8, 4, {}};
  for (int64_t t = 0; t < 8; ++t)
    for (int64_t e = 0; e < 4; ++e)
      turned.values.push_back(first.at(t / 4, (e + t) % 4));
  Matrix scaled = turned, even = plan(turned, 0.25);
  for (double &value : scaled.values)
    value /= 0.25;
  Matrix expected = softmax(scaled);
  for (size_t i = 0; i < 32; ++i)
    CHECK(even.values[i] == Approx(expected.values[i]).epsilon(1e-9));
}

TEST_CASE("bias: one for all changes no choice, and centred ones have mean 0", "[methods]") {
  auto centred = [](Bench &bench) {
    return bench.attr("balance", "bias",
                      {bench.field("center", bench.b.getBoolAttr(true)), bench.field("rate", 0.25),
                       bench.field("until", int64_t(0)), bench.field("update", "sign")});
  };
  Matrix scores = Numbers{4}.matrix(20, 8);
  Bench bench;
  RoutingValues r = sizes(20, 8, 3);
  r.scores = bench.input("scores", scores);
  const auto &method = bench.find<BalanceMethod>("balance", "bias");
  r.selection = method.buildSelection(bench.t, centred(bench), r, bench);
  bench.evaluator.states["bias"].values.assign(8, 0.375);
  mlir::Value ids = bench.find<RoutingMethod>("routing", "token_choice")
                        .buildIds(bench.t, bench.attr("routing", "token_choice", {}), r, r.selection);
  CHECK(bench.evaluate(ids).values == topK(scores, 3).values);

  Bench other;
  mlir::Value counts = other.input("counts", {1, 8, {9, 1, 1, 1, 1, 1, 1, 1}}, other.b.getI64Type());
  StepLoad load{counts, 16, 8, 8, 1, 1, other.input("step", {1, 1, {1}}), 100, mlir::Value()};
  other.find<BalanceMethod>("balance", "bias").buildUpdate(other.t, centred(other), load, other);
  other.run();
  const std::vector<double> &bias = other.evaluator.states["bias"].values;
  CHECK(std::accumulate(bias.begin(), bias.end(), 0.0) == Approx(0).margin(1e-15));
  CHECK(bias[1] - bias[0] == Approx(0.5));
}

TEST_CASE("expert_choice: the order of tokens does not matter, and every token is met at capacity E", "[methods]") {
  Numbers numbers{21};
  Matrix scores = softmax(numbers.matrix(32, 4));
  auto run = [&](const Matrix &given, double factor) {
    Bench bench;
    RoutingValues r = sizes(32, 4, 1);
    r.selection = bench.input("scores", given);
    exp::MethodAttr attr = bench.attr("routing", "expert_choice",
                                      {bench.field("capacity_factor", factor), bench.field("scope", "batch"),
                                       bench.field("see_future", bench.b.getBoolAttr(true)),
                                       bench.field("then.at", int64_t(0)), bench.field("then.capacity_factor", 1.0),
                                       bench.field("then.over", int64_t(0)), bench.field("then.stages", int64_t(4))});
    return choose(bench, "expert_choice", attr, r);
  };
  std::vector<int64_t> order = numbers.order(32);
  CHECK(run(permuted(scores, order, inOrder(4)), 1).values == permuted(run(scores, 1), order, inOrder(4)).values);
  Matrix all = run(scores, 4);
  for (int64_t i = 0; i < 32 * 4; ++i)
    CHECK(all.values[i] == static_cast<double>(i % 4));
}

TEST_CASE("expert_choice: capacity goes down a line of stages, or jumps", "[methods]") {
  Matrix scores = softmax(Numbers{6}.matrix(64, 4));
  auto loads = [&](const char *scope, int64_t over, int64_t step) {
    Bench bench;
    RoutingValues r = sizes(64, 4, 2);
    r.seqLen = 16;
    r.step = bench.input("step", {1, 1, {static_cast<double>(step)}}, bench.b.getI64Type());
    r.selection = bench.input("scores", scores);
    exp::MethodAttr attr = bench.attr("routing", "expert_choice",
                                      {bench.field("capacity_factor", 2.0), bench.field("scope", scope),
                                       bench.field("see_future", bench.b.getBoolAttr(true)),
                                       bench.field("then.at", int64_t(11)), bench.field("then.capacity_factor", 1.0),
                                       bench.field("then.over", over), bench.field("then.stages", int64_t(4))});
    CHECK(bench.find<RoutingMethod>("routing", "expert_choice").maxChosen(attr, r) == 4 * 32);
    Matrix ids = choose(bench, "expert_choice", attr, r);
    // The tokens that an expert takes are those of its largest scores.
    for (int64_t e = 0; e < 4 && scope == std::string("batch"); ++e) {
      double taken = INFINITY, left = -INFINITY;
      for (int64_t t = 0; t < 64; ++t)
        (ids.at(t, e) == e ? taken : left) =
            ids.at(t, e) == e ? std::min(taken, scores.at(t, e)) : std::max(left, scores.at(t, e));
      CHECK(taken > left);
    }
    std::vector<double> counts = load(ids, 4);
    CHECK(counts == std::vector<double>(4, counts[0]));
    return counts[0];
  };
  for (const char *scope : {"batch", "sequence", "position"}) {
    std::vector<double> line, jump;
    for (int64_t step : {0, 9, 10, 14, 15, 20, 25, 29, 100}) {
      line.push_back(loads(scope, 20, step));
      jump.push_back(loads(scope, 0, step));
    }
    // Of 64 tokens an expert takes 32 at first and 16 at last: of each of 4 sequences 8 and 4, of 4 at a position 2
    // and 1.
    if (scope == std::string("position"))
      CHECK(line == std::vector<double>{32, 32, 16, 16, 16, 16, 16, 16, 16});
    else
      CHECK(line == std::vector<double>{32, 32, 28, 28, 24, 20, 16, 16, 16});
    CHECK(jump == std::vector<double>{32, 32, 16, 16, 16, 16, 16, 16, 16});
  }
}

TEST_CASE("load_balance: groups and counts against loops; global is micro where a step has one micro-batch",
          "[methods]") {
  Numbers numbers{2};
  Matrix scores = softmax(numbers.matrix(10, 6)), biased = scores;
  for (int64_t t = 0; t < 10; ++t)
    biased.values[t * 6 + 4] += 0.2;
  Matrix actual = topK(biased, 2), unbiased = topK(scores, 2);
  auto value = [&](const char *scope, const char *choices, int64_t groups) {
    Bench bench;
    LayerValues r{sizes(10, 6, 2)};
    r.rowScores = bench.input("scores", scores);
    r.ids = bench.input("ids", actual, bench.b.getI32Type());
    r.unbiasedIds = bench.input("unbiased", unbiased, bench.b.getI32Type());
    r.counts = moe::CountIdsOp::create(bench.b, mlir::RankedTensorType::get({1, 6}, bench.b.getI64Type()), r.ids);
    exp::MethodAttr attr =
        bench.attr("loss", "load_balance",
                   {bench.field("choices", choices), bench.field("groups", groups), bench.field("scope", scope)});
    return bench.evaluate(bench.find<LossMethod>("loss", "load_balance").buildLayer(bench.t, attr, r, bench)).values[0];
  };
  for (const char *choices : {"scores", "actual"}) {
    std::vector<double> counts = load(choices == std::string("actual") ? actual : unbiased, 6), mean(6);
    for (int64_t i = 0; i < 60; ++i)
      mean[i % 6] += scores.values[i] / 10;
    for (int64_t groups : {2, 3, 6}) {
      double expected = 0;
      for (int64_t g = 0; g < groups; ++g) {
        double f = 0, p = 0;
        for (int64_t e = g * 6 / groups; e < (g + 1) * 6 / groups; ++e)
          f += counts[e] / 20, p += mean[e];
        expected += static_cast<double>(groups) * f * p;
      }
      CHECK(value("group", choices, groups) == Approx(expected).epsilon(1e-12));
      if (groups == 6)
        CHECK(value("micro", choices, 1) == Approx(expected).epsilon(1e-12));
    }
    CHECK(value("global", choices, 1) == value("micro", choices, 1));
  }
  CHECK(value("micro", "actual", 1) != value("micro", "scores", 1));
}

TEST_CASE("LITE: chi and the ramp at the start, in and after the warm-up, in the middle and at the end", "[methods]") {
  // Warm-up 10, ramp 50, cosine to 0.1 over 110 steps.
  auto at = [](const char *schedule, double done) {
    Bench bench;
    double c = done < 10 ? 0 : (1 + std::cos(M_PI * (done - 10) / 100)) / 2;
    double factor = done < 10 ? (done + 1) / 10 : 0.1 + 0.9 * c;
    ParameterTraits traits{"p", ParameterTraits::Role::Hidden, 1, 1, 1, 1, 0.02};
    OptimizerMethod::Update update{traits, {}, {}, {}, {}, {}, {}, {10, 0.1}, 1};
    update.step = bench.input("step", {1, 1, {done + 1}});
    update.factor = bench.input("factor", {1, 1, {factor}});
    exp::MethodAttr attr =
        bench.attr("optimizer", "adamw_lite",
                   {bench.field("chi", 4.0), bench.field("chi_schedule", schedule), bench.field("ramp", int64_t(50))});
    mlir::Value chi = buildChi(bench.t, attr, "", update), ramp = buildRamp(bench.t, attr, "", update);
    bench.run();
    return std::pair(bench.evaluator.get(chi).values[0], bench.evaluator.get(ramp).values[0]);
  };
  const double middle = (0.1 + 3.9 * 0.5) / (0.1 + 0.9 * 0.5); // at 60 c is a half
  using Row = std::tuple<double, double, double, double>;      // steps done; chi of floor, of ramp; the ramp
  for (auto [done, floor, ramped, share] :
       {Row{0, 4, 1, 0}, Row{9, 4, 1, 0}, Row{10, 4, 1, 0}, Row{60, middle, middle, 1}, Row{110, 1, 1, 1}}) {
    INFO("after " << done << " steps");
    CHECK(at("constant", done).first == 4);
    CHECK(at("floor", done).first == Approx(floor).epsilon(1e-12));
    CHECK(at("ramp", done).first == Approx(ramped).epsilon(1e-12));
    CHECK(at("ramp", done).second == Approx(share).margin(1e-12));
  }
  CHECK(at("ramp", 35).second == Approx(0.5));
  CHECK(at("ramp", 35).first == Approx(2.5)); // the line, below what falls
}

TEST_CASE("LITE: the ramp that is not given ends within the run, whatever the warm-up", "[methods]") {
  // After a warm-up of w steps in a run of 100, the share after `done` steps.
  auto at = [](int64_t w, bool stays, double done) {
    Bench bench;
    ParameterTraits traits{"p", ParameterTraits::Role::Hidden, 1, 1, 1, 1, 0.02};
    OptimizerMethod::Update update{traits, {}, {}, {}, {}, {}, {}, {w, 0.1, stays}, 1, 100};
    update.step = bench.input("step", {1, 1, {done + 1}});
    mlir::Value ramp = buildRamp(bench.t, bench.attr("optimizer", "adamw_lite", {}), "", update);
    return bench.evaluate(ramp).values[0];
  };
  for (int64_t w : {0, 10, 80}) { // half of what follows
    double half = static_cast<double>(100 - w) / 2;
    CHECK(at(w, false, w + half / 2) == Approx(0.5));
    CHECK(at(w, false, w + half) == 1);
  }
  CHECK(at(10, true, 19) == Approx(0.5)); // 2 * 10 / 100 of 90 steps
  CHECK(at(10, true, 28) == 1);
  CHECK(at(0, true, 0) == 1);
  CHECK(at(80, true, 90) == Approx(0.5)); // never more than all that follows
}
