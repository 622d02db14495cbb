#include "compiler/Target/GPU/GpuTarget.h"

#include "compiler/Target/GPU/GpuFamily.h"

namespace moec::gpu {

GpuTarget GpuTarget::get(const std::string &name) {
  for (const GpuFamily *family : families())
    for (const GpuTarget &machine : family->machines())
      if (machine.arch == name)
        return machine;
  return {};
}

} // namespace moec::gpu
