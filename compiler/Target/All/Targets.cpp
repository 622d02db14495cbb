#include "compiler/Target/All/Targets.h"

#include "compiler/Target/CPU/CpuBackend.h"
#include "compiler/Target/GPU/GpuBackend.h"

namespace moec {

std::unique_ptr<Target> createTarget(const std::string &name) {
  if (auto target = cpu::createCpuBackend(name))
    return target;
  return gpu::createGpuBackend(name);
}

std::string targetNames() { return cpu::cpuTargetNames() + " or " + gpu::gpuTargetNames(); }

std::string unknownTarget(const std::string &name) {
  return "unknown target \"" + name + "\"; expected " + targetNames();
}

} // namespace moec
