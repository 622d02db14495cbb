// The interface of a device for the executor, checkpoints and data: memory by arena offset, kernels by index. A driver
// is one folder beside this file. Calls come from one thread and take effect in order.
//
// A call may return before its work is done; read() and finish() wait. The first failure is kept: later calls do
// nothing, and finish() reports the failure.
#ifndef MOEC_RUNTIME_HAL_DEVICE_H
#define MOEC_RUNTIME_HAL_DEVICE_H

#include "runtime/base/Result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace moec::rt {

/// The peak rates of a device; 0 if unknown.
struct DeviceLimits {
  std::string name;
  double flops = 0, bytesPerSecond = 0;
};

/// The present state of a device.
struct DeviceSensors {
  double clockMHz = 0, watts = 0;
  uint64_t usedBytes = 0; // of its memory, by all processes
};

class Device {
public:
  virtual ~Device() = default;

  /// Runs workgroups 0..grid-1; operand i is at offsets[i]. The plan was checked, so only the device itself can fail.
  virtual void launch(uint32_t kernel, std::span<const uint64_t> offsets, int64_t grid) = 0;
  virtual void fill(uint64_t offset, uint64_t bytes, uint8_t value) = 0;
  virtual void copy(uint64_t dst, uint64_t src, uint64_t bytes) = 0;

  /// The address of an arena byte for the host, which may read and write there between calls; nullptr if it cannot.
  virtual std::byte *address(uint64_t offset) = 0;

  /// Host memory <-> arena. When read() returns, everything issued before it is done. After a failure, read() fills the
  /// memory with ones (NaN).
  virtual void read(uint64_t offset, void *data, uint64_t bytes) = 0;
  virtual void write(uint64_t offset, const void *data, uint64_t bytes) = 0;

  /// Waits for everything issued, and returns the first failure, if there was any.
  virtual Status finish() = 0;

  /// Bytes really allocated for the arena and scratch; the plan announced this number.
  virtual uint64_t allocatedBytes() const = 0;

  // Work that runs while the host does something else.

  /// Whether launches return before they are done.
  virtual bool isAsynchronous() const = 0;
  /// Memory of the host for upload() and download(); lives as long as the device. nullptr if there is no memory left.
  virtual void *allocateHost(uint64_t bytes) = 0;
  /// read() and write() without waiting: `host` comes from allocateHost(), and must not change until the copy is done.
  virtual void upload(uint64_t offset, const void *host, uint64_t bytes) = 0;
  virtual void download(uint64_t offset, void *host, uint64_t bytes) = 0;

  /// Marks separate pieces of work. A mark can be set again when nobody waits for it.
  virtual uint32_t createMark() = 0;
  virtual void setMark(uint32_t mark) = 0;
  /// Waits until everything before the mark is done, and returns the first failure, if there was any.
  virtual Status waitFor(uint32_t mark) = 0;
  /// Both marks must be set and must have been waited for.
  virtual double secondsBetween(uint32_t begin, uint32_t end) = 0;

  // Work that is recorded once and replayed often.

  /// Whether the device can record; if not, the three functions below are never called.
  virtual bool canRecord() const = 0;
  /// Until endRecording(), the calls above are recorded, not executed. None of them may wait.
  virtual void beginRecording() = 0;
  virtual uint32_t endRecording(const std::string &name) = 0;
  virtual void replay(uint32_t recording) = 0;

  virtual DeviceLimits limits() const = 0;
  virtual std::optional<DeviceSensors> sensors() = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_DEVICE_H
