// Whole runs on the pretended GPU: the same bits as on the processor, steps as one replay, no waiting in between.
#include "CudaPlan.h"

#include "runtime/api/moec.h"
#include "runtime/exec/Executor.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"

#include <csignal>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

namespace {

/// metrics.jsonl without what depends on the clock.
std::vector<json> metricLines(const std::string &runDir) {
  std::vector<json> lines;
  std::istringstream text(slurp(runDir + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    lines.push_back(json::parse(line));
    for (const char *key : {"time_s", "tokens_per_s"})
      lines.back().erase(key);
  }
  return lines;
}

std::string stateHash(const std::string &runDir, int64_t step) {
  Result<CheckpointManifest> manifest = verifyCheckpoint(runDir + "/checkpoints/" + checkpointName(step));
  REQUIRE_OK(manifest.status());
  std::string hashes;
  for (const CheckpointShard &shard : manifest->shards)
    hashes += shard.hash;
  return hashes;
}

} // namespace

TEST_CASE("a run on the GPU is that of the processor, bit for bit", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  TinyOptions tiny{.steps = 23, .logEvery = 2};
  Plan cpu = makeTinyPlan(dir.path(), tiny), gpu = makeCudaPlan(dir.path(), tiny);
  REQUIRE_OK(train(cpu, quiet(dir / "cpu")).status());
  Result<TrainReport> report = train(gpu, quiet(dir / "gpu"));
  REQUIRE_OK(report.status());
  CHECK(report->allocatedBytes == gpu.peakBytes(1));
  CHECK(fake->mostBytes == gpu.peakBytes(1));
  CHECK(fake->nothingLeft());
  CHECK(metricLines(dir / "gpu") == metricLines(dir / "cpu"));
  CHECK(listCheckpoints(dir / "gpu/checkpoints") == std::vector<int64_t>{10, 20, 23});
  for (int64_t step : {10, 20, 23})
    CHECK(stateHash(dir / "gpu", step) == stateHash(dir / "cpu", step));

  // Timing each launch, poisoning values or waiting after each launch changes nothing, nor does stopping on the way.
  RunOptions timed = quiet(dir / "timed");
  timed.profile = timed.poison = true;
  timed.tracePath = dir / "trace.json";
  REQUIRE_OK(train(gpu, timed).status());
  CHECK(metricLines(dir / "timed") == metricLines(dir / "cpu"));
  CHECK(stateHash(dir / "timed", 23) == stateHash(dir / "cpu", 23));
  RunOptions parts = quiet(dir / "parts");
  parts.maxSteps = 20;
  report = train(gpu, parts);
  REQUIRE_OK(report.status());
  CHECK(report->stepsHere == 20);
  parts.resume = true;
  REQUIRE_OK(train(gpu, parts).status());
  CHECK(stateHash(dir / "parts", 23) == stateHash(dir / "cpu", 23));

  // Evaluation and generation too.
  CHECK(evaluate(gpu, quiet(dir / "gpu"))->metrics[0].values == evaluate(cpu, quiet(dir / "cpu"))->metrics[0].values);
  GenerateOptions request{.prompt = "the ", .bytes = 20, .seed = 3};
  CHECK(*generate(gpu, quiet(dir / "gpu"), request) == *generate(cpu, quiet(dir / "cpu"), request));
  CHECK(fake->nothingLeft());
}

TEST_CASE("a step is one replay, and the host never waits for all", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path(), {.steps = 40, .saveEvery = 40, .logEvery = 1});
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 30;
  REQUIRE_OK(train(plan, options).status());
  // Two pieces of memory: each is used once plainly, then recorded, then replayed.
  CHECK(fake->count("cuStreamBeginCapture") == 2);
  CHECK(fake->count("cuGraphLaunch") == 28);
  // From the first replay to the last there are uploads, launches and copies inside the two recordings only.
  auto isReplay = [](const std::string &call) { return call.starts_with("cuGraphLaunch"); };
  auto begin = std::find_if(fake->calls.begin(), fake->calls.end(), isReplay);
  begin = std::find_if(begin + 1, fake->calls.end(), isReplay); // the second piece was recorded in between
  auto end = std::find_if(fake->calls.rbegin(), fake->calls.rend(), isReplay).base();
  std::map<std::string, int> between;
  for (auto call = begin; call != end; ++call)
    ++between[call->substr(0, call->find(' '))];
  CHECK(between ==
        std::map<std::string, int>{{"cuGraphLaunch", 27}, {"cuEventRecord", 26}, {"cuEventSynchronize", 26}});
  // A step's wait comes after the next one is on its way.
  std::vector<std::string> order;
  for (auto call = begin; call != end && order.size() < 6; ++call)
    order.push_back(*call);
  CHECK(order == std::vector<std::string>{"cuGraphLaunch", "cuEventRecord", "cuEventSynchronize", "cuGraphLaunch",
                                          "cuEventRecord", "cuEventSynchronize"});
}

TEST_CASE("a recorded step holds all of its work in order", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path(), {.steps = 40, .saveEvery = 40});
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 4;
  REQUIRE_OK(train(plan, options).status());
  auto begin = std::find(fake->calls.begin(), fake->calls.end(), "cuStreamBeginCapture_v2");
  auto end = std::find(begin, fake->calls.end(), "cuStreamEndCapture");
  std::vector<std::string> names;
  for (auto call = begin + 1; call != end; ++call) {
    std::istringstream words(*call);
    std::string name, first;
    words >> name >> first;
    if (name != "cuTensorMapEncodeTiled")
      names.push_back(name == "cuLaunchKernel" ? first : name.substr(2, name.find("Async") - 2));
  }
  std::vector<std::string> micro = {"MemcpyHtoD", "MemcpyHtoD",   "MemsetD8",      "tiny_bias",
                                    "tiny_bias",  "tiny_forward", "tiny_backward", "tiny_sum"};
  std::vector<std::string> expected = {"MemsetD8"};
  for (int i = 0; i < 2; ++i)
    expected.insert(expected.end(), micro.begin(), micro.end());
  for (const char *name : {"tiny_update", "tiny_update_bias", "tiny_update_bias", "tiny_finish", "MemsetD8", "MemsetD8",
                           "MemsetD8", "MemcpyDtoH", "MemcpyDtoH", "MemcpyDtoH"})
    expected.push_back(name);
  CHECK(names == expected);
}

TEST_CASE("functions called again and again are replayed", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path());
  auto executor = Executor::create(plan, {});
  REQUIRE_OK(executor.status());
  for (int i = 0; i < 5; ++i)
    (*executor)->call(plan.generate->function);
  CHECK(fake->count("cuStreamBeginCapture") == 1);
  CHECK(fake->count("cuGraphLaunch") == 4);
  CHECK(fake->count("cuLaunchKernel tiny_logits") == 2); // walked once, recorded once
}

TEST_CASE("a loss that is not finite stops a run on the GPU at its step", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path(), {.saveEvery = 2, .explodes = true});
  Status status = train(plan, quiet(dir / "run")).status();
  CHECK_CODE(status, "MOEC-R002");
  CHECK(status.message().find("step 7") != std::string::npos);
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{2, 4, 6});
  // Also when the next step is under way by the time that it shows.
  Plan late = makeCudaPlan(dir.path(), {.saveEvery = 20, .logEvery = 1, .explodes = true});
  status = train(late, quiet(dir / "late")).status();
  CHECK_CODE(status, "MOEC-R002");
  CHECK(status.message().find("step 7") != std::string::npos);
  CHECK(metricLines(dir / "late").size() == 7);
  CHECK(metricLines(dir / "late").back()["loss"].is_null());
}

TEST_CASE("a GPU that fails in the middle stops the run, and nothing of it is saved", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path(), {.saveEvery = 5});
  const char *call = GENERATE("cuGraphLaunch", "cuEventSynchronize");
  fake->failingCall = call;
  fake->failAfter = 8;
  fake->failCode = 719;
  Status status = train(plan, quiet(dir / "run")).status();
  CHECK_CODE(status, "MOEC-P014");
  INFO(status.text());
  CHECK(status.text().find(call) != std::string::npos);
  CHECK(status.text().find("a training step") != std::string::npos);
  for (int64_t step : listCheckpoints(dir / "run/checkpoints"))
    CHECK(step <= 10);
  CHECK(fake->nothingLeft());
}

TEST_CASE("a trace has an event for each launch", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  bool onGpu = GENERATE(true, false);
  Plan plan = onGpu ? makeCudaPlan(dir.path()) : makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  options.tracePath = dir / "trace.json";
  options.maxSteps = 8;
  REQUIRE_OK(train(plan, options).status());
  json trace = json::parse(slurp(dir / "trace.json"));
  CHECK(trace["otherData"]["step"] == 6);
  std::map<std::string, int> kernels;
  double last = -1;
  for (const json &event : trace["traceEvents"]) {
    if (event["ph"] != "X")
      continue;
    ++kernels[event["name"]];
    CHECK(event["ts"].get<double>() >= last);
    last = event["ts"];
    CHECK(event["dur"].get<double>() >= 0);
    for (const char *key : {"kernel", "stream", "ms", "GB/s", "TFLOP/s"})
      CHECK(event["args"].contains(key));
    CHECK(event["args"].contains("percent of limit") == onGpu);
  }
  CHECK(kernels == std::map<std::string, int>{{"(fill)", 1 + 2 + 3},
                                              {"tiny_bias", 4},
                                              {"tiny_forward", 2},
                                              {"tiny_backward", 2},
                                              {"tiny_sum", 2},
                                              {"tiny_update", 1},
                                              {"tiny_update_bias", 2},
                                              {"tiny_finish", 1}});
}

TEST_CASE("a profile of a GPU knows the limits", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  Plan plan = makeCudaPlan(dir.path());
  auto executor = Executor::create(plan, {.profile = true});
  REQUIRE_OK(executor.status());
  for (int i = 0; i < 3; ++i)
    (*executor)->call(plan.generate->function);
  CHECK(fake->count("cuStreamBeginCapture") == 0);
  std::string table = (*executor)->profile()->table();
  INFO(table);
  for (const char *part : {"TFLOP/s", "% of limit", "tiny_logits", "(fill)", "limits: 989.4 TFLOP/s (bf16), 1024 GB/s"})
    CHECK(table.find(part) != std::string::npos);
}

TEST_CASE("bench measures steps and writes nothing", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  bool onGpu = GENERATE(true, false);
  Plan plan = onGpu ? makeCudaPlan(dir.path()) : makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  Result<BenchReport> report = bench(plan, options, {.seconds = 0.2});
  REQUIRE_OK(report.status());
  CHECK(report->steps > 0);
  CHECK(report->seconds >= 0.2);
  CHECK(report->tokensPerStep == 2 * 4 * 16);
  CHECK(report->tokensPerSecond == Approx(128.0 * report->steps / report->seconds));
  CHECK(report->medianStepMs >= report->fastestStepMs);
  CHECK(report->allocatedBytes == report->announcedBytes);
  CHECK(std::isfinite(report->loss));
  CHECK_FALSE(exists(dir / "run"));
  if (onGpu)
    CHECK(fake->count("cuStreamBeginCapture") == 2); // kept over the ends of the plan's steps
}

TEST_CASE("bench stops when the loss is not finite", "[cuda]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.explodes = true});
  Status status = bench(plan, quiet(dir / "run"), {.seconds = 60}).status();
  CHECK_CODE(status, "MOEC-R002");
  CHECK(status.message().find("step 7") != std::string::npos);
}

TEST_CASE("state that follows from parameters is made anew after a checkpoint was loaded", "[cuda]") {
  FakeDriver fake;
  TempDir dir;
  writeTinyData(dir.path());
  json manifest = cudaManifest(dir.path());
  manifest["programs"]["restore"] = json::array({{{"op", "call"}, {"function", "start_step"}}});
  spill(dir / "p.moec", buildCuda(manifest));
  Plan plan = loadPlan(dir / "p.moec").value();
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 10;
  REQUIRE_OK(train(plan, options).status());
  size_t fills = fake->count("cuMemsetD8Async");
  options.resume = true;
  options.maxSteps = 0;
  REQUIRE_OK(train(plan, options).status());
  CHECK(fake->count("cuMemsetD8Async") == fills + 2); // the arena's zeros, and the program's fill
}
