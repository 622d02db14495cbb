// Blocks with mixtures against what they are by hand, or against another model that they come to, in f64.
#include "test/golden/RoutedModels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

using namespace moec;
using namespace moec::test;

namespace {

/// As spec, without mixtures.
std::string denseSpec(int numLayers, int innerSize) {
  std::string text = spec("", ""),
              from = text.substr(text.find("\"moe\": {"), text.find("\"losses\"") - text.find("\"moe\": {"));
  text = changed(text, from, "\"moe\": null},\n  ");
  text = changed(text, "\"num_layers\": 3", "\"num_layers\": " + std::to_string(numLayers));
  return changed(text, "\"inner_size\": 12", "\"inner_size\": " + std::to_string(innerSize));
}

/// As spec, with one layer.
std::string oneLayer(const std::string &moe, const std::string &router) {
  std::string text = changed(spec(moe, router), "\"num_layers\": 3", "\"num_layers\": 1");
  if (moe.find("shortcut") == std::string::npos)
    text = changed(text, "\"ffn\": {\"inner_size\": 12}", "\"ffn\": null");
  return changed(text, "\"from\": 1", "\"from\": 0");
}

//===--- One token by hand ---===//

Row norm(const Row &x) { // with scale 1
  double squares = 0;
  for (double value : x)
    squares += value * value / static_cast<double>(x.size());
  Row y = x;
  for (double &value : y)
    value /= std::sqrt(squares + 1e-5);
  return y;
}

/// x W, W [in, out] from `values` on.
Row times(const Row &x, const double *values, size_t out) {
  Row y(out);
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = 0; j < out; ++j)
      y[j] += x[i] * values[i * out + j];
  return y;
}

Row plus(Row x, const Row &y, double factor = 1) {
  for (size_t i = 0; i < x.size(); ++i)
    x[i] += factor * y[i];
  return x;
}

/// Of the number-th matrices of gate, up and down below `name`.
Row swiglu(CompiledModel &model, const std::string &name, const Row &x, size_t inner, size_t number = 0) {
  size_t size = x.size() * inner;
  Row gate = times(x, model.read(name + ".gate").data() + number * size, inner);
  Row up = times(x, model.read(name + ".up").data() + number * size, inner);
  for (size_t i = 0; i < inner; ++i)
    gate[i] *= up[i] / (1 + std::exp(-gate[i]));
  return times(gate, model.read(name + ".down").data() + number * size, x.size());
}

/// The mixture of the topK largest softmax scores; outputs from numExperts on return what they read. `bias` enters the
/// choice alone.
Row mixture(CompiledModel &model, const Row &x, size_t numExperts, size_t outputs, size_t topK, const Row &bias) {
  Row scores = times(x, model.read("layers.0.moe.router").data(), outputs);
  double sum = 0;
  for (double &score : scores)
    sum += score = std::exp(score);
  std::vector<size_t> order(outputs);
  std::iota(order.begin(), order.end(), 0);
  for (double &score : scores)
    score /= sum;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] + bias[a] > scores[b] + bias[b]; });
  Row y(x.size());
  for (size_t slot = 0; slot < topK; ++slot) {
    size_t e = order[slot];
    y = plus(y, e < numExperts ? swiglu(model, "layers.0.moe.experts", x, 9, e) : x, scores[e]);
  }
  return y;
}

Row embedded(CompiledModel &model, size_t token) {
  Row embed = model.read("embed");
  return {embed.begin() + 16 * static_cast<long>(token), embed.begin() + 16 * static_cast<long>(token + 1)};
}

void silence(CompiledModel &model, const std::string &name) { model.write(name, Row(model.read(name).size(), 0.0)); }

} // namespace

TEST_CASE("routing: equal experts with weights that add up to 1 are one dense block") {
  CompiledModel moe(oneLayer(R"("num_experts": 6, "top_k": 2)", R"("score": {"kind": "softmax", "order": "post"})"),
                    {});
  CompiledModel dense(denseSpec(1, 9), {});
  moe.call(moe::kInitFunction);
  dense.call(moe::kInitFunction);
  for (const std::string &name : dense.names(rt::StateKind::Parameter))
    if (!name.starts_with("layers.0.ffn"))
      copyParameter(moe, dense, name);
  for (const char *part : {"gate", "up", "down"}) {
    std::string name = part;
    Row one = dense.read("layers.0.ffn." + name), all;
    for (int expert = 0; expert < 6; ++expert)
      all.insert(all.end(), one.begin(), one.end());
    moe.write("layers.0.moe.experts." + name, all);
  }
  runStep(moe, 4, 2);
  runStep(dense, 4, 2);
  CHECK(moe.scalar("metric.loss") == Approx(dense.scalar("metric.loss")).epsilon(1e-13));
  CHECK(largestDifference(moe.read("grad.embed"), dense.read("grad.embed")) < 1e-14);
  // Every expert has a part of the gradient.
  for (const char *part : {"gate", "up", "down"}) {
    std::string name = part;
    Row sum(16 * 9), all = moe.read("grad.layers.0.moe.experts." + name);
    for (size_t i = 0; i < all.size(); ++i)
      sum[i % sum.size()] += all[i];
    CHECK(largestDifference(sum, dense.read("grad.layers.0.ffn." + name)) < 1e-14);
  }
  CHECK(largestDifference(moe.read("grad.layers.0.moe.router"), Row(16 * 6)) < 1e-14); // no weight makes a difference
}

TEST_CASE("routing: all experts of one weight are one wide dense block") {
  CompiledModel moe(oneLayer(R"("num_experts": 4, "top_k": 4)", ""), {}), dense(denseSpec(1, 4 * 9), {});
  moe.call(moe::kInitFunction);
  dense.call(moe::kInitFunction);
  silence(moe, "layers.0.moe.router"); // each has a quarter
  for (const std::string &name : dense.names(rt::StateKind::Parameter))
    if (!name.starts_with("layers.0.ffn"))
      copyParameter(moe, dense, name);
  for (const char *part : {"gate", "up"}) {
    Row all = moe.read(std::string("layers.0.moe.experts.") + part), wide(16 * 36);
    for (size_t e = 0; e < 4; ++e)
      for (size_t i = 0; i < 16; ++i)
        std::copy_n(all.begin() + static_cast<long>((e * 16 + i) * 9), 9,
                    wide.begin() + static_cast<long>(i * 36 + e * 9));
    dense.write(std::string("layers.0.ffn.") + part, wide);
  }
  Row down = moe.read("layers.0.moe.experts.down");
  for (double &value : down)
    value /= 4;
  dense.write("layers.0.ffn.down", down);
  runStep(moe, 4, 2);
  runStep(dense, 4, 2);
  CHECK(moe.scalar("metric.loss") == Approx(dense.scalar("metric.loss")).epsilon(1e-13));
  CHECK(largestDifference(moe.read("grad.embed"), dense.read("grad.embed")) < 1e-14);
}

TEST_CASE("routing: zero experts return what they read, and experts that nobody chooses change nothing") {
  CompiledModel model(oneLayer(R"("num_experts": 4, "zero_experts": 2, "top_k": 2)",
                               R"("balance": {"kind": "budget_bias", "expected": 1.5})"),
                      {});
  model.call(moe::kInitFunction);
  silence(model, "layers.0.attention.o");
  // By hand for biases that leave the choice free, that force zero experts and that forbid them.
  for (double push : {0.0, 100.0, -100.0}) {
    Row bias{0, 0, 0, 0, push, push};
    model.write("balance.layers.0.router.bias", bias);
    for (int32_t token : {'a', 'q', 'z'}) {
      Row x = embedded(model, token);
      Row expected = times(norm(plus(x, mixture(model, norm(x), 4, 6, 2, bias))), model.read("head").data(), 256);
      CHECK(largestDifference(logits(model, token), expected) < 1e-12);
    }
  }
  model.write("balance.layers.0.router.bias", {0, 0, 0, 0, 100, 100});
  runStep(model, 4, 2);
  CHECK(model.read("metric.expert_tokens") == Row{0, 0, 0, 0, 32, 32});
  for (const char *part : {"gate", "up", "down"})
    CHECK(model.read(std::string("grad.layers.0.moe.experts.") + part) == Row(4 * 16 * 9));
  CHECK(largestDifference(model.read("grad.layers.0.moe.router"), Row(16 * 6)) > 1e-6); // their weights still count
}

TEST_CASE("routing: zero experts that are never chosen are not there") {
  const std::string scores = R"("score": "sigmoid", "normalize": true)";
  CompiledModel plain(spec(R"("num_experts": 4, "top_k": 2)", scores), {});
  CompiledModel more(spec(R"("num_experts": 4, "zero_experts": 2, "top_k": 2)", scores + R"(, "balance": "bias")"), {});
  plain.call(moe::kInitFunction);
  more.call(moe::kInitFunction);
  for (const std::string &name : plain.names(rt::StateKind::Parameter))
    if (!name.ends_with("router"))
      copyParameter(plain, more, name);
  for (std::string layer : {"1", "2"}) {
    Row narrow = plain.read("layers." + layer + ".moe.router"), wide(16 * 6);
    for (size_t i = 0; i < narrow.size(); ++i)
      wide[i / 4 * 6 + i % 4] = narrow[i];
    more.write("layers." + layer + ".moe.router", wide);
    more.write("balance.layers." + layer + ".router.bias", {0, 0, 0, 0, -10, -10});
  }
  runStep(plain, 4, 2);
  runStep(more, 4, 2);
  CHECK(plain.scalar("metric.loss") == Approx(more.scalar("metric.loss")).epsilon(1e-14));
  CHECK(largestDifference(plain.read("grad.layers.1.moe.experts.up"), more.read("grad.layers.1.moe.experts.up")) <
        1e-14);
}

TEST_CASE("routing: a shortcut layer is two dense layers, and its mixture enters at the end") {
  const std::string shortcut = R"("num_experts": 4, "top_k": 2, "block": "shortcut")";
  CompiledModel model(oneLayer(shortcut, ""), {}), dense(denseSpec(2, 12), {});
  model.call(moe::kInitFunction);
  dense.call(moe::kInitFunction);
  Row down = model.read("layers.0.moe.experts.down");
  silence(model, "layers.0.moe.experts.down");
  for (const std::string &name : dense.names(rt::StateKind::Parameter)) {
    std::string from = name;
    if (name.starts_with("layers.1."))
      from = "layers.0.second." + name.substr(9);
    copyParameter(model, dense, from, name);
  }
  runStep(model, 4, 2);
  runStep(dense, 4, 2);
  CHECK(model.scalar("metric.loss") == Approx(dense.scalar("metric.loss")).epsilon(1e-13));
  CHECK(largestDifference(model.read("grad.embed"), dense.read("grad.embed")) < 1e-14);
  CHECK(largestDifference(model.read("grad.layers.0.second.ffn.up"), dense.read("grad.layers.1.ffn.up")) < 1e-14);

  // y = h2 + second(norm(h2)) + mixture(u), h2 = x + first(u), u = norm(x).
  model.write("layers.0.moe.experts.down", down);
  silence(model, "layers.0.attention.o");
  silence(model, "layers.0.second.attention.o");
  for (int32_t token : {'a', 'q', 'z'}) {
    Row x = embedded(model, token), u = norm(x), h2 = plus(x, swiglu(model, "layers.0.ffn", u, 12));
    Row y = plus(h2, swiglu(model, "layers.0.second.ffn", norm(h2), 12));
    y = plus(y, mixture(model, u, 4, 4, 2, Row(4)));
    CHECK(largestDifference(logits(model, token), times(norm(y), model.read("head").data(), 256)) < 1e-12);
  }
}

TEST_CASE("specialization: of one token, gradients of last products have the angles of activations") {
  std::string text = changed(oneLayer(R"("num_experts": 4, "top_k": 2)", ""), "\"losses\": {}",
                             R"("losses": {"specialization": {"weight": 1}})");
  text = changed(changed(text, "\"seq_len\": 8", "\"seq_len\": 1"), "\"sequences\": 4", "\"sequences\": 1");
  CompiledModel model(changed(text, "\"micro_sequences\": 2", "\"micro_sequences\": 1"), {});
  model.call(moe::kInitFunction);
  for (int32_t token : {'a', 'q', 'z'}) {
    model.call(moe::kBeginStepFunction);
    model.writeInts("batch.tokens", {token, 'b'});
    model.call(moe::kForwardBackwardFunction);
    Row all = model.read("grad.layers.0.moe.experts.down"), counts = model.read("metric.expert_tokens");
    std::vector<Row> gradients;
    for (size_t e = 0; e < 4; ++e)
      if (counts[e] > 0)
        gradients.emplace_back(all.begin() + static_cast<long>(e * 9 * 16),
                               all.begin() + static_cast<long>((e + 1) * 9 * 16));
    REQUIRE(gradients.size() == 2);
    auto dot = [](const Row &x, const Row &y) { return std::inner_product(x.begin(), x.end(), y.begin(), 0.0); };
    double cosine =
        dot(gradients[0], gradients[1]) / std::sqrt(dot(gradients[0], gradients[0]) * dot(gradients[1], gradients[1]));
    CHECK(model.scalar("metric.specialization") == Approx(cosine).epsilon(1e-10));
  }
}

TEST_CASE("peri norm: at the start the stream's variance grows by 2 per layer, however large a block's weights are") {
  // Column 0 of the stream is the embedding's, as no block adds to it: what the last norm makes of it tells the rest.
  auto meanSquare = [](int layers, double factor) {
    std::string text = changed(denseSpec(layers, 48), "\"hidden_size\": 16", "\"hidden_size\": 64");
    text = changed(text, "\"head_dim\": 8", "\"head_dim\": 32");
    text = changed(text, "\"num_layers\"", R"("norm": {"placement": "peri", "eps": 1e-12}, "num_layers")");
    CompiledModel model(text, {});
    model.call(moe::kInitFunction);
    Row embed = model.read("embed");
    for (size_t i = 0; i < embed.size(); ++i)
      embed[i] = i % 64 == 0 || embed[i] > 0 ? 1 : -1; // a mean square of 1
    model.write("embed", embed);
    for (int layer = 0; layer < layers; ++layer)
      for (const char *block : {"attention", "ffn"}) {
        Row scale(64, 1.0);
        scale[0] = 0;
        std::string prefix = "layers." + std::to_string(layer) + "." + block;
        model.write(prefix + ".out_norm.scale", scale);
        std::string last = prefix + (block == std::string("ffn") ? ".down" : ".o");
        Row weights = model.read(last);
        for (double &weight : weights)
          weight *= factor;
        model.write(last, weights);
      }
    Row head(64 * 256);
    head[0] = 1; // logit 0 is column 0
    model.write("head", head);
    double mean = 0;
    for (int32_t token = 0; token < 64; ++token)
      mean += 1 / std::pow(logits(model, token)[0], 2) / 64;
    return mean;
  };
  double four = meanSquare(4, 1), twelve = meanSquare(12, 1);
  INFO(four << " " << twelve);
  // 63 of 64 columns grow.
  CHECK((twelve - four) / 8 == Approx(2 * 63.0 / 64).epsilon(0.1));
  CHECK(four == Approx(1 + 4 * 2 * 63.0 / 64).epsilon(0.15));
  CHECK(meanSquare(4, 10) == Approx(four).epsilon(1e-9));
}

TEST_CASE("capacity random2: first choices before second ones, and second ones by chance") {
  const std::string two = R"("num_experts": 4, "top_k": 2, "capacity": {"factor": 1, "drop": "random2"})";
  auto withSequences = [&](const std::string &moe, int count) {
    std::string text = changed(oneLayer(moe, ""), "\"seq_len\": 8", "\"seq_len\": 1"), number = std::to_string(count);
    text = changed(text, "\"sequences\": 4", "\"sequences\": " + number);
    text = changed(text, "\"micro_sequences\": 2", "\"micro_sequences\": " + number);
    return changed(text, "\"lr\": 1e-2", "\"lr\": 1e-30");
  };
  // Two tokens that choose the same two experts in turn, four times each: every expert's room is taken by first
  // choices.
  CompiledModel model(withSequences(two, 8), {});
  model.call(moe::kInitFunction);
  silence(model, "layers.0.attention.o");
  Row router(16 * 4), embed = model.read("embed");
  for (size_t i = 0; i < 16; ++i) {
    double sign = i % 2 ? 1 : -1;
    embed['a' * 16 + i] = 0.3 + 0.2 * sign;
    embed['b' * 16 + i] = 0.3 - 0.2 * sign;
    router[i * 4] = 0.05 * (1 + sign), router[i * 4 + 1] = 0.05 * (1 - sign);
    router[i * 4 + 2] = router[i * 4 + 3] = -1;
  }
  model.write("embed", embed);
  model.write("layers.0.moe.router", router);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 8; ++i)
    tokens.insert(tokens.end(), {i < 4 ? 'a' : 'b', 'c'});
  model.call(moe::kBeginStepFunction);
  model.writeInts("batch.tokens", tokens);
  model.call(moe::kForwardBackwardFunction);
  CHECK(model.read("metric.expert_tokens") == Row{8, 8, 0, 0});
  double expected = 0;
  for (char token : {'a', 'b'}) {
    Row x = embedded(model, token),
        logits = times(norm(plus(x, mixture(model, norm(x), 4, 4, 1, Row(4)))), model.read("head").data(), 256);
    double sum = 0;
    for (double logit : logits)
      sum += std::exp(logit);
    expected += (std::log(sum) - logits['c']) / 2;
  }
  CHECK(model.scalar("metric.loss") == Approx(expected).epsilon(1e-12));

  // One token and room for all: its second expert is met with the probability 2 w2 / (w1 + w2).
  CompiledModel single(withSequences(changed(two, "\"factor\": 1", "\"factor\": 2"), 1), {});
  single.call(moe::kInitFunction);
  silence(single, "layers.0.attention.o");
  for (auto [gap, wanted] : {std::pair(0.5, 2 / (1 + std::exp(0.5))), {1.5, 2 / (1 + std::exp(1.5))}, {0.0, 1.0}}) {
    Row x = norm(embedded(single, 'a')), toward(16 * 4);
    for (size_t i = 0; i < 16; ++i) { // logits 0 and -gap, and two far below
      double part = x[i] / 16;
      toward[i * 4 + 1] = -gap * part, toward[i * 4 + 2] = toward[i * 4 + 3] = -9 * part;
    }
    single.write("layers.0.moe.router", toward);
    int met = 0;
    for (int step = 0; step < 1000; ++step) {
      single.call(moe::kBeginStepFunction);
      single.writeInts("batch.tokens", {'a', 'c'});
      single.call(moe::kForwardBackwardFunction);
      single.call(moe::kUpdateFunction);
      Row gradient = single.read("grad.layers.0.moe.experts.down");
      CHECK(gradient[0] != 0); // the first stays
      met += gradient[9 * 16] != 0;
    }
    INFO(gap << ": " << met << " of 1000, wanted " << wanted);
    CHECK(met / 1000.0 == Approx(wanted).margin(0.05)); // three standard deviations
    if (gap == 0)
      CHECK(met == 1000);
  }
}
