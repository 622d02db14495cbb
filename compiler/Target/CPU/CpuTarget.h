// Facts about the machine for which the CPU generators compile.
#ifndef MOEC_COMPILER_TARGET_CPU_CPUTARGET_H
#define MOEC_COMPILER_TARGET_CPU_CPUTARGET_H

#include <cstdint>
#include <string>
#include <vector>

namespace moec::cpu {

struct CpuTarget {
  std::string triple;
  std::string cpu;                   // LLVM's name, for example x86-64-v4
  std::vector<std::string> required; // names for __builtin_cpu_supports, checked by the runtime before loading
  int64_t vectorBytes = 32;          // 64 with AVX-512, 32 with AVX2, 16 otherwise
  /// Register tile of a matrix product: rows, and vectors of columns. 8 x 2 fills 16 of 32 registers of AVX-512 with
  /// accumulators.
  int64_t tileRows = 4;
  int64_t tileVectors = 2;

  /// name: "native", "x86-64-v3", "x86-64-v4", "x86-64". Empty triple in the result: unknown name.
  static CpuTarget get(const std::string &name);
};

} // namespace moec::cpu

#endif
