// The text so far, in a longer window, is the text so far alone: what stands behind it takes no part in routing.
#include "test/golden/RoutedModels.h"

#include <catch2/catch.hpp>

using namespace moec;
using namespace moec::test;

namespace {

constexpr int kWindow = 9;

/// Sequences of `length`, so many that every method has whole loads.
std::string ofLength(int length, const std::string &moe, const std::string &router, const std::string &more) {
  std::string text = spec(moe, router, "{}", more, 4);
  return changed(text, "\"seq_len\": 8", "\"seq_len\": " + std::to_string(length));
}

/// Logits after the first `used` tokens; `rest` stands in the places behind them.
std::vector<double> logitsAfter(CompiledModel &model, int used, int32_t rest) {
  std::vector<int32_t> window(model.readInts("generate.tokens").size(), rest), text = tokens(3, 1, kWindow);
  std::copy(text.begin(), text.begin() + used, window.begin());
  model.writeInts("generate.tokens", window);
  model.writeInts("generate.position", {used - 1});
  model.call(moe::kLogitsFunction);
  return model.read("generate.logits");
}

/// The same router biases in every length, far from equal, where the method has them.
void setBiases(CompiledModel &model) {
  for (const std::string &name : model.names(rt::StateKind::Balance)) {
    std::vector<double> bias = model.read(name);
    for (size_t i = 0; i < bias.size(); ++i)
      bias[i] = 0.1 * std::sin(1.0 + 2.0 * static_cast<double>(i));
    model.write(name, bias);
  }
}

const std::string six = R"("num_experts": 6, "top_k": 2)";

struct Case {
  std::string moe, router, more = "";
};

void expectTextAlone(const Case &one) {
  INFO(one.moe << "; " << one.router);
  CompiledModel window(ofLength(kWindow, one.moe, one.router, one.more), {});
  window.call(moe::kInitFunction);
  setBiases(window);
  for (int used : {3, 6}) {
    INFO("after " << used << " tokens");
    CompiledModel alone(ofLength(used, one.moe, one.router, one.more), {});
    alone.call(moe::kInitFunction);
    setBiases(alone);
    std::vector<double> expected = logitsAfter(alone, used, 0), found = logitsAfter(window, used, 0);
    CHECK(largestDifference(found, expected) < 1e-12);
    CHECK(logitsAfter(window, used, 'z') == found);
  }
}

} // namespace

TEST_CASE("generation: with capacity a window with text and no text routes as the text alone") {
  auto tight = [&](const char *drop) { return six + R"(, "capacity": {"factor": 0.6, "drop": ")" + drop + "\"}"; };
  for (const Case &one : std::vector<Case>{
           {tight("lowest_weight"), R"("score": {"kind": "softmax", "order": "post"})"},
           {tight("position"), R"("score": "sigmoid", "normalize": true)"},
           {tight("random2"), R"("score": "sqrt_softplus")"},
           {tight("lowest_weight") + R"(, "zero_experts": 2, "shared_experts": 1)",
            R"("score": "sqrt_softmax", "balance": {"kind": "budget_bias", "expected": 1.5})"},
           {tight("lowest_weight") + R"(, "top_k_per_layer": [2, 1])", R"("score": "sigmoid", "balance": "bias")",
            R"("changes": {"more": {"at": {"steps": 10}, "top_k_per_layer": [1, 2]}},)"},
           {tight("lowest_weight"), R"("balance": "bip", "groups": {"count": 3, "top": 2})"},
           {tight("lowest_weight"), R"("balance": "quantile")"},
       })
    expectTextAlone(one);
}

TEST_CASE("generation: where experts choose, and after plans, a window routes as the text alone") {
  for (const Case &one : std::vector<Case>{
           {six, R"("balance": {"kind": "sinkhorn", "share": 1})"},
           {six, R"("kind": "expert_choice", "scope": "batch", "see_future": true, "score": "sqrt_softmax")"},
           {six, R"("kind": "expert_choice", "scope": "sequence", "see_future": true, "capacity_factor": 3,
                    "then": {"at": {"steps": 5}, "capacity_factor": 2.5})"},
           {six, R"("kind": "expert_choice", "scope": "position", "normalize": true)"},
       })
    expectTextAlone(one);
}

TEST_CASE("generation: the capacity of a short text is that of its tokens") {
  CompiledModel limited(ofLength(kWindow, six + R"(, "capacity": {"factor": 0.6})", "", ""), {});
  CompiledModel free(ofLength(kWindow, six, "", ""), {});
  limited.call(moe::kInitFunction);
  free.call(moe::kInitFunction);
  // One token has room everywhere: an expert keeps one at least.
  CHECK(largestDifference(logitsAfter(limited, 1, 0), logitsAfter(free, 1, 0)) < 1e-12);
  // Of six an expert keeps ceil(0.6 * 6 * 2 / 6) = 2.
  CHECK(largestDifference(logitsAfter(limited, 6, 0), logitsAfter(free, 6, 0)) > 1e-6);
}
