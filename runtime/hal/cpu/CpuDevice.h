// The processor as a device: one mapping that holds the arena and every thread's scratch, a worker pool, and the
// kernels of one plan.
#ifndef MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H
#define MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H

#include "runtime/base/Result.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <memory>

namespace moec::rt {

/// MOEC-P010 when the kernels cannot be loaded, MOEC-P011 when memory or threads cannot be had.
Result<std::unique_ptr<Device>> createCpuDevice(const Plan &plan, unsigned threads);

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CPU_CPUDEVICE_H
