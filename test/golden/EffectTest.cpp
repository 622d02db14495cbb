// What methods are said to do, on models and texts so small that some hundred steps show it. Numbers are of one seed;
// bounds leave room for other roundings. samples/06-compare-routers shows more of them on a real text.
#include "test/golden/CompiledModel.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

using Row = std::vector<double>;

constexpr int kSeqLen = 32, kSequences = 8;

std::string spec(const std::string &model, const std::string &losses, const std::string &optimizer,
                 const std::string &more = "") {
  return R"({"moec": 1, "name": "effect", "seed": 3, "model": {"vocab_size": 256, "hidden_size": 32,
    "attention": {"num_heads": 2, "head_dim": 16}, )" +
         model + R"(}, "losses": )" + losses + R"(, "optimizer": )" + optimizer + ", " + more + R"(
  "data": {"seq_len": 32, "train": {"text": {"path": "x.txt"}}}, "batch": {"sequences": 8, "micro_sequences": 4},
  "duration": {"steps": 600}, "evaluate": null})";
}

/// Each sequence follows one of `rules` ways to go from a letter to the next; one letter in eight is any.
std::vector<int32_t> text(uint64_t seed, int sequences, int rules) {
  uint64_t state = 0x9e3779b97f4a7c15ull * (seed + 1);
  auto draw = [&](int below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((state >> 33) % static_cast<uint64_t>(below));
  };
  std::vector<int32_t> all;
  for (int i = 0; i < sequences; ++i) {
    int rule = draw(rules), letter = draw(29);
    for (int j = 0; j <= kSeqLen; ++j) {
      all.push_back('A' + letter);
      letter = draw(8) == 0 ? draw(29) : (letter * (2 + rule) + 5 * rule + 1) % 29;
    }
  }
  return all;
}

class Toy {
public:
  explicit Toy(const std::string &spec, int rules = 1) : model(spec, {2}), rules(rules) {
    model.call(moe::kInitFunction);
  }

  /// Mean loss of the last 20 of `steps` steps.
  double train(int steps) {
    double mean = 0;
    sums.clear();
    for (int i = 0; i < steps; ++i, ++done) {
      model.call(moe::kBeginStepFunction);
      for (int micro = 0; micro < 2; ++micro) {
        model.writeInts("batch.tokens", text(2 * done + micro, kSequences / 2, rules));
        model.call(moe::kForwardBackwardFunction);
      }
      model.call(moe::kUpdateFunction);
      if (i < steps - 20)
        continue;
      mean += model.scalar("metric.loss") / std::min(20, steps);
      for (const std::string &name : model.names(rt::StateKind::Metric)) {
        Row now = model.read(name), &sum = sums[name];
        sum.resize(now.size());
        for (size_t j = 0; j < now.size(); ++j)
          sum[j] += now[j] / std::min(20, steps);
      }
    }
    return mean;
  }
  /// The mean of a metric over those steps.
  Row metric(const std::string &name) { return sums.at("metric." + name); }
  /// Of the loads of a mixture, by its number, over those steps: largest / mean - 1, and smallest / mean.
  std::pair<double, double> loads(size_t layer, size_t experts) {
    Row all = metric("expert_tokens"),
        one(all.begin() + static_cast<long>(layer * experts), all.begin() + static_cast<long>((layer + 1) * experts));
    double mean = 0;
    for (double load : one)
      mean += load / static_cast<double>(experts);
    return {*std::max_element(one.begin(), one.end()) / mean - 1, *std::min_element(one.begin(), one.end()) / mean};
  }

  CompiledModel model;

private:
  int rules;
  uint64_t done = 0;
  std::map<std::string, Row> sums;
};

const std::string adamw = R"({"kind": "adamw", "lr": 3e-3})";

} // namespace

TEST_CASE("a skewed router loses experts, and a balance loss keeps them; router_z makes logits small") {
  const std::string eight = R"("num_layers": 2, "moe": {"num_experts": 8, "top_k": 2, "expert": {"inner_size": 32}})";
  auto skewed = [&](const std::string &losses) {
    auto toy = std::make_unique<Toy>(spec(eight, losses, adamw));
    // Column 0 of the stream is a constant, by which the router likes some experts more than others.
    Row embed = toy->model.read("embed");
    for (size_t i = 0; i < embed.size(); i += 32)
      embed[i] = 0.05;
    toy->model.write("embed", embed);
    for (const char *layer : {"0", "1"}) {
      std::string name = std::string("layers.") + layer + ".moe.router";
      Row router = toy->model.read(name);
      for (size_t e = 0; e < 8; ++e)
        router[e] = static_cast<double>(e) - 3.5;
      toy->model.write(name, router);
    }
    return toy;
  };
  auto plain = skewed("{}"), balanced = skewed(R"({"load_balance": {"weight": 0.01}})");
  auto small = skewed(R"({"load_balance": {"weight": 0.01}, "router_z": {"weight": 0.01}})");
  plain->train(300);
  double without = balanced->train(300);
  double least = 1e9, worst = 0;
  for (size_t layer : {0, 1}) {
    least = std::min(least, plain->loads(layer, 8).second);
    worst = std::max(worst, balanced->loads(layer, 8).first);
  }
  INFO("least load " << least << " of the mean; largest MaxVio " << worst);
  CHECK(least < 0.02);
  CHECK(worst < 0.5);
  double before = 1e9, with = 0;
  for (int part = 0; part < 6; ++part) {
    with = small->train(50);
    double z = small->metric("router_z")[0];
    INFO("z " << z << " after " << before);
    CHECK((z < before || z < 0.1)); // where it rests
    before = z;
  }
  INFO("loss " << with << ", without " << without);
  CHECK(with < without + 0.02);
}

TEST_CASE("experts per token: the loss rises where they become fewer, and falls below what it was") {
  auto make = [](const char *changes) {
    return std::make_unique<Toy>(spec(R"("num_layers": 6, "moe": {"num_experts": 16, "top_k": 4,
        "expert": {"inner_size": 16}, "top_k_per_layer": [4, 4, 2, 2, 1, 1]})",
                                      R"({"load_balance": {"weight": 0.01, "scope": "global"}})", adamw, changes),
                                 8);
  };
  auto toy = make(R"("changes": {"sparser": {"at": {"steps": 201}, "top_k_per_layer": [1, 1, 1, 1, 1, 1]}},)");
  auto same = make("");
  double before = toy->train(200);
  CHECK(same->train(200) == before);
  double at = toy->train(1), without = same->train(1); // of the same parameters
  double after = toy->train(99);
  INFO(before << " " << without << " " << at << " " << after);
  CHECK(at > without + 0.02);
  CHECK(after < before);
}

TEST_CASE("finer experts of the same active size learn rules better") {
  auto run = [](int m) {
    auto text = [](int number) { return std::to_string(number); };
    std::string moe = R"("num_layers": 2, "moe": {"num_experts": )" + text(4 * m) + R"(, "top_k": )" + text(m) +
                      R"(, "expert": {"inner_size": )" + text(64 / m) + "}}";
    return Toy(spec(moe, R"({"load_balance": {"weight": 0.01}})", R"({"kind": "adamw", "lr": 6e-3})"), 8).train(600);
  };
  double coarse = run(1), fine = run(4);
  INFO(coarse << " " << fine);
  CHECK(fine < coarse - 0.03);
}

TEST_CASE("specialization: activations of a token's experts point away from each other, at the same loss") {
  auto run = [](const char *weight) {
    auto toy = std::make_unique<Toy>(
        spec(R"("num_layers": 2, "moe": {"num_experts": 8, "top_k": 2, "expert": {"inner_size": 32}})",
             R"({"load_balance": {"weight": 0.01}, "specialization": {"weight": )" + std::string(weight) + "}}", adamw),
        4);
    double loss = toy->train(300);
    return std::pair(loss, toy->metric("specialization")[0]);
  };
  auto [loss, cosine] = run("1e-9");
  auto [lossWith, cosineWith] = run("2e-2");
  INFO(loss << " " << lossWith << "; " << cosine << " " << cosineWith);
  CHECK(cosineWith < cosine - 0.1);
  CHECK(lossWith < loss + 0.02);
}

TEST_CASE("galore: a quarter of the rank, little of the loss") {
  auto run = [](const std::string &group) {
    Toy toy(spec(R"("num_layers": 2, "ffn": {"inner_size": 64})", "{}",
                 R"({"kind": "adamw", "lr": 3e-3, "groups": {"matrices": {
                      "match": ["layers.*.{attention,ffn}.{q,k,v,o,gate,up,down}"], )" +
                     group + "}}}"),
            4);
    double loss = toy.train(400);
    uint64_t moments = 0;
    for (const std::string &name : toy.model.names(rt::StateKind::Optimizer))
      moments += name.find("layers.") != std::string::npos ? toy.model.read(name).size() : 0;
    return std::pair(loss, static_cast<double>(moments));
  };
  auto [loss, state] = run(R"("kind": "adamw")");
  auto [lossLow, stateLow] = run(R"("kind": "galore", "rank": 8, "lr": 0.02, "every": 50)");
  INFO(loss << " " << lossLow << "; " << state << " " << stateLow);
  CHECK(lossLow < 1.08 * loss);
  CHECK(stateLow < 0.5 * state);
}

TEST_CASE("muon: without decay weights go on growing, with it they settle") {
  auto growth = [](const char *decay) {
    Toy toy(spec(R"("num_layers": 1, "ffn": {"inner_size": 64})", "{}",
                 R"({"kind": "adamw", "lr": 3e-3, "groups": {"matrices": {"match": ["layers.*.{q,k,v,o,gate,up,down}"],
                      "kind": "muon", "lr": 0.02, "weight_decay": )" +
                     std::string(decay) + "}}}"));
    auto size = [&] {
      double sum = 0;
      for (double value : toy.model.read("layers.0.ffn.up"))
        sum += value * value;
      return std::sqrt(sum);
    };
    toy.train(200);
    double before = size();
    toy.train(200);
    return size() / before;
  };
  double without = growth("0"), with = growth("1");
  INFO(without << " " << with);
  CHECK(without > 1.2);
  CHECK(with < 1.1);
}

TEST_CASE("peri norm: at a large rate the stream stays small, with a norm before blocks alone it does not") {
  auto growth = [](const char *placement) {
    Toy toy(
        spec(R"("num_layers": 4, "ffn": {"inner_size": 64}, "norm": {"placement": ")" + std::string(placement) + "\"}",
             "{}", R"({"kind": "adamw", "lr": 1.2e-2})"));
    CompiledModel &model = toy.model;
    // Column 0 is made a constant that no block adds to; what the last norm makes of it tells the size of the rest.
    auto meanSquare = [&] {
      std::string kept = model.stateBytes();
      Row embed = model.read("embed"), head(32 * 256);
      for (size_t i = 0; i < embed.size(); i += 32)
        embed[i] = 1;
      model.write("embed", embed);
      head[0] = 1;
      model.write("head", head);
      Row last = model.read("final_norm.scale");
      last[0] = 1;
      model.write("final_norm.scale", last);
      for (int layer = 0; layer < 4; ++layer)
        for (const char *block : {"attention", "ffn"}) {
          std::string prefix = "layers." + std::to_string(layer) + "." + block;
          bool isPeri = placement == std::string("peri");
          std::string name = prefix + (isPeri ? ".out_norm.scale" : block == std::string("ffn") ? ".down" : ".o");
          Row values = model.read(name);
          for (size_t i = 0; i < values.size(); i += 32)
            values[i] = 0;
          model.write(name, values);
        }
      double mean = 0;
      for (int i = 0; i < 16; ++i) {
        std::vector<int32_t> tokens = text(1000 + i, 1, 1);
        tokens.pop_back();
        model.writeInts("generate.tokens", tokens);
        model.writeInts("generate.position", {31});
        model.call(moe::kLogitsFunction);
        mean += 1 / std::pow(model.read("generate.logits")[0], 2) / 16;
      }
      model.executor().device().write(0, kept.data(), kept.size());
      return mean;
    };
    double before = meanSquare();
    toy.train(300);
    double after = meanSquare();
    return std::pair(before, after);
  };
  auto [preBefore, preAfter] = growth("pre");
  auto [periBefore, periAfter] = growth("peri");
  INFO(preBefore << " " << preAfter << "; " << periBefore << " " << periAfter);
  CHECK(preAfter > 50 * preBefore);
  CHECK(periAfter < 3 * periBefore);
  CHECK(preAfter > 2 * periAfter);
}
