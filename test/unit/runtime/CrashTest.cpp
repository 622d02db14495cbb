// Processes killed while they save: whatever the moment, the next start finds a checkpoint that verifies.
#include "TinyPlan.h"

#include "runtime/api/moec.h"
#include "runtime/hal/cpu/CpuDevice.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"

#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec::rt;
using namespace moec::rt::test;
namespace fs = std::filesystem;

static void checkNoLeftovers(const std::string &checkpoints) {
  REQUIRE_OK(removeLeftovers(checkpoints));
  for (const auto &item : fs::directory_iterator(checkpoints))
    CHECK(item.path().filename().string().starts_with("step-"));
}

TEST_CASE("kill -9 at every stage of a save", "[crash]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.keepLast = 1});
  std::string checkpoints = dir / "checkpoints";
  int survived = 0;
  for (int killAt = 0; survived == 0; ++killAt) {
    fs::remove_all(checkpoints);
    auto save = [&](int64_t step, SaveOptions options) {
      auto device = createCpuDevice(plan, 1).value();
      device->write(plan.stepCounterOffset, &step, sizeof step);
      return saveCheckpoint(plan, *device, checkpoints, step, options);
    };
    REQUIRE_OK(save(1, {}));
    int state = inChild([&] {
      int stage = 0;
      SaveOptions options{.shardBytes = 262160, .onStage = [&](SaveStage) {
                            if (stage++ == killAt)
                              ::raise(SIGKILL);
                          }};
      (void)save(2, options);
    });
    survived = WIFEXITED(state);
    INFO("killed at stage " << killAt);
    Result<std::string> newest = newestCheckpoint(checkpoints);
    REQUIRE_OK(newest.status());
    auto device = createCpuDevice(plan, 1).value();
    Result<int64_t> step = loadCheckpoint(plan, *device, *newest);
    REQUIRE_OK(step.status());
    // Six stages (three of them shards) come before the rename.
    CHECK(*step == (killAt < 6 ? 1 : 2));
    checkNoLeftovers(checkpoints);
  }
}

TEST_CASE("kill -9 while a save replaces one of the same step", "[crash]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  std::string checkpoints = dir / "checkpoints";
  auto device = createCpuDevice(plan, 1).value();
  REQUIRE_OK(saveCheckpoint(plan, *device, checkpoints, 3, {}));
  for (int killAt = 0; killAt < 7; ++killAt) {
    inChild([&] {
      int stage = 0;
      SaveOptions options{.onStage = [&](SaveStage) {
        if (stage++ == killAt)
          ::raise(SIGKILL);
      }};
      (void)saveCheckpoint(plan, *device, checkpoints, 3, options);
    });
    INFO("killed at stage " << killAt);
    REQUIRE_OK(newestCheckpoint(checkpoints).status());
  }
  checkNoLeftovers(checkpoints);
}

TEST_CASE("a run killed at random moments ends like one that was not", "[crash]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 60, .saveEvery = 1, .logEvery = 1});
  RunOptions options;
  options.threads = 1;
  options.out = nullptr;
  options.runDir = dir / "whole";
  REQUIRE_OK(train(plan, options).status());

  options.runDir = dir / "killed";
  int kills = 0;
  for (int attempt = 0; attempt < 200; ++attempt) {
    options.resume = !listCheckpoints(options.runDir + "/checkpoints").empty();
    options.overwrite = !options.resume;
    pid_t child = ::fork();
    if (child == 0)
      ::_exit(train(plan, options).isOk() ? 0 : 1);
    // 7 to 60 ms, always other moments of a step and of a save.
    ::usleep(static_cast<useconds_t>(7000 + attempt * 7919 % 53000));
    ::kill(child, SIGKILL);
    int state = 0;
    ::waitpid(child, &state, 0);
    if (WIFEXITED(state)) {
      REQUIRE(WEXITSTATUS(state) == 0);
      break;
    }
    ++kills;
    REQUIRE(newestCheckpoint(options.runDir + "/checkpoints").status().code() != "MOEC-C016");
  }
  INFO(kills << " kills");
  options.resume = true; // when the attempts ran out first
  options.overwrite = false;
  REQUIRE_OK(train(plan, options).status());
  for (const char *name : {"whole", "killed"}) {
    std::vector<int64_t> steps = listCheckpoints(dir / (std::string(name) + "/checkpoints"));
    // A kill between a save and its pruning leaves more, until the next save.
    REQUIRE(steps.size() >= 3);
    CHECK(std::vector<int64_t>(steps.end() - 3, steps.end()) == std::vector<int64_t>{58, 59, 60});
  }
  auto hashes = [&](const char *name) {
    auto manifest = verifyCheckpoint(dir / (std::string(name) + "/checkpoints/step-00000060"));
    REQUIRE_OK(manifest.status());
    std::string text;
    for (const auto &shard : manifest->shards)
      text += shard.hash;
    return text;
  };
  CHECK(hashes("whole") == hashes("killed"));
}
