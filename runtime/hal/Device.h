// The one interface that the executor, checkpoints and data see of a device: memory by arena offset, kernels by index.
// A driver is one folder beside this file. Calls come from one thread and take effect in order.
#ifndef MOEC_RUNTIME_HAL_DEVICE_H
#define MOEC_RUNTIME_HAL_DEVICE_H

#include "runtime/base/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace moec::rt {

class Device {
public:
  virtual ~Device() = default;

  /// Runs workgroups 0..grid-1; operand i lies at offsets[i]. The plan was checked, so there is nothing left to fail.
  virtual void launch(uint32_t kernel, std::span<const uint64_t> offsets, int64_t grid) = 0;
  virtual void fill(uint64_t offset, uint64_t bytes, uint8_t value) = 0;
  virtual void copy(uint64_t dst, uint64_t src, uint64_t bytes) = 0;

  /// Host memory <-> arena. After read() returns, everything issued before it is done.
  virtual void read(uint64_t offset, void *data, uint64_t bytes) = 0;
  virtual void write(uint64_t offset, const void *data, uint64_t bytes) = 0;

  /// Bytes really allocated for the arena and scratch; the plan announced this number.
  virtual uint64_t allocatedBytes() const = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_DEVICE_H
