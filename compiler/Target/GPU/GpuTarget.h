// Facts about the machine for which the GPU generators compile.
#ifndef MOEC_COMPILER_TARGET_GPU_GPUTARGET_H
#define MOEC_COMPILER_TARGET_GPU_GPUTARGET_H

#include <cstdint>
#include <string>

namespace moec::gpu {

class GpuFamily;

/// The numbers that decide how dispatches are formed; see the functions of the same names in Target.h.
struct GpuStructure {
  int64_t rowAlign = 1;
  unsigned tensorsOfEpilogue = 0;
  int64_t columnsOfRowSums = 0, columnsToGatherOnce = 0, columnsToSumInRows = 0;
  bool spreadsInLoads = false;
};

struct GpuTarget {
  std::string arch;       // LLVM's and ptxas's name: "sm_90a"
  std::string ptxFeature; // LLVM feature that selects the PTX version
  int64_t computeMajor = 0, computeMinor = 0;
  int64_t numSms = 0;      // grid of persistent kernels; correct with any number, fastest with this
  int64_t sharedBytes = 0; // most dynamic shared memory of a block
  GpuStructure structure;
  const GpuFamily *family = nullptr; // whose templates apply; null: those for any shape and type alone

  /// Empty arch in the result: unknown name.
  static GpuTarget get(const std::string &name);
};

} // namespace moec::gpu

#endif
