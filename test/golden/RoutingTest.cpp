// Routing in whole models, in f64: gradients against central differences for every way to route, and settings that come
// to the same.
#include "test/golden/RoutedModels.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace moec;
using namespace moec::test;

TEST_CASE("routing: gradients of whole models against central differences") {
  const std::vector<std::string> usual{"embed",
                                       "layers.1.attention.v",
                                       "layers.1.moe.norm.scale",
                                       "layers.1.moe.router",
                                       "layers.1.moe.experts.gate",
                                       "layers.1.moe.experts.down",
                                       "layers.2.moe.router",
                                       "layers.2.moe.experts.up"};
  const std::vector<std::string> shortcut{"embed",
                                          "layers.1.attention.v",
                                          "layers.1.ffn.norm.scale",
                                          "layers.1.ffn.up",
                                          "layers.1.moe.router",
                                          "layers.1.moe.experts.gate",
                                          "layers.1.second.attention.k",
                                          "layers.1.second.ffn.down",
                                          "layers.2.moe.router",
                                          "layers.2.moe.experts.down"};
  const std::string six = R"("num_experts": 6, "top_k": 2)";
  struct Case {
    std::string moe, router, losses;
    std::vector<std::string> parameters;
  };
  for (const Case &one : std::vector<Case>{
           {six, R"("score": {"kind": "softmax", "order": "post"})",
            R"({"load_balance": {"weight": 2, "scope": "global"}, "router_z": {"weight": 0.5}})", usual},
           {six + R"(, "shared_experts": 1)", R"("score": "sqrt_softmax")",
            R"({"load_balance": {"weight": 2, "scope": "sequence"}})", usual},
           {six, R"("score": "sqrt_softplus", "normalize": true, "scale": 1.7,
                    "groups": {"count": 3, "top": 2, "score": "top2_sum"})",
            R"({"load_balance": {"weight": 3, "scope": "group", "groups": 3}, "router_z": {"weight": 0.5}})", usual},
           {six + R"(, "capacity": {"factor": 1.0})", R"("normalize": true, "jitter": 0.1)",
            R"({"load_balance": {"weight": 2}})", usual},
           {six + R"(, "shared_experts": 1)", R"("kind": "expert_choice", "capacity_factor": 3)", "{}", usual},
           {six, R"("kind": "expert_choice", "scope": "sequence", "see_future": true, "score": "sigmoid")",
            R"({"router_z": {"weight": 0.5}})", usual},
           {six + R"(, "zero_experts": 2, "block": "shortcut")",
            R"("scale": 2.0, "balance": {"kind": "budget_bias", "expected": 1.5})", R"({"router_z": {"weight": 0.5}})",
            shortcut},
           // What follows a plan is a constant, so only what lies behind it moves the loss through gradients alone.
           {six,
            R"("balance": {"kind": "sinkhorn", "share": 1})",
            "{}",
            {"layers.2.moe.experts.gate", "layers.2.moe.experts.down", "head"}},
           {R"("num_experts": 6, "top_k": 3)", R"("score": "sigmoid", "balance": "quantile")", "{}", usual},
           {R"("num_experts": 6, "top_k": 1)", "", "{}", usual},
           {six + R"(, "top_k_per_layer": [2, 1])", R"("score": "sigmoid", "normalize": false, "balance": "bias")",
            R"({"load_balance": {"weight": 1e-4, "scope": "sequence", "choices": "actual"}})", usual},
       }) {
    INFO(one.moe << "; " << one.router << "; " << one.losses);
    expectSlopes(spec(one.moe, one.router, one.losses), one.parameters, 2);
  }
}

TEST_CASE("routing: experts that choose every token are tokens that choose every expert") {
  const std::string six = R"("num_experts": 6, "top_k": 6)";
  CompiledModel chosen(spec(six, ""), {});
  CompiledModel choose(spec(six, R"("kind": "expert_choice", "scope": "batch", "see_future": true)"), {});
  for (CompiledModel *model : {&chosen, &choose}) {
    model->call(moe::kInitFunction);
    runStep(*model, 4, 2);
  }
  CHECK(worstDifference(chosen, choose, rt::StateKind::Gradient) < 1e-12);
  CHECK(chosen.read("metric.expert_tokens") == choose.read("metric.expert_tokens"));
}

TEST_CASE("routing: a capacity of E / k drops nothing, a smaller one does") {
  const std::string six = R"("num_experts": 6, "top_k": 2)";
  CompiledModel free(spec(six, ""), {}), wide(spec(six + R"(, "capacity": {"factor": 3.0})", ""), {});
  CompiledModel narrow(spec(six + R"(, "capacity": {"factor": 0.5})", ""), {});
  for (CompiledModel *model : {&free, &wide, &narrow}) {
    model->call(moe::kInitFunction);
    train(*model, 2, 2);
  }
  CHECK(free.stateBytes() == wide.stateBytes());
  CHECK(free.stateBytes() != narrow.stateBytes());
}

TEST_CASE("routing: layers and changes with a smaller top_k are models of that top_k, in what is dropped too") {
  const std::string eight = R"("num_experts": 8, "top_k": )",
                    coupled = R"({"coupling": {"weight": 0.5, "pairs": "largest_k"}})";
  for (const char *drop : {"lowest_weight", "position"}) {
    INFO(drop);
    std::string capacity = R"(, "capacity": {"factor": 1, "drop": ")" + std::string(drop) + "\"}";
    std::string router = R"("score": {"kind": "softmax", "order": "post"})";
    CompiledModel plain(spec(eight + "2" + capacity, router, coupled), {});
    CompiledModel listed(spec(eight + "4" + capacity + R"(, "top_k_per_layer": [2, 2])", router, coupled), {});
    CompiledModel later(spec(eight + "4" + capacity, router, coupled,
                             R"("changes": {"fewer": {"at": {"steps": 1}, "top_k_per_layer": [2, 2]}},)"),
                        {});
    for (CompiledModel *model : {&plain, &listed, &later})
      model->call(moe::kInitFunction);
    later.writeInts("counter.step", {1}); // the step before would have had top_k 4
    for (CompiledModel *model : {&plain, &listed, &later})
      runStep(*model, 4, 2);
    CHECK(worstDifference(plain, listed, rt::StateKind::Gradient) < 1e-12);
    CHECK(worstDifference(plain, later, rt::StateKind::Gradient) < 1e-12);
    CHECK(plain.scalar("metric.coupling") == Approx(listed.scalar("metric.coupling")).epsilon(1e-12));
  }
}

TEST_CASE("routing: random2 keeps a second choice with the chance k g2, k that of the layer") {
  const std::string eight = R"("num_experts": 8, "top_k": 4, "top_k_per_layer": [2, 2])";
  const std::string router = R"("score": {"kind": "softmax", "order": "post"})";
  CompiledModel whole(spec(eight, router), {});
  CompiledModel random(spec(eight + R"(, "capacity": {"factor": 8, "drop": "random2"})", router), {});
  for (CompiledModel *model : {&whole, &random}) {
    model->call(moe::kInitFunction);
    // Second choices have about 0.45 of a token's weights: 2 g2 is below 1, 4 g2 would keep them all.
    for (const char *name : {"layers.1.moe.router", "layers.2.moe.router"}) {
      std::vector<double> weights = model->read(name);
      for (double &weight : weights)
        weight *= 0.1;
      model->write(name, weights);
    }
    runStep(*model, 4, 2);
  }
  CHECK(worstDifference(whole, random, rt::StateKind::Gradient) > 1e-3);
}

TEST_CASE("routing: one bias for all experts changes no number, and biases do not depend on the split of a step") {
  const std::string eight = R"("num_experts": 6, "zero_experts": 2, "top_k": 2)";
  for (const char *balance : {R"("bias")", R"({"kind": "budget_bias", "expected": 1.5})"}) {
    std::string router = R"("score": "sigmoid", "jitter": 0.05, "balance": )" + std::string(balance);
    CompiledModel whole(spec(eight, router, "{}", "", 4), {}), split(spec(eight, router, "{}", "", 1), {});
    for (CompiledModel *model : {&whole, &split})
      model->call(moe::kInitFunction);
    Row before = logits(whole, 'e');
    for (const char *layer : {"1", "2"})
      whole.write(std::string("balance.layers.") + layer + ".router.bias", Row(8, 0.5));
    CHECK(logits(whole, 'e') == before);
    for (const char *layer : {"1", "2"})
      whole.write(std::string("balance.layers.") + layer + ".router.bias", Row(8, 0.0));
    train(whole, 3, 4);
    train(split, 3, 1);
    for (const char *layer : {"1", "2"}) {
      Row bias = whole.read(std::string("balance.layers.") + layer + ".router.bias");
      CHECK(bias == split.read(std::string("balance.layers.") + layer + ".router.bias"));
      CHECK(bias != Row(8, 0.0));
    }
  }
}

TEST_CASE("routing: sinkhorn of share 0 is the plain router, to the bit") {
  const std::string six = R"("num_experts": 6, "top_k": 2)";
  CompiledModel plain(spec(six, ""), {}), never(spec(six, R"("balance": {"kind": "sinkhorn", "share": 0})"), {});
  for (CompiledModel *model : {&plain, &never}) {
    model->call(moe::kInitFunction);
    train(*model, 3, 2);
  }
  CHECK(plain.stateBytes() == never.stateBytes());
}

TEST_CASE(
    "routing: experts per token by layer and step; nothing else changes at the step; one expert trains the router") {
  const std::string moe = R"("num_experts": 6, "top_k": 3, "top_k_per_layer": [3, 2])";
  CompiledModel later(
      spec(moe, "", "{}", R"("changes": {"sparser": {"at": {"steps": 2}, "top_k_per_layer": [1, 1]}},)"), {});
  CompiledModel never(spec(moe, ""), {});
  CHECK(later.names(rt::StateKind::Parameter) == never.names(rt::StateKind::Parameter));
  auto chosen = [&](CompiledModel &model) {
    Row counts = model.read("metric.expert_tokens");
    return Row{std::accumulate(counts.begin(), counts.begin() + 6, 0.0),
               std::accumulate(counts.begin() + 6, counts.end(), 0.0)};
  };
  for (CompiledModel *model : {&later, &never})
    model->call(moe::kInitFunction);
  for (int step = 0; step < 4; ++step) {
    for (CompiledModel *model : {&later, &never})
      train(*model, 1, 2);
    CHECK(chosen(never) == Row{96, 64});
    // The first step is 1, so the second is the first with the change.
    CHECK(chosen(later) == (step < 1 ? Row{96, 64} : Row{32, 32}));
    CHECK((later.read("embed") == never.read("embed")) == (step < 1));
  }
  runStep(later, 4, 2);
  for (const char *layer : {"1", "2"})
    CHECK(largestDifference(later.read(std::string("grad.layers.") + layer + ".moe.router"), Row(16 * 6)) > 1e-4);
}

TEST_CASE("sqrt_softmax: gradients stay finite where a weight has vanished") {
  CompiledModel model(spec(R"("num_experts": 6, "top_k": 2)", R"("score": "sqrt_softmax")"), {});
  model.call(moe::kInitFunction);
  for (const char *layer : {"1", "2"}) {
    std::string name = std::string("layers.") + layer + ".moe.router";
    Row router = model.read(name);
    for (double &weight : router)
      weight *= 1e4; // logits thousands apart: all but the largest weight are 0
    model.write(name, router);
  }
  runStep(model, 4, 2);
  for (const std::string &name : model.names(rt::StateKind::Gradient)) {
    INFO(name);
    for (double value : model.read(name))
      REQUIRE(std::isfinite(value));
  }
}

TEST_CASE("measures change no parameter, to the bit") {
  const std::string moe = R"("num_experts": 6, "top_k": 2)", losses = R"({"load_balance": {"weight": 0.1}})";
  CompiledModel plain(spec(moe, "", losses), {});
  CompiledModel watched(spec(moe, "", losses, R"("metrics": {"watch": {
      "routing_entropy": {}, "load_share": {}, "score_share": {}, "max_logit": {}, "activation_rms": {},
      "inner": {"kind": "activation_rms", "of": "experts"}, "coactivation_cosine": {}, "next_layer_predictability": {},
      "route_churn": {"tokens": 8, "every": {"steps": 2}}, "domain_information": {}, "congestion": {}}},)"),
                        {});
  for (CompiledModel *model : {&plain, &watched}) {
    model->call(moe::kInitFunction);
    train(*model, 3, 2);
  }
  for (const std::string &name : plain.names(rt::StateKind::Parameter))
    CHECK(plain.read(name) == watched.read(name));
}
