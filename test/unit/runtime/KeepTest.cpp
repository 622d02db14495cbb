// What must not be lost: an old run when a new one cannot begin, files of others, good steps of a run that ends badly.
#include "TinyPlan.h"

#include "runtime/api/moec.h"
#include "runtime/base/Hash.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/Dataset.h"

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec::rt;
using namespace moec::rt::test;
namespace fs = std::filesystem;

namespace {

/// Every file below a folder, with what is in it; .lock is nobody's.
std::map<std::string, std::string> filesIn(const std::string &folder) {
  std::map<std::string, std::string> files;
  for (const auto &item : fs::recursive_directory_iterator(folder))
    if (item.path().filename() != ".lock")
      files[item.path().lexically_relative(folder)] = item.is_regular_file() ? slurp(item.path()) : "folder";
  return files;
}

/// A training of 100000 steps in a child: does something to it once it has begun, then waits for its end.
template <typename Act>
std::pair<int, std::string> disturb(const TempDir &dir, std::vector<std::string> more, Act act) {
  std::string run = dir / "run", log = dir / "log";
  pid_t child = ::fork();
  if (child == 0) {
    (void)!std::freopen("/dev/null", "w", stdout);
    (void)!std::freopen(log.c_str(), "w", stderr);
    std::vector<std::string> arguments = {dir / "tiny.moec", "train", "--run-dir", run, "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    int code = runCommandLine(arguments);
    std::fflush(stderr);
    ::_exit(code);
  }
  for (int i = 0; i < 1000 && slurp(run + "/metrics.jsonl").size() < 500; ++i)
    ::usleep(10000);
  act(child);
  int state = 0;
  ::waitpid(child, &state, 0);
  return {WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state), slurp(log)};
}

const TinyOptions kLong{.steps = 100000, .saveEvery = 100000, .logEvery = 1};

} // namespace

TEST_CASE("a run that cannot begin leaves the old one as it was, with its plan", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.path = dir / "run.moec";
  spill(plan.path, "the plan of the old run");
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  spill(dir / "run/notes.txt", "mine");
  auto before = filesIn(dir / "run");
  RunOptions options = quiet(dir / "run");
  options.planBytes = "the plan of the new run";

  auto checkKept = [&](const std::string &code) {
    for (bool overwrite : {true, false}) {
      options.overwrite = overwrite;
      options.resume = !overwrite;
      INFO(code << (overwrite ? " overwrite" : " resume"));
      CHECK_CODE(train(plan, options).status(), code);
      CHECK(filesIn(dir / "run") == before);
      CHECK(slurp(plan.path) == "the plan of the old run");
    }
  };
  SECTION("data that are gone") {
    fs::remove(dir / "a.txt");
    checkKept("MOEC-D001");
  }
  SECTION("a disk without room for a checkpoint") {
    auto slot =
        std::find_if(plan.state.begin(), plan.state.end(), [](const PlanState &state) { return state.checkpoint; });
    slot->copyBytes = uint64_t{1} << 60;
    checkKept("MOEC-C026");
  }
  SECTION("a disk that is full when the run begins") {
    // What is in the way of a temporary file fails as a full disk does.
    std::string temp = ".tmp-" + std::to_string(::getpid());
    std::string inTheWay = GENERATE("run/.run.json", "run/.metrics.jsonl", ".run.moec");
    fs::create_directory(dir / (inTheWay + temp));
    before = filesIn(dir / "run");
    checkKept("MOEC-I002");
  }
  SECTION("none of it: the plan is replaced when the run begins") {
    options.overwrite = true;
    options.maxSteps = 1;
    REQUIRE_OK(train(plan, options).status());
    CHECK(slurp(plan.path) == "the plan of the new run");
    for (const auto &item : fs::directory_iterator(dir.path()))
      CHECK_FALSE(item.path().filename().string().starts_with("."));
  }
}

TEST_CASE("overwrite deletes the old run and nothing else", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.saveEvery = 5});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  RunOptions options = quiet(dir / "run");
  options.resumeFrom = dir / "run/checkpoints/step-00000010";
  REQUIRE_OK(train(plan, options).status()); // sets step 15 and 20 aside
  std::map<std::string, std::string> foreign = {{"notes.txt", "a"},
                                                {"checkpoints/best.txt", "b"},
                                                {"checkpoints/step-7/x", "c"},
                                                {"checkpoints/.tmp-mine", "d"},
                                                {"checkpoints/step-00000010/why.txt", "e"}};
  for (const auto &[name, text] : foreign) {
    fs::create_directories(fs::path(dir / ("run/" + name)).parent_path());
    spill(dir / ("run/" + name), text);
  }
  auto before = filesIn(dir / "run");
  options = quiet(dir / "run");
  options.overwrite = true;
  options.maxSteps = 1;
  options.out = std::fopen((dir / "out").c_str(), "w");
  REQUIRE_OK(train(plan, options).status());
  std::fclose(options.out);
  CHECK(listCheckpoints(dir / "run/checkpoints").empty());
  // A checkpoint that somebody put something into is kept under another name.
  foreign.erase("checkpoints/step-00000010/why.txt");
  foreign["checkpoints/abandoned-step-00000010/why.txt"] = "e";
  auto after = filesIn(dir / "run");
  for (const auto &[name, text] : foreign)
    CHECK(after[name] == text);
  for (const auto &[name, text] : before)
    if (name.starts_with("abandoned-") || name.starts_with("checkpoints/abandoned-"))
      CHECK(after[name] == text);
  std::string out = slurp(dir / "out");
  for (const char *name :
       {"abandoned-metrics.jsonl", "notes.txt", "checkpoints/abandoned-step-00000020", "checkpoints/best.txt"})
    CHECK(out.find(name) != std::string::npos);
}

TEST_CASE("a start that was killed half way is taken back, or completed", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  auto before = filesIn(dir / "run");
  std::string run = dir / "run/", step = "checkpoints/step-00000020", aside = "checkpoints/.replaced-step-00000020";
  RunOptions options = quiet(dir / "run");
  fs::rename(run + "run.json", run + ".replaced-run.json");
  SECTION("before anything new was written") {}
  SECTION("in the middle") {
    fs::rename(dir / "tiny.moec", dir / ".replaced-tiny.moec");
    fs::rename(run + "metrics.jsonl", run + ".replaced-metrics.jsonl");
    fs::rename(run + step, run + aside);
    spill(run + "metrics.jsonl", "");
  }
  CHECK_CODE(train(plan, options).status(), "MOEC-R001"); // it still holds a run
  options.resume = true;
  options.maxSteps = 0;
  std::string bytes = slurp(exists(dir / "tiny.moec") ? plan.path : dir / ".replaced-tiny.moec");
  options.planBytes = bytes;
  REQUIRE_OK(train(plan, options).status());
  CHECK(filesIn(dir / "run") == before);
  CHECK(slurp(plan.path) == bytes);
  CHECK_FALSE(exists(dir / ".replaced-tiny.moec"));

  // The new run had begun: what it replaced goes.
  fs::rename(run + step, run + aside);
  spill(run + ".replaced-metrics.jsonl", "old");
  REQUIRE_OK(train(plan, options).status());
  CHECK_FALSE(exists(run + aside));
  CHECK_FALSE(exists(run + ".replaced-metrics.jsonl"));
  CHECK(listCheckpoints(run + "checkpoints") == std::vector<int64_t>{10});
}

TEST_CASE("nothing is pruned before something new is saved", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 30, .saveEvery = 5});
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 15;
  REQUIRE_OK(train(plan, options).status());
  plan.keepLast = 1;
  options.resume = true;
  options.maxSteps = 4;
  REQUIRE_OK(train(plan, options).status());
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{5, 10, 15});
  options.maxSteps = 5;
  REQUIRE_OK(train(plan, options).status());
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{20});
}

TEST_CASE("going on from a checkpoint that was set aside keeps the one of the same step", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 20, .saveEvery = 5});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  RunOptions options = quiet(dir / "run");
  std::string checkpoints = dir / "run/checkpoints/", metrics = slurp(dir / "run/metrics.jsonl");
  options.resumeFrom = checkpoints + "step-00000010";
  REQUIRE_OK(train(plan, options).status());
  CHECK(slurp(dir / "run/abandoned-metrics.jsonl") == metrics);
  spill(checkpoints + "step-00000015/manifest.json", "{}"); // to know it again
  options.resumeFrom = checkpoints + "abandoned-step-00000015";
  REQUIRE_OK(train(plan, options).status());
  CHECK(slurp(checkpoints + "abandoned-step-00000015-2/manifest.json") == "{}");
  REQUIRE_OK(verifyCheckpoint(checkpoints + "abandoned-step-00000015").status());
  REQUIRE_OK(verifyCheckpoint(checkpoints + "step-00000020").status());
}

TEST_CASE("a run that has no checkpoint begins again and keeps its metrics", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.logEvery = 1});
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 3;
  REQUIRE_OK(train(plan, options).status());
  std::string metrics = slurp(dir / "run/metrics.jsonl");
  options.beginAgain = true;
  options.maxSteps = -1;
  REQUIRE_OK(train(plan, options).status());
  CHECK(slurp(dir / "run/abandoned-metrics.jsonl") == metrics);
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{10, 20});
  CHECK_CODE(train(plan, options).status(), "MOEC-R001"); // now it has one
}

TEST_CASE("files of others that have a run's names are not replaced", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "other")).status());
  fs::create_directory(dir / "run");
  RunOptions options = quiet(dir / "run");
  std::string name = GENERATE("run.json", "metrics.jsonl"), path = dir / ("run/" + name);
  spill(path, "{\"step\": 1}\n");
  CHECK_CODE(train(plan, options).status(), "MOEC-R001");
  options.overwrite = true;
  CHECK_CODE(train(plan, options).status(), "MOEC-R001");
  options.resumeFrom = dir / "other/checkpoints/step-00000010";
  CHECK_CODE(train(plan, options).status(), "MOEC-R001");
  CHECK(slurp(path) == "{\"step\": 1}\n");
}

TEST_CASE("the run that a folder holds is not mixed with another one", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path()), other = makeTinyPlan(dir.path(), {.rate = 1});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  REQUIRE_OK(train(other, quiet(dir / "other")).status());
  auto before = filesIn(dir / "run");
  RunOptions options = quiet(dir / "run");
  options.resumeFrom = dir / "other/checkpoints/step-00000010";
  CHECK_CODE(train(other, options).status(), "MOEC-C005");
  CHECK(filesIn(dir / "run") == before);
  options.overwrite = true; // nothing of the old run is left to mix with
  REQUIRE_OK(train(other, options).status());
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{20});
}

TEST_CASE("a checkpoint that holds NaN is used for nothing, and the good one before it is named", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.saveEvery = 10});
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  std::string newest = dir / "run/checkpoints/step-00000020", older = dir / "run/checkpoints/step-00000010";
  std::string path = newest + "/model-00001-of-00001.safetensors", shard = slurp(path);
  const float bad = NAN;
  shard.replace(shard.size() - 4, 4, reinterpret_cast<const char *>(&bad), 4);
  spill(path, shard);
  nlohmann::json manifest = nlohmann::json::parse(slurp(newest + "/manifest.json"));
  manifest["shards"][0]["hash"] = hashHex(shard);
  manifest.erase("self_hash");
  manifest["self_hash"] = hashHex(manifest.dump());
  spill(newest + "/manifest.json", manifest.dump());

  RunOptions options = quiet(dir / "run");
  auto before = filesIn(dir / "run");
  auto checkRefused = [&](const Status &status) {
    CHECK_CODE(status, "MOEC-C018");
    CHECK(exitCode(status) == kExitNotFinite);
    CHECK(status.message().find("--resume-from " + older) != std::string::npos);
    CHECK(filesIn(dir / "run") == before);
  };
  checkRefused(evaluate(plan, options).status());
  checkRefused(generate(plan, options, {}).status());
  options.resume = true;
  checkRefused(train(plan, options).status());
  options.resume = false;
  options.resumeFrom = newest;
  CHECK_CODE(evaluate(plan, options).status(), "MOEC-C018");
  options.resumeFrom = older;
  REQUIRE_OK(train(plan, options).status());
  REQUIRE_OK(verifyCheckpoint(newest).status());
}

TEST_CASE("a data file that is cut short costs no step", "[keep]") {
  TempDir dir;
  makeTinyPlan(dir.path(), kLong);
  auto [code, said] = disturb(dir, {}, [&](pid_t) { fs::resize_file(dir / "a.txt", 100); });
  CHECK(code == kExitData);
  std::vector<int64_t> steps = listCheckpoints(dir / "run/checkpoints");
  REQUIRE(steps.size() == 1);
  CHECK(said.find("MOEC-D005") != std::string::npos);
  CHECK(said.find("are saved in " + (dir / "run/checkpoints/") + checkpointName(steps[0])) != std::string::npos);
  REQUIRE_OK(verifyCheckpoint(dir / ("run/checkpoints/" + checkpointName(steps[0]))).status());
}

TEST_CASE("a run that goes on from a checkpoint of elsewhere has one of its own", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 20});
  REQUIRE_OK(train(plan, quiet(dir / "other")).status());
  RunOptions options = quiet(dir / "run");
  options.resumeFrom = dir / "other/checkpoints/step-00000020"; // nothing is left to train
  REQUIRE_OK(train(plan, options).status());
  CHECK(listCheckpoints(dir / "run/checkpoints") == std::vector<int64_t>{20});
}

TEST_CASE("a trace takes the place of nothing but a trace", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  RunOptions options = quiet(dir / "run");
  options.maxSteps = 2;
  fs::create_directory(dir / "folder");
  for (const std::string &path : {dir / "a.txt", dir / "tiny.moec", dir / "run/metrics.jsonl", dir / "run/run.json",
                                  dir / "run/checkpoints/x", dir / "folder", dir / "nowhere/x"}) {
    options.tracePath = path;
    INFO(path);
    std::string before = fs::is_regular_file(path) ? slurp(path) : "";
    Status status = train(plan, options).status();
    CHECK_CODE(status, "MOEC-R005");
    CHECK(exitCode(status) == kExitUsage);
    CHECK((fs::is_regular_file(path) ? slurp(path) : "") == before);
    CHECK_FALSE(exists(dir / "run/run.json"));
  }
  options.tracePath = dir / "trace.json";
  spill(options.tracePath, ""); // as mktemp makes them
  for (int again = 0; again < 2; ++again) {
    REQUIRE_OK(train(plan, options).status());
    CHECK(slurp(options.tracePath).find("traceEvents") != std::string::npos);
    options.overwrite = true;
  }
}

TEST_CASE("options that would only lose something are refused", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  REQUIRE_OK(train(plan, quiet(dir / "run")).status());
  auto before = filesIn(dir / "run");
  RunOptions options = quiet(dir / "run");
  options.overwrite = true;
  options.maxSteps = 0; // deletes, and trains nothing
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
  options.maxSteps = -1;
  options.allowOtherSpec = true; // of which checkpoint?
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
  options.allowOtherSpec = false;
  options.restartData = true;
  CHECK_CODE(train(plan, options).status(), "MOEC-R005");
  CHECK(filesIn(dir / "run") == before);
}

TEST_CASE("a signal is answered at once, whatever the run is doing", "[keep]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), kLong);
  SECTION("before the run has begun: there is nothing to save") {
    int signal = GENERATE(SIGINT, SIGTERM, SIGHUP);
    int state = inChild([&] {
      (void)!std::freopen((dir / "log").c_str(), "w", stderr);
      exitOnStopSignals();
      ::raise(signal);
    });
    REQUIRE(WIFEXITED(state));
    CHECK(WEXITSTATUS(state) == kExitInterrupted);
    CHECK(slurp(dir / "log").find("nothing to save") != std::string::npos);
  }
  SECTION("again and again while it trains") {
    auto [code, said] = disturb(dir, {}, [](pid_t child) {
      for (int i = 0; i < 20; ++i)
        ::kill(child, i % 2 ? SIGTERM : SIGINT);
    });
    CHECK(code == kExitInterrupted);
    CHECK(said.find("stopping after this step") == said.rfind("stopping after this step"));
    CHECK(listCheckpoints(dir / "run/checkpoints").size() == 1);
  }
  SECTION("while the baseline of a validation is made") {
    Dataset data = Dataset::open(plan, "").value();
    int asked = 0;
    auto poll = [&] { return ++asked > 2 ? Status::error("left", "", "") : Status::ok(); };
    CHECK_CODE(data.unigramBaseline(poll).status(), "left");
    CHECK(data.unigramBaseline().isOk());
  }
}
