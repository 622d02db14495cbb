// The formulas of scores, losses, optimizers and schedules, in numbers.
#include "test/unit/compiler/Bench.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec;
using moec::test::Bench;
using moec::test::Matrix;

namespace {

double factor(const std::function<exp::MethodAttr(Bench &)> &make, const char *kind, int64_t step, int64_t total) {
  Bench bench;
  mlir::Value done = bench.input("step", {1, 1, {static_cast<double>(step)}});
  const auto &method = bench.find<ScheduleMethod>("schedule", kind);
  return bench.evaluate(method.buildFactor(bench.t, make(bench), done, total)).values[0];
}

const Matrix kLogits{4, 4, {2, 1, 0, -1, 0, 3, 1, -2, 1, 1, 1, 1, -30, 0, 2, 40}};
const Matrix kIds{4, 2, {0, 1, 1, 2, 0, 1, 3, 2}};

Matrix weights(const char *kind, const char *order, bool normalize, Matrix ids = kIds) {
  Bench bench;
  llvm::SmallVector<mlir::NamedAttribute> fields;
  if (order)
    fields.push_back(bench.field("order", order));
  const auto &method = bench.find<ScoreMethod>("score", kind);
  exp::MethodAttr attr = bench.attr("score", kind, fields);
  LayerValues r{};
  r.logits = bench.input("logits", kLogits);
  r.ids = bench.input("ids", ids, bench.b.getI32Type());
  r.scores = method.buildScores(bench.t, attr, r.logits);
  return bench.evaluate(method.buildWeights(bench.t, attr, r, normalize));
}

/// load_balance over `logits` for each micro-batch in turn, in one step.
std::vector<double> balance(const char *scope, std::vector<std::pair<Matrix, Matrix>> batches, int64_t seqLen) {
  std::vector<double> results;
  std::map<std::string, Matrix> kept;
  for (auto &[scores, ids] : batches) {
    Bench bench;
    bench.evaluator.states = kept;
    LayerValues r{};
    r.rowScores = bench.input("scores", scores);
    r.ids = r.unbiasedIds = bench.input("ids", ids, bench.b.getI32Type());
    r.counts =
        moe::CountIdsOp::create(bench.b, mlir::RankedTensorType::get({1, scores.cols}, bench.b.getI64Type()), r.ids);
    r.numTokens = scores.rows, r.numExperts = scores.cols, r.topK = ids.cols, r.seqLen = seqLen;
    r.microBatches = batches.size();
    exp::MethodAttr attr =
        bench.attr("loss", "load_balance",
                   {bench.field("choices", "scores"), bench.field("groups", int64_t(1)), bench.field("scope", scope)});
    const auto &method = bench.find<LossMethod>("loss", "load_balance");
    results.push_back(bench.evaluate(method.buildLayer(bench.t, attr, r, bench)).values[0]);
    kept = bench.evaluator.states;
  }
  return results;
}

} // namespace

TEST_CASE("schedules: warm-up, end points, shapes", "[methods]") {
  auto cosine = [](Bench &b) {
    return b.attr("schedule", "cosine", {b.field("floor", 0.1), b.field("warmup", int64_t(10))});
  };
  CHECK(factor(cosine, "cosine", 0, 110) == Approx(0.1));
  CHECK(factor(cosine, "cosine", 9, 110) == Approx(1.0));
  CHECK(factor(cosine, "cosine", 10, 110) == Approx(1.0));
  CHECK(factor(cosine, "cosine", 60, 110) == Approx(0.55));
  CHECK(factor(cosine, "cosine", 110, 110) == Approx(0.1));
  auto linear = [](Bench &b) {
    return b.attr("schedule", "linear", {b.field("floor", 0.0), b.field("warmup", int64_t(0))});
  };
  CHECK(factor(linear, "linear", 0, 100) == Approx(1.0));
  CHECK(factor(linear, "linear", 25, 100) == Approx(0.75));
  CHECK(factor(linear, "linear", 200, 100) == Approx(0.0).margin(1e-12));
  auto wsd = [](Bench &b) {
    return b.attr("schedule", "wsd",
                  {b.field("decay", int64_t(20)), b.field("floor", 0.0), b.field("shape", "1-sqrt"),
                   b.field("warmup", int64_t(10))});
  };
  CHECK(factor(wsd, "wsd", 4, 100) == Approx(0.5));
  CHECK(factor(wsd, "wsd", 50, 100) == Approx(1.0));
  CHECK(factor(wsd, "wsd", 80, 100) == Approx(1.0));
  CHECK(factor(wsd, "wsd", 85, 100) == Approx(0.5));
  CHECK(factor(wsd, "wsd", 100, 100) == Approx(0.0).margin(1e-12));
  auto falling = [](const char *shape) {
    return [shape](Bench &b) {
      return b.attr("schedule", "wsd",
                    {b.field("decay", int64_t(20)), b.field("floor", 0.1), b.field("shape", shape),
                     b.field("warmup", int64_t(10))});
    };
  };
  for (const char *shape : {"linear", "cosine"})
    for (auto [step, expected] : {std::pair(80, 1.0), {90, 0.55}, {100, 0.1}})
      CHECK(factor(falling(shape), "wsd", step, 100) == Approx(expected));
  CHECK(factor(falling("linear"), "wsd", 85, 100) == Approx(0.1 + 0.9 * 0.75));
  CHECK(factor(falling("cosine"), "wsd", 85, 100) == Approx(0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2));
  auto constant = [](Bench &b) { return b.attr("schedule", "constant", {b.field("warmup", int64_t(0))}); };
  CHECK(factor(constant, "constant", 7, 10) == 1.0);
}

TEST_CASE("softmax: normalised pre is post", "[methods]") {
  Matrix pre = weights("softmax", "pre", true), post = weights("softmax", "post", false);
  for (size_t i = 0; i < pre.values.size(); ++i)
    CHECK(pre.values[i] == Approx(post.values[i]).epsilon(1e-12));
  Matrix raw = weights("softmax", "pre", false);
  CHECK(raw.at(2, 0) == Approx(0.25));
  CHECK(raw.at(0, 0) == Approx(std::exp(2.0) / (std::exp(2.0) + std::exp(1.0) + 1 + std::exp(-1.0))));
}

TEST_CASE("sigmoid: normalised for k > 1 only, stable far out", "[methods]") {
  Matrix many = weights("sigmoid", nullptr, true);
  for (int64_t row = 0; row < many.rows; ++row)
    CHECK(many.at(row, 0) + many.at(row, 1) == Approx(1.0));
  Matrix one = weights("sigmoid", nullptr, true, Matrix{4, 1, {0, 1, 2, 0}});
  CHECK(one.values[0] == Approx(1 / (1 + std::exp(-2.0))));
  CHECK(one.values[3] == Approx(std::exp(-30.0) / (1 + std::exp(-30.0))));
}

TEST_CASE("load_balance: known values", "[methods]") {
  Matrix uniform{2, 2, {0.5, 0.5, 0.5, 0.5}}, oneHot{2, 2, {1, 0, 1, 0}};
  Matrix spread{2, 1, {0, 1}}, first{2, 1, {0, 0}};
  for (const char *scope : {"micro", "sequence", "global"}) {
    CHECK(balance(scope, {{uniform, first}}, 1)[0] == Approx(1.0));
    CHECK(balance(scope, {{oneHot, first}}, 1)[0] == Approx(2.0));
  }
  // By sequence of one token each; over the whole micro-batch the same choices are balanced.
  Matrix sorted{2, 2, {1, 0, 0, 1}};
  CHECK(balance("sequence", {{sorted, spread}}, 1)[0] == Approx(2.0));
  CHECK(balance("micro", {{sorted, spread}}, 1)[0] == Approx(1.0));
}

TEST_CASE("load_balance: global counts cover the step so far", "[methods]") {
  Matrix p{2, 2, {0.75, 0.25, 0.75, 0.25}}, ids0{2, 1, {0, 0}}, ids1{2, 1, {1, 1}}, ids2{2, 1, {0, 1}};
  std::vector<double> losses = balance("global", {{p, ids0}, {p, ids1}, {p, ids0}}, 1);
  CHECK(losses[0] == Approx(2 * 0.75));                      // f = (1, 0)
  CHECK(losses[1] == Approx(1.0));                           // f = (1/2, 1/2)
  CHECK(losses[2] == Approx(2 * (0.75 * 2 / 3 + 0.25 / 3))); // f = (2/3, 1/3), that of the whole batch
  CHECK(balance("micro", {{p, ids0}, {p, ids1}}, 1)[1] == Approx(2 * 0.25));
}

TEST_CASE("router_z", "[methods]") {
  Bench bench;
  LayerValues r{};
  r.logits = bench.input("logits", {2, 2, {0, 0, 1, 1}});
  r.numTokens = 2;
  double ln2 = std::log(2.0), expected = (ln2 * ln2 + (1 + ln2) * (1 + ln2)) / 2;
  const auto &method = bench.find<LossMethod>("loss", "router_z");
  mlir::Value loss = method.buildLayer(bench.t, bench.attr("loss", "router_z", {}), r, bench);
  CHECK(bench.evaluate(loss).values[0] == Approx(expected));
}

TEST_CASE("adamw: two steps by hand", "[methods]") {
  double p = 0.5, m = 0, v = 0, lr = 0.1, b1 = 0.9, b2 = 0.99, eps = 1e-8, decay = 0.1;
  std::map<std::string, Matrix> kept{{"p", {1, 1, {p}}}, {"m", {1, 1, {0}}}, {"v", {1, 1, {0}}}};
  for (int step = 1; step <= 2; ++step) {
    double g = step == 1 ? 2.0 : -0.5, clip = 0.5;
    Bench bench;
    bench.evaluator.states = kept;
    bench.evaluator.states["g"] = {1, 1, {g}};
    auto type = bench.t.type(1, 1);
    struct States : OptimizerStates {
      Bench &bench;
      explicit States(Bench &bench) : bench(bench) {}
      moe::StateOp declare(llvm::StringRef name, mlir::RankedTensorType, double) override {
        return bench.state(name, moe::StateKind::optimizer, bench.t.type(1, 1));
      }
    } states(bench);
    ParameterTraits traits{"p", ParameterTraits::Role::Hidden, 1, 1, 1, 1, 0.02};
    OptimizerMethod::Update update{traits,
                                   bench.state("p", moe::StateKind::parameter, type),
                                   bench.state("g", moe::StateKind::gradient, type),
                                   bench.input("clip", {1, 1, {clip}}),
                                   bench.input("lr", {1, 1, {lr}}),
                                   bench.input("t", {1, 1, {static_cast<double>(step)}}),
                                   bench.input("factor", {1, 1, {1.0}}),
                                   {0, 0.0},
                                   /*rowAlign=*/1};
    exp::MethodAttr attr = bench.attr("optimizer", "adamw",
                                      {bench.field("betas", bench.b.getDenseF64ArrayAttr({b1, b2})),
                                       bench.field("eps", eps), bench.field("weight_decay", decay)});
    bench.find<OptimizerMethod>("optimizer", "adamw").buildUpdate(bench.t, attr, update, states);
    bench.run();
    kept = bench.evaluator.states;

    g *= clip;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    double mHat = m / (1 - std::pow(b1, step)), vHat = v / (1 - std::pow(b2, step));
    p -= lr * (mHat / (std::sqrt(vHat) + eps) + decay * p);
    CHECK(kept["p"].values[0] == Approx(p).epsilon(1e-12));
    CHECK(kept["m"].values[0] == Approx(m).epsilon(1e-12));
    CHECK(kept["v"].values[0] == Approx(v).epsilon(1e-12));
  }
}

// The list is made from the files (docs/decisions/0002-methods-are-globbed.md).
TEST_CASE("the registry knows every method of the tree", "[methods]") {
  Bench bench;
  exp::MethodRegistry &registry = exp::getMethods(&bench.context);
  int categories = 0;
  for (const auto &folder : std::filesystem::directory_iterator(MOEC_TEST_DIR "/../compiler/Methods")) {
    if (!folder.is_directory())
      continue;
    std::string category = folder.path().filename();
    category[0] = static_cast<char>(std::tolower(category[0]));
    INFO(category);
    auto isMethod = [](const auto &file) { return file.path().extension() == ".cpp"; };
    std::filesystem::directory_iterator files(folder);
    auto methods = registry.all(category);
    CHECK(static_cast<long>(methods.size()) == std::count_if(begin(files), end(files), isMethod));
    for (const exp::Method *method : methods) {
      INFO(method->kind());
      CHECK_FALSE(method->summary().empty());
      CHECK_FALSE(method->source().empty());
    }
    ++categories;
  }
  CHECK(categories >= 8);
}

// A second one would take the place of the first in silence.
TEST_CASE("a kind that is there already ends the program with a word", "[methods]") {
  Bench bench;
  int output[2];
  REQUIRE(pipe(output) == 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(output[1], STDERR_FILENO);
    registerMethods(exp::getMethods(&bench.context));
    _exit(0);
  }
  close(output[1]);
  std::string said(1000, '\0');
  said.resize(std::max<ssize_t>(read(output[0], said.data(), said.size()), 0));
  close(output[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status != 0);
  CHECK_THAT(said, Catch::Contains("internal: two methods of category") && Catch::Contains("have the kind"));
}

TEST_CASE("hyperp: the law at its base point, and away from it", "[methods]") {
  Bench bench;
  const auto &hyperp = bench.find<ScalingMethod>("scaling", "hyperp");
  auto law = [&](const char *of) {
    return bench.attr("scaling", "hyperp",
                      {bench.field("base_layers", int64_t(8)), bench.field("base_batch", 2e6),
                       bench.field("base_tokens", 1e10), bench.field("depth_exponent", -0.5),
                       bench.field("batch_exponent", 0.5), bench.field("data_exponent", -0.32),
                       bench.field("data_exponent_of", of), bench.field("embedding_std", 1e-4)});
  };
  ParameterTraits hidden{"w", ParameterTraits::Role::Hidden, 1, 1, 48, 16, 0.02};
  ParameterTraits embed{"embed", ParameterTraits::Role::Embedding, 1, 1, 256, 48, 0.02};
  CHECK(hyperp.getRate(law("all"), {48, 8, 2e6, 1e10}, hidden, 0) == Approx(1));
  CHECK(hyperp.getRate(law("all"), {96, 32, 2e6, 1e10}, hidden, 1) == Approx(0.5));
  CHECK(hyperp.getRate(law("all"), {48, 8, 8e6, 1e10}, embed, 0) == Approx(2));
  CHECK(hyperp.getRate(law("all"), {48, 8, 2e6, 1e11}, embed, 0) == Approx(std::pow(10, -0.32)));
  CHECK(hyperp.getRate(law("hidden"), {48, 8, 2e6, 1e11}, embed, 0) == Approx(1));
  CHECK(hyperp.getRate(law("hidden"), {48, 8, 2e6, 1e11}, hidden, 0) == Approx(std::pow(10, -0.32)));
  CHECK(hyperp.getInitialStd(law("all"), {}, hidden, 0.02) == Approx(1.0 / 12));
  CHECK(hyperp.getInitialStd(law("all"), {}, embed, 0.02) == Approx(1e-4));
  embed.role = ParameterTraits::Role::Head;
  CHECK(hyperp.getInitialStd(law("all"), {}, embed, 0.02) == Approx(0.02));
}

TEST_CASE("mup: what goes with width, by role and optimizer", "[methods]") {
  Bench bench;
  const auto &mup = bench.find<ScalingMethod>("scaling", "mup");
  exp::MethodAttr attr = bench.attr("scaling", "mup", {bench.field("base_width", int64_t(64))});
  ScalingMethod::Run run{256, 8, 1, 1};
  using Role = ParameterTraits::Role;
  for (auto [role, std, rate] :
       {std::tuple(Role::Hidden, 0.5, 0.25), std::tuple(Role::Head, 0.25, 0.25), std::tuple(Role::Router, 0.25, 0.25),
        std::tuple(Role::Embedding, 1.0, 1.0), std::tuple(Role::Vector, 1.0, 1.0)}) {
    ParameterTraits traits{"w", role, 1, 1, 256, 256, 1.0};
    CHECK(mup.getInitialStd(attr, run, traits, 1) == Approx(std));
    CHECK(mup.getRate(attr, run, traits, 1) == Approx(rate));
  }
  ParameterTraits hidden{"w", Role::Hidden, 1, 1, 256, 256, 1.0};
  CHECK(mup.getRate(attr, run, hidden, 0) == Approx(1));
  CHECK(mup.getRate(attr, run, hidden, 0.5) == Approx(0.5));
}
