#include "TinyPlan.h"

#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/base/Json.h"
#include "runtime/hal/cpu/CpuDevice.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/TensorTable.h"
#include "runtime/plan/PlanReader.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>
#include <sys/stat.h>

using namespace moec::rt;
using namespace moec::rt::test;
namespace fs = std::filesystem;

namespace {

/// A device whose state holds a pattern, and a place for checkpoints.
struct Fixture {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  std::unique_ptr<Device> device = createCpuDevice(plan, 1).value();
  std::string checkpoints = dir / "checkpoints";
  SaveOptions small{.shardBytes = 262160, .onStage = {}}; // three shards: table, biases, momentum

  std::vector<uint8_t> state() {
    std::vector<uint8_t> bytes(plan.memory.stateBytes);
    device->read(0, bytes.data(), bytes.size());
    return bytes;
  }

  void setState(unsigned seed) {
    std::vector<uint8_t> bytes(plan.memory.stateBytes);
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>(((i * 2654435761u + seed * 97u) >> 13) & 0x7e); // finite in every float type
    device->write(0, bytes.data(), bytes.size());
  }

  std::string save(int64_t step) {
    REQUIRE_OK(saveCheckpoint(plan, *device, checkpoints, step, small));
    return checkpoints + "/" + checkpointName(step);
  }

  Status load(const std::string &path, LoadOptions options = {}) {
    return loadCheckpoint(plan, *device, path, options).status();
  }

  /// Refused with this code, and the arena untouched.
  void checkRefused(const std::string &path, const std::string &code) {
    setState(99);
    std::vector<uint8_t> before = state();
    CHECK_CODE(load(path), code);
    CHECK((state() == before)); // inner parentheses: no megabytes of dump
  }
};

/// Changes manifest.json and gives it a right hash again: what a bad writer would make.
void editManifest(const std::string &folder, const std::function<void(nlohmann::json &)> &edit) {
  std::string path = folder + "/manifest.json";
  nlohmann::json manifest = nlohmann::json::parse(slurp(path));
  manifest.erase("self_hash");
  edit(manifest);
  manifest["self_hash"] = hashHex(manifest.dump());
  spill(path, manifest.dump());
}

std::string shardPath(const std::string &folder, int index) {
  return folder + "/model-0000" + std::to_string(index) + "-of-00003.safetensors";
}

/// Makes the manifest agree with a shard that was changed.
void rehashShard(const std::string &folder, int index) {
  std::string content = slurp(shardPath(folder, index));
  editManifest(folder, [&](nlohmann::json &manifest) {
    manifest["shards"][index - 1]["size"] = content.size();
    manifest["shards"][index - 1]["hash"] = hashHex(content);
  });
}

} // namespace

TEST_CASE("a checkpoint brings back exactly the saved state", "[checkpoint]") {
  Fixture f;
  f.setState(1);
  std::vector<uint8_t> before = f.state();
  std::string path = f.save(20);
  CHECK(path.ends_with("step-00000020"));
  CHECK(std::distance(fs::directory_iterator(path), fs::directory_iterator()) == 4);
  f.setState(2);
  std::vector<uint8_t> expected = f.state();
  for (const PlanState &state : f.plan.state)
    if (state.checkpoint)
      std::copy_n(before.begin() + static_cast<long>(state.offset), state.copyBytes * state.count,
                  expected.begin() + static_cast<long>(state.offset));
  Result<int64_t> step = loadCheckpoint(f.plan, *f.device, path);
  REQUIRE_OK(step.status());
  CHECK(*step == 20);
  CHECK((f.state() == expected));
}

TEST_CASE("stacked state is saved under the names of its copies", "[checkpoint]") {
  Fixture f;
  auto manifest = nlohmann::json::parse(slurp(f.save(1) + "/manifest.json"));
  CHECK(manifest["tensors"].contains("layers.1.bias"));
  CHECK(manifest["tensors"].contains("layers.3.bias"));
  CHECK(manifest["tensors"]["table.momentum"]["kind"] == "optimizer");
  CHECK_FALSE(manifest["tensors"].contains("table.grad"));
  CHECK(manifest["spec_hash"] == f.plan.specHash);
}

TEST_CASE("damage is found before anything is loaded", "[checkpoint]") {
  Fixture f;
  std::string path = f.save(5);
  std::string shard = shardPath(path, 2), content = slurp(shard);

  SECTION("truncated shard") {
    for (size_t keep : {size_t{0}, size_t{7}, size_t{8}, content.size() / 2, content.size() - 1}) {
      spill(shard, content.substr(0, keep));
      f.checkRefused(path, "MOEC-C007");
    }
  }
  SECTION("longer shard") {
    spill(shard, content + "x");
    f.checkRefused(path, "MOEC-C007");
  }
  SECTION("every bit of the header, and some of the data") {
    for (size_t at = 0; at < content.size(); at += at < 400 ? 1 : 39999) {
      std::string flipped = content;
      flipped[at] ^= char(1 << at % 8);
      spill(shard, flipped);
      CHECK_CODE(f.load(path), "MOEC-C008");
    }
  }
  SECTION("swapped shards") {
    std::string first = slurp(shardPath(path, 1));
    REQUIRE(first.size() != content.size());
    spill(shard, first);
    spill(shardPath(path, 1), content);
    f.checkRefused(path, "MOEC-C007");
    editManifest(path, [](nlohmann::json &manifest) { std::swap(manifest["shards"][0], manifest["shards"][1]); });
    editManifest(path, [](nlohmann::json &manifest) {
      std::swap(manifest["shards"][0]["file"], manifest["shards"][1]["file"]);
    });
    f.checkRefused(path, "MOEC-C014");
  }
  SECTION("shard of another step") {
    f.setState(7);
    std::string later = f.save(6);
    spill(shard, slurp(shardPath(later, 2)));
    f.checkRefused(path, "MOEC-C008");
  }
  SECTION("missing shard") {
    fs::remove(shard);
    f.checkRefused(path, "MOEC-C006");
  }
  SECTION("extra file") {
    spill(path + "/model-00004-of-00003.safetensors", content);
    f.checkRefused(path, "MOEC-C017");
  }
  SECTION("symbolic link in place of a shard") {
    fs::rename(shard, f.dir / "elsewhere");
    fs::create_symlink(f.dir / "elsewhere", shard);
    f.checkRefused(path, "MOEC-C006");
  }
  SECTION("fifo in place of a shard") {
    fs::remove(shard);
    REQUIRE(::mkfifo(shard.c_str(), 0600) == 0);
    f.checkRefused(path, "MOEC-C006");
  }
  SECTION("no manifest") {
    fs::remove(path + "/manifest.json");
    f.checkRefused(path, "MOEC-C001");
    f.checkRefused(f.dir / "nowhere", "MOEC-C001");
  }
  SECTION("every cut and some flips of the manifest") {
    std::string manifest = slurp(path + "/manifest.json");
    for (size_t keep = 0; keep + 2 < manifest.size(); keep += 5) {
      spill(path + "/manifest.json", manifest.substr(0, keep));
      REQUIRE_FALSE(f.load(path).isOk());
    }
    for (size_t at = 0; at < manifest.size(); ++at) {
      std::string flipped = manifest;
      flipped[at] ^= 4;
      spill(path + "/manifest.json", flipped);
      // A changed blank is either no JSON or the same JSON; all else must be noticed.
      Status status = f.load(path);
      REQUIRE((!status.isOk() || std::isspace(static_cast<unsigned char>(manifest[at]))));
    }
  }
}

TEST_CASE("a dishonest manifest is refused too", "[checkpoint]") {
  Fixture f;
  std::string path = f.save(5);
  using nlohmann::json;
  struct Case {
    const char *what, *code;
    std::function<void(json &)> edit;
  };
  const Case cases[] = {
      {"traversal", "MOEC-C006", [](json &m) { m["shards"][0]["file"] = "../../x.safetensors"; }},
      {"absolute", "MOEC-C006", [](json &m) { m["shards"][0]["file"] = "/etc/x.safetensors"; }},
      {"hidden", "MOEC-C006", [](json &m) { m["shards"][0]["file"] = ".x.safetensors"; }},
      {"twice", "MOEC-C002", [](json &m) { m["shards"][0]["file"] = m["shards"][1]["file"]; }},
      {"format", "MOEC-C004", [](json &m) { m["format"] = 3; }},
      {"no format", "MOEC-C004", [](json &m) { m.erase("format"); }},
      {"unknown key", "MOEC-C002", [](json &m) { m["more"] = 1; }},
      {"no step", "MOEC-C002", [](json &m) { m.erase("step"); }},
      {"huge size", "MOEC-C002", [](json &m) { m["shards"][0]["size"] = uint64_t{1} << 63; }},
      {"negative size", "MOEC-C002", [](json &m) { m["shards"][0]["size"] = -1; }},
      {"shard index", "MOEC-C002", [](json &m) { m["tensors"]["table"]["shard"] = 9; }},
      {"kind", "MOEC-C002", [](json &m) { m["tensors"]["table"]["kind"] = "thing"; }},
      {"moved tensor", "MOEC-C014", [](json &m) { m["tensors"]["table"]["shard"] = 2; }},
      {"tensor nowhere", "MOEC-C014", [](json &m) { m["tensors"]["ghost"] = m["tensors"]["table"]; }},
      {"tensor unlisted", "MOEC-C014", [](json &m) { m["tensors"].erase("table"); }},
      {"other spec", "MOEC-C005", [](json &m) { m["spec_hash"] = std::string(32, '0'); }},
  };
  std::string original = slurp(path + "/manifest.json");
  for (const Case &one : cases) {
    INFO(one.what);
    spill(path + "/manifest.json", original);
    editManifest(path, one.edit);
    f.checkRefused(path, one.code);
  }
  CHECK(f.load(path, {.allowOtherSpec = true}).isOk());
}

TEST_CASE("a shard header that lies is refused though all hashes are right", "[checkpoint]") {
  Fixture f;
  std::string path = f.save(5), shard = shardPath(path, 3), content = slurp(shard);
  auto replaced = [&](const std::string &what, const std::string &by, const std::string &code) {
    REQUIRE(what.size() == by.size());
    std::string changed = content;
    size_t at = changed.find(what);
    REQUIRE(at != std::string::npos);
    changed.replace(at, what.size(), by);
    spill(shard, changed);
    rehashShard(path, 3);
    INFO(what << " -> " << by);
    f.checkRefused(path, code);
  };
  // Shard 3 holds momentum; its header is {"__metadata__":...,"table.momentum":{...}}.
  REQUIRE(content.find("table.momentum") != std::string::npos);
  replaced("[256,256]", "[255,256]", "MOEC-C010");
  replaced("[256,256]", "[128,512]", "MOEC-C013");
  replaced("\"F32\"", "\"I32\"", "MOEC-C013");
  replaced("\"F32\"", "\"F99\"", "MOEC-C010");
  replaced("\"dtype\"", "\"dtypo\"", "MOEC-C010");
  replaced("table.momentum", "table.momentun", "MOEC-C014");
}

TEST_CASE("tensors must be those of the plan", "[checkpoint]") {
  Fixture f;
  std::string path = f.save(5);
  auto planWith = [&](const std::function<void(nlohmann::json &)> &edit) {
    nlohmann::json manifest = tinyManifest(f.dir.path());
    edit(manifest);
    std::string file = buildTiny(manifest);
    return parsePlan(std::as_bytes(std::span(file)), "x").value();
  };
  auto load = [&](const Plan &plan) {
    auto device = createCpuDevice(plan, 1).value();
    return loadCheckpoint(plan, *device, path).status();
  };
  CHECK_CODE(load(planWith([](auto &m) { m["state"][2]["checkpoint"] = false; })), "MOEC-C012");
  CHECK_CODE(load(planWith([](auto &m) { m["state"][4]["checkpoint"] = true; })), "MOEC-C011");
  CHECK_CODE(load(planWith([](auto &m) { m["state"][0]["shape"] = {128, 512}; })), "MOEC-C013");
  CHECK_CODE(load(planWith([](auto &m) { m["state"][0]["dtype"] = "i32"; })), "MOEC-C013");
  CHECK_CODE(load(planWith([](auto &m) { m["state"][0]["name"] = "tabula"; })), "MOEC-C012");
}

TEST_CASE("a save replaces one of the same step and prunes old ones", "[checkpoint]") {
  Fixture f;
  for (int64_t step : {10, 20, 30, 40, 50})
    f.save(step);
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{30, 40, 50});
  f.setState(8);
  std::string path = f.save(50);
  std::vector<uint8_t> saved = f.state();
  REQUIRE_OK(f.load(path));
  CHECK((f.state() == saved));
  for (const auto &item : fs::directory_iterator(f.checkpoints))
    CHECK(item.path().filename().string().starts_with("step-"));
}

TEST_CASE("what no save has written is never deleted with a checkpoint", "[checkpoint]") {
  Fixture f;
  f.plan.keepLast = 1;
  spill(f.save(10) + "/notes.txt", "mine");
  f.save(20); // prunes step 10
  CHECK(slurp(f.checkpoints + "/abandoned-step-00000010/notes.txt") == "mine");
  spill(f.checkpoints + "/step-00000020/notes.txt", "mine too");
  f.save(20); // replaces it
  CHECK(slurp(f.checkpoints + "/abandoned-step-00000020/notes.txt") == "mine too");
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{20});
  // No folder, no checkpoint.
  spill(f.checkpoints + "/step-00000005", "a file");
  f.save(30);
  CHECK(slurp(f.checkpoints + "/step-00000005") == "a file");
}

TEST_CASE("a failed save leaves the folder as it was", "[checkpoint]") {
  Fixture f;
  f.save(10);
  // A file where the temporary folder should go cannot be a folder.
  SaveOptions failing = f.small;
  failing.onStage = [&](SaveStage stage) {
    if (stage == SaveStage::Begun)
      spill(f.checkpoints + "/" + checkpointTempName(20) + "/model-00002-of-00003.safetensors", "in the way");
  };
  CHECK_CODE(saveCheckpoint(f.plan, *f.device, f.checkpoints, 20, failing), "MOEC-C015");
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{10});
  CHECK(std::distance(fs::directory_iterator(f.checkpoints), fs::directory_iterator()) == 1);
}

TEST_CASE("state that is not finite is neither saved nor loaded", "[checkpoint]") {
  Fixture f;
  f.setState(1);
  f.plan.keepLast = 1;
  std::string good = f.save(1);
  const PlanState &state = *std::find_if(f.plan.state.begin(), f.plan.state.end(), [](const PlanState &state) {
    return state.checkpoint && state.dtype == DType::F32;
  });
  float bad[] = {NAN, -INFINITY};
  f.device->write(state.offset + 4, bad, sizeof bad);
  Status status = saveCheckpoint(f.plan, *f.device, f.checkpoints, 2, f.small);
  CHECK_CODE(status, "MOEC-C018");
  CHECK(status.text().find(state.copyName(0)) != std::string::npos);
  CHECK(status.text().find("step 2: 2 of ") != std::string::npos);
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{1});
  CHECK(std::distance(fs::directory_iterator(f.checkpoints), fs::directory_iterator()) == 1);

  // One that another program wrote. The last four bytes of a shard are the end of an f32 tensor.
  std::string shard = slurp(shardPath(good, 1));
  std::memcpy(shard.data() + shard.size() - 4, bad, 4);
  spill(shardPath(good, 1), shard);
  rehashShard(good, 1);
  f.checkRefused(good, "MOEC-C018");
  // The newest of a run is refused too, and an older one that is good is named.
  f.setState(1);
  fs::rename(good, f.checkpoints + "/step-00000002");
  f.plan.keepLast = 0;
  editManifest(f.checkpoints + "/step-00000002", [](nlohmann::json &manifest) { manifest["step"] = 2; });
  std::string older = f.save(1);
  Status newest = newestCheckpoint(f.checkpoints).status();
  CHECK_CODE(newest, "MOEC-C018");
  CHECK(newest.message().find("--resume-from " + older) != std::string::npos);
}

TEST_CASE("elements that are not finite are counted in every type", "[checkpoint]") {
  auto count = [](DType type, auto value) {
    decltype(value) values[] = {0, value, 1};
    return countNotFinite(type, std::as_bytes(std::span(values)));
  };
  CHECK(count(DType::F64, -HUGE_VAL) == 1);
  CHECK(count(DType::F64, 1e308) == 0);
  CHECK(count(DType::F32, NAN) == 1);
  CHECK(count(DType::F32, 3e38f) == 0);
  CHECK(count(DType::F16, uint16_t{0xfc00}) == 1);
  CHECK(count(DType::F16, uint16_t{0x7bff}) == 0);
  CHECK(count(DType::BF16, uint16_t{0x7fc0}) == 1);
  CHECK(count(DType::BF16, uint16_t{0x7f7f}) == 0);
  CHECK(count(DType::F8E4M3, uint8_t{0xff}) == 1);
  CHECK(count(DType::F8E4M3, uint8_t{0x7e}) == 0); // 448
  CHECK(count(DType::I32, int32_t{-1}) == 0);
}

TEST_CASE("resume takes the newest and never silently another", "[checkpoint]") {
  Fixture f;
  CHECK_CODE(newestCheckpoint(f.checkpoints).status(), "MOEC-C001");
  for (int64_t step : {9, 10, 100})
    f.save(step);
  CHECK(newestCheckpoint(f.checkpoints).value().ends_with("step-00000100"));

  std::string damaged = shardPath(f.checkpoints + "/step-00000100", 1), good = slurp(damaged);
  spill(damaged, good.substr(1));
  Status status = newestCheckpoint(f.checkpoints).status();
  CHECK_CODE(status, "MOEC-C016");
  CHECK(status.message().find("--resume-from " + f.checkpoints + "/step-00000010") != std::string::npos);

  spill(shardPath(f.checkpoints + "/step-00000010", 1), "");
  status = newestCheckpoint(f.checkpoints).status();
  CHECK(status.message().find("step-00000009") != std::string::npos);
  fs::remove_all(f.checkpoints + "/step-00000009");
  CHECK(newestCheckpoint(f.checkpoints).status().message().find("no older one") != std::string::npos);
}

TEST_CASE("only well-formed names count as checkpoints", "[checkpoint]") {
  TempDir dir;
  for (const char *name : {"step-00000007", "step-7", "step-", "step-0000000x", "step-00000008.old", ".tmp-9-1",
                           "step-123456789", "abandoned-step-00000001"})
    fs::create_directory(dir / name);
  CHECK(listCheckpoints(dir.path()) == std::vector<int64_t>{7, 123456789});
}

TEST_CASE("leftovers of the dead go, those of the living stay", "[checkpoint]") {
  TempDir dir;
  int state = inChild([&] { fs::create_directory(dir / checkpointTempName(3)); }); // dead by now
  REQUIRE(state == 0);
  std::string ours = checkpointTempName(4), host = ours.substr(0, ours.rfind('-'));
  std::set<std::string> stay = {host + "-1", // process 1 lives
                                ".tmp-5-another.host-999999",
                                ".tmp-5-999999",
                                ".tmp-x",
                                ".tmp-5-nonsense",
                                host + "-x",
                                ".tmp-notes",
                                "step-00000002"};
  for (const std::string &name : stay)
    fs::create_directory(dir / name);
  REQUIRE_OK(removeLeftovers(dir.path()));
  std::set<std::string> left;
  for (const auto &item : fs::directory_iterator(dir.path()))
    left.insert(item.path().filename());
  CHECK(left == stay);
  REQUIRE_OK(removeLeftovers(dir / "nowhere"));
}

TEST_CASE("newer checkpoints are set aside when a run goes back", "[checkpoint]") {
  Fixture f;
  for (int64_t step : {10, 20, 30})
    f.save(step);
  auto setAside = [&](int64_t step, const std::string &from, bool keeps = true) {
    Renames renames;
    Result<std::vector<std::string>> names = setAsideNewer(f.checkpoints, step, from, renames);
    if (keeps)
      renames.keep();
    return names.value();
  };
  std::string ten = f.checkpoints + "/step-00000010";
  CHECK(setAside(10, ten, false).size() == 2); // a start that fails afterwards
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{10, 20, 30});
  CHECK(setAside(10, ten) == std::vector<std::string>{"abandoned-step-00000020", "abandoned-step-00000030"});
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{10});
  REQUIRE_OK(f.load(f.checkpoints + "/abandoned-step-00000030"));
  // Back again: what was kept stays.
  f.save(30);
  CHECK(setAside(10, ten) == std::vector<std::string>{"abandoned-step-00000030-2"});
  REQUIRE_OK(f.load(f.checkpoints + "/abandoned-step-00000030"));
  // From one that was kept: the other of the same step would be replaced when that step is saved again.
  f.save(30);
  CHECK(setAside(30, f.checkpoints + "/abandoned-step-00000030") ==
        std::vector<std::string>{"abandoned-step-00000030-3"});
  CHECK(listCheckpoints(f.checkpoints) == std::vector<int64_t>{10});
}
