#include "CudaPlan.h"

#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <cstdlib>
#include <dlfcn.h>
#include <map>

namespace moec::rt::test {

using nlohmann::json;

json cudaManifest(const std::string &dataDir, const TinyOptions &options) {
  json manifest = tinyManifest(dataDir, options);
  manifest["target"] = {{"kind", "cuda"}, {"arch", "sm_90a"}, {"compute_capability", {9, 0}}, {"shared_bytes", 232448}};
  manifest["memory"]["scratch_bytes"] = 8192;
  json map = {{"param", 0},        {"offset", 512},   {"dtype", "f32"}, {"dims", {128, 256}},
              {"strides", {1024}}, {"box", {32, 64}}, {"swizzle", 128}};
  map["strides"] = json::array({1024});
  for (json &kernel : manifest["kernels"])
    kernel["launch"] = {{"module", "tiny.cubin"}, {"threads", 64}, {"shared", 0}, {"maps", json::array()}};
  json &forward = manifest["kernels"][1]["launch"];
  forward["shared"] = 100000;
  forward["threads"] = 384;
  forward["maps"] = json::array({map});
  addOperandInfo(manifest);
  return manifest;
}

void addOperandInfo(json &manifest) {
  const std::map<std::string, std::pair<json, json>> operands = {
      {"tiny_bias", {{"f32", "f32"}, {1}}},
      {"tiny_forward", {{"f32", "f32", "i32", "f32", "f32"}, {3, 4}}},
      {"tiny_backward", {{"i32", "f32", "f32", "f32"}, {2, 3}}},
      {"tiny_sum", {{"f32", "f32", "i32", "i64"}, {1, 3}}},
      {"tiny_update", {{"f32", "f32", "f32", "f32"}, {0, 1}}},
      {"tiny_update_bias", {{"f32", "f32"}, {0}}},
      {"tiny_finish", {{"i64", "f32", "f32", "f32"}, {0, 2}}},
      {"tiny_init", {{"f32", "f32", "f32"}, {0, 1, 2}}},
      {"tiny_losses", {{"f32", "f32", "i32", "f32"}, {3}}},
      {"tiny_explode", {{"f32"}, {0}}},
      {"tiny_logits", {{"f32", "f32", "i32", "i32", "f32"}, {4}}}};
  for (json &kernel : manifest["kernels"]) {
    auto &[types, writes] = operands.at(kernel["name"]);
    kernel["types"] = json::array();
    for (const json &type : types)
      kernel["types"].push_back(type);
    kernel["writes"] = json::array();
    for (const json &position : writes)
      kernel["writes"].push_back(position);
  }
}

std::string buildCuda(const json &manifest, std::string_view module) {
  PlanWriterBlob blob{"tiny.cubin", module};
  Result<std::string> plan = buildPlan(Json::parse(manifest.dump()).value(), {&blob, 1});
  REQUIRE_OK(plan.status());
  return *plan;
}

Plan makeCudaPlan(const std::string &directory, const TinyOptions &options) {
  writeTinyData(directory);
  spill(directory + "/cuda.moec", buildCuda(cudaManifest(directory, options)));
  Result<Plan> plan = readPlan(directory + "/cuda.moec");
  REQUIRE_OK(plan.status());
  return std::move(plan).value();
}

FakeDriver::FakeDriver() {
  ::setenv(cu::kDriverVariable, MOEC_TEST_FAKE_CUDA, 1);
  library = ::dlopen(MOEC_TEST_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  control = reinterpret_cast<FakeCuda *(*)()>(::dlsym(library, "fakecudaControl"))();
  *control = {};
  json manifest = tinyManifest("/data");
  for (const json &kernel : manifest["kernels"])
    control->kernelParams[kernel["symbol"]] = kernel["params"];
}

FakeDriver::~FakeDriver() {
  ::unsetenv(cu::kDriverVariable);
  ::dlclose(library);
}

} // namespace moec::rt::test
