#include "runtime/hal/cuda/Nvml.h"

#include <dlfcn.h>

namespace moec::rt::cu {

static constexpr int kClockOfMultiprocessors = 1; // NVML_CLOCK_SM

Nvml::Nvml(const std::string &pciBusId) : library(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
  if (!library)
    return;
  int (*start)() = nullptr;
  int (*findDevice)(const char *, Handle *) = nullptr;
  auto find = [&](auto &function, const char *symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
    return function != nullptr;
  };
  bool complete = find(start, "nvmlInit_v2") && find(findDevice, "nvmlDeviceGetHandleByPciBusId_v2") &&
                  find(clockInfo, "nvmlDeviceGetClockInfo") && find(powerUsage, "nvmlDeviceGetPowerUsage") &&
                  find(shutdown, "nvmlShutdown");
  if (!complete || start() != 0) {
    shutdown = nullptr;
    return;
  }
  if (findDevice(pciBusId.c_str(), &device) != 0)
    device = nullptr;
}

Nvml::~Nvml() {
  if (shutdown)
    shutdown();
  if (library)
    ::dlclose(library);
}

DeviceSensors Nvml::read() const {
  unsigned megahertz = 0, milliwatts = 0;
  if (!device || clockInfo(device, kClockOfMultiprocessors, &megahertz) != 0 || powerUsage(device, &milliwatts) != 0)
    return {};
  return {static_cast<double>(megahertz), milliwatts * 1e-3};
}

} // namespace moec::rt::cu
