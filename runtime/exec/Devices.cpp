#include "runtime/exec/Devices.h"

#include "runtime/hal/cpu/CpuDevice.h"
#include "runtime/hal/cuda/CudaDevice.h"

#include <algorithm>
#include <sched.h>

namespace moec::rt {

unsigned defaultThreads() {
  // The affinity mask, not the machine: containers and taskset narrow it.
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
  return 1;
}

Result<std::unique_ptr<Device>> createDevice(const Plan &plan, unsigned threads) {
  switch (plan.target.kind) {
  case TargetKind::Cpu:
    return createCpuDevice(plan, threads == 0 ? defaultThreads() : threads);
  case TargetKind::Cuda:
    return createCudaDevice(plan);
  }
  return Status::error("MOEC-R004", plan.path, "internal: a target without a driver");
}

} // namespace moec::rt
