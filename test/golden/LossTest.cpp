// Losses in whole models: gradients against central differences in f64, and what must not change them.
#include "test/golden/SmallRuns.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

// Every form of every loss of compiler/Methods/Loss at once, with weights of their own: a wrong gradient of one shows
// in the sum. A zero expert and dropped slots leave tokens with fewer experts.
const std::string base = R"({
  "moec": 1, "name": "losses", "seed": 3,
  "model": {
    "vocab_size": 256, "hidden_size": 16, "num_layers": 4,
    "attention": {"num_heads": 2, "head_dim": 8}, "ffn": {"inner_size": 16},
    "moe": {"layers": {"from": 1}, "num_experts": 5, "top_k": 3, "expert": {"inner_size": 9}, "zero_experts": 1,
            "capacity": {"factor": 1.0, "drop": "position"}},
    "router": {"score": "sigmoid"}, "init": {"std": 0.3}
  },
  "losses": {
    "hidden_z": {"weight": 0.3},
    "gate": {"kind": "erc", "weight": 2.0, "alpha": 0.7, "noise": "none"},
    "up": {"kind": "erc", "weight": 1.5, "activation": "up", "noise": "none"},
    "silu": {"kind": "erc", "weight": 3.0, "activation": "silu_gate", "layer_reduce": "mean", "noise": "none"},
    "swiglu": {"kind": "erc", "weight": 2.5, "activation": "swiglu", "noise": "none"},
    "output": {"kind": "erc", "weight": 1.7, "activation": "output", "noise": "none"},
    "specialization": {"weight": 4.0},
    "apart": {"kind": "specialization", "form": "abs", "weight": 5.0, "every": 2},
    "square": {"kind": "specialization", "form": "squared", "weight": 6.0},
    "coupling": {"weight": 2.2},
    "largest": {"kind": "coupling", "pairs": "largest_k", "weight": 3.1}
  },
  "optimizer": {"kind": "adamw", "lr": 1e-2},
  "data": {"seq_len": 8, "train": {"text": {"path": "x.txt"}}},
  "batch": {"sequences": 4, "micro_sequences": 4},
  "duration": {"steps": 20}, "precision": {"compute": "f64"}, "evaluate": null
})";

const std::string dense = R"({
  "moec": 1, "name": "dense", "seed": 3,
  "model": {"vocab_size": 256, "hidden_size": 16, "num_layers": 1, "attention": {"num_heads": 2, "head_dim": 8},
            "ffn": {"inner_size": 24}, "multi_token": null, "init": {"std": 0.3}},
  "optimizer": {"kind": "adamw", "lr": 1e-2},
  "data": {"seq_len": 8, "train": {"text": {"path": "x.txt"}}}, "batch": {"sequences": 4},
  "duration": {"steps": 20}, "precision": {"compute": "f64"}, "evaluate": null
})";

std::string withLosses(const std::string &losses) {
  size_t first = base.find("\"losses\": {"), last = base.find("\"optimizer\"");
  return std::string(base).replace(first, last - first, "\"losses\": " + losses + ",\n");
}

} // namespace

TEST_CASE("losses: gradients of whole models against central differences") {
  std::vector<std::string> parameters{"embed"};
  for (const char *layer : {"layers.1.", "layers.3."})
    for (const char *name :
         {"attention.v", "moe.norm.scale", "moe.router", "moe.experts.gate", "moe.experts.up", "moe.experts.down"})
      parameters.push_back(std::string(layer) + name);
  expectSlopes(base, parameters);
}

TEST_CASE("multi_token: gradients of whole models against central differences") {
  std::string spec =
      changed(withLosses("{}"), "\"router\"", "\"multi_token\": {\"depth\": 2, \"weight\": 3.0}, \"router\"");
  std::vector<std::string> parameters{"embed", "head", "final_norm.scale", "layers.3.moe.experts.up"};
  for (const char *module : {"multi_token.0.", "multi_token.1."})
    for (const char *name : {"hidden_norm.scale", "from_hidden", "embed_norm.scale", "from_embed", "attention.k",
                             "ffn.norm.scale", "ffn.gate", "out_norm.scale"})
      parameters.push_back(std::string(module) + name);
  expectSlopes(spec, parameters);
}

// A module that reads embeddings alone is a model of one layer over the tokens from d on.
TEST_CASE("multi_token: a module predicts what a model of its own would") {
  CompiledModel ahead(changed(dense, "\"multi_token\": null", "\"multi_token\": {\"depth\": 2}"), {});
  ahead.call(moe::kInitFunction);
  std::vector<double> identity(16 * 16);
  for (int i = 0; i < 16; ++i)
    identity[17 * i] = 1;
  double expected = 0;
  for (int d : {1, 2}) {
    std::string module = "multi_token." + std::to_string(d - 1) + ".", length = std::to_string(8 - d);
    ahead.write(module + "from_hidden", std::vector<double>(16 * 16, 0.0));
    ahead.write(module + "from_embed", identity);
    CompiledModel alone(changed(dense, "\"seq_len\": 8", "\"seq_len\": " + length), {});
    alone.call(moe::kInitFunction);
    for (const std::string &name : alone.names(rt::StateKind::Parameter))
      if (name.starts_with("layers.0."))
        alone.write(name, ahead.read(module + name.substr(9)));
    alone.write("head", ahead.read("head"));
    std::vector<double> embed = ahead.read("embed");
    for (size_t row = 0; row < 256; ++row) {
      double squares = 0;
      for (int i = 0; i < 16; ++i)
        squares += embed[16 * row + i] * embed[16 * row + i] / 16;
      for (int i = 0; i < 16; ++i)
        embed[16 * row + i] /= std::sqrt(squares + 1e-5);
    }
    alone.write("embed", embed);
    std::vector<int32_t> all = tokens(0, 4, 9), later;
    for (int i = 0; i < 4 * 9; ++i)
      if (i % 9 >= d)
        later.push_back(all[i]);
    alone.call(moe::kBeginStepFunction);
    alone.writeInts("batch.tokens", later);
    alone.call(moe::kForwardBackwardFunction);
    expected += alone.scalar("metric.loss") / 2;
  }
  runStep(ahead, 4, 4);
  CHECK(ahead.scalar("metric.multi_token") == Approx(expected).epsilon(1e-12));
  CHECK(ahead.scalar("metric.total_loss") == Approx(ahead.scalar("metric.loss") + 0.3 * expected).epsilon(1e-12));
}

TEST_CASE("losses: hidden_z of a dense model") {
  expectSlopes(changed(dense, "\"optimizer\"", "\"losses\": {\"hidden_z\": {\"weight\": 2.0}}, \"optimizer\""),
               {"embed", "layers.0.ffn.up", "final_norm.scale"});
}

TEST_CASE("losses: what counts as a constant") {
  // The bounds of the noise are constants, so slopes of routers are not those of the loss; those of experts are.
  expectSlopes(withLosses(R"({"erc": {"weight": 5.0}})"), {"layers.1.moe.experts.gate", "layers.3.moe.experts.gate"});
  // What the routers read is a constant: of all parameters only the last router moves the loss through itself alone.
  // The cross-entropy is there for the rest.
  std::string detached = R"({"coupling": {"weight": 5.0, "detach_hidden": true}})";
  expectSlopes(withLosses(detached), {"layers.3.moe.router"});
  CompiledModel with(withLosses(detached), {}), without(withLosses("{}"), {});
  for (CompiledModel *model : {&with, &without}) {
    model->call(moe::kInitFunction);
    runStep(*model, 4, 4);
  }
  CHECK(with.read("grad.layers.1.moe.router") != without.read("grad.layers.1.moe.router"));
  CHECK(with.read("grad.layers.3.attention.v") == without.read("grad.layers.3.attention.v"));
}

TEST_CASE("losses: neither micro-batches, nor recomputing, nor threads change them") {
  // The capacity of an expert is a share of a micro-batch.
  std::string whole = changed(base, "\"capacity\": {\"factor\": 1.0, \"drop\": \"position\"}", "\"capacity\": null");
  whole = changed(whole, "\"alpha\": 0.7, \"noise\": \"none\"", "\"alpha\": 0.7");
  whole = changed(whole, "\"router\"", "\"multi_token\": {\"depth\": 3}, \"router\"");
  std::string split = changed(whole, "\"micro_sequences\": 4", "\"micro_sequences\": 1");
  split = changed(split, "\"evaluate\": null", "\"evaluate\": null, \"memory\": {\"remat\": \"full\"}");
  CompiledModel a(whole, {}), b(split, {}), c(whole, {2});
  for (CompiledModel *model : {&a, &b, &c})
    model->call(moe::kInitFunction);
  runStep(a, 4, 4);
  runStep(b, 4, 1);
  runStep(c, 4, 4);
  CHECK(worstDifference(a, b, rt::StateKind::Gradient) < 1e-11);
  CHECK(worstDifference(a, b, rt::StateKind::Metric) < 1e-11);
  CHECK(a.stateBytes() == c.stateBytes());
}
