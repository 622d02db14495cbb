#include "compiler/Target/CPU/CpuTarget.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/TargetParser/Host.h"

namespace moec::cpu {

namespace {

// A level of the x86-64 psABI. `features` are the features that LLVM may use at this level but not at the level below,
// as far as the runtime can test them. LLVM and __builtin_cpu_supports, which the runtime uses, have the same names for
// them.
struct Level {
  const char *name;
  std::vector<std::string> features;
  int64_t vectorBytes, tileRows, tileVectors;
};

const std::vector<Level> &levels() {
  static const std::vector<Level> table = {
      {"x86-64-v4",
       {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi", "bmi2", "popcnt"},
       64,
       8,
       2},
      // 4 x 2 accumulators + 2 of B + 1 of A fit into 16 registers and leave some for addresses of spills.
      {"x86-64-v3", {"avx2", "fma", "bmi", "bmi2", "popcnt"}, 32, 4, 2},
      {"x86-64", {}, 16, 4, 2},
  };
  return table;
}

} // namespace

CpuTarget CpuTarget::get(const std::string &name) {
  // "native" means the best level that this machine has, not the machine's own type. The level decides everything that
  // kernels use, so a plan runs on all machines of the level.
  for (const Level &level : levels()) {
    bool chosen = level.name == name;
    if (name == "native") {
      static const llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
      chosen = true;
      for (const std::string &feature : level.features)
        chosen = chosen && host.lookup(feature);
    }
    if (!chosen)
      continue;
    CpuTarget target;
    target.triple = "x86_64-unknown-linux-gnu";
    target.cpu = level.name;
    target.required = level.features;
    target.vectorBytes = level.vectorBytes;
    target.tileRows = level.tileRows;
    target.tileVectors = level.tileVectors;
    return target;
  }
  return {};
}

} // namespace moec::cpu
