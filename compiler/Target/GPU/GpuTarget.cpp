#include "compiler/Target/GPU/GpuTarget.h"

namespace moec::gpu {

GpuTarget GpuTarget::get(const std::string &name) {
  if (name != "sm_90a")
    return {};
  GpuTarget target;
  target.arch = name;
  target.ptxFeature = "+ptx81";
  target.computeMajor = 9;
  target.numSms = 132;
  target.sharedBytes = 232448;
  // Rows of a consumer warpgroup: a group of tokens is whole tiles of 64, so no tile needs a masked row.
  target.rowAlign = 64;
  target.hasTensorCores = true;
  return target;
}

} // namespace moec::gpu
