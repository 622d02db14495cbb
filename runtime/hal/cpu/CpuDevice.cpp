#include "runtime/hal/cpu/CpuDevice.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/Clock.h"
#include "runtime/base/Text.h"
#include "runtime/hal/cpu/KernelLibrary.h"
#include "runtime/hal/cpu/WorkerPool.h"
#include "runtime/plan/PlanFormat.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace moec::rt {

namespace {

/// Fills and copies of fewer bytes run on one thread, because waking threads would take longer.
constexpr uint64_t kParallelBytes = 1u << 20;

class Mapping {
public:
  Mapping(void *data, uint64_t bytes) : data(data), bytes(bytes) {}
  ~Mapping() {
    if (data)
      ::munmap(data, bytes);
  }
  Mapping(const Mapping &) = delete;

  char *at(uint64_t offset) const { return static_cast<char *>(data) + offset; }
  uint64_t size() const { return bytes; }

private:
  void *data;
  uint64_t bytes;
};

class CpuDevice final : public Device {
public:
  CpuDevice(const Plan &plan, std::unique_ptr<Mapping> memory, std::unique_ptr<WorkerPool> pool, KernelLibrary kernels)
      : scratchOffset(alignUp(plan.memory.arenaBytes, kPlanMemoryAlignment)),
        scratchStride(alignUp(plan.memory.scratchBytes, kPlanMemoryAlignment)), memory(std::move(memory)),
        pool(std::move(pool)), kernels(std::move(kernels)) {
    size_t mostParams = 1;
    for (const PlanKernel &kernel : plan.kernels)
      mostParams = std::max<size_t>(mostParams, kernel.params);
    args.resize(mostParams);
  }

  void launch(uint32_t kernel, std::span<const uint64_t> offsets, int64_t grid) override {
    for (size_t i = 0; i < offsets.size(); ++i)
      args[i] = memory->at(offsets[i]);
    function = kernels.kernel(kernel);
    pool->run(
        [](void *context, int64_t begin, int64_t end, unsigned thread) {
          auto *self = static_cast<CpuDevice *>(context);
          void *scratch = self->memory->at(self->scratchOffset + thread * self->scratchStride);
          for (int64_t workgroup = begin; workgroup < end; ++workgroup)
            self->function(self->args.data(), workgroup, scratch);
        },
        this, grid);
  }

  void fill(uint64_t offset, uint64_t bytes, uint8_t value) override {
    char *dst = memory->at(offset);
    inChunks(bytes, [=](uint64_t begin, uint64_t size) { std::memset(dst + begin, value, size); });
  }

  void copy(uint64_t dst, uint64_t src, uint64_t bytes) override {
    char *to = memory->at(dst);
    const char *from = memory->at(src);
    inChunks(bytes, [=](uint64_t begin, uint64_t size) { std::memcpy(to + begin, from + begin, size); });
  }

  std::byte *address(uint64_t offset) override { return reinterpret_cast<std::byte *>(memory->at(offset)); }

  void read(uint64_t offset, void *data, uint64_t bytes) override { std::memcpy(data, memory->at(offset), bytes); }
  void write(uint64_t offset, const void *data, uint64_t bytes) override {
    std::memcpy(memory->at(offset), data, bytes);
  }

  Status finish() override { return Status::ok(); }
  uint64_t allocatedBytes() const override { return memory->size(); }

  // Everything is done when a call returns: nothing to wait for, nothing to record.
  bool isAsynchronous() const override { return false; }
  void *allocateHost(uint64_t bytes) override {
    hostMemory.push_back(std::make_unique<std::byte[]>(bytes));
    return hostMemory.back().get();
  }
  void upload(uint64_t offset, const void *host, uint64_t bytes) override { write(offset, host, bytes); }
  void download(uint64_t offset, void *host, uint64_t bytes) override { read(offset, host, bytes); }
  uint32_t createMark() override {
    marks.push_back(0);
    return static_cast<uint32_t>(marks.size() - 1);
  }
  void setMark(uint32_t mark) override { marks[mark] = nowSeconds(); }
  Status waitFor(uint32_t) override { return Status::ok(); }
  double secondsBetween(uint32_t begin, uint32_t end) override { return marks[end] - marks[begin]; }
  bool canRecord() const override { return false; }
  void beginRecording() override {}
  uint32_t endRecording(const std::string &) override { return 0; }
  void replay(uint32_t) override {}
  DeviceLimits limits() const override { return {}; }
  std::optional<DeviceSensors> sensors() override { return std::nullopt; }

private:
  /// body(begin, size) over pieces of [0, bytes), on all threads if there are enough bytes.
  template <typename Body> void inChunks(uint64_t bytes, Body body) {
    if (bytes < kParallelBytes)
      return body(0, bytes);
    constexpr uint64_t kChunk = 1u << 18;
    struct Context {
      Body body;
      uint64_t bytes;
    } work{body, bytes};
    pool->run(
        [](void *context, int64_t begin, int64_t end, unsigned) {
          auto *work = static_cast<Context *>(context);
          uint64_t first = static_cast<uint64_t>(begin) * kChunk;
          work->body(first, std::min(static_cast<uint64_t>(end) * kChunk, work->bytes) - first);
        },
        &work, static_cast<int64_t>((bytes + kChunk - 1) / kChunk));
  }

  uint64_t scratchOffset, scratchStride;
  std::unique_ptr<Mapping> memory;
  std::unique_ptr<WorkerPool> pool;
  KernelLibrary kernels;
  std::vector<void *> args;
  KernelFunction function = nullptr;
  std::vector<std::unique_ptr<std::byte[]>> hostMemory;
  std::vector<double> marks; // times
};

Result<std::unique_ptr<Mapping>> allocate(const Plan &plan, unsigned threads) {
  uint64_t bytes = std::max<uint64_t>(plan.peakBytes(threads), kPlanMemoryAlignment);
  // Linux grants more memory than it has and kills processes later, so a size that can never fit is refused here.
  uint64_t physical = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  if (bytes > physical)
    return Status::error("MOEC-P011", plan.path, "the plan needs ", formatBytes(bytes), " (arena ",
                         formatBytes(plan.memory.arenaBytes), ", ", threads, " x ",
                         formatBytes(plan.memory.scratchBytes), " scratch), this machine has ", formatBytes(physical));
  void *data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return Status::error("MOEC-P011", plan.path, "cannot get the ", formatBytes(bytes),
                         " that the plan needs: ", std::strerror(errno));
  (void)::madvise(data, bytes, MADV_HUGEPAGE); // optional: a failure costs only speed
  return std::make_unique<Mapping>(data, bytes);
}

} // namespace

Result<std::unique_ptr<Device>> createCpuDevice(const Plan &plan, unsigned threads) {
  const PlanBlob *blob = plan.findBlob(kKernelsBlob);
  if (!blob)
    return Status::error("MOEC-P010", plan.path, "the plan has no blob \"", kKernelsBlob, "\"");
  MOEC_ASSIGN_OR_RETURN(KernelLibrary library, KernelLibrary::load(blob->bytes, plan));
  MOEC_ASSIGN_OR_RETURN(auto memory, allocate(plan, threads));
  MOEC_ASSIGN_OR_RETURN(auto pool, WorkerPool::create(threads));
  return std::unique_ptr<Device>(
      std::make_unique<CpuDevice>(plan, std::move(memory), std::move(pool), std::move(library)));
}

} // namespace moec::rt
