// The driver on a real GPU, with a plan and kernels made by hand: errors, memory, launches, tensor maps, counters,
// recorded work, marks, and what a kernel that goes wrong leaves behind. Prints a line for each thing found.
// usage: moec-gpu-driver KERNELS.ptx; exit code 77 when there is no GPU.
#include "runtime/base/Clock.h"
#include "runtime/base/File.h"
#include "runtime/hal/cuda/CudaDevice.h"
#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/PlanReader.h"
#include "runtime/plan/PlanWriter.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

using namespace moec::rt;
using nlohmann::json;

namespace {

int failures = 0;

void expect(bool good, const std::string &what) {
  std::printf("%s  %s\n", good ? "ok    " : "FAILED", what.c_str());
  failures += !good;
}

void expectCode(const Status &status, const std::string &code) {
  expect(status.code() == code, code + ": " + (status.isOk() ? "no error" : status.text()));
}

constexpr uint64_t kFloats = 1 << 20, kX = 4096, kY = kX + 4 * kFloats, kOut = kY + 4 * kFloats, kSum = kOut + 4096;
constexpr uint64_t kState = 4096, kArena = kSum + 4096;

json manifest() {
  json map = {{"param", 0}, {"offset", 0}, {"dtype", "f32"}, {"swizzle", 0}};
  map["dims"] = json::array({64, 80});
  map["strides"] = json::array({256});
  map["box"] = json::array({16, 32});
  json kernels = json::array();
  auto kernel = [&](const char *name, int params, int threads, int shared, const json &maps) {
    json launch = {{"module", "k.ptx"}, {"threads", threads}, {"shared", shared}, {"maps", maps}};
    kernels.push_back({{"name", name},
                       {"symbol", name},
                       {"params", params},
                       {"flops", 0},
                       {"bytes", 0},
                       {"summary", ""},
                       {"loc", ""},
                       {"launch", launch}});
  };
  kernel("add_rows", 2, 256, 0, json::array());
  kernel("tile_copy", 2, 128, 200 << 10, json::array({map}));
  kernel("last_block", 1, 32, 0, json::array());
  kernel("go_wrong", 1, 32, 0, json::array());
  json states = json::array();
  auto state = [&](const char *role, int offset, const char *dtype, json shape, const char *kind, bool saved) {
    states.push_back({{"name", role},
                      {"offset", offset},
                      {"dtype", dtype},
                      {"shape", std::move(shape)},
                      {"count", 1},
                      {"first", 0},
                      {"step", 1},
                      {"kind", kind},
                      {"role", role},
                      {"checkpoint", saved}});
  };
  state("step_counter", 0, "i64", json::array(), "counter", true);
  state("batch_tokens", 64, "i32", json::array({1, 5}), "batch", false);
  state("batch_sources", 128, "i32", json::array({1}), "batch", false);
  json set = {{"name", "a"}, {"path", "a"}, {"weight", 1.0}};
  json data = {{"tokenizer", {{"kind", "byte"}}},
               {"seq_len", 4},
               {"sequences", 1},
               {"base_dir", "/"},
               {"train", json::array({set})},
               {"validation", json::array()}};
  return {{"format", 1},
          {"compiler", "hand"},
          {"name", "driver"},
          {"spec", json::object()},
          {"spec_hash", ""},
          {"spec_file", "driver.json"},
          {"element_type", "f32"},
          {"seed", 1},
          {"target", {{"kind", "cuda"}, {"arch", "sm_90"}, {"compute_capability", {9, 0}}, {"shared_bytes", 232448}}},
          {"memory", {{"state_bytes", kState}, {"arena_bytes", kArena}, {"scratch_bytes", 8192}}},
          {"blobs", json::array()},
          {"kernels", kernels},
          {"buffers", json::array()},
          {"state", states},
          {"data", data},
          {"generate", nullptr},
          {"evaluate", nullptr},
          {"metrics", json::array()},
          {"functions", json::array()},
          {"programs", {{"init", json::array()}, {"train", json::array()}}},
          {"checkpoint", {{"keep_last", 0}}},
          {"locations", json::array()}};
}

Plan planOf(const json &text, const std::string &ptx) {
  PlanWriterBlob blob{"k.ptx", ptx};
  Result<std::string> file = buildPlan(Json::parse(text.dump()).value(), {&blob, 1});
  Result<Plan> plan = file.isOk() ? parsePlan(std::as_bytes(std::span(*file)), "driver.moec") : file.status();
  if (!plan.isOk()) {
    std::printf("%s\n", plan.status().text().c_str());
    std::exit(1);
  }
  return std::move(plan).value();
}

void errors(const std::string &ptx) {
  json other = manifest();
  other["target"]["arch"] = "sm_80a";
  other["target"]["compute_capability"] = json::array({8, 0});
  expectCode(createCudaDevice(planOf(other, ptx)).status(), "MOEC-P013");
  other = manifest();
  other["memory"]["arena_bytes"] = int64_t{1} << 42;
  expectCode(createCudaDevice(planOf(other, ptx)).status(), "MOEC-P011");
  other = manifest();
  other["kernels"][0]["symbol"] = "nowhere";
  expectCode(createCudaDevice(planOf(other, ptx)).status(), "MOEC-P010");
  expectCode(createCudaDevice(planOf(manifest(), ".version 8.0\n.target sm_90\nrubbish")).status(), "MOEC-P010");
  expectCode(createCudaDevice(planOf(manifest(), ".version 99.9\n.target sm_90\n")).status(), "MOEC-P013");
}

/// What the driver itself counts: the plan's memory and nothing else between two looks.
void memoryAsAnnounced(const std::string &ptx) {
  Plan small = planOf(manifest(), ptx);
  json big = manifest();
  big["memory"]["arena_bytes"] = int64_t{6} << 30;
  Plan plan = planOf(big, ptx);
  Result<std::unique_ptr<cu::Driver>> driver = cu::Driver::open("test");
  cu::Context context = nullptr;
  (*driver)->primaryContextRetain(&context, 0);
  (*driver)->contextSetCurrent(context);
  size_t before = 0, after = 0, total = 0;
  { // once, so that what the context itself takes for modules is taken
    Result<std::unique_ptr<Device>> device = createCudaDevice(small);
  }
  (*driver)->memGetInfo(&before, &total);
  Result<std::unique_ptr<Device>> device = createCudaDevice(plan);
  expect(device.isOk(), "a plan of 6 GiB " + (device.isOk() ? "loads" : device.status().text()));
  (*driver)->memGetInfo(&after, &total);
  uint64_t announced = plan.peakBytes(1), taken = before - after;
  expect(device.isOk() && (*device)->allocatedBytes() == announced && taken >= announced &&
             taken - announced <= (4u << 20),
         "announced " + std::to_string(announced) + " bytes, the driver's free memory went down by " +
             std::to_string(taken));
}

void work(Device &device) {
  std::vector<float> x(kFloats), y(kFloats), found(kFloats);
  std::iota(x.begin(), x.end(), 0.0f);
  device.read(kY, found.data(), 4 * kFloats);
  expect(found == y, "the arena starts as zeros");
  device.write(kX, x.data(), 4 * kFloats);
  std::vector<uint64_t> adds = {kX, kY}, tiles = {kX, kOut}, sum = {kSum};
  device.launch(0, adds, kFloats / 256);
  device.launch(0, adds, kFloats / 256);
  device.read(kY, found.data(), 4 * kFloats);
  bool same = true;
  for (uint64_t i = 0; i < kFloats; ++i)
    same = same && found[i] == 2 * x[i];
  expect(same, "two launches on operands, 4 MiB through pinned memory");

  device.launch(1, tiles, 1);
  device.read(kOut, found.data(), 4 * 512);
  same = true;
  for (uint64_t row = 0; row < 32; ++row)
    for (uint64_t column = 0; column < 16; ++column)
      same = same && found[row * 16 + column] == (60 + row < 80 ? x[(60 + row) * 64 + 16 + column] : 0.0f);
  expect(same, "a tensor map: the box, zeros beyond the edge, 200 KiB of shared memory");

  for (int i = 0; i < 3; ++i)
    device.launch(2, sum, 1000);
  int32_t blocks = 0;
  device.read(kSum, &blocks, 4);
  expect(blocks == 3000, "counters in scratch are zero again after each kernel");

  device.copy(kOut, kX + 400, 400);
  device.fill(kOut + 40, 4, 0xFF);
  device.read(kOut, found.data(), 400);
  expect(found[0] == 100 && found[99] == 199 && found[10] != found[10] && found[9] == 109, "copy and fill");
}

void recorded(Device &device) {
  constexpr int kLaunches = 200, kReplays = 50;
  std::vector<uint64_t> adds = {kX, kY};
  auto *host = static_cast<float *>(device.allocateHost(8));
  device.fill(kX, 4 * kFloats, 0);
  device.fill(kY, 4 * kFloats, 0);
  device.beginRecording();
  device.upload(kX, &host[0], 4);
  for (int i = 0; i < kLaunches; ++i)
    device.launch(0, adds, 16);
  device.download(kY, &host[1], 4);
  uint32_t recording = device.endRecording("200 launches");
  host[0] = 1;
  uint32_t begin = device.createMark(), end = device.createMark();
  device.replay(recording);
  expect(device.finish().isOk() && host[1] == kLaunches, "a recording does its work: " + device.finish().text());
  device.setMark(begin);
  double start = nowSeconds();
  for (int i = 0; i < kReplays; ++i)
    device.replay(recording);
  double issued = nowSeconds() - start;
  device.setMark(end);
  Status status = device.waitFor(end);
  expect(status.isOk() && host[1] == kLaunches * (kReplays + 1), "replays add up");
  double replayed = device.secondsBetween(begin, end) / (kLaunches * kReplays);
  std::vector<uint64_t> offsets = adds;
  device.setMark(begin);
  for (int i = 0; i < kLaunches * kReplays; ++i)
    device.launch(0, offsets, 16);
  device.setMark(end);
  status = device.waitFor(end);
  double launched = device.secondsBetween(begin, end) / (kLaunches * kReplays);
  std::printf("        a small launch: %.2f us replayed (host %.2f us), %.2f us launched one by one\n", replayed * 1e6,
              issued / (kLaunches * kReplays) * 1e6, launched * 1e6);
  expect(status.isOk() && replayed > 0 && replayed < 20e-6, "marks tell plausible times");
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: moec-gpu-driver KERNELS.ptx\n");
    return 2;
  }
  Result<std::string> ptx = readFile(argv[1], 1 << 20);
  if (!ptx.isOk()) {
    std::fprintf(stderr, "%s\n", ptx.status().text().c_str());
    return 2;
  }
  Plan plan = planOf(manifest(), *ptx);
  ::setenv(cu::kDriverVariable, "/nowhere/libcuda.so.1", 1);
  expectCode(createCudaDevice(plan).status(), "MOEC-P012");
  ::unsetenv(cu::kDriverVariable);
  if (Status status = cu::Driver::open("test").status(); !status.isOk()) {
    std::printf("skipped: %s\n", status.text().c_str());
    return 77;
  }
  errors(*ptx);
  memoryAsAnnounced(*ptx);
  Result<std::unique_ptr<Device>> device = createCudaDevice(plan);
  expect(device.isOk(), "the plan loads " + (device.isOk() ? "" : device.status().text()));
  if (!device.isOk())
    return 1;
  DeviceLimits limits = (*device)->limits();
  std::optional<DeviceSensors> sensors = (*device)->sensors();
  std::printf("        %s: %.1f TFLOP/s bf16, %.0f GB/s; %.0f MHz, %.0f W\n", limits.name.c_str(), limits.flops * 1e-12,
              limits.bytesPerSecond * 1e-9, sensors ? sensors->clockMHz : 0, sensors ? sensors->watts : 0);
  work(**device);
  recorded(**device);
  std::vector<uint64_t> sum = {kSum}, adds = {kX, kY};
  (*device)->launch(3, sum, 1);
  (*device)->launch(0, adds, 1);
  expectCode((*device)->finish(), "MOEC-P014");
  std::printf(failures ? "%d FAILED\n" : "all good\n", failures);
  return failures ? 1 : 0;
}
