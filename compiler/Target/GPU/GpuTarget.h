// What the GPU generators know of the machine they compile for.
#ifndef MOEC_COMPILER_TARGET_GPU_GPUTARGET_H
#define MOEC_COMPILER_TARGET_GPU_GPUTARGET_H

#include <cstdint>
#include <string>

namespace moec::gpu {

struct GpuTarget {
  std::string arch;       // LLVM's and ptxas's name: "sm_90a"
  std::string ptxFeature; // LLVM feature that selects the PTX version
  int64_t computeMajor = 0, computeMinor = 0;
  int64_t numSms = 0;          // grid of persistent kernels; right on any number, fastest on this
  int64_t sharedBytes = 0;     // most dynamic shared memory of a block
  int64_t rowAlign = 1;        // rows of a tile of the grouped products
  bool hasTensorCores = false; // the templates of Sm90/ apply

  /// Empty arch in the result: unknown name.
  static GpuTarget get(const std::string &name);
};

} // namespace moec::gpu

#endif
