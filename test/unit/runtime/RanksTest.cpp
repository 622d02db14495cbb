// Plans of many ranks: what the reader checks, where a rank stands, and what an executor exchanges with the others.
#include "CudaPlan.h"
#include "TinyPlan.h"

#include "runtime/comm/local/LocalWorld.h"
#include "runtime/exec/Executor.h"
#include "runtime/plan/PlanDescribe.h"
#include "runtime/plan/PlanReader.h"

#include <functional>
#include <thread>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

namespace {

constexpr uint64_t kGathered = 0, kOwn = 4096, kDealt = 8192; // in the state of the tiny plan

json axis(const char *name, int64_t size, bool batches) {
  return {{"axis", name}, {"size", size}, {"batches", batches}};
}

/// Zeros as strides of the axes, before those of loops.
void addAxes(json &body, size_t numAxes) {
  for (json &op : body) {
    auto widen = [&](json &place) {
      if (place.size() > 1)
        place.insert(place.begin() + 1, numAxes, 0);
    };
    for (const char *key : {"dst", "src"})
      if (op.contains(key))
        widen(op[key]);
    if (op["op"] == "launch")
      for (json &place : op["args"])
        widen(place);
    if (op.contains("body"))
      addAxes(op["body"], numAxes);
  }
}

json start(const char *exchange, json axes, json dst, json src, int64_t bytes, int request) {
  return {{"op", "start"}, {"exchange", exchange}, {"axes", axes},       {"dst", dst},
          {"src", src},    {"bytes", bytes},       {"request", request}, {"at", 0}};
}

json wait(int request) { return {{"op", "wait"}, {"request", request}, {"at", 0}}; }

/// The tiny plan on a grid of 2 x 2 ranks, with functions that exchange.
json rankManifest() {
  json manifest = tinyManifest("/data");
  manifest["mesh"] = json::array({axis("data", 2, true), axis("expert", 2, false)});
  for (json &function : manifest["functions"])
    addAxes(function["body"], 2);
  auto function = [&](const char *name, json body) {
    manifest["functions"].push_back({{"name", name}, {"body", body}});
  };
  function("gather", {start("all_gather", {0}, {kGathered}, {kOwn}, 64, 0), wait(0)});
  function("in_place", {start("all_gather", {0, 1}, {kGathered}, {kGathered, 128, 64}, 64, 0), wait(0)});
  // Two under way at once, waited for the other way round; each rank's source has a place of its own.
  function("both", {start("all_to_all", {1}, {kDealt}, {kOwn}, 32, 0),
                    start("all_gather", {1, 0}, {kGathered}, {kOwn, 256, 128}, 64, 1), wait(1), wait(0)});
  json once = start("all_gather", {1}, {kGathered}, {kOwn}, 64, 0);
  once["dst"] = json::array({kGathered, 0, 0, 128});
  function("in_a_loop",
           json::array({{{"op", "repeat"}, {"count", 3}, {"reverse", false}, {"body", json::array({once, wait(0)})}}}));
  return manifest;
}

Plan planOf(const json &manifest) {
  std::string file = buildTiny(manifest);
  Result<Plan> plan = parsePlan(std::as_bytes(std::span(file)), "ranks.moec");
  REQUIRE_OK(plan.status());
  return std::move(plan).value();
}

uint32_t numberOf(const Plan &plan, const std::string &name) {
  for (uint32_t i = 0; i < plan.functions.size(); ++i)
    if (plan.functions[i].name == name)
      return i;
  FAIL("no function " << name);
  return 0;
}

Status statusOf(const json &manifest) {
  std::string file = buildTiny(manifest);
  return parsePlan(std::as_bytes(std::span(file)), "ranks.moec").status();
}

/// Runs `work` on every rank, each in a thread.
void onRanks(const Plan &plan, const std::function<void(Executor &, Communicator &, int rank)> &work,
             std::vector<Status> &ends) {
  auto world = makeLocalWorld(static_cast<int>(plan.numRanks()));
  REQUIRE_OK(world.status());
  ends.assign(world->size(), Status::ok());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < world->size(); ++rank)
    threads.emplace_back([&, rank] {
      std::unique_ptr<Communicator> ranks = std::move((*world)[rank]);
      Result<std::unique_ptr<Executor>> executor = Executor::create(plan, {.threads = 1, .ranks = ranks.get()});
      ends[rank] = executor.status();
      if (executor.isOk())
        ends[rank] = ranks->meet(plan.hash, static_cast<int>(plan.numRanks()));
      if (!ends[rank].isOk())
        return;
      work(**executor, *ranks, static_cast<int>(rank));
      ends[rank] = (*executor)->finish();
      if (ends[rank].isOk())
        ends[rank] = ranks->close();
    });
  for (std::thread &thread : threads)
    thread.join();
}

std::vector<uint8_t> bytesAt(Executor &executor, uint64_t offset, size_t count) {
  std::vector<uint8_t> bytes(count);
  executor.device().read(offset, bytes.data(), count);
  return bytes;
}

/// `parts` as runs of `length` equal bytes.
std::vector<uint8_t> runs(std::initializer_list<int> parts, size_t length) {
  std::vector<uint8_t> bytes;
  for (int part : parts)
    bytes.insert(bytes.end(), length, static_cast<uint8_t>(part));
  return bytes;
}

} // namespace

TEST_CASE("ranks stand in the grid in row-major order", "[ranks]") {
  Plan plan = planOf(rankManifest());
  CHECK(plan.numRanks() == 4);
  CHECK(plan.numBatchRanks() == 2);
  CHECK(plan.coordinatesOf(0) == std::vector<int64_t>{0, 0});
  CHECK(plan.coordinatesOf(1) == std::vector<int64_t>{0, 1});
  CHECK(plan.coordinatesOf(2) == std::vector<int64_t>{1, 0});
  CHECK(plan.coordinatesOf(3) == std::vector<int64_t>{1, 1});
  // Ranks that differ in other axes read the same micro-batches.
  for (uint64_t rank = 0; rank < 4; ++rank)
    CHECK(plan.batchShareOf(rank) == rank / 2);
  CHECK(plan.sequencesPerStep() == 2 * 2 * 4);
  Plan one = planOf(tinyManifest("/data"));
  CHECK(one.numRanks() == 1);
  CHECK(one.numBatchRanks() == 1);
  CHECK(one.coordinatesOf(0).empty());
  CHECK(one.batchShareOf(0) == 0);
  json noBatches = rankManifest();
  noBatches["mesh"][0]["batches"] = false;
  CHECK(planOf(noBatches).numBatchRanks() == 1);
  CHECK(planOf(noBatches).batchShareOf(3) == 0);
}

TEST_CASE("a plan of many ranks is described with its exchanges", "[ranks]") {
  std::string text = describePlan(planOf(rankManifest()), {.instructions = true});
  auto has = [&](const char *words) { return text.find(words) != std::string::npos; };
  INFO(text);
  CHECK(has("ranks: 4 (data 2 x expert 2); all numbers are of one rank\n"));
  CHECK(has("start 0: all_gather along data expert, @0:256 <- @0 + 128*data + 64*expert:64\n"));
  CHECK(has("start 0: all_to_all along expert, @8192:64 <- @4096:64\n"));
  CHECK(has("start 0: all_gather along expert, @0 + 128*i0:128 <- @4096:64\n"));
  CHECK(has("wait for 1\n"));
  CHECK(describePlan(planOf(tinyManifest("/data")), {}).find("ranks:") == std::string::npos);
}

TEST_CASE("the mesh of a plan is checked", "[ranks]") {
  auto [mesh, words] = GENERATE(table<json, std::string>({
      {json::array({axis("data", 2, true), axis("data", 2, false)}), "there are two axes \"data\""},
      {json::array({axis("data", 2, true), axis("expert", 2, true)}), "\"data\" deals out batches already"},
      {json::array(
           {axis("a", 2, false), axis("b", 2, false), axis("c", 2, false), axis("d", 2, false), axis("e", 2, false)}),
       "has 5 axes, at most 4 are allowed"},
      {json::array({axis("data", 65536, true), axis("expert", 2, false)}), "has 131072 ranks, at most 65536"},
      {json::array({axis("data", 0, true)}), "is 0"},
      {json::array({axis("data", 65537, true)}), "is 65537"},
      {json::array({{{"axis", "data"}, {"size", 2}}}), "batches"},
      {json::array({{{"axis", "data"}, {"size", 2}, {"batches", true}, {"surprise", 1}}}), "surprise"},
  }));
  json manifest = tinyManifest("/data");
  manifest["mesh"] = mesh;
  Status status = statusOf(manifest);
  INFO(status.text());
  CHECK_CODE(status, "MOEC-P006");
  CHECK(status.text().find(words) != std::string::npos);
}

TEST_CASE("exchanges of a plan are checked", "[ranks]") {
  json good = start("all_gather", {0}, {kGathered}, {kOwn}, 64, 0);
  auto with = [&](const char *key, json value) {
    json changed = good;
    changed[key] = value;
    return json::array({changed, wait(0)});
  };
  json first = start("all_gather", {0}, {kGathered}, {kOwn}, 64, 0);
  json loop = {{"op", "repeat"}, {"count", 2}, {"reverse", false}, {"body", json::array({first})}};
  std::vector<std::tuple<json, std::string, std::string>> cases = {
      {with("exchange", "all_reduce"), "MOEC-P006", "unknown exchange \"all_reduce\""},
      {with("axes", {2}), "MOEC-P006", "has 2, expected numbers of axes of the mesh, each once"},
      {with("axes", {0, 0}), "MOEC-P006", "has 0, expected numbers of axes of the mesh, each once"},
      {with("axes", json::array()), "MOEC-P006", "names no axis"},
      {with("bytes", -1), "MOEC-P006", "/bytes"},
      {with("bytes", int64_t{1} << 50), "MOEC-P006", "/bytes"},
      {with("dst", {0, 0, 0, 4}), "MOEC-P006", "has 3 strides for 2 axes of the mesh and repeats"},
      {with("request", 1), "MOEC-P006", "is 1, expected 0: requests count from 0 in the order of their starts"},
      {json::array({first}), "MOEC-P006", "starts exchange 0 and does not wait for it"},
      {json::array({first, wait(0), wait(0)}), "MOEC-P006", "is 0, which is not under way"},
      {json::array({wait(0)}), "MOEC-P006", "is 0, which is not under way"},
      // Each pass of a loop ends what it starts.
      {json::array({loop, wait(0)}), "MOEC-P006", "starts exchange 0 and does not wait for it"},
      // Beyond the arena on one rank only.
      {with("src", {kOwn, int64_t{1} << 40}), "MOEC-P008", ""},
      {with("src", {kOwn, -4097}), "MOEC-P008", ""},
      {with("src", {64}), "MOEC-P008", "exchange of 64 bytes at 64 into 128 at 0 overlaps itself"},
  };
  for (auto &[body, code, words] : cases) {
    json manifest = rankManifest();
    manifest["functions"].push_back({{"name", "bad"}, {"body", body}});
    Status status = statusOf(manifest);
    INFO(body.dump() << "\n" << status.text());
    CHECK(status.code() == code);
    CHECK(status.text().find(words) != std::string::npos);
  }
  json manifest = rankManifest();
  manifest["functions"].push_back({{"name", "good"}, {"body", json::array({good, wait(0)})}});
  CHECK(statusOf(manifest).isOk());
}

TEST_CASE("an all-gather brings the pieces of a group, in the order of its ranks", "[ranks]") {
  Plan plan = planOf(rankManifest());
  std::vector<Status> ends;
  std::vector<std::vector<uint8_t>> got(4), inPlace(4);
  onRanks(
      plan,
      [&](Executor &executor, Communicator &, int rank) {
        executor.device().fill(kOwn, 64, static_cast<uint8_t>(10 + rank));
        executor.walk(numberOf(plan, "gather"));
        got[rank] = bytesAt(executor, kGathered, 128);
        executor.device().fill(kGathered + static_cast<uint64_t>(rank) * 64, 64, static_cast<uint8_t>(20 + rank));
        executor.walk(numberOf(plan, "in_place"));
        inPlace[rank] = bytesAt(executor, kGathered, 256);
      },
      ends);
  for (int rank = 0; rank < 4; ++rank) {
    INFO("rank " << rank);
    REQUIRE_OK(ends[rank]);
    // Along "data" ranks 0 and 2 are a group, and 1 and 3.
    CHECK(got[rank] == runs({10 + rank % 2, 12 + rank % 2}, 64));
    CHECK(inPlace[rank] == runs({20, 21, 22, 23}, 64));
  }
}

TEST_CASE("two exchanges may be under way, and a loop has its own", "[ranks]") {
  Plan plan = planOf(rankManifest());
  std::vector<Status> ends;
  std::vector<std::vector<uint8_t>> dealt(4), gathered(4), looped(4);
  onRanks(
      plan,
      [&](Executor &executor, Communicator &, int rank) {
        for (uint64_t i = 0; i < 16; ++i)
          executor.device().fill(kOwn + 32 * i, 32, static_cast<uint8_t>(16 * rank + i));
        executor.walk(numberOf(plan, "both"));
        dealt[rank] = bytesAt(executor, kDealt, 64);
        gathered[rank] = bytesAt(executor, kGathered, 256);
        executor.walk(numberOf(plan, "in_a_loop"));
        looped[rank] = bytesAt(executor, kGathered, 3 * 128);
      },
      ends);
  for (int rank = 0; rank < 4; ++rank) {
    INFO("rank " << rank);
    REQUIRE_OK(ends[rank]);
    int left = rank / 2 * 2; // of its group along "expert"
    CHECK(dealt[rank] == runs({16 * left + rank % 2, 16 * (left + 1) + rank % 2}, 32));
    // Axes ["expert", "data"]: "data" counts fastest, so the group is 0, 2, 1, 3. Each sends what stands at its place.
    std::vector<uint8_t> expected;
    for (int other : {0, 2, 1, 3}) {
      int at = other / 2 * 8 + other % 2 * 4;
      std::vector<uint8_t> piece = runs({16 * other + at, 16 * other + at + 1}, 32);
      expected.insert(expected.end(), piece.begin(), piece.end());
    }
    CHECK(gathered[rank] == expected);
    std::vector<uint8_t> once = runs({16 * left, 16 * left + 1, 16 * (left + 1), 16 * (left + 1) + 1}, 32), all;
    for (int i = 0; i < 3; ++i)
      all.insert(all.end(), once.begin(), once.end());
    CHECK(looped[rank] == all);
  }
}

TEST_CASE("a function that exchanges cannot be called alone", "[ranks]") {
  Plan plan = planOf(rankManifest());
  Result<std::unique_ptr<Executor>> executor = Executor::create(plan, {.threads = 1});
  REQUIRE_OK(executor.status());
  (*executor)->walk(numberOf(plan, "start_step")); // others can
  REQUIRE_OK((*executor)->finish());
  (*executor)->walk(numberOf(plan, "gather"));
  CHECK_CODE((*executor)->exchangeStatus(), "MOEC-R010");
  CHECK_CODE((*executor)->finish(), "MOEC-R010");
}

TEST_CASE("a rank that ends ends the others, in words", "[ranks]") {
  Plan plan = planOf(rankManifest());
  std::vector<Status> ends;
  std::vector<std::vector<uint8_t>> after(4);
  onRanks(
      plan,
      [&](Executor &executor, Communicator &ranks, int rank) {
        if (rank == 3)
          return ranks.abort(Status::error("MOEC-R004", "", "the disk of rank 3 is full"));
        executor.device().fill(kDealt, 64, 1);
        executor.walk(numberOf(plan, "in_place"));
        // After a failure nothing more is done.
        executor.walk(numberOf(plan, "both"));
        after[rank] = bytesAt(executor, kDealt, 64);
      },
      ends);
  for (int rank = 0; rank < 3; ++rank) {
    INFO("rank " << rank << ": " << ends[rank].text());
    CHECK(ends[rank].code() == "MOEC-N006");
    CHECK(ends[rank].text().find("rank 3") != std::string::npos);
    // A rank may hear of it while it still joins groups; then it ran nothing.
    CHECK((after[rank].empty() || after[rank] == runs({1}, 64)));
  }
}

TEST_CASE("ranks need memory that the host can reach", "[ranks]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  manifest["mesh"] = json::array({axis("data", 2, true)});
  for (json &function : manifest["functions"])
    addAxes(function["body"], 1);
  std::string file = buildCuda(manifest);
  Result<Plan> plan = parsePlan(std::as_bytes(std::span(file)), "ranks.moec");
  REQUIRE_OK(plan.status());
  auto world = makeLocalWorld(2);
  REQUIRE_OK(world.status());
  Status status = Executor::create(*plan, {.threads = 1, .ranks = (*world)[0].get()}).status();
  CHECK_CODE(status, "MOEC-R010");
  CHECK(status.message() == "the plan divides its work over 2 ranks, and this runtime cannot do that on target cuda; "
                            "compile it for a CPU, or set parallel to null");
}

TEST_CASE("what only the first rank finds out keeps its words", "[ranks]") {
  TempDir dir;
  json manifest = rankManifest();
  manifest["data"]["base_dir"] = dir.path();
  writeTinyData(dir.path());
  Plan plan = planOf(manifest);
  Result<TrainReport> report = train(plan, quiet(dir / "run"));
  REQUIRE_OK(report.status());
  CHECK(report->step == 20);
  Plan one = makeTinyPlan(dir.path());
  Status expected = train(one, quiet(dir / "run")).status(), status = train(plan, quiet(dir / "run")).status();
  REQUIRE_FALSE(status.isOk());
  CHECK(status.code() == expected.code());
}
