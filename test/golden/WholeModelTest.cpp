// What must hold for a whole model whatever its numbers are: same bits for any thread count, micro-batch split in f64,
// routing at its worst.
#include "test/golden/SmallRuns.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

using namespace moec;
using namespace moec::test;

namespace {

const std::string base = R"({
  "moec": 1, "name": "whole", "seed": 5,
  "model": {
    "vocab_size": 256, "hidden_size": 32, "num_layers": 3,
    "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "qk_norm": "head"},
    "ffn": {"inner_size": 48},
    "moe": {"layers": {"from": 1, "every": 1}, "num_experts": 6, "top_k": 2,
            "expert": {"inner_size": 24}, "shared_experts": 1},
    "router": {"kind": "token_choice", "score": "softmax"}
  },
  "losses": {"load_balance": {"weight": 0.01, "scope": "sequence"}, "router_z": {"weight": 0.001}},
  "optimizer": {"kind": "adamw", "lr": 1e-2, "clip_norm": 1.0},
  "data": {"seq_len": 20, "train": {"text": {"path": "x.txt"}}},
  "batch": {"sequences": 4, "micro_sequences": 4},
  "duration": {"steps": 20}, "precision": {"compute": "f64"}, "evaluate": null
})";

/// Deterministic tokens for sequence `number` of step `step`.
std::vector<int32_t> sequence(int step, int number, int length) {
  std::vector<int32_t> tokens(length);
  uint64_t state = 12345 + 1000 * step + number;
  for (int32_t &token : tokens) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    token = 'a' + (state >> 40) % 20;
  }
  return tokens;
}

void trainStep(CompiledModel &model, int step, int sequences, int microSequences, int seqLen) {
  model.call(moe::kBeginStepFunction);
  for (int first = 0; first < sequences; first += microSequences) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < microSequences; ++i) {
      std::vector<int32_t> one = sequence(step, first + i, seqLen + 1);
      tokens.insert(tokens.end(), one.begin(), one.end());
    }
    model.writeInts("batch.tokens", tokens);
    model.call(moe::kForwardBackwardFunction);
  }
  model.call(moe::kUpdateFunction);
}

void expectFinite(CompiledModel &model) {
  for (rt::StateKind kind :
       {rt::StateKind::Parameter, rt::StateKind::Gradient, rt::StateKind::Optimizer, rt::StateKind::Metric})
    for (const std::string &name : model.names(kind)) {
      INFO(name);
      if (name.find("validation") != std::string::npos)
        continue;
      std::vector<double> values = model.read(name);
      CHECK(std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }));
    }
}

} // namespace

TEST_CASE("two runs, and one and two threads, give the same bits") {
  for (const char *precision : {"f32", "f64"}) {
    std::string spec = changed(base, "\"f64\"", std::string("\"") + precision + "\"");
    ModelOptions two;
    two.threads = 2;
    CompiledModel a(spec, {}), b(spec, {}), c(spec, two);
    for (CompiledModel *model : {&a, &b, &c}) {
      model->call(moe::kInitFunction);
      for (int step = 0; step < 3; ++step)
        trainStep(*model, step, 4, 4, 20);
    }
    CHECK(a.stateBytes() == b.stateBytes());
    CHECK(a.stateBytes() == c.stateBytes());
    expectFinite(a);
  }
}

TEST_CASE("one micro-batch against four: f64 to 1e-12, f32 to rounding") {
  for (auto [precision, bound] : {std::pair("f64", 1e-12), std::pair("f32", 1e-4)}) {
    std::string one = changed(base, "\"f64\"", std::string("\"") + precision + "\"");
    std::string four = changed(one, "\"micro_sequences\": 4", "\"micro_sequences\": 1");
    CompiledModel a(one, {}), b(four, {});
    a.call(moe::kInitFunction);
    b.call(moe::kInitFunction);
    trainStep(a, 0, 4, 4, 20);
    trainStep(b, 0, 4, 1, 20);
    INFO(precision);
    CHECK(worstDifference(a, b, rt::StateKind::Gradient) < bound);
    CHECK(worstDifference(a, b, rt::StateKind::Metric) < bound);
  }
}

TEST_CASE("all tokens to two experts, experts without tokens, ties: counts add up and nothing leaks") {
  CompiledModel model(base, {});
  model.call(moe::kInitFunction);
  // A router of zeros ties everywhere: top-k must take experts 0 and 1 for every token.
  for (const std::string &name : model.names(rt::StateKind::Parameter))
    if (name.find("router") != std::string::npos)
      model.write(name, std::vector<double>(model.read(name).size(), 0.0));
  trainStep(model, 0, 4, 4, 20);
  std::vector<double> counts = model.read("metric.expert_tokens");
  for (size_t expert = 0; expert < 6; ++expert)
    CHECK(counts[expert] == (expert < 2 ? 80 : 0));
  expectFinite(model);
  for (const std::string &name : model.names(rt::StateKind::Gradient))
    if (name.find("layers.1.moe.experts.up") != std::string::npos) {
      std::vector<double> gradient = model.read(name);
      size_t one = gradient.size() / 6;
      double used = 0, idle = 0;
      for (size_t i = 0; i < gradient.size(); ++i)
        (i < 2 * one ? used : idle) += std::fabs(gradient[i]);
      CHECK(used > 0);
      CHECK(idle == 0);
    }
}

TEST_CASE("every expert chosen by every token (k = E), and one token per sequence") {
  std::string all = changed(base, "\"top_k\": 2", "\"top_k\": 6");
  CompiledModel dense(all, {});
  dense.call(moe::kInitFunction);
  trainStep(dense, 0, 4, 4, 20);
  for (double count : dense.read("metric.expert_tokens"))
    CHECK(count == 80);
  expectFinite(dense);

  std::string tiny = changed(changed(base, "\"seq_len\": 20", "\"seq_len\": 1"),
                             "\"sequences\": 4, \"micro_sequences\": 4", "\"sequences\": 1, \"micro_sequences\": 1");
  CompiledModel single(tiny, {});
  single.call(moe::kInitFunction);
  trainStep(single, 0, 1, 1, 1);
  std::vector<double> counts = single.read("metric.expert_tokens");
  CHECK(std::accumulate(counts.begin(), counts.end(), 0.0) == 2 * 2); // top_k of one token, in two layers
  expectFinite(single);
}

TEST_CASE("capacity drops slots, dropless drops none") {
  std::string limited = changed(base, "\"shared_experts\": 1",
                                "\"shared_experts\": 1, \"capacity\": {\"factor\": 0.5, \"drop\": \"position\"}");
  CompiledModel a(base, {}), b(limited, {});
  for (CompiledModel *model : {&a, &b}) {
    model->call(moe::kInitFunction);
    trainStep(*model, 0, 4, 4, 20);
    expectFinite(*model);
  }
  CHECK(a.scalar("metric.loss") != b.scalar("metric.loss"));
  std::vector<double> counts = b.read("metric.expert_tokens");
  CHECK(std::accumulate(counts.begin(), counts.end(), 0.0) == 80 * 2 * 2); // chosen in two layers, before drops
}

TEST_CASE("recomputing activations changes no bit of the gradients in f64 beyond rounding") {
  std::string none = changed(base, "\"evaluate\": null", "\"evaluate\": null, \"memory\": {\"remat\": \"none\"}");
  std::string full = changed(base, "\"evaluate\": null", "\"evaluate\": null, \"memory\": {\"remat\": \"full\"}");
  CompiledModel a(base, {}), b(none, {}), c(full, {});
  for (CompiledModel *model : {&a, &b, &c}) {
    model->call(moe::kInitFunction);
    trainStep(*model, 0, 4, 4, 20);
  }
  CHECK(worstDifference(a, b, rt::StateKind::Gradient) < 1e-12);
  CHECK(worstDifference(a, c, rt::StateKind::Gradient) < 1e-12);
  CHECK(c.plan().memory.arenaBytes < b.plan().memory.arenaBytes);
}

TEST_CASE("windows: what a position depends on, and windows as long as the sequence") {
  // Three layers that see 4 positions each: logits depend on 1 + 3 * 3 of them.
  std::string windowed = changed(base, "\"qk_norm\"", "\"window\": 4, \"qk_norm\"");
  CompiledModel model(windowed, {});
  model.call(moe::kInitFunction);
  trainStep(model, 0, 4, 4, 20);
  expectFinite(model);
  std::vector<int32_t> tokens = sequence(1, 0, 20);
  auto logits = [&](CompiledModel &of, int changedAt) {
    std::vector<int32_t> these = tokens;
    if (changedAt >= 0)
      these[changedAt] = 'z';
    of.writeInts("generate.tokens", these);
    of.writeInts("generate.position", {19});
    of.call(moe::kLogitsFunction);
    return of.read("generate.logits");
  };
  std::vector<double> expected = logits(model, -1);
  CHECK(logits(model, 9) == expected);
  CHECK(logits(model, 10) != expected);

  CompiledModel none(base, {}), longest(changed(base, "\"qk_norm\"", "\"window\": 20, \"qk_norm\""), {});
  for (CompiledModel *each : {&none, &longest}) {
    each->call(moe::kInitFunction);
    trainStep(*each, 0, 4, 4, 20);
  }
  CHECK(logits(none, -1) == logits(longest, -1));
  CHECK(logits(none, 0) != logits(none, -1));
}

TEST_CASE("the peak that the plan announces is what is allocated") {
  for (unsigned threads : {1u, 2u}) {
    ModelOptions options;
    options.threads = threads;
    CompiledModel model(base, options);
    CHECK(model.executor().device().allocatedBytes() == model.plan().peakBytes(threads));
  }
}

TEST_CASE("the loss falls") {
  CompiledModel model(changed(base, "\"f64\"", "\"f32\""), {});
  model.call(moe::kInitFunction);
  double first = 0;
  for (int step = 0; step < 20; ++step) {
    trainStep(model, 0, 4, 4, 20);
    if (step == 0)
      first = model.scalar("metric.loss");
  }
  CHECK(first == Approx(std::log(256)).margin(0.2));
  CHECK(model.scalar("metric.loss") < first - 1.5);
}
