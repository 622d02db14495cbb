// Plans for GPUs: what the reader checks of them.
#include "CudaPlan.h"

#include "runtime/plan/PlanDescribe.h"
#include "runtime/plan/PlanReader.h"

#include <functional>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

static Result<Plan> parsed(const json &manifest) {
  std::string file = buildCuda(manifest);
  return parsePlan(std::as_bytes(std::span(file)), "cuda.moec");
}

static Status parseWith(const std::string &pointer, const json &value) {
  json manifest = cudaManifest("/data");
  manifest[json::json_pointer(pointer)] = value;
  return parsed(manifest).status();
}

TEST_CASE("a plan for a GPU is read", "[plan]") {
  Result<Plan> plan = parsed(cudaManifest("/data"));
  REQUIRE_OK(plan.status());
  CHECK(plan->target.kind == TargetKind::Cuda);
  CHECK(plan->target.arch == "sm_90a");
  CHECK(plan->target.major == 9);
  const PlanLaunch &launch = plan->kernels[1].launch;
  CHECK(launch.threads == 384);
  REQUIRE(launch.maps.size() == 1);
  CHECK(launch.maps[0].extent() == 128 * 4 + 255 * 1024);
  uint64_t arena = (plan->memory.arenaBytes + 255) / 256 * 256;
  CHECK(plan->peakBytes(1) == arena + 8192);
  CHECK(plan->peakBytes(64) == plan->peakBytes(1));
  std::string text = describePlan(*plan, {.threads = 7, .instructions = false});
  for (const char *part : {"for cuda sm_90a (compute capability 9.0", "on the GPU, allocated once",
                           "384 threads, 97.66 KiB shared, 1 map, tiny.cubin"}) {
    INFO(part << "\n" << text);
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("fields of launch records are complete, known and in range", "[plan]") {
  json manifest = cudaManifest("/data");
  std::vector<std::string> pointers;
  std::function<void(const json &, const std::string &)> walk = [&](const json &node, const std::string &at) {
    for (auto &[key, value] : node.items()) {
      if (node.is_object())
        pointers.push_back(at + "/" + key);
      if (value.is_structured())
        walk(value, at + "/" + key);
    }
  };
  walk(manifest["kernels"][1]["launch"], "/kernels/1/launch");
  walk(manifest["target"], "/target");
  CHECK(pointers.size() == 4 + 7 + 4);
  for (const std::string &pointer : pointers) {
    INFO(pointer);
    json without = manifest;
    json::json_pointer where(pointer);
    without[where.parent_pointer()].erase(where.back());
    CHECK_CODE(parsed(without).status(), "MOEC-P006");
    CHECK_CODE(parseWith(pointer.substr(0, pointer.rfind('/')) + "/surprise", 1), "MOEC-P006");
  }
  auto [pointer, value] = GENERATE(table<std::string, json>({
      {"/target/kind", "tpu"},
      {"/target/arch", "hopper"},
      {"/target/compute_capability", json::array({9})},
      {"/target/compute_capability", json::array({9, 0, 0})},
      {"/target/shared_bytes", -1},
      {"/memory/scratch_bytes", 4095},
      {"/kernels/0/launch", json::array()},
      {"/kernels/0/launch/module", "other.cubin"},
      {"/kernels/0/launch/module", "tiny.so"},
      {"/kernels/0/launch/threads", 0},
      {"/kernels/0/launch/threads", 33},
      {"/kernels/0/launch/threads", 1056},
      {"/kernels/0/launch/shared", 232449},
      {"/kernels/0/launch/shared", -1},
      {"/kernels/0/params", 512},
      {"/kernels/1/launch/maps/0/param", 5},
      {"/kernels/1/launch/maps/0/offset", -16},
      {"/kernels/1/launch/maps/0/dtype", "i32"},
      {"/kernels/1/launch/maps/0/dims", json::array()},
      {"/kernels/1/launch/maps/0/dims", json::array({1, 1, 1, 1, 1, 1})},
      {"/kernels/1/launch/maps/0/dims", json::array({128, 0})},
      {"/kernels/1/launch/maps/0/dims", json::array({128, (int64_t{1} << 32) + 1})},
      {"/kernels/1/launch/maps/0/strides", json::array()},
      {"/kernels/1/launch/maps/0/strides", json::array({1020})},
      {"/kernels/1/launch/maps/0/strides", json::array({int64_t{1} << 40})},
      {"/kernels/1/launch/maps/0/box", json::array({32})},
      {"/kernels/1/launch/maps/0/box", json::array({32, 0})},
      {"/kernels/1/launch/maps/0/box", json::array({32, 257})},
      {"/kernels/1/launch/maps/0/box", json::array({64, 64})}, // wider than the swizzle
      {"/kernels/1/launch/maps/0/box", json::array({3, 64})},  // rows of 12 bytes
      {"/kernels/1/launch/maps/0/swizzle", 16},
      {"/functions/0/body/0/grid", int64_t{1} << 31},
      {"/programs/restore", json::array({{{"op", "save"}}})},
      {"/programs/restore", 1},
  }));
  INFO(pointer << " = " << value);
  CHECK_CODE(parseWith(pointer, value), "MOEC-P006");
}

TEST_CASE("tensor maps stay inside their operand and aligned", "[plan]") {
  std::string map = "/kernels/1/launch/maps/0", arg = "/functions/2/body/2/args/0";
  CHECK(parseWith(map + "/offset", 0).isOk());
  CHECK_CODE(parseWith(map + "/offset", 528), "MOEC-P008");
  CHECK_CODE(parseWith(map + "/dims", json::array({128, 257})), "MOEC-P008");
  CHECK_CODE(parseWith(map + "/offset", 8), "MOEC-P008");
  CHECK(parseWith(arg, json::array({16})).isOk());
  CHECK_CODE(parseWith(arg, json::array({4})), "MOEC-P008");
}

TEST_CASE("a cpu plan has no launch records", "[plan]") {
  json manifest = tinyManifest("/data");
  manifest["kernels"][0]["launch"] = cudaManifest("/data")["kernels"][0]["launch"];
  std::string file = buildTiny(manifest);
  CHECK_CODE(parsePlan(std::as_bytes(std::span(file)), "x").status(), "MOEC-P006");
}
