// The same spec compiled with fused kernels and with one kernel for each op: every state must agree. What fusion may
// get wrong depends on whether row tiles (8 rows with AVX-512, else 4) divide a matrix, and on which groups have rows.
#include "test/golden/SmallRuns.h"

#include "compiler/Target/CPU/CpuTarget.h"

using namespace moec;
using namespace moec::test;

namespace {

/// Every optimizer at once, each on square matrices of `size` (a gradient with a null space has no bases of its own).
std::string everyOptimizer(int64_t size) {
  std::string side = std::to_string(size);
  return R"({
  "moec": 1, "name": "fusion", "seed": 3,
  "model": {
    "vocab_size": 256, "hidden_size": )" +
         side + R"(, "num_layers": 2, "attention": {"num_heads": 1, "head_dim": )" + side +
         R"(}, "ffn": {"inner_size": )" + side + R"(},
    "moe": {"layers": {"from": 1}, "num_experts": 3, "top_k": 2, "expert": {"inner_size": )" +
         side + R"(}, "shared_experts": 1}
  },
  "optimizer": {
    "kind": "adamw", "lr": 0.02, "schedule": {"kind": "constant"},
    "groups": {
      "soap": {"match": ["layers.*.attention.q", "layers.*.moe.experts.up"], "kind": "soap", "every": 4},
      "soap_often": {"match": ["layers.*.attention.k"], "kind": "soap", "every": 1},
      "soap_lite": {"match": ["layers.*.moe.experts.gate"], "kind": "soap", "every": 3,
                    "lite": {"beta1": 0.1, "beta2": 1, "chi": 3, "sharp_fraction": 0.2, "ramp": {"steps": 2}}},
      "galore": {"match": ["layers.*.attention.v"], "kind": "galore", "rank": 4, "every": 4},
      "muon": {"match": ["layers.*.attention.o"], "kind": "muon", "ns": {"steps": 2}},
      "lite": {"match": ["layers.*.moe.experts.down"], "kind": "muon",
               "ns": {"steps": 3, "coefficients": "polar_express"}, "lite": {"beta1": 0.5, "beta2": 0.5}},
      "muonh": {"match": ["layers.*.moe.shared.*"], "kind": "muonh", "ns": {"steps": 2}},
      "adamh": {"match": ["head"], "kind": "adamh"},
      "adamw_lite": {"match": ["embed", "*norm*"], "kind": "adamw_lite"}
    }
  },
  "data": {"seq_len": 4, "train": {"text": {"path": "x.txt"}}},
  "batch": {"sequences": 1}, "duration": {"steps": 20}, "precision": {"compute": "f64"}, "evaluate": null
})";
}

void updates(CompiledModel &model, int steps) {
  model.call(moe::kInitFunction);
  std::vector<std::string> names = model.names(rt::StateKind::Parameter);
  std::sort(names.begin(), names.end());
  for (int step = 0; step < steps; ++step) {
    model.call(moe::kBeginStepFunction);
    for (size_t i = 0; i < names.size(); ++i) {
      std::vector<double> values = model.read("grad." + names[i]);
      for (size_t place = 0; place < values.size(); ++place)
        values[place] = number(place, 100 * i + step);
      model.write("grad." + names[i], values);
    }
    model.call(moe::kUpdateFunction);
  }
}

/// A balance and drops, over `tokens` tokens per micro-batch: rows of experts that tiles divide, and do not.
std::string balanced(const std::string &balance, int64_t seqLen, const std::string &more) {
  return R"({
  "moec": 1, "name": "fusion", "seed": 3,
  "model": {
    "vocab_size": 256, "hidden_size": 16, "num_layers": 3, "attention": {"num_heads": 2, "head_dim": 8},
    "ffn": {"inner_size": 12}, "init": {"std": 0.3},
    "moe": {"layers": {"from": 1}, "num_experts": 4, "top_k": 2, "expert": {"inner_size": 16})" +
         more + R"(},
    "router": {"balance": )" +
         balance + R"(}
  },
  "optimizer": {"kind": "adamw", "lr": 1e-2},
  "data": {"seq_len": )" +
         std::to_string(seqLen) + R"(, "train": {"text": {"path": "x.txt"}}},
  "batch": {"sequences": 4, "micro_sequences": 2}, "duration": {"steps": 20}, "precision": {"compute": "f64"},
  "evaluate": null
})";
}

void steps(CompiledModel &model, int count, int64_t seqLen) {
  model.call(moe::kInitFunction);
  for (int step = 0; step < count; ++step) {
    model.call(moe::kBeginStepFunction);
    for (int first = 0; first < 4; first += 2) {
      model.writeInts("batch.tokens", tokens(first, 2, static_cast<int>(seqLen) + 1));
      model.call(moe::kForwardBackwardFunction);
    }
    model.call(moe::kUpdateFunction);
  }
}

/// All that a run keeps, by its largest element.
void expectSameStates(CompiledModel &fused, CompiledModel &apart) {
  CHECK(fused.plan().kernels.size() < apart.plan().kernels.size());
  for (rt::StateKind kind : {rt::StateKind::Parameter, rt::StateKind::Optimizer, rt::StateKind::Balance})
    for (const std::string &name : fused.names(kind)) {
      std::vector<double> found = fused.read(name), expected = apart.read(name);
      REQUIRE(found.size() == expected.size());
      double largest = 0, worst = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        double difference = std::fabs(found[i] - expected[i]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        largest = std::max(largest, std::fabs(expected[i]));
      }
      INFO(name << ": " << worst << " of " << largest);
      CHECK(worst <= 1e-7 * largest);
      // What has been updated is not what it was at the beginning.
      if (kind == rt::StateKind::Optimizer)
        CHECK(largest > 0);
    }
}

/// Up to the best that this machine has.
std::vector<std::string> targets() {
  std::string best = cpu::CpuTarget::get("native").cpu;
  std::vector<std::string> runnable;
  for (std::string name : {"x86-64", "x86-64-v3", "x86-64-v4"})
    if (runnable.empty() || runnable.back() != best)
      runnable.push_back(name);
  return runnable;
}

} // namespace

TEST_CASE("every optimizer: fused kernels make what one kernel for each op makes", "[golden][fusion]") {
  std::vector<std::string> cpus = targets();
  // The smaller targets have the same tiles of 4 rows.
  for (const std::string &cpu : cpus)
    for (int64_t size : cpu == cpus.back()    ? std::vector<int64_t>{12, 16, 18}
                        : cpu == cpus.front() ? std::vector<int64_t>{18}
                                              : std::vector<int64_t>{16}) {
      INFO(cpu << ", sides of " << size);
      CompiledModel fused(everyOptimizer(size), {.cpu = cpu});
      CompiledModel apart(everyOptimizer(size), {.cpu = cpu, .apart = true});
      updates(fused, 10);
      updates(apart, 10);
      expectSameStates(fused, apart);
    }
}

TEST_CASE("every balance: fused kernels make what one kernel for each op makes", "[golden][fusion]") {
  std::vector<std::pair<std::string, std::string>> kinds = {
      {R"({"kind": "bias", "rate": 0.01})", R"(, "capacity": {"factor": 0.8})"},
      {R"({"kind": "bip", "scope": "global"})", ""},
      {R"({"kind": "quantile"})", ""},
      {R"({"kind": "sinkhorn"})", ""},
      {R"({"kind": "budget_bias", "expected": 1.5})", R"(, "zero_experts": 2)"}};
  std::vector<std::string> cpus = targets();
  // Every target meets several balances, the best one all.
  size_t number = 0;
  for (auto &[balance, more] : kinds)
    for (int64_t seqLen : {8, 9}) { // rows that a tile divides, and such that none does
      const std::string &cpu = seqLen == 8 ? cpus.back() : cpus[number++ % cpus.size()];
      INFO(balance << ", " << cpu << ", sequences of " << seqLen);
      CompiledModel fused(balanced(balance, seqLen, more), {.cpu = cpu});
      CompiledModel apart(balanced(balance, seqLen, more), {.cpu = cpu, .apart = true});
      steps(fused, 4, seqLen);
      steps(apart, 4, seqLen);
      expectSameStates(fused, apart);
    }
}
