#include "runtime/hal/cuda/CudaContext.h"

#include "runtime/base/Text.h"
#include "runtime/plan/PlanFormat.h"

#include <algorithm>

namespace moec::rt::cu {

namespace {

/// Peak rate of dense bf16 products of one multiprocessor, at the boost clock of the vendor's figures.
struct Peak {
  int major, minor;
  double teraflopsEach;
};
constexpr Peak kPeaks[] = {
    {8, 0, 312.0 / 108}, // A100
    {9, 0, 989.4 / 132}, // H100, H200
};

bool onlyText(const Plan &plan) {
  return std::all_of(plan.kernels.begin(), plan.kernels.end(),
                     [](const PlanKernel &kernel) { return kernel.launch.module.ends_with(kPtxSuffix); });
}

/// Machine code runs on its own and higher minor versions of its major version; PTX on all later versions; "a" code
/// only on its own version.
bool runsOn(const Plan &plan, int major, int minor) {
  int wantMajor = static_cast<int>(plan.target.major), wantMinor = static_cast<int>(plan.target.minor);
  if (plan.target.arch.ends_with("a"))
    return major == wantMajor && minor == wantMinor;
  if (major == wantMajor)
    return minor >= wantMinor;
  return major > wantMajor && onlyText(plan);
}

} // namespace

Result<std::unique_ptr<GpuContext>> GpuContext::create(const Plan &plan) {
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Driver> opened, Driver::open(plan.path));
  std::unique_ptr<GpuContext> made(new GpuContext(std::move(opened)));
  const Driver &driver = *made->table;
  MOEC_RETURN_IF_ERROR(driver.check(driver.deviceGet(&made->id, 0), "cuDeviceGet", plan.path));
  MOEC_RETURN_IF_ERROR(made->checkTarget(plan));
  Context context = nullptr;
  MOEC_RETURN_IF_ERROR(
      driver.check(driver.primaryContextRetain(&context, made->id), "cuDevicePrimaryCtxRetain", plan.path));
  made->retained = true;
  MOEC_RETURN_IF_ERROR(driver.check(driver.contextSetCurrent(context), "cuCtxSetCurrent", plan.path));
  MOEC_RETURN_IF_ERROR(
      driver.check(driver.streamCreate(&made->queue, kStreamNonBlocking), "cuStreamCreate", plan.path));
  return made;
}

GpuContext::~GpuContext() {
  if (queue)
    table->streamDestroy(queue);
  if (retained)
    table->primaryContextRelease(id);
}

int GpuContext::attribute(int which) const {
  int value = 0;
  return table->deviceGetAttribute(&value, which, id) == kSuccess ? value : 0;
}

std::string GpuContext::name() const {
  char text[256] = "";
  table->deviceGetName(text, sizeof text, id);
  return text;
}

Status GpuContext::checkTarget(const Plan &plan) const {
  int major = attribute(kCapabilityMajor), minor = attribute(kCapabilityMinor);
  if (!runsOn(plan, major, minor))
    return Status::error("MOEC-P013", plan.path, "the plan is for ", plan.target.arch, " (compute capability ",
                         plan.target.major, ".", plan.target.minor, "), this machine's GPU is a ", name(), " with ",
                         major, ".", minor, "; compile the spec for this GPU, or choose another with ",
                         "CUDA_VISIBLE_DEVICES");
  auto has = static_cast<uint64_t>(attribute(kSharedPerBlockOptin));
  for (const PlanKernel &kernel : plan.kernels)
    if (kernel.launch.sharedBytes > has)
      return Status::error("MOEC-P013", plan.path, "kernel \"", kernel.name, "\" needs ", kernel.launch.sharedBytes,
                           " bytes of shared memory per block, this machine's ", name(), " has ", has);
  return Status::ok();
}

DeviceLimits GpuContext::limits() const {
  DeviceLimits limits{name()};
  for (const Peak &peak : kPeaks)
    if (peak.major == attribute(kCapabilityMajor) && peak.minor == attribute(kCapabilityMinor))
      limits.flops = peak.teraflopsEach * 1e12 * attribute(kMultiprocessors);
  // Two transfers per clock.
  limits.bytesPerSecond = 2e3 * attribute(kMemoryClockRateKHz) * attribute(kMemoryBusBits) / 8;
  return limits;
}

Result<std::unique_ptr<GpuMemory>> GpuMemory::create(const GpuContext &context, const Plan &plan) {
  const Driver &driver = context.driver();
  uint64_t bytes = std::max<uint64_t>(plan.peakBytes(1), kPlanCudaAlignment);
  size_t free = 0, total = 0;
  MOEC_RETURN_IF_ERROR(driver.check(driver.memGetInfo(&free, &total), "cuMemGetInfo", plan.path));
  auto tooLittle = [&](const std::string &why) {
    return Status::error("MOEC-P011", plan.path, "the plan needs ", formatBytes(bytes), " (", bytes, " bytes: arena ",
                         formatBytes(plan.memory.arenaBytes), ", scratch ", formatBytes(plan.memory.scratchBytes),
                         "); of the GPU's ", formatBytes(total), ", ", formatBytes(free), " (", free,
                         " bytes) are free", why, "; a smaller micro-batch needs less");
  };
  if (bytes > free)
    return tooLittle("");
  Pointer base = 0;
  Code code = driver.memAlloc(&base, bytes);
  if (code == kOutOfMemory)
    return tooLittle(", but not in one piece");
  MOEC_RETURN_IF_ERROR(driver.check(code, "cuMemAlloc", plan.path, formatBytes(bytes)));
  std::unique_ptr<GpuMemory> memory(new GpuMemory(context, base, bytes));
  MOEC_RETURN_IF_ERROR(driver.check(driver.memset(base, 0, bytes, context.stream()), "cuMemsetD8Async", plan.path));
  return memory;
}

GpuMemory::~GpuMemory() { context.driver().memFree(base); }

} // namespace moec::rt::cu
