// Chooses the GPU, checks that it can run a plan, and holds the objects that live as long as the device: context,
// stream, memory. They are released in the opposite order.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDACONTEXT_H
#define MOEC_RUNTIME_HAL_CUDA_CUDACONTEXT_H

#include "runtime/hal/Device.h"
#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/Plan.h"

#include <memory>

namespace moec::rt::cu {

class GpuContext {
public:
  /// MOEC-P012 without a driver, MOEC-P013 if the GPU cannot run the plan, MOEC-P014 if a call of the driver fails.
  static Result<std::unique_ptr<GpuContext>> create(const Plan &plan);
  ~GpuContext();
  GpuContext(const GpuContext &) = delete;

  const Driver &driver() const { return *table; }
  DeviceId device() const { return id; }
  Stream stream() const { return queue; }

  int attribute(int which) const;
  DeviceLimits limits() const;

private:
  explicit GpuContext(std::unique_ptr<Driver> driver) : table(std::move(driver)) {}
  Status checkTarget(const Plan &plan) const;
  std::string name() const;

  std::unique_ptr<Driver> table;
  DeviceId id = 0;
  bool retained = false;
  Stream queue = nullptr;
};

/// The one allocation of a plan, all zeros.
class GpuMemory {
public:
  /// MOEC-P011 with the needed, free and total memory.
  static Result<std::unique_ptr<GpuMemory>> create(const GpuContext &context, const Plan &plan);
  ~GpuMemory();
  GpuMemory(const GpuMemory &) = delete;

  Pointer at(uint64_t offset) const { return base + offset; }
  uint64_t size() const { return bytes; }

private:
  GpuMemory(const GpuContext &context, Pointer base, uint64_t bytes) : context(context), base(base), bytes(bytes) {}

  const GpuContext &context;
  Pointer base;
  uint64_t bytes;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_CUDACONTEXT_H
