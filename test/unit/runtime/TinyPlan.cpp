#include "TinyPlan.h"

#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <cstdlib>

namespace moec::rt::test {

using nlohmann::json;

static constexpr int kVocabulary = 256, kSequences = 4, kSeqLen = 16;

static const char kKernelSource[] = R"(
#include <math.h>
#include <stdint.h>
enum { V = 256, S = 4, T = 16 };

static float rowLoss(const float *w, const float *bias, int prev, int next, float *d) {
  float most = -1e30f, sum = 0;
  for (int v = 0; v < V; ++v) {
    d[v] = w[prev * V + v] + bias[v];
    most = d[v] > most ? d[v] : most;
  }
  for (int v = 0; v < V; ++v)
    sum += expf(d[v] - most);
  float loss = logf(sum) + most - d[next];
  for (int v = 0; v < V; ++v)
    d[v] = expf(d[v] - most) / sum - (v == next);
  return loss;
}

#define KERNEL extern "C" void

// table, biasLayer (of this iteration), biasSum: one layer added.
KERNEL tiny_bias(void *const *a, int64_t, void *) {
  const float *bias = (const float *)a[0];
  float *sum = (float *)a[1];
  for (int v = 0; v < V; ++v)
    sum[v] += bias[v];
}

// w, biasSum, batch -> d[S,T,V], loss[S]; one workgroup per sequence, a row in scratch first.
KERNEL tiny_forward(void *const *a, int64_t s, void *scratch) {
  const int32_t *batch = (const int32_t *)a[2] + s * (T + 1);
  float *row = (float *)scratch, *loss = (float *)a[4];
  loss[s] = 0;
  for (int t = 0; t < T; ++t) {
    loss[s] += rowLoss((const float *)a[0], (const float *)a[1], batch[t], batch[t + 1], row);
    for (int v = 0; v < V; ++v)
      ((float *)a[3])[(s * T + t) * V + v] = row[v] / (2 * S * T);
  }
}

// batch, d -> gradW (row `id`), gradBias[id]; one workgroup per token id, fixed order of additions.
KERNEL tiny_backward(void *const *a, int64_t id, void *) {
  const int32_t *batch = (const int32_t *)a[0];
  const float *d = (const float *)a[1];
  float *gw = (float *)a[2] + id * V, *gb = (float *)a[3];
  for (int s = 0; s < S; ++s)
    for (int t = 0; t < T; ++t) {
      gb[id] += d[(s * T + t) * V + id];
      if (batch[s * (T + 1) + t] == id)
        for (int v = 0; v < V; ++v)
          gw[v] += d[(s * T + t) * V + v];
    }
}

// loss[S] -> sum (mean added), domains -> expert tokens [2,4]
KERNEL tiny_sum(void *const *a, int64_t, void *) {
  for (int s = 0; s < S; ++s)
    *(float *)a[1] += ((const float *)a[0])[s] / (S * T);
  for (int s = 0; s < S; ++s)
    ++((int64_t *)a[3])[((const int32_t *)a[2])[s] * 4 + s];
}

// w, momentum, gradW, rate: row `id`
KERNEL tiny_update(void *const *a, int64_t id, void *) {
  float *w = (float *)a[0] + id * V, *m = (float *)a[1] + id * V;
  const float *g = (const float *)a[2] + id * V;
  for (int v = 0; v < V; ++v) {
    m[v] = 0.5f * m[v] + g[v];
    w[v] -= *(const float *)a[3] * m[v];
  }
}

// bias (one layer), gradBias
KERNEL tiny_update_bias(void *const *a, int64_t, void *) {
  for (int v = 0; v < V; ++v)
    ((float *)a[0])[v] -= 0.1f * ((const float *)a[1])[v];
}

// counter, sum -> loss = sum / n; when told so, NaN at step 7
KERNEL tiny_finish(void *const *a, int64_t, void *) {
  int64_t *counter = (int64_t *)a[0];
  const float *divisor = (const float *)a[3];
  *(float *)a[2] = *(const float *)a[1] / divisor[0];
  if (divisor[1] > 0) {
    ++*counter;
    if (divisor[1] > 1 && *counter == 7)
      *(float *)a[2] = NAN;
  }
}

// rate, train divisor [2], w
KERNEL tiny_init(void *const *a, int64_t id, void *) {
  if (id == 0) {
    *(float *)a[0] = MOEC_RATE;
    ((float *)a[1])[0] = 2, ((float *)a[1])[1] = 1;
  }
  for (int v = 0; v < V; ++v)
    ((float *)a[2])[id * V + v] = (float)((id * 31 + v * 17) % 101 - 50) * 1e-3f;
}

// w, biasSum, batch -> the loss of each token [S,T]; one workgroup per sequence, a row in scratch.
KERNEL tiny_losses(void *const *a, int64_t s, void *scratch) {
  const int32_t *batch = (const int32_t *)a[2] + s * (T + 1);
  for (int t = 0; t < T; ++t)
    ((float *)a[3])[s * T + t] =
        rowLoss((const float *)a[0], (const float *)a[1], batch[t], batch[t + 1], (float *)scratch);
}

KERNEL tiny_explode(void *const *a, int64_t, void *) { ((float *)a[0])[1] = 2; }

// w, biasSum, tokens, position -> logits
KERNEL tiny_logits(void *const *a, int64_t, void *) {
  int prev = ((const int32_t *)a[2])[*(const int32_t *)a[3]];
  for (int v = 0; v < V; ++v)
    ((float *)a[4])[v] = ((const float *)a[0])[prev * V + v] + ((const float *)a[1])[v];
}
)";

const std::string &tinyKernels() {
  static const std::string image = [] {
    TempDir dir;
    spill(dir / "kernels.cpp", kKernelSource);
    std::string command = std::string(MOEC_TEST_COMPILER) + " -shared -fPIC -O1 -DMOEC_RATE=2.0f -o " +
                          (dir / "kernels.so") + " " + (dir / "kernels.cpp") + " -lm";
    REQUIRE(std::system(command.c_str()) == 0);
    return slurp(dir / "kernels.so");
  }();
  return image;
}

void writeTinyData(const std::string &directory) {
  spill(directory + "/a.txt", sampleText(5000, 1));
  spill(directory + "/b.txt", sampleText(3001, 2));
  spill(directory + "/a-val.txt", sampleText(700, 3));
  spill(directory + "/b-val.txt", sampleText(333, 4));
}

namespace {

struct Layout {
  uint64_t end = 0;
  json state = json::array(), buffers = json::array();

  uint64_t add(const std::string &name, const std::string &dtype, json shape, const std::string &kind, bool saved,
               int count = 1, json role = nullptr) {
    uint64_t bytes = dtype == "i64" ? 8 : 4;
    for (uint64_t dim : shape)
      bytes *= dim;
    uint64_t offset = end;
    state.push_back({{"name", name},
                     {"offset", offset},
                     {"dtype", dtype},
                     {"shape", shape},
                     {"count", count},
                     {"first", 1},
                     {"step", 2},
                     {"kind", kind},
                     {"axes", json::array()},
                     {"each", false},
                     {"role", role},
                     {"checkpoint", saved}});
    buffers.push_back({{"name", name},
                       {"function", ""},
                       {"offset", offset},
                       {"bytes", bytes * count},
                       {"dtype", dtype},
                       {"shape", shape},
                       {"first", 0},
                       {"last", 9},
                       {"loc", "/model"}});
    end += (bytes * count + 63) / 64 * 64;
    return offset;
  }
};

json at(uint64_t offset) { return json::array({offset}); }

/// `json{x}` is a list to one compiler and a copy to another; this is always a list.
template <typename... Items> json list(Items... items) {
  json array = json::array();
  (array.push_back(items), ...);
  return array;
}

} // namespace

json tinyManifest(const std::string &dataDir, const TinyOptions &options) {
  constexpr uint64_t kRow = kVocabulary * 4, kTable = kVocabulary * kRow;
  Layout layout;
  uint64_t w = layout.add("table", "f32", {kVocabulary, kVocabulary}, "parameter", true);
  uint64_t bias = layout.add("layers.{}.bias", "f32", {kVocabulary}, "parameter", true, 2);
  uint64_t momentum = layout.add("table.momentum", "f32", {kVocabulary, kVocabulary}, "optimizer", true);
  uint64_t counter = layout.add("step", "i64", json::array(), "counter", true, 1, "step_counter");
  uint64_t gradW = layout.add("table.grad", "f32", {kVocabulary, kVocabulary}, "gradient", false);
  uint64_t gradBias = layout.add("bias.grad", "f32", {kVocabulary}, "gradient", false);
  uint64_t sum = layout.add("sum", "f32", {1}, "metric", false);
  uint64_t loss = layout.add("loss", "f32", {1, 1}, "metric", false, 1, "loss");
  uint64_t validationLosses =
      layout.add("validation_losses", "f32", {kSequences * kSeqLen, 1}, "output", false, 1, "token_losses");
  uint64_t experts = layout.add("expert_tokens", "i64", {2, 4}, "metric", false, 1, "expert_tokens");
  uint64_t batch = layout.add("batch", "i32", {kSequences, kSeqLen + 1}, "batch", false, 1, "batch_tokens");
  uint64_t domains = layout.add("domains", "i32", {kSequences}, "batch", false, 1, "batch_sources");
  uint64_t tokens = layout.add("tokens", "i32", {1, kSeqLen}, "batch", false, 1, "generate_tokens");
  uint64_t position = layout.add("position", "i32", {1}, "batch", false, 1, "generate_position");
  uint64_t logits = layout.add("logits", "f32", {1, kVocabulary}, "output", false, 1, "generate_logits");
  uint64_t rate = layout.add("rate", "f32", {1}, "constant", false);
  uint64_t trainDivisor = layout.add("train_divisor", "f32", {2}, "constant", false);
  uint64_t state = layout.end;
  // The function area.
  uint64_t biasSum = state, d = biasSum + kRow, rowLoss = d + kSequences * kSeqLen * kRow, arena = rowLoss + 64;

  json kernels = json::array();
  auto kernel = [&](const char *symbol, int params) {
    kernels.push_back({{"name", symbol},
                       {"symbol", symbol},
                       {"params", params},
                       {"flops", 1000},
                       {"bytes", 2048},
                       {"summary", "hand made"},
                       {"loc", "/model"}});
    return kernels.size() - 1;
  };
  auto kBias = kernel("tiny_bias", 2), kForward = kernel("tiny_forward", 5), kBackward = kernel("tiny_backward", 4),
       kSum = kernel("tiny_sum", 4), kUpdate = kernel("tiny_update", 4), kUpdateBias = kernel("tiny_update_bias", 2),
       kFinish = kernel("tiny_finish", 4), kInit = kernel("tiny_init", 3), kLosses = kernel("tiny_losses", 4),
       kExplode = kernel("tiny_explode", 1), kLogits = kernel("tiny_logits", 5);

  auto launch = [](size_t kernel, int grid, json args, json sizes) {
    return json{{"op", "launch"}, {"kernel", kernel}, {"grid", grid}, {"args", args}, {"sizes", sizes}, {"at", 0}};
  };
  auto fill = [](uint64_t offset, uint64_t bytes) {
    return json{{"op", "fill"}, {"dst", at(offset)}, {"bytes", bytes}, {"at", 1}};
  };
  auto repeat = [](int count, bool reverse, json body) {
    return json{{"op", "repeat"}, {"count", count}, {"reverse", reverse}, {"body", body}};
  };
  json sumBias = repeat(2, true, list(launch(kBias, 1, list(list(bias, kRow), at(biasSum)), {kRow, kRow})));
  uint64_t batchBytes = kSequences * (kSeqLen + 1) * 4, dBytes = kSequences * kSeqLen * kRow;
  json forward = launch(kForward, kSequences, {at(w), at(biasSum), at(batch), at(d), at(rowLoss)},
                        {kTable, kRow, batchBytes, dBytes, kSequences * 4});
  json losses = launch(kLosses, kSequences, {at(w), at(biasSum), at(batch), at(validationLosses)},
                       {kTable, kRow, batchBytes, kSequences * kSeqLen * 4});

  json forwardBackward = json::array();
  if (!options.forgetsToZero)
    forwardBackward.push_back(fill(biasSum, kRow));
  forwardBackward.push_back(sumBias);
  forwardBackward.push_back(forward);
  forwardBackward.push_back(
      launch(kBackward, kVocabulary, {at(batch), at(d), at(gradW), at(gradBias)}, {batchBytes, dBytes, kTable, kRow}));
  forwardBackward.push_back(
      launch(kSum, 1, {at(rowLoss), at(sum), at(domains), at(experts)}, {kSequences * 4, 4, kSequences * 4, 64}));
  json update = {launch(kUpdate, kVocabulary, {at(w), at(momentum), at(gradW), at(rate)}, {kTable, kTable, kTable, 4}),
                 repeat(2, false, list(launch(kUpdateBias, 1, list(list(bias, kRow), at(gradBias)), {kRow, kRow}))),
                 launch(kFinish, 1, {at(counter), at(sum), at(loss), at(trainDivisor)}, {8, 4, 4, 8}),
                 fill(gradW, kTable),
                 fill(gradBias, kRow),
                 fill(sum, 4)};
  json init = list(launch(kInit, kVocabulary, {at(rate), at(trainDivisor), at(w)}, {4, 8, kTable}));
  if (options.explodes)
    init.push_back(launch(kExplode, 1, list(at(trainDivisor)), list(8)));
  json logitsBody = {fill(biasSum, kRow), sumBias,
                     launch(kLogits, 1, {at(w), at(biasSum), at(tokens), at(position), at(logits)},
                            {kTable, kRow, kSeqLen * 4, 4, kRow})};

  auto call = [](const char *function) { return json{{"op", "call"}, {"function", function}}; };
  auto loop = [](int count, json body) { return json{{"op", "repeat"}, {"count", count}, {"body", body}}; };
  json checkUp = list(json{{"op", "evaluate"}}, json{{"op", "save"}});
  json step = list(call("start_step"), loop(2, list(json{{"op", "next_batch"}}, call("forward_backward"))),
                   call("update"), json{{"op", "log"}, {"every", options.logEvery}},
                   json{{"op", "every"}, {"steps", options.saveEvery}, {"body", checkUp}});
  json train = list(json{{"op", "steps"}, {"count", options.steps}, {"body", step}});

  json manifest = {
      {"format", 1},
      {"compiler", "hand"},
      {"name", "tiny"},
      {"spec", {{"steps", options.steps}, {"rate", options.rate}}},
      {"spec_hash", ""},
      {"spec_file", "tiny.json"},
      {"element_type", "f32"},
      {"seed", 17},
      {"target",
       {{"kind", "cpu"},
        {"triple", "x86_64"},
        {"cpu", "any"},
        {"features", json::array({"sse2"})},
        {"vector_bytes", 16}}},
      {"memory", {{"state_bytes", state}, {"arena_bytes", arena}, {"scratch_bytes", kRow}}},
      {"mesh", json::array()},
      {"blobs", json::array()},
      {"kernels", kernels},
      {"buffers", layout.buffers},
      {"state", layout.state},
      {"data",
       {{"tokenizer", {{"kind", "byte"}}},
        {"seq_len", kSeqLen},
        {"sequences", kSequences},
        {"base_dir", dataDir},
        {"train",
         {{{"name", "a"}, {"path", "a.txt"}, {"weight", 0.75}}, {{"name", "b"}, {"path", "b.txt"}, {"weight", 0.25}}}},
        {"validation",
         {{{"name", "a"}, {"path", "a-val.txt"}, {"weight", 1.0}},
          {{"name", "b"}, {"path", "b-val.txt"}, {"weight", 1.0}}}}}},
      {"generate", {{"function", "logits"}}},
      {"metrics",
       {{{"name", "loss"}, {"state", "loss"}, {"shape", {1, 1}}},
        {{"name", "expert_tokens"}, {"state", "expert_tokens"}, {"shape", {2, 4}}}}},
      {"evaluate", {{"function", "evaluate"}, {"batches", 3}}},
      {"programs", {{"init", list(call("init"))}, {"train", train}}},
      {"checkpoint", {{"keep_last", options.keepLast}}},
      {"locations", {"/model", "/optimizer"}},
  };
  json functions = json::array();
  auto function = [&](const char *name, json body) { functions.push_back({{"name", name}, {"body", body}}); };
  function("init", init);
  function("start_step", list(fill(experts, 64)));
  function("forward_backward", forwardBackward);
  function("update", update);
  function("evaluate", {fill(biasSum, kRow), sumBias, losses});
  function("logits", logitsBody);
  manifest["functions"] = functions;
  return manifest;
}

std::string buildTiny(const json &manifest) {
  PlanWriterBlob blob{"kernels.so", tinyKernels()};
  Result<std::string> plan = buildPlan(Json::parse(manifest.dump()).value(), {&blob, 1});
  REQUIRE_OK(plan.status());
  return *plan;
}

Plan makeTinyPlan(const std::string &directory, const TinyOptions &options) {
  writeTinyData(directory);
  PlanWriterBlob blob{"kernels.so", tinyKernels()};
  std::string path = directory + "/tiny.moec";
  REQUIRE_OK(writePlan(path, Json::parse(tinyManifest(directory, options).dump()).value(), {&blob, 1}));
  Result<Plan> plan = readPlan(path);
  REQUIRE_OK(plan.status());
  return std::move(plan).value();
}

RunOptions quiet(const std::string &runDir, unsigned threads) {
  RunOptions options;
  options.runDir = runDir;
  options.threads = threads;
  options.out = nullptr;
  return options;
}

} // namespace moec::rt::test
