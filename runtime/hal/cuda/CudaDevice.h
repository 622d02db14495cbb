// A GPU as a device: one allocation that holds the arena and the scratch, one stream that keeps the order, and the
// kernels of one plan. All calls go through libcuda, which is opened at run time, so the build needs no toolkit.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDADEVICE_H
#define MOEC_RUNTIME_HAL_CUDA_CUDADEVICE_H

#include "runtime/base/Result.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <memory>

namespace moec::rt {

/// If set to 1, the device waits after every launch, so that a failure names the kernel that caused it; nothing is
/// recorded then.
inline constexpr char kCudaBlockingVariable[] = "MOEC_CUDA_BLOCKING";

/// The first GPU that CUDA_VISIBLE_DEVICES shows. MOEC-P010 if the code cannot be loaded, P011 if there is not enough
/// memory, P012 without a driver, P013 if the GPU cannot run this plan, P014 if a call of the driver fails.
Result<std::unique_ptr<Device>> createCudaDevice(const Plan &plan);

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CUDA_CUDADEVICE_H
