#include "TinyPlan.h"

#include "runtime/exec/Executor.h"
#include "runtime/hal/cpu/CpuDevice.h"
#include "runtime/hal/cpu/WorkerPool.h"
#include "runtime/plan/PlanReader.h"

#include <atomic>
#include <numeric>

using namespace moec::rt;
using namespace moec::rt::test;

TEST_CASE("the pool runs every index once, in contiguous parts", "[device]") {
  unsigned threads = GENERATE(1u, 2u, 3u, 7u);
  auto pool = WorkerPool::create(threads);
  REQUIRE_OK(pool.status());
  struct Work {
    std::vector<std::atomic<int>> seen;
    std::vector<std::atomic<int>> parts;
  };
  for (int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
    Work work{std::vector<std::atomic<int>>(static_cast<size_t>(count)), std::vector<std::atomic<int>>(threads)};
    (*pool)->run(
        [](void *context, int64_t begin, int64_t end, unsigned thread) {
          auto *work = static_cast<Work *>(context);
          ++work->parts[thread];
          for (int64_t i = begin; i < end; ++i)
            ++work->seen[static_cast<size_t>(i)];
        },
        &work, count);
    for (auto &seen : work.seen)
      REQUIRE(seen == 1);
    for (auto &parts : work.parts)
      REQUIRE(parts <= 1);
  }
}

TEST_CASE("many short launches in a row are all done", "[device]") {
  auto pool = WorkerPool::create(3);
  REQUIRE_OK(pool.status());
  std::vector<int64_t> sums(64, 0);
  for (int round = 0; round < 5000; ++round)
    (*pool)->run(
        [](void *context, int64_t begin, int64_t end, unsigned) {
          for (int64_t i = begin; i < end; ++i)
            ++(*static_cast<std::vector<int64_t> *>(context))[static_cast<size_t>(i)];
        },
        &sums, 64);
  CHECK(std::accumulate(sums.begin(), sums.end(), int64_t{0}) == 64 * 5000);
}

TEST_CASE("the device allocates what the plan announced", "[device]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  for (unsigned threads : {1u, 2u, 5u}) {
    auto device = createCpuDevice(plan, threads);
    REQUIRE_OK(device.status());
    CHECK((*device)->allocatedBytes() == plan.peakBytes(threads));
  }
}

TEST_CASE("fill, copy, read and write reach the right bytes, large and small", "[device]") {
  TempDir dir;
  nlohmann::json manifest = tinyManifest(dir.path());
  manifest["memory"]["arena_bytes"] = 16 << 20;
  std::string file = buildTiny(manifest);
  std::string path = dir / "big.moec";
  spill(path, file);
  Plan plan = readPlan(path).value();
  auto device = createCpuDevice(plan, 3);
  REQUIRE_OK(device.status());
  for (uint64_t bytes : {uint64_t{100}, uint64_t{3000001}}) {
    uint64_t src = 64, dst = 8 << 20;
    std::vector<uint8_t> pattern(bytes), found(bytes + 2);
    for (size_t i = 0; i < bytes; ++i)
      pattern[i] = uint8_t(i * 7 + i / 256);
    (*device)->fill(dst - 1, bytes + 2, 0xAB);
    (*device)->write(src, pattern.data(), bytes);
    (*device)->copy(dst, src, bytes);
    (*device)->read(dst - 1, found.data(), bytes + 2);
    CHECK(found.front() == 0xAB);
    CHECK(found.back() == 0xAB);
    CHECK(std::equal(pattern.begin(), pattern.end(), found.begin() + 1));
  }
}

TEST_CASE("two devices with kernels of their own live side by side", "[device]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  auto one = Executor::create(plan, {.threads = 1}), two = Executor::create(plan, {.threads = 2});
  REQUIRE_OK(one.status());
  REQUIRE_OK(two.status());
  (*one)->call(0);
  float first = 1, second = 1;
  (*one)->device().read(0, &first, 4);
  (*two)->device().read(0, &second, 4);
  CHECK(first == Approx(-0.05f));
  CHECK(second == 0);
}

TEST_CASE("loops place operands forward and backward", "[device]") {
  TempDir dir;
  writeTinyData(dir.path());
  nlohmann::json manifest = tinyManifest(dir.path());
  uint64_t area = manifest["memory"]["state_bytes"];
  // Row 2*i + j of 6 gets copied from row 0 of the table, j running backward; then one row is cleared.
  nlohmann::json copy = {{"op", "copy"}, {"dst", {area, 2048, 1024}}, {"src", {0, 0, 4}}, {"bytes", 1024}, {"at", 1}};
  nlohmann::json inner = {{"op", "repeat"}, {"count", 2}, {"reverse", true}, {"body", nlohmann::json::array({copy})}};
  nlohmann::json outer = {{"op", "repeat"}, {"count", 3}, {"reverse", false}, {"body", nlohmann::json::array({inner})}};
  manifest["functions"][1]["body"] = {outer, {{"op", "fill"}, {"dst", {area + 1024}}, {"bytes", 1024}, {"at", 0}}};
  spill(dir / "p.moec", buildTiny(manifest));
  Plan plan = readPlan(dir / "p.moec").value();
  auto executor = Executor::create(plan, {.threads = 1, .profile = true});
  REQUIRE_OK(executor.status());
  (*executor)->call(0);
  (*executor)->call(1);
  std::vector<float> table(257), rows(6 * 256);
  (*executor)->device().read(0, table.data(), table.size() * 4);
  (*executor)->device().read(area, rows.data(), rows.size() * 4);
  for (size_t row = 0; row < 6; ++row)
    for (size_t i = 0; i < 256; ++i)
      REQUIRE(rows[row * 256 + i] == (row == 1 ? 0 : table[i + row % 2]));
  std::string profile = (*executor)->profile()->table();
  CHECK(profile.find("(copy)") != std::string::npos);
  CHECK(profile.find("tiny_init") != std::string::npos);
  CHECK(profile.find("section of the spec") != std::string::npos);
  CHECK(profile.find("/optimizer") != std::string::npos);
}
