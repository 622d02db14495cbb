// Small models with mixtures, in f64, and what tests of routing ask of them.
#ifndef MOEC_TEST_GOLDEN_ROUTEDMODELS_H
#define MOEC_TEST_GOLDEN_ROUTEDMODELS_H

#include "test/golden/SmallRuns.h"

#include <algorithm>

namespace moec::test {

using Row = std::vector<double>;

/// Three layers, of which two have mixtures; `moe` and `router` are keys, `losses` a section.
inline std::string spec(const std::string &moe, const std::string &router, const std::string &losses = "{}",
                        const std::string &more = "", int microSequences = 2) {
  return R"({
  "moec": 1, "name": "routing", "seed": 3,
  "model": {
    "vocab_size": 256, "hidden_size": 16, "num_layers": 3,
    "attention": {"num_heads": 2, "head_dim": 8}, "ffn": {"inner_size": 12}, "init": {"std": 0.3},
    "moe": {"layers": {"from": 1}, "expert": {"inner_size": 9}, )" +
         moe + R"(},
    "router": {)" +
         router + R"(}
  },
  "losses": )" +
         losses + ", " + more + R"(
  "optimizer": {"kind": "adamw", "lr": 1e-2},
  "data": {"seq_len": 8, "train": {"text": {"path": "x.txt"}}},
  "batch": {"sequences": 4, "micro_sequences": )" +
         std::to_string(microSequences) + R"(},
  "duration": {"steps": 20}, "precision": {"compute": "f64"}, "evaluate": null
})";
}

inline void train(CompiledModel &model, int steps, int microSequences) {
  for (int step = 0; step < steps; ++step) {
    runStep(model, 4, microSequences);
    model.call(moe::kUpdateFunction);
  }
}

/// Logits of the model's one position.
inline std::vector<double> logits(CompiledModel &model, int32_t token) {
  model.writeInts("generate.tokens", std::vector<int32_t>(model.readInts("generate.tokens").size(), token));
  model.writeInts("generate.position", {0});
  model.call(moe::kLogitsFunction);
  return model.read("generate.logits");
}

inline double largestDifference(const std::vector<double> &x, const std::vector<double> &y) {
  REQUIRE(x.size() == y.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::isnan(x[i] - y[i]) ? INFINITY : std::fabs(x[i] - y[i]));
  return worst;
}

inline void copyParameter(CompiledModel &from, CompiledModel &to, const std::string &name,
                          const std::string &toName = "") {
  to.write(toName.empty() ? name : toName, from.read(name));
}

} // namespace moec::test

#endif
