// The processor as a device: one mapping that holds the arena and every thread's scratch, a worker pool, and the
// kernels of one plan.
#ifndef MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H
#define MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H

#include "runtime/base/Result.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <memory>

namespace moec::rt {

/// MOEC-P010 if the kernels cannot be loaded, MOEC-P011 if there is not enough memory or a thread cannot be started.
Result<std::unique_ptr<Device>> createCpuDevice(const Plan &plan, unsigned threads);

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H
