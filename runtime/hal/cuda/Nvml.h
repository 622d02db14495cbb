// Clock and power of a GPU, from libnvidia-ml; unknown without this library.
#ifndef MOEC_RUNTIME_HAL_CUDA_NVML_H
#define MOEC_RUNTIME_HAL_CUDA_NVML_H

#include "runtime/hal/Device.h"

#include <string>

namespace moec::rt::cu {

class Nvml {
public:
  explicit Nvml(const std::string &pciBusId);
  ~Nvml();
  Nvml(const Nvml &) = delete;

  /// Values that the library does not give are 0.
  DeviceSensors read() const;

private:
  using Handle = struct NvmlDeviceTag *;

  void *library = nullptr;
  Handle device = nullptr;
  int (*shutdown)() = nullptr;
  int (*clockInfo)(Handle, int type, unsigned *megahertz) = nullptr;
  int (*powerUsage)(Handle, unsigned *milliwatts) = nullptr;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_NVML_H
