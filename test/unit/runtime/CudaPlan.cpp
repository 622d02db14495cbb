#include "CudaPlan.h"

#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <cstdlib>
#include <dlfcn.h>

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
  return manifest;
}

std::string buildCuda(const json &manifest, std::string_view module) {
  PlanWriterBlob blob{"tiny.cubin", module};
  Result<std::string> plan = buildPlan(manifest.dump(), {&blob, 1});
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
