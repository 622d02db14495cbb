#include "TinyPlan.h"

#include "runtime/base/Hash.h"
#include "runtime/hal/cpu/CpuDevice.h"
#include "runtime/plan/PlanDescribe.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <cstring>
#include <functional>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

static Status parse(const std::string &file) { return parsePlan(std::as_bytes(std::span(file)), "tiny.moec").status(); }

/// The same file with a valid hash: what a bad writer, not a bad disk, would make.
static std::string rehashed(std::string file) {
  std::memset(file.data() + kPlanHashAt, 0, kPlanHashBytes);
  Digest digest = hashBytes(std::as_bytes(std::span(file)));
  std::memcpy(file.data() + kPlanHashAt, digest.data(), digest.size());
  return file;
}

static Status parseManifest(const json &manifest) { return parse(buildTiny(manifest)); }

static Status parseWith(const std::string &pointer, const json &value) {
  json manifest = tinyManifest("/data");
  manifest[json::json_pointer(pointer)] = value;
  return parseManifest(manifest);
}

static Status parseWithout(const std::string &pointer) {
  json manifest = tinyManifest("/data");
  json::json_pointer where(pointer);
  manifest[where.parent_pointer()].erase(where.back());
  return parseManifest(manifest);
}

TEST_CASE("a good plan is read", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  Result<Plan> plan = parsePlan(std::as_bytes(std::span(file)), "tiny.moec");
  REQUIRE_OK(plan.status());
  CHECK(plan->name == "tiny");
  CHECK(plan->functions.size() == 6);
  CHECK(plan->state[1].copyName(1) == "layers.3.bias");
  CHECK(plan->blobs[0].bytes.size() == tinyKernels().size());
  CHECK(plan->blobs[0].offset % 64 == 0);
  CHECK(plan->peakBytes(3) == plan->memory.arenaBytes + 3 * 1024);
  CHECK(plan->evaluation->batches == 3);
  CHECK(plan->sequencesPerStep() == 2 * 4);
}

TEST_CASE("container errors have their codes", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  CHECK_CODE(parse(""), "MOEC-P003");
  CHECK_CODE(parse(std::string(63, 'M')), "MOEC-P003");
  CHECK_CODE(parse(std::string(64, 'M')), "MOEC-P001");
  std::string other = file;
  other[kPlanVersionAt] = 1;
  CHECK_CODE(parse(other), "MOEC-P002");
  CHECK(parse(other).message().find("format 1, this runtime reads format 4") != std::string::npos);
  CHECK_CODE(parse(file + "x"), "MOEC-P003");
  auto withField = [&](size_t at, uint64_t value) {
    std::string changed = file;
    std::memcpy(changed.data() + at, &value, sizeof value);
    return parse(rehashed(changed));
  };
  CHECK_CODE(withField(kPlanManifestSizeAt, UINT64_MAX), "MOEC-P003");
  CHECK_CODE(withField(kPlanManifestOffsetAt, UINT64_MAX - 4), "MOEC-P003");
  CHECK_CODE(withField(kPlanManifestOffsetAt, 8), "MOEC-P003");
  CHECK_CODE(withField(kPlanReservedAt, 1), "MOEC-P003");
  CHECK_CODE(withField(kPlanManifestSizeAt, 10), "MOEC-P005");
  CHECK_CODE(withField(kPlanManifestSizeAt, 0), "MOEC-P005");
  other = file;
  other.back() ^= 1;
  CHECK_CODE(parse(other), "MOEC-P004");
  CHECK_CODE(readPlan("/nonexistent/x.moec").status(), "MOEC-I001");
}

TEST_CASE("every truncation is refused", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  for (size_t size = 0; size < file.size(); size += size < 4096 ? 1 : 97)
    REQUIRE_FALSE(parse(file.substr(0, size)).isOk());
}

TEST_CASE("every single bit flip is refused", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  for (size_t bit = 0; bit < file.size() * 8; bit += bit < 64 * 8 ? 1 : 53) {
    file[bit / 8] ^= char(1 << bit % 8);
    REQUIRE_FALSE(parse(file).isOk());
    file[bit / 8] ^= char(1 << bit % 8);
  }
  CHECK(parse(file).isOk());
}

TEST_CASE("flips that a hash would not show never crash the reader", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  size_t manifestEnd = 64 + file.substr(64).find('\0');
  for (size_t at = 0; at < manifestEnd; at += 3) {
    std::string flipped = file;
    flipped[at] ^= char(1 << at % 8);
    (void)parse(rehashed(flipped));
  }
}

TEST_CASE("manifest fields are complete, known and in range", "[plan]") {
  json manifest = tinyManifest("/data");
  // Every object of the manifest, walked: dropping or adding any field is refused.
  std::vector<std::string> pointers;
  std::function<void(const json &, const std::string &)> walk = [&](const json &node, const std::string &at) {
    if (at == "/spec" || at == "/blobs")
      return;
    for (auto &[key, value] : node.items()) {
      if (node.is_object())
        pointers.push_back(at + "/" + key);
      if (node.is_object() || key == "0") // the first of each array stands for all
        walk(value, at + "/" + key);
    }
  };
  walk(manifest, "");
  CHECK(pointers.size() > 90);
  for (const std::string &pointer : pointers) {
    INFO(pointer);
    // The writer fills these in; without the spec it has nothing to hash.
    if (pointer != "/format" && pointer != "/blobs" && pointer != "/spec_hash") {
      Status missing = parseWithout(pointer);
      CHECK_CODE(missing, "MOEC-P006");
    }
    size_t slash = pointer.rfind('/');
    CHECK_CODE(parseWith(pointer.substr(0, slash) + "/surprise", 1), "MOEC-P006");
  }
}

TEST_CASE("manifest values are checked", "[plan]") {
  auto [pointer, value] = GENERATE(table<std::string, json>({
      {"/name", "../x"},
      {"/name", ""},
      {"/element_type", "f16"},
      {"/element_type", 32},
      {"/seed", -1},
      {"/seed", 1.5},
      {"/target/kind", "cuda"},
      {"/memory/state_bytes", int64_t{1} << 50},
      {"/memory/arena_bytes", -1},
      {"/memory/arena_bytes", INT64_MAX},
      {"/kernels/0/params", "two"},
      {"/buffers/0/dtype", "f31"},
      {"/buffers/0/shape", json::array({-1})},
      {"/buffers/0/shape", json::array({int64_t{1} << 40, int64_t{1} << 40})},
      {"/buffers/0/function", "nobody"},
      {"/buffers/0/last", -5},
      {"/state/1/name", "layers.bias"}, // two copies, one name
      {"/state/1/count", 0},
      {"/state/1/step", 0},
      {"/state/0/kind", "thing"},
      {"/state/0/checkpoint", 1},
      {"/state/0/role", "chief"},
      {"/state/0/role", true},
      {"/data/tokenizer/kind", "words"},
      {"/data/seq_len", 0},
      {"/data/train", json::array()},
      {"/data/train/0/weight", -1},
      {"/generate/function", "nobody"},
      {"/metrics/0/when", "never"},
      {"/metrics/0/name", "tokens"},
      {"/metrics/0/state", "nobody"},
      {"/metrics/0/state", "table"}, // no metric
      {"/metrics/0/shape", json::array({0})},
      {"/metrics/1/shape", json::array({2, 3})}, // not all of the state
      {"/functions/0/body/0/op", "jump"},
      {"/functions/0/body/0/kernel", 99},
      {"/functions/0/body/0/kernel", -1},
      {"/functions/0/body/0/grid", 0},
      {"/functions/0/body/0/args/0", json::array()},
      {"/functions/0/body/0/args/0", json::array({-4})},
      {"/functions/0/body/0/args/0", json::array({0, 4})}, // a stride outside any repeat
      {"/functions/0/body/0/args/0", "x"},
      {"/functions/0/body/0/sizes", json::array({4})},
      {"/functions/0/body/0/at", 2},
      {"/functions/0/body/0/at", "/model"},
      {"/functions/1/name", "init"},
      {"/programs/init/0/function", "nobody"},
      {"/programs/init/0", {{"op", "save"}}},
      {"/programs/init/0", {{"op", "next_batch"}}},
      {"/programs/init/0", {{"op", "evaluate"}}},
      {"/programs/init/0", {{"op", "log"}, {"every", 1}}},
      {"/evaluate/function", "nobody"},
      {"/evaluate/batches", 0},
      {"/programs/train/0/body/0", {{"op", "steps"}, {"count", 1}, {"body", json::array()}}},
      {"/programs/train/0/body/0", {{"op", "next_batch"}, {"split", "train"}}},
      {"/programs/train/0/count", -1},
      {"/checkpoint/keep_last", -1},
      {"/locations", json::array({1})},
  }));
  INFO(pointer << " = " << value);
  CHECK_CODE(parseWith(pointer, value), "MOEC-P006");
}

/// Number of the state of tinyManifest with a role.
static std::string stateWith(const json &manifest, const std::string &role) {
  for (size_t i = 0; i < manifest["state"].size(); ++i)
    if (manifest["state"][i]["role"] == role)
      return "/state/" + std::to_string(i);
  FAIL("no state has the role " << role);
  return "";
}

TEST_CASE("each role asks for a kind, a type and a size", "[plan]") {
  json manifest = tinyManifest("/data");
  auto [role, key, value] = GENERATE(table<std::string, std::string, json>({
      {"step_counter", "kind", "optimizer"},
      {"step_counter", "dtype", "i32"},
      {"step_counter", "shape", json::array({2})},
      {"step_counter", "checkpoint", false},
      {"batch_tokens", "kind", "output"},
      {"batch_tokens", "dtype", "i64"},
      {"batch_tokens", "shape", json::array({4, 16})},
      {"batch_sources", "dtype", "f32"},
      {"batch_sources", "shape", json::array({5})},
      {"generate_tokens", "kind", "parameter"},
      {"generate_tokens", "shape", json::array()},
      {"generate_position", "shape", json::array({2})},
      {"generate_logits", "dtype", "bf16"},
      {"token_losses", "shape", json::array({3, 1})},
      {"loss", "kind", "output"},
      {"loss", "dtype", "bf16"},
      {"loss", "shape", json::array({2})},
      {"expert_tokens", "dtype", "f32"},
      {"expert_tokens", "shape", json::array({0, 4})},
  }));
  INFO(role << " " << key << " = " << value);
  std::string pointer = stateWith(manifest, role) + "/" + key;
  Status status = parseWith(pointer, value);
  CHECK_CODE(status, "MOEC-P006");
  CHECK(status.place() == "tiny.moec:" + pointer);
  CHECK(status.message().find(role == "step_counter" && key == "checkpoint" ? "step counter" : role) !=
        std::string::npos);
}

TEST_CASE("the roles that a plan needs are there, each once", "[plan]") {
  json manifest = tinyManifest("/data");
  for (const char *role : {"step_counter", "batch_tokens", "batch_sources", "generate_tokens", "generate_position",
                           "generate_logits", "token_losses"}) {
    Status status = parseWith(stateWith(manifest, role) + "/role", nullptr);
    CHECK_CODE(status, "MOEC-P006");
    CHECK(status.message() == std::string("no state has the role ") + role);
  }
  // Without generation or evaluation nobody asks for theirs.
  manifest["generate"] = nullptr;
  manifest[json::json_pointer(stateWith(manifest, "generate_logits") + "/role")] = nullptr;
  CHECK(parseManifest(manifest).isOk());

  manifest = tinyManifest("/data");
  manifest["state"].push_back(manifest[json::json_pointer(stateWith(manifest, "loss"))]);
  manifest["state"].back()["name"] = "loss.again";
  Status status = parseManifest(manifest);
  CHECK_CODE(status, "MOEC-P006");
  CHECK(status.message() == "\"loss\" has the role loss already");
  // Layers in several segments have their counts in several states.
  manifest["state"].back() = manifest[json::json_pointer(stateWith(manifest, "expert_tokens"))];
  manifest["state"].back()["name"] = "expert_tokens.1";
  CHECK(parseManifest(manifest).isOk());
}

TEST_CASE("a metric has the type of its state", "[plan]") {
  json manifest = tinyManifest("/data");
  json state = manifest[json::json_pointer(stateWith(manifest, "loss"))];
  state["name"] = "narrow", state["role"] = nullptr, state["dtype"] = "bf16";
  manifest["state"].push_back(state);
  manifest["metrics"].push_back({{"name", "narrow"}, {"state", "narrow"}, {"shape", {1, 1}}});
  CHECK_CODE(parseManifest(manifest), "MOEC-P006");
  manifest["state"].back()["dtype"] = "f8e4m3";
  CHECK_CODE(parseManifest(manifest), "MOEC-P006");
  manifest["state"].back()["dtype"] = "f32";
  CHECK(parseManifest(manifest).isOk());
}

TEST_CASE("a manifest failure names its JSON pointer", "[plan]") {
  Status status = parseWith("/kernels/2/params", -3);
  CHECK(status.place() == "tiny.moec:/kernels/2/params");
}

TEST_CASE("the spec must match its hash", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  size_t at = file.find("\"steps\":20");
  REQUIRE(at != std::string::npos);
  file[at + 8] = '3';
  CHECK_CODE(parse(rehashed(file)), "MOEC-P006");
}

TEST_CASE("blobs are checked", "[plan]") {
  json manifest = tinyManifest("/data");
  Result<std::string> none = buildPlan(Json::parse(manifest.dump()).value(), {});
  REQUIRE_OK(none.status());
  CHECK_CODE(parse(*none), "MOEC-P007");
  std::string file = buildTiny(manifest);
  std::string damaged = file;
  damaged[damaged.size() - tinyKernels().size() / 2] ^= 1;
  CHECK_CODE(parse(rehashed(damaged)), "MOEC-P007");
  // Offsets of the same length in other places: unaligned, and beyond the end.
  size_t at = file.find("\"offset\":", file.find("\"blobs\"")) + 9;
  size_t digits = file.find_first_not_of("0123456789", at) - at;
  for (std::string number : {std::string(digits, '9'), "1" + std::string(digits - 1, '0')}) {
    std::string moved = file;
    moved.replace(at, digits, number);
    CHECK_CODE(parse(rehashed(moved)), "MOEC-P007");
  }
}

TEST_CASE("operands stay inside the arena over all loop iterations", "[plan]") {
  json manifest = tinyManifest("/data");
  int64_t arena = manifest["memory"]["arena_bytes"], state = manifest["memory"]["state_bytes"];
  // function 2 = forward_backward: fill, repeat 2 { bias + stride }, launches
  std::string loop = "/functions/2/body/1/body/0/args/0", direct = "/functions/2/body/2/args/0";
  CHECK(parseWith(direct, json::array({arena - 4 * 256 * 256})).isOk());
  CHECK_CODE(parseWith(direct, json::array({arena - 4 * 256 * 256 + 1})), "MOEC-P008");
  CHECK_CODE(parseWith(direct, json::array({INT64_MAX})), "MOEC-P008");
  CHECK(parseWith(loop, {arena - 2048, 1024}).isOk());
  CHECK_CODE(parseWith(loop, {arena - 2048, 1025}), "MOEC-P008");
  CHECK(parseWith(loop, {1024, -1024}).isOk());
  CHECK_CODE(parseWith(loop, {1023, -1024}), "MOEC-P008");
  CHECK_CODE(parseWith(loop, {0, INT64_MAX}), "MOEC-P008");
  CHECK_CODE(parseWith(loop, {0, INT64_MIN}), "MOEC-P008");
  CHECK_CODE(parseWith("/functions/2/body/1/count", int64_t{1} << 31), "MOEC-P008");
  CHECK_CODE(parseWith("/functions/2/body/0/bytes", INT64_MAX), "MOEC-P008");
  json copy = {{"op", "copy"}, {"dst", {0}}, {"src", {100}}, {"bytes", 101}, {"at", 0}};
  CHECK_CODE(parseWith("/functions/2/body/0", copy), "MOEC-P008");
  copy["bytes"] = 100;
  CHECK(parseWith("/functions/2/body/0", copy).isOk());
  // What the runtime touches itself lies in state.
  std::vector<std::string> pointers{"/buffers/0/offset"};
  for (size_t i = 0; i < manifest["state"].size(); ++i)
    pointers.push_back("/state/" + std::to_string(i) + "/offset");
  for (const std::string &pointer : pointers) {
    INFO(pointer);
    CHECK_CODE(parseWith(pointer, state), "MOEC-P008");
  }
  CHECK_CODE(parseWith("/state/0/count", 1 << 20), "MOEC-P006"); // copies of one name
  CHECK_CODE(parseWith("/state/1/count", 1 << 20), "MOEC-P008");
  CHECK_CODE(parseWith("/state/1/offset", 0), "MOEC-P008"); // saved tensors overlap
}

TEST_CASE("loops are nested to a limit", "[plan]") {
  auto nested = [](size_t depth) {
    json body = json::array();
    for (size_t i = 0; i < depth; ++i)
      body = json::array({{{"op", "repeat"}, {"count", 2}, {"reverse", false}, {"body", body}}});
    return body;
  };
  CHECK(parseWith("/functions/1/body", nested(kMaxLoopDepth)).isOk());
  CHECK_CODE(parseWith("/functions/1/body", nested(kMaxLoopDepth + 1)), "MOEC-P006");
}

TEST_CASE("cpu features, symbols and memory have their codes", "[plan]") {
  CHECK_CODE(parseWith("/target/features", {"sse2", "warp-drive"}), "MOEC-P009");
  json manifest = tinyManifest("/data");
  manifest["target"]["features"] = json::array({"warp-drive"});
  std::string file = buildTiny(manifest);
  CHECK(parsePlan(std::as_bytes(std::span(file)), "x", {.checkCpu = false}).isOk());

  auto device = [](const json &manifest, std::string_view kernels) {
    PlanWriterBlob blob{"kernels.so", kernels};
    std::string file = buildPlan(Json::parse(manifest.dump()).value(), {&blob, 1}).value();
    return createCpuDevice(parsePlan(std::as_bytes(std::span(file)), "x").value(), 1).status();
  };
  manifest = tinyManifest("/data");
  CHECK_CODE(device(manifest, tinyKernels()), "");
  CHECK_CODE(device(manifest, "not an object file"), "MOEC-P010");
  manifest["kernels"][0]["symbol"] = "nowhere";
  CHECK_CODE(device(manifest, tinyKernels()), "MOEC-P010");
  manifest = tinyManifest("/data");
  manifest["memory"]["arena_bytes"] = int64_t{1} << 59;
  CHECK_CODE(device(manifest, tinyKernels()), "MOEC-P011");
}

TEST_CASE("the writer refuses what the reader would", "[plan]") {
  TempDir dir;
  json manifest = tinyManifest("/data");
  manifest["seed"] = -1;
  PlanWriterBlob blob{"kernels.so", tinyKernels()};
  Status status = writePlan(dir / "x.moec", Json::parse(manifest.dump()).value(), {&blob, 1});
  CHECK_CODE(status, "MOEC-P006");
  CHECK(status.message().starts_with("internal: "));
  CHECK_FALSE(exists(dir / "x.moec"));
  CHECK_CODE(writePlan(dir / "x.moec", Json::array(), {}), "MOEC-P005");
  CHECK_CODE(writePlan(dir / "x.moec", Json(), {}), "MOEC-P005");
}

TEST_CASE("describe shows memory, buffers, kernels and programs", "[plan]") {
  std::string file = buildTiny(tinyManifest("/data"));
  Plan plan = parsePlan(std::as_bytes(std::span(file)), "x").value();
  std::string text = describePlan(plan, {.threads = 2, .instructions = true});
  for (const char *part : {"peak memory: ", "layers.{}.bias", "tiny_forward x4", "repeat 2 (last first)", " + 1024*i0",
                           "steps until 20", "save a checkpoint", "optimizer state"}) {
    INFO(part);
    CHECK(text.find(part) != std::string::npos);
  }
}
