#include "runtime/hal/cuda/CudaDevice.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/hal/cuda/CudaContext.h"
#include "runtime/hal/cuda/CudaModules.h"
#include "runtime/hal/cuda/Nvml.h"
#include "runtime/hal/cuda/TensorMaps.h"
#include "runtime/plan/PlanFormat.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace moec::rt {

namespace {

using namespace cu;

/// Pinned memory that read() and write() use for copies.
constexpr uint64_t kStagingBytes = 8u << 20;

class CudaDevice final : public Device {
public:
  CudaDevice(const Plan &plan, std::unique_ptr<GpuContext> context, Modules modules, std::unique_ptr<GpuMemory> memory)
      : plan(plan), context(std::move(context)), driver(this->context->driver()), stream(this->context->stream()),
        modules(std::move(modules)), memory(std::move(memory)), maps(driver, plan),
        scratch(this->memory->at(alignUp(plan.memory.arenaBytes, kPlanCudaAlignment))) {
    const char *blockingText = std::getenv(kCudaBlockingVariable);
    blocking = blockingText && std::strcmp(blockingText, "1") == 0;
  }

  ~CudaDevice() override {
    driver.streamSynchronize(stream);
    for (GraphExec recording : recordings)
      driver.graphExecDestroy(recording);
    for (Event mark : marks)
      driver.eventDestroy(mark);
    for (void *host : hostMemory)
      driver.memFreeHost(host);
  }

  Status prepare() {
    staging = allocateHost(kStagingBytes);
    return finish();
  }

  void launch(uint32_t kernel, std::span<const uint64_t> offsets, int64_t grid) override {
    if (!failure.isOk())
      return;
    const PlanKernel &info = plan.kernels[kernel];
    pointers.resize(offsets.size());
    params.clear();
    for (size_t i = 0; i < offsets.size(); ++i) {
      pointers[i] = memory->at(offsets[i]);
      params.push_back(&pointers[i]);
    }
    params.push_back(&scratch);
    for (uint32_t i = 0; i < info.launch.maps.size(); ++i) {
      Result<TensorMap *> map = maps.get(kernel, i, pointers[info.launch.maps[i].param]);
      if (!map.isOk()) {
        failure = map.status();
        return;
      }
      params.push_back(*map);
    }
    check(driver.launchKernel(modules.function(kernel), static_cast<unsigned>(grid), 1, 1, info.launch.threads, 1, 1,
                              static_cast<unsigned>(info.launch.sharedBytes), stream, params.data(), nullptr),
          "cuLaunchKernel", info.name);
    remember(info.name);
    if (blocking)
      synchronize();
  }

  void fill(uint64_t offset, uint64_t bytes, uint8_t value) override {
    if (failure.isOk() && bytes > 0)
      check(driver.memset(memory->at(offset), value, bytes, stream), "cuMemsetD8Async");
  }

  void copy(uint64_t dst, uint64_t src, uint64_t bytes) override {
    if (failure.isOk() && bytes > 0)
      check(driver.memcpyOnDevice(memory->at(dst), memory->at(src), bytes, stream), "cuMemcpyDtoDAsync");
  }

  std::byte *address(uint64_t) override { return nullptr; }
  void read(uint64_t offset, void *data, uint64_t bytes) override {
    for (uint64_t done = 0; done < bytes; done += kStagingBytes) {
      uint64_t part = std::min(bytes - done, kStagingBytes);
      download(offset + done, staging, part);
      synchronize();
      if (failure.isOk())
        std::memcpy(static_cast<char *>(data) + done, staging, part);
    }
    if (!failure.isOk())
      std::memset(data, 0xFF, bytes);
  }

  void write(uint64_t offset, const void *data, uint64_t bytes) override {
    for (uint64_t done = 0; done < bytes && failure.isOk(); done += kStagingBytes) {
      uint64_t part = std::min(bytes - done, kStagingBytes);
      std::memcpy(staging, static_cast<const char *>(data) + done, part);
      upload(offset + done, staging, part);
      synchronize(); // before the staging memory is written again
    }
  }

  Status finish() override {
    synchronize();
    return failure;
  }

  uint64_t allocatedBytes() const override { return memory->size(); }
  bool isAsynchronous() const override { return !blocking; }

  void *allocateHost(uint64_t bytes) override {
    void *host = nullptr;
    if (!failure.isOk() ||
        !check(driver.memHostAlloc(&host, std::max<uint64_t>(bytes, 1), 0), "cuMemHostAlloc", std::to_string(bytes)))
      return nullptr;
    hostMemory.push_back(host);
    return host;
  }

  void upload(uint64_t offset, const void *host, uint64_t bytes) override {
    if (failure.isOk())
      check(driver.memcpyToDevice(memory->at(offset), host, bytes, stream), "cuMemcpyHtoDAsync");
  }

  void download(uint64_t offset, void *host, uint64_t bytes) override {
    if (failure.isOk())
      check(driver.memcpyToHost(host, memory->at(offset), bytes, stream), "cuMemcpyDtoHAsync");
  }

  uint32_t createMark() override {
    Event event = nullptr;
    if (failure.isOk())
      check(driver.eventCreate(&event, kEventDefault), "cuEventCreate");
    marks.push_back(event);
    return static_cast<uint32_t>(marks.size() - 1);
  }

  void setMark(uint32_t mark) override {
    if (failure.isOk())
      check(driver.eventRecord(marks[mark], stream), "cuEventRecord");
  }

  Status waitFor(uint32_t mark) override {
    if (failure.isOk())
      checkWork(driver.eventSynchronize(marks[mark]), "cuEventSynchronize");
    return failure;
  }

  double secondsBetween(uint32_t begin, uint32_t end) override {
    float milliseconds = 0;
    if (failure.isOk())
      check(driver.eventElapsedTime(&milliseconds, marks[begin], marks[end]), "cuEventElapsedTime");
    return milliseconds * 1e-3;
  }

  bool canRecord() const override { return !blocking; }

  void beginRecording() override {
    if (failure.isOk())
      check(driver.streamBeginCapture(stream, kCaptureThreadLocal), "cuStreamBeginCapture");
    recording = true;
  }

  uint32_t endRecording(const std::string &name) override {
    recording = false;
    Graph graph = nullptr;
    // Also called after a failure, because the stream must not stay in capture mode.
    Code ended = driver.streamEndCapture(stream, &graph);
    GraphExec exec = nullptr;
    if (failure.isOk() && check(ended, "cuStreamEndCapture", name) &&
        check(driver.graphInstantiate(&exec, graph, 0), "cuGraphInstantiateWithFlags", name))
      check(driver.graphUpload(exec, stream), "cuGraphUpload", name);
    if (graph)
      driver.graphDestroy(graph);
    recordings.push_back(exec);
    recordingNames.push_back(name);
    return static_cast<uint32_t>(recordings.size() - 1);
  }

  void replay(uint32_t index) override {
    if (!failure.isOk())
      return;
    check(driver.graphLaunch(recordings[index], stream), "cuGraphLaunch", recordingNames[index]);
    remember(recordingNames[index]);
  }

  DeviceLimits limits() const override { return context->limits(); }

  std::optional<DeviceSensors> sensors() override {
    if (!nvml) {
      char id[64] = "";
      driver.deviceGetPciBusId(id, sizeof id, context->device());
      nvml.emplace(id);
    }
    DeviceSensors found = nvml->read();
    size_t free = 0, total = 0;
    if (driver.memGetInfo(&free, &total) == kSuccess)
      found.usedBytes = total - free;
    return found;
  }

private:
  /// Keeps the first failure. Returns whether there was none.
  bool check(Code code, const char *call, const std::string &purpose = {}) {
    if (failure.isOk())
      failure = driver.check(code, call, plan.path, purpose);
    return code == kSuccess;
  }

  /// For calls that wait: they report failures of earlier launches.
  void checkWork(Code code, const char *call) {
    if (code != kSuccess && failure.isOk()) {
      std::string names;
      for (const std::string &name : launched)
        names += (names.empty() ? "" : ", ") + name;
      failure = Status::error("MOEC-P014", plan.path, call, ": ", driver.describe(code), "; launched since the last ",
                              "wait: ", names.empty() ? "nothing" : names, blocking ? "" : " (with ",
                              blocking ? "" : kCudaBlockingVariable, blocking ? "" : "=1 it is known which of them)");
    }
  }

  void synchronize() {
    if (failure.isOk())
      checkWork(driver.streamSynchronize(stream), "cuStreamSynchronize");
    launched.clear();
  }

  void remember(const std::string &name) {
    constexpr size_t kMostNames = 16;
    if (recording || (!launched.empty() && launched.back() == name))
      return;
    auto known = std::find(launched.begin(), launched.end(), name);
    if (known != launched.end() || launched.size() == kMostNames)
      launched.erase(known != launched.end() ? known : launched.begin());
    launched.push_back(name);
  }

  // Members are constructed in this order and destroyed in the opposite order.
  const Plan &plan;
  std::unique_ptr<GpuContext> context;
  const Driver &driver;
  Stream stream;
  Modules modules;
  std::unique_ptr<GpuMemory> memory;
  TensorMaps maps;
  Pointer scratch;
  std::optional<Nvml> nvml;

  Status failure;
  bool blocking = false, recording = false;
  std::vector<std::string> launched; // since the last wait, the newest last
  void *staging = nullptr;
  std::vector<void *> hostMemory;
  std::vector<Event> marks;
  std::vector<GraphExec> recordings;
  std::vector<std::string> recordingNames;
  // Of the current launch.
  std::vector<Pointer> pointers;
  std::vector<void *> params;
};

} // namespace

Result<std::unique_ptr<Device>> createCudaDevice(const Plan &plan) {
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<GpuContext> context, GpuContext::create(plan));
  MOEC_ASSIGN_OR_RETURN(Modules modules, Modules::load(context->driver(), plan));
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<GpuMemory> memory, GpuMemory::create(*context, plan));
  auto device = std::make_unique<CudaDevice>(plan, std::move(context), std::move(modules), std::move(memory));
  MOEC_RETURN_IF_ERROR(device->prepare());
  return std::unique_ptr<Device>(std::move(device));
}

} // namespace moec::rt
