#include "TinyPlan.h"

#include "runtime/api/moec.h"
#include "runtime/base/Hash.h"
#include "runtime/exec/MetricReader.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/MetricsLog.h"

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec::rt;
using namespace moec::rt::test;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::vector<json> metricLines(const std::string &runDir) {
  std::vector<json> lines;
  std::istringstream text(slurp(runDir + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);)
    lines.push_back(json::parse(line));
  return lines;
}

/// What must not depend on when and how fast a run ran.
std::vector<json> timeless(std::vector<json> lines) {
  for (json &line : lines)
    for (const char *key : {"time_s", "tokens_per_s"})
      line.erase(key);
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

TEST_CASE("the balance of experts is the worst of all layers, in every segment of them", "[run]") {
  Plan plan;
  auto add = [&](const char *name, std::optional<StateRole> role) {
    PlanMetric metric;
    metric.name = name, metric.dtype = DType::I64, metric.shape = {2, 4}, metric.elements = 8, metric.role = role;
    plan.metrics.push_back(metric);
  };
  add("expert_tokens", StateRole::ExpertTokens);
  add("expert_tokens.1", StateRole::ExpertTokens);
  add("expert_tokens_of_another_kind", std::nullopt);
  MetricSnapshot snapshot(plan);
  std::vector<int64_t> host(snapshot.bytes() / sizeof(int64_t)); // the counter, then the metrics
  snapshot.placeAt(host.data());
  CHECK(snapshot.expertBalance() == 0);
  std::fill_n(host.begin() + 1, 8, 5);
  CHECK(snapshot.expertBalance() == 1);
  host[1 + 12] = 3, host[1 + 13] = 1; // second layer of the second segment
  CHECK(snapshot.expertBalance() == 3);
  std::fill_n(host.begin() + 1 + 16, 8, 0);
  host[1 + 16] = 9; // not counts of experts, whatever it is called
  CHECK(snapshot.expertBalance() == 3);
  CHECK(findLoss(plan) == nullptr);
}

TEST_CASE("training lowers the loss and writes what the plan says", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 23});
  Result<TrainReport> report = train(plan, quiet(dir / "run"));
  REQUIRE_OK(report.status());
  CHECK(report->step == 23);
  CHECK(report->stepsHere == 23);
  CHECK_FALSE(report->interrupted);
  CHECK(report->allocatedBytes == plan.peakBytes(1));
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{10, 20, 23});

  std::vector<json> lines = metricLines(dir / "run");
  std::vector<int64_t> trainSteps, validationSteps;
  for (const json &line : lines)
    (line["split"] == "train" ? trainSteps : validationSteps).push_back(line["step"]);
  CHECK(trainSteps == std::vector<int64_t>{1, 5, 10, 15, 20, 23});
  CHECK(validationSteps == std::vector<int64_t>{10, 20, 23});
  CHECK(lines.front()["loss"].get<double>() == Approx(std::log(256)).margin(0.05));
  CHECK(lines[lines.size() - 2]["loss"].get<double>() < 4.5);
  CHECK(lines.front()["tokens"] == 2 * 4 * 16);
  CHECK(lines[lines.size() - 2]["tokens"] == 23 * 2 * 4 * 16);
  json experts = lines.front()["expert_tokens"];
  REQUIRE(experts.size() == 2);
  REQUIRE(experts[0].size() == 4);
  CHECK(experts[0][0].get<double>() + experts[1][0].get<double>() == 2);
  CHECK(lines.back()["unigram_baseline"].get<double>() < std::log(256));
  CHECK(json::parse(slurp(dir / "run/run.json"))["spec_hash"] == plan.specHash);
}

TEST_CASE("threads, poison and profiling change no bit", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "one")).status());
  REQUIRE_OK(train(plan, quiet(dir / "two", 2)).status());
  REQUIRE_OK(train(plan, quiet(dir / "five", 5)).status());
  RunOptions poisoned = quiet(dir / "poisoned", 2);
  poisoned.poison = true;
  poisoned.profile = true;
  REQUIRE_OK(train(plan, poisoned).status());
  for (const char *name : {"two", "five", "poisoned"}) {
    CHECK(stateHash(dir / name, 20) == stateHash(dir / "one", 20));
    CHECK(timeless(metricLines(dir / name)) == timeless(metricLines(dir / "one")));
  }
}

TEST_CASE("poison shows a read of memory that was never written", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.forgetsToZero = true});
  RunOptions options = quiet(dir / "run");
  options.poison = true;
  Status status = train(plan, options).status();
  CHECK_CODE(status, "MOEC-R002");
  CHECK(exitCode(status) == kExitNotFinite);
}

TEST_CASE("a loss that is not finite stops the run and names the step", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.saveEvery = 2, .explodes = true});
  Status status = train(plan, quiet(dir / "run")).status();
  CHECK_CODE(status, "MOEC-R002");
  CHECK(status.message().find("step 7") != std::string::npos);
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{2, 4, 6});
  CHECK(status.message().find("the newest checkpoint is " + (dir / "run/checkpoints/step-00000006")) !=
        std::string::npos);
  json last = metricLines(dir / "run").back();
  CHECK(last["step"] == 7);
  CHECK(last["loss"].is_null());
}

TEST_CASE("overwrite does not throw away what it is to begin from", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.saveEvery = 10});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  RunOptions options = quiet(dir / "run");
  options.overwrite = true;
  options.resumeFrom = dir / "run/checkpoints/step-00000010";
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{10, 20});
}

TEST_CASE("a step whose loss is not finite is not saved", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.saveEvery = 7, .logEvery = 20, .explodes = true});
  CHECK_CODE(train(plan, quiet(dir / "run")).status(), "MOEC-R002");
  CHECK(listCheckpoints(dir / "run/checkpoints").empty());
}

TEST_CASE("a start that is refused changes nothing", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  options.resume = true;
  CHECK_CODE(train(plan, options).status(), "MOEC-C001");
  options.resume = false; // the failed one left no run behind
  options.maxSteps = 10;
  REQUIRE_OK(train(plan, options).status());
  std::string before = slurp(dir / "run/run.json"), metrics = slurp(dir / "run/metrics.jsonl");
  Plan other = makeTinyPlan(dir.path(), {.steps = 30});
  options.resume = true;
  CHECK_CODE(train(other, options).status(), "MOEC-C005");
  CHECK(slurp(dir / "run/run.json") == before);
  CHECK(slurp(dir / "run/metrics.jsonl") == metrics);
  options.allowOtherSpec = true;
  options.maxSteps = -1;
  CHECK(train(other, options)->step == 30);
}

TEST_CASE("an interrupted and resumed run equals one that was not", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 20, .saveEvery = 4, .logEvery = 1});
  REQUIRE_OK(train(plan, quiet(dir / "whole")).status());

  RunOptions part = quiet(dir / "parts");
  part.maxSteps = 7; // the last checkpoint is of step 4
  Result<TrainReport> first = train(plan, part);
  REQUIRE_OK(first.status());
  CHECK(first->step == 7);
  CHECK(metricLines(dir / "parts").back()["step"] == 7);
  part.resume = true;
  part.threads = 2;
  part.maxSteps = 6;
  Result<TrainReport> second = train(plan, part);
  REQUIRE_OK(second.status());
  CHECK(second->step == 10);
  part.maxSteps = -1;
  Result<TrainReport> third = train(plan, part);
  REQUIRE_OK(third.status());
  CHECK(third->stepsHere == 12);
  CHECK(stateHash(dir / "parts", 20) == stateHash(dir / "whole", 20));
  CHECK(timeless(metricLines(dir / "parts")) == timeless(metricLines(dir / "whole")));

  Result<TrainReport> nothing = train(plan, part);
  REQUIRE_OK(nothing.status());
  CHECK(nothing->stepsHere == 0);
}

TEST_CASE("a folder that holds a run is not overwritten by accident", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  REQUIRE_OK(train(plan, options).status());
  std::string before = stateHash(dir / "run", 20);
  Status status = train(plan, options).status();
  CHECK_CODE(status, "MOEC-R001");
  CHECK(exitCode(status) == kExitUsage);
  CHECK(stateHash(dir / "run", 20) == before);
  options.overwrite = true;
  options.maxSteps = 1;
  REQUIRE_OK(train(plan, options).status());
  CHECK(listCheckpoints(dir / "run/checkpoints").empty());
  CHECK(metricLines(dir / "run").size() == 1);
  options.resume = true;
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
  options.overwrite = false;
  CHECK_CODE(train(plan, options).status(), "MOEC-C001");
}

TEST_CASE("going back to an older checkpoint sets newer ones aside", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 20, .saveEvery = 5});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  std::string before = stateHash(dir / "run", 20);
  RunOptions options = quiet(dir / "run");
  options.resumeFrom = dir / "run/checkpoints/step-00000010";
  REQUIRE_OK(train(plan, options).status());
  CHECK(stateHash(dir / "run", 20) == before);
  CHECK(exists(dir / "run/checkpoints/abandoned-step-00000020"));
}

TEST_CASE("a damaged newest checkpoint is an error, not an older start", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  spill(dir / "run/checkpoints/step-00000020/manifest.json", "{}");
  RunOptions options = quiet(dir / "run");
  options.resume = true;
  Status status = train(plan, options).status();
  CHECK_CODE(status, "MOEC-C016");
  CHECK(exitCode(status) == kExitCheckpoint);
  CHECK_CODE(evaluate(plan, quiet(dir / "run")).status(), "MOEC-C016");
}

TEST_CASE("two processes cannot train in one folder", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 100000, .saveEvery = 100000, .logEvery = 100000});
  pid_t child = ::fork();
  if (child == 0) {
    (void)train(plan, quiet(dir / "run"));
    ::_exit(0);
  }
  for (int i = 0; i < 500 && !exists(dir / "run/metrics.jsonl"); ++i)
    ::usleep(10000);
  RunOptions options = quiet(dir / "run");
  options.overwrite = true;
  CHECK_CODE(train(plan, options).status(), "MOEC-R007");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("a signal finishes the step, saves, and the run goes on from there", "[run]") {
  TempDir dir;
  int signal = GENERATE(SIGINT, SIGTERM, SIGHUP);
  Plan plan = makeTinyPlan(dir.path(), {.steps = 100000, .saveEvery = 100000, .logEvery = 1});
  pid_t child = ::fork();
  if (child == 0) {
    std::vector<std::string> arguments = {dir / "tiny.moec", "train", "--run-dir", dir / "run", "--json"};
    (void)!std::freopen("/dev/null", "w", stdout);
    ::_exit(runCommandLine(arguments));
  }
  for (int i = 0; i < 1000 && (!exists(dir / "run/metrics.jsonl") || slurp(dir / "run/metrics.jsonl").size() < 500);
       ++i)
    ::usleep(10000);
  ::kill(child, signal);
  int state = 0;
  ::waitpid(child, &state, 0);
  REQUIRE(WIFEXITED(state));
  CHECK(WEXITSTATUS(state) == kExitInterrupted);
  std::vector<int64_t> steps = listCheckpoints(dir / "run/checkpoints");
  REQUIRE(steps.size() == 1);
  CHECK(metricLines(dir / "run").back()["step"] == steps[0]);
  RunOptions options = quiet(dir / "run");
  options.resume = true;
  options.maxSteps = 1;
  Result<TrainReport> report = train(plan, options);
  REQUIRE_OK(report.status());
  CHECK(report->step == steps[0] + 1);
}

TEST_CASE("a run goes on when its output cannot be written, a result that cannot be is an error", "[run]") {
  TempDir dir;
  makeTinyPlan(dir.path());
  std::string plan = dir / "tiny.moec", run = dir / "run";
  auto exitOf = [](const char *out, std::vector<std::string> arguments) {
    int state = inChild([&] {
      (void)!std::freopen("/dev/null", "w", stderr);
      if (std::string(out) == "pipe") { // nobody reads
        int ends[2];
        (void)!::pipe(ends);
        ::close(ends[0]);
        ::dup2(ends[1], STDOUT_FILENO);
      } else if (std::string(out) == "closed") {
        ::close(STDOUT_FILENO);
      } else {
        (void)!std::freopen(out, "w", stdout);
      }
      ::_exit(runCommandLine(arguments));
    });
    return WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
  };
  for (const char *out : {"/dev/full", "closed", "pipe"}) {
    CHECK(exitOf(out, {plan, "train", "--run-dir", run, "--overwrite"}) == kExitOk);
    CHECK(listCheckpoints(run + "/checkpoints").back() == 20);
  }
  CHECK(json::parse(slurp(run + "/run.json")).contains("spec"));
  for (const char *out : {"/dev/full", "closed"}) {
    CHECK(exitOf(out, {plan, "eval", "--run-dir", run, "--json"}) == kExitFailed);
    CHECK(exitOf(out, {plan, "generate", "--run-dir", run, "--bytes", "3"}) == kExitFailed);
    CHECK(exitOf(out, {plan, "describe"}) == kExitFailed);
  }
}

TEST_CASE("evaluation of a checkpoint repeats what training measured", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  CHECK_CODE(evaluate(plan, quiet(dir / "run")).status(), "MOEC-C001");
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  Result<EvaluateReport> report = evaluate(plan, quiet(dir / "run", 2));
  REQUIRE_OK(report.status());
  CHECK(report->step == 20);
  REQUIRE(report->metrics.size() == 1);
  json line = metricLines(dir / "run").back();
  CHECK(report->metrics[0].values[0] == line["loss"].get<double>());
  CHECK(report->unigramBaseline == line["unigram_baseline"].get<double>());
  RunOptions older = quiet(dir / "run");
  older.resumeFrom = dir / "run/checkpoints/step-00000010";
  CHECK(evaluate(plan, older)->step == 10);
}

TEST_CASE("law 5: windows of an evaluation count once, batches that do not divide and all", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  // 2 and 5 windows, in batches of 4: the second has one row to spare.
  spill(dir / "a-val.txt", sampleText(2 * 16 + 1, 3));
  spill(dir / "b-val.txt", sampleText(5 * 16 + 9, 4));
  plan.data.validation[0].weight = 3;
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  RunOptions options = quiet(dir / "run");
  options.json = true;
  options.out = std::fopen((dir / "out").c_str(), "w");
  Result<EvaluateReport> report = evaluate(plan, options, {.perToken = true, .logits = true});
  std::fclose(options.out);
  REQUIRE_OK(report.status());
  REQUIRE(report->sources.size() == 2);
  CHECK(report->sources[0].windows == 2);
  CHECK(report->sources[1].windows == 5);
  CHECK(report->metrics[0].values[0] == Approx((3 * report->sources[0].loss + report->sources[1].loss) / 4)); // law 6

  // The same from the losses of each byte, and these from the logits.
  std::map<std::string, std::vector<double>> losses;
  std::set<std::pair<std::string, int>> windows;
  std::istringstream text(slurp(dir / "out"));
  for (std::string line; std::getline(text, line);) {
    json window = json::parse(line);
    if (!window.contains("losses"))
      continue; // the result
    std::string path = window["file"], bytes = slurp(path);
    CHECK(windows.insert({path, window["window"]}).second);
    CHECK(window["offset"] == 16 * window["window"].get<int>());
    for (int i = 0; i <= 16; ++i)
      CHECK(window["tokens"][i] == bytes[window["offset"].get<size_t>() + i]);
    for (int i = 0; i < 16; ++i) {
      losses[window["source"]].push_back(window["losses"][i]);
      double sum = 0;
      for (double logit : window["logits"][i])
        sum += std::exp(logit);
      double logit = window["logits"][i][window["tokens"][i + 1].get<size_t>()];
      CHECK(window["losses"][i].get<double>() == Approx(std::log(sum) - logit).epsilon(1e-4));
    }
  }
  CHECK(windows.size() == 7);
  for (const EvaluateReport::Source &source : report->sources) {
    const std::vector<double> &all = losses[source.name];
    CHECK(all.size() == source.windows * 16);
    CHECK(source.loss == Approx(std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size())));
  }
}

TEST_CASE("counts in the log are whole numbers", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  for (const json &line : metricLines(dir / "run")) {
    CHECK(line["step"].is_number_integer());
    if (line["split"] == "validation") {
      CHECK(line["sources"]["a"]["windows"].is_number_integer());
      continue;
    }
    CHECK(line["tokens"].is_number_integer());
    CHECK(line["expert_tokens"][0][0].is_number_integer());
    CHECK(line["loss"].is_number_float());
  }
}

TEST_CASE("law 8: tokens are counted right after a resume with other batches", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.logEvery = 1});
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 10;
  REQUIRE_OK(train(plan, options).status());
  json manifest = tinyManifest(dir.path(), {.steps = 20, .logEvery = 1});
  manifest["spec"]["other"] = true;
  manifest["programs"]["train"][0]["body"][1]["count"] = 3; // micro-batches
  spill(dir / "other.moec", buildTiny(manifest));
  Plan other = loadPlan(dir / "other.moec").value();
  options.resume = options.allowOtherSpec = true;
  options.maxSteps = 2;
  REQUIRE_OK(train(other, options).status());
  CHECK(metricLines(dir / "run").back()["tokens"] == 10 * 2 * 64 + 2 * 3 * 64);
}

TEST_CASE("law 9: data that changed before a resume are refused, and nothing is touched", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 10;
  REQUIRE_OK(train(plan, options).status());
  std::string metrics = slurp(dir / "run/metrics.jsonl"), a = slurp(dir / "a.txt");
  spill(dir / "a.txt", a + a);
  options.resume = true;
  Status status = train(plan, options).status();
  CHECK_CODE(status, "MOEC-D007");
  CHECK(exitCode(status) == kExitData);
  CHECK(slurp(dir / "run/metrics.jsonl") == metrics);
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{10});
  options.restartData = true;
  REQUIRE_OK(train(plan, options).status());
  options.resume = false;
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
}

TEST_CASE("a checkpoint of format 1 says nothing of data and is read", "[run]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 10;
  REQUIRE_OK(train(plan, options).status());
  std::string path = dir / "run/checkpoints/step-00000010/manifest.json";
  json manifest = json::parse(slurp(path));
  manifest.erase("data");
  manifest.erase("self_hash");
  manifest["format"] = 1;
  manifest["self_hash"] = hashHex(manifest.dump());
  spill(path, manifest.dump());
  options.resume = true;
  options.maxSteps = -1;
  CHECK(train(plan, options)->step == 20);
  CHECK(metricLines(dir / "run").back()["step"] == 20);
}

TEST_CASE("a counter that does not move ends the run with an error", "[run]") {
  TempDir dir;
  writeTinyData(dir.path());
  json manifest = tinyManifest(dir.path());
  manifest["programs"]["train"][0]["body"].erase(2); // no update
  spill(dir / "stuck.moec", buildTiny(manifest));
  Plan plan = loadPlan(dir / "stuck.moec").value();
  CHECK_CODE(train(plan, quiet(dir / "run")).status(), "MOEC-R003");
}

TEST_CASE("the metrics log keeps whole lines up to the step it resumes from", "[run]") {
  TempDir dir;
  std::string path = dir / "metrics.jsonl";
  spill(path,
        "{\"step\":1,\"time_s\":2.5}\nnot json\n{\"step\":2,\"time_s\":4}\n{\"step\":3,\"time_s\":6}\n{\"step\":2,");
  Result<MetricsLog> log = MetricsLog::open(path, 2);
  REQUIRE_OK(log.status());
  CHECK(log->lastTime() == 4);
  REQUIRE_OK(log->write(Json::parse("{\"step\": 3}").value()));
  CHECK(slurp(path) == "{\"step\":1,\"time_s\":2.5}\n{\"step\":2,\"time_s\":4}\n{\"step\":3}\n");
  REQUIRE_OK(MetricsLog::open(path, 0).status());
  CHECK(slurp(path).empty());
}

TEST_CASE("the command line has its exit codes", "[run]") {
  TempDir dir;
  makeTinyPlan(dir.path());
  std::string plan = dir / "tiny.moec", run = dir / "run";
  // In a child: what it prints is not this test's business.
  auto exitOf = [](std::vector<std::string> arguments) {
    int state = inChild([&] {
      (void)!std::freopen("/dev/null", "w", stdout);
      (void)!std::freopen("/dev/null", "w", stderr);
      ::_exit(runCommandLine(arguments));
    });
    return WEXITSTATUS(state);
  };
  CHECK(exitOf({"--help"}) == kExitOk);
  CHECK(exitOf({}) == kExitUsage);
  CHECK(exitOf({plan}) == kExitUsage);
  CHECK(exitOf({plan, "train", "--no-such-option"}) == kExitUsage);
  CHECK(exitOf({plan, "train", "--resume", "--overwrite"}) == kExitUsage);
  CHECK(exitOf({dir / "a.txt", "describe"}) == kExitPlan);
  CHECK(exitOf({plan, "describe"}) == kExitOk);
  CHECK(exitOf({plan, "eval", "--run-dir", run}) == kExitCheckpoint);
  CHECK(exitOf({plan, "train", "--run-dir", run, "--data-dir", dir / "nowhere"}) == kExitData);
  CHECK(exitOf({plan, "train", "--run-dir", run, "--threads", "2", "--max-steps", "11", "--profile"}) == kExitOk);
  CHECK(exitOf({plan, "train", "--run-dir", run}) == kExitUsage);
  CHECK(exitOf({plan, "train", "--run-dir", run, "--resume", "--json"}) == kExitOk);
  CHECK(exitOf({plan, "eval", "--run-dir", run, "--json"}) == kExitOk);
  CHECK(exitOf({plan, "generate", "--run-dir", run, "--prompt", "the", "--bytes", "5"}) == kExitOk);
  CHECK(exitOf({plan, "generate", "--run-dir", run, "--temperature", "-1"}) == kExitUsage);
}
