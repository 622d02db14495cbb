// The GPU driver against a pretended libcuda: errors, the packing of launches, memory, recording, and whole runs.
#include "CudaPlan.h"

#include "runtime/exec/Executor.h"
#include "runtime/hal/cuda/CudaDevice.h"
#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <cstdlib>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

static Plan planOf(const json &manifest, std::string_view module = tinyKernels()) {
  std::string file = buildCuda(manifest, module);
  Result<Plan> plan = parsePlan(std::as_bytes(std::span(file)), "cuda.moec");
  REQUIRE_OK(plan.status());
  return std::move(plan).value();
}

static bool says(const Status &status, const std::string &words) {
  INFO(status.text() << "\nshould say: " << words);
  CHECK(status.text().find(words) != std::string::npos);
  return true;
}

TEST_CASE("without a driver or a GPU the message says what to do", "[cuda]") {
  Plan plan = planOf(cudaManifest("/data"));
  ::setenv(cu::kDriverVariable, "/nowhere/libcuda.so.1", 1);
  Status status = createCudaDevice(plan).status();
  CHECK_CODE(status, "MOEC-P012");
  says(status, "/nowhere/libcuda.so.1: cannot open");
  ::setenv(cu::kDriverVariable, "libc.so.6", 1);
  status = createCudaDevice(plan).status();
  CHECK_CODE(status, "MOEC-P012");
  says(status, "it has no cuInit");
  FakeDriver fake;
  fake->devices = 0;
  status = createCudaDevice(plan).status();
  CHECK_CODE(status, "MOEC-P012");
  says(status, "the driver");
  CHECK(fake->count("cuMemAlloc") == 0);
}

TEST_CASE("a GPU that cannot run the plan is refused with both sides' numbers", "[cuda]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  fake->major = 8;
  fake->minor = 6;
  Status status = createCudaDevice(planOf(manifest)).status();
  CHECK_CODE(status, "MOEC-P013");
  says(status, "the plan is for sm_90a (compute capability 9.0), this machine's GPU is a Pretended GPU with 8.6");
  fake->major = 10;
  fake->minor = 0;
  CHECK_CODE(createCudaDevice(planOf(manifest)).status(), "MOEC-P013");
  manifest["target"]["arch"] = "sm_90";
  CHECK_CODE(createCudaDevice(planOf(manifest)).status(), "MOEC-P013"); // machine code stays in its generation
  fake->major = 9;
  fake->minor = 1;
  REQUIRE_OK(createCudaDevice(planOf(manifest)).status());
  fake->sharedPerBlock = 99999;
  status = createCudaDevice(planOf(manifest)).status();
  CHECK_CODE(status, "MOEC-P013");
  says(status,
       "kernel \"tiny_forward\" needs 100000 bytes of shared memory per block, this machine's Pretended GPU has 99999");
}

TEST_CASE("modules and symbols that do not load have their codes", "[cuda]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  Status status = createCudaDevice(planOf(manifest, "rubbish")).status();
  CHECK_CODE(status, "MOEC-P010");
  manifest["kernels"][3]["symbol"] = "nowhere";
  status = createCudaDevice(planOf(manifest)).status();
  CHECK_CODE(status, "MOEC-P010");
  says(status, "kernel \"tiny_sum\" has no symbol \"nowhere\" in module \"tiny.cubin\"");
  manifest = cudaManifest("/data");
  fake->threadsPerBlock = 128;
  status = createCudaDevice(planOf(manifest)).status();
  CHECK_CODE(status, "MOEC-P010");
  says(status, "kernel \"tiny_forward\" is to run with 384 threads per block, its code can run with 128 at most");
  fake->threadsPerBlock = 1024;

  // Text that the driver assembles: its log is shown.
  for (json &kernel : manifest["kernels"])
    kernel["launch"]["module"] = "tiny.ptx";
  auto textPlan = [&](const char *text) {
    PlanWriterBlob blob{"tiny.ptx", text};
    std::string file = buildPlan(Json::parse(manifest.dump()).value(), {&blob, 1}).value();
    return parsePlan(std::as_bytes(std::span(file)), "cuda.moec").value();
  };
  status = createCudaDevice(textPlan("rubbish")).status();
  CHECK_CODE(status, "MOEC-P010");
  says(status, "ptxas fatal: unexpected rubbish");
  status = createCudaDevice(textPlan(".version 99.0")).status();
  CHECK_CODE(status, "MOEC-P013");
  says(status, "the driver (CUDA 13.0) cannot use module \"tiny.ptx\", made for sm_90a");
  CHECK(fake->nothingLeft());
}

TEST_CASE("too little memory is refused with what is needed and free", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  fake->freeBytes = plan.peakBytes(1) - 1;
  Status status = createCudaDevice(plan).status();
  CHECK_CODE(status, "MOEC-P011");
  says(status, std::to_string(plan.peakBytes(1)) + " bytes");
  says(status, std::to_string(fake->freeBytes) + " bytes) are free");
  says(status, "1.00 GiB");
  CHECK(fake->count("cuMemAlloc") == 0);
  fake->freeBytes = plan.peakBytes(1);
  fake->failingCall = "cuMemAlloc_v2";
  fake->failCode = cu::kOutOfMemory;
  CHECK_CODE(createCudaDevice(plan).status(), "MOEC-P011");
  CHECK(fake->nothingLeft());
}

TEST_CASE("every call that can fail before a run fails with its name", "[cuda]") {
  Plan plan = planOf(cudaManifest("/data"));
  for (const char *call : {"cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo_v2",
                           "cuMemsetD8Async", "cuStreamCreate", "cuMemHostAlloc", "cuStreamSynchronize"}) {
    INFO(call);
    FakeDriver fake;
    fake->failingCall = call;
    fake->failCode = 999;
    Status status = createCudaDevice(plan).status();
    CHECK_CODE(status, "MOEC-P014");
    std::string name = call;
    says(status, name.substr(0, name.find("_v2")));
    CHECK(fake->nothingLeft());
  }
}

TEST_CASE("one allocation of the announced size, all zeros", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  {
    auto device = createCudaDevice(plan);
    REQUIRE_OK(device.status());
    CHECK(fake->memory.size() == 1);
    CHECK(fake->mostBytes == plan.peakBytes(1));
    CHECK((*device)->allocatedBytes() == plan.peakBytes(1));
    std::vector<uint8_t> found(plan.memory.arenaBytes, 1);
    (*device)->read(0, found.data(), found.size());
    CHECK(std::all_of(found.begin(), found.end(), [](uint8_t byte) { return byte == 0; }));
  }
  CHECK(fake->nothingLeft());
}

TEST_CASE("launches are packed as the ABI says", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  auto device = createCudaDevice(plan);
  REQUIRE_OK(device.status());
  fake->calls.clear();
  std::vector<uint64_t> offsets = {1024, 64, 128, 524288, 512};
  (*device)->launch(1, offsets, 4);
  (*device)->launch(1, offsets, 4);
  offsets[0] = 2048;
  (*device)->launch(1, offsets, 3);
  uint64_t scratch = (plan.memory.arenaBytes + 255) / 256 * 256;
  std::string rest = ",@64,@128,@524288,@512,@" + std::to_string(scratch);
  std::string map = "dims 128,256 strides 1024 box 32,64 steps 1,1 interleave 0 swizzle 3 promotion 2 fill 0";
  CHECK(fake->calls ==
        std::vector<std::string>{
            "cuTensorMapEncodeTiled type 7 at @1536 " + map,
            "cuLaunchKernel tiny_forward grid 4 1 1 block 384 1 1 shared 100000 params @1024" + rest,
            "cuLaunchKernel tiny_forward grid 4 1 1 block 384 1 1 shared 100000 params @1024" + rest, // encoded once
            "cuTensorMapEncodeTiled type 7 at @2560 " + map,
            "cuLaunchKernel tiny_forward grid 3 1 1 block 384 1 1 shared 100000 params @2048" + rest,
        });
}

TEST_CASE("fill, copy, read and write reach the right bytes of a GPU", "[cuda]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  manifest["memory"]["arena_bytes"] = 48 << 20;
  Plan plan = planOf(manifest);
  auto device = createCudaDevice(plan);
  REQUIRE_OK(device.status());
  uint64_t bytes = GENERATE(uint64_t{1}, uint64_t{100}, uint64_t{8} << 20, (uint64_t{17} << 20) + 3);
  uint64_t src = 64, dst = 24 << 20;
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

TEST_CASE("a failure on the GPU is kept and names what was launched", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  auto device = createCudaDevice(plan);
  REQUIRE_OK(device.status());
  std::vector<uint64_t> offsets = {0, 1024};
  (*device)->launch(0, offsets, 1);
  REQUIRE_OK((*device)->finish());
  (*device)->launch(5, offsets, 1);
  (*device)->launch(0, offsets, 1);
  fake->failingCall = "cuStreamSynchronize";
  fake->failCode = 719;
  float value = 0;
  (*device)->read(0, &value, sizeof value);
  CHECK(value != value);
  Status status = (*device)->finish();
  CHECK_CODE(status, "MOEC-P014");
  says(status, "cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED (pretended); launched since the last wait: "
               "tiny_update_bias, tiny_bias");
  // Nothing more is done, and the first failure stays.
  fake->calls.clear();
  fake->failingCall = "";
  (*device)->launch(0, offsets, 1);
  (*device)->fill(0, 4, 0);
  (*device)->copy(0, 4, 4);
  (*device)->write(0, &value, 4);
  CHECK((*device)->finish().text() == status.text());
  CHECK(fake->calls.empty());
}

TEST_CASE("a launch that the driver refuses names the kernel", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  auto device = createCudaDevice(plan);
  REQUIRE_OK(device.status());
  fake->failingCall = "cuLaunchKernel";
  fake->failCode = 1;
  std::vector<uint64_t> offsets = {0, 1024};
  (*device)->launch(5, offsets, 1);
  Status status = (*device)->finish();
  CHECK_CODE(status, "MOEC-P014");
  says(status, "cuLaunchKernel for tiny_update_bias");
}

TEST_CASE("waiting after every launch finds the kernel that failed", "[cuda]") {
  FakeDriver fake;
  ::setenv(kCudaBlockingVariable, "1", 1);
  Plan plan = planOf(cudaManifest("/data"));
  auto device = createCudaDevice(plan);
  ::unsetenv(kCudaBlockingVariable);
  REQUIRE_OK(device.status());
  CHECK_FALSE((*device)->canRecord());
  fake->failingCall = "cuStreamSynchronize";
  fake->failCode = 719;
  std::vector<uint64_t> offsets = {0, 1024};
  (*device)->launch(5, offsets, 1);
  (*device)->launch(0, offsets, 1);
  says((*device)->finish(), "launched since the last wait: tiny_update_bias");
}

TEST_CASE("recorded work is done when replayed, in order", "[cuda]") {
  FakeDriver fake;
  Plan plan = planOf(cudaManifest("/data"));
  auto device = createCudaDevice(plan);
  REQUIRE_OK(device.status());
  auto *host = static_cast<float *>((*device)->allocateHost(8));
  host[0] = 1;
  (*device)->beginRecording();
  (*device)->upload(1024, &host[0], 4);
  (*device)->fill(0, 4, 0);
  std::vector<uint64_t> offsets = {1024, 0};
  (*device)->launch(0, offsets, 1);
  (*device)->launch(0, offsets, 1);
  (*device)->download(0, &host[1], 4);
  uint32_t recording = (*device)->endRecording("twice");
  float value = 1;
  (*device)->read(0, &value, 4);
  CHECK(value == 0); // nothing was done yet
  for (float x : {3.0f, 5.0f}) {
    host[0] = x;
    (*device)->replay(recording);
    REQUIRE_OK((*device)->finish());
    CHECK(host[1] == 2 * x);
  }
  uint32_t begin = (*device)->createMark(), end = (*device)->createMark();
  (*device)->setMark(begin);
  (*device)->fill(0, 4, 0);
  (*device)->setMark(end);
  REQUIRE_OK((*device)->waitFor(end));
  CHECK((*device)->secondsBetween(begin, end) == Approx(2e-3));
  CHECK((*device)->limits().flops == Approx(989.4e12));
  CHECK((*device)->limits().bytesPerSecond == Approx(1024e9));
}
