#include "runtime/base/CpuFeatures.h"

namespace moec::rt {

#if defined(__x86_64__)
// __builtin_cpu_supports takes only literals, so there is a list. It also checks that the system saves the registers.
// clang-format off
#define MOEC_CPU_FEATURES(X) \
  X("sse") X("sse2") X("sse3") X("ssse3") X("sse4.1") X("sse4.2") X("popcnt") X("avx") \
  X("avx2") X("fma") X("bmi") X("bmi2") X("aes") X("pclmul") X("gfni") X("vpclmulqdq") \
  X("avx512f") X("avx512vl") X("avx512bw") X("avx512dq") X("avx512cd") X("avx512ifma") X("avx512vbmi") \
  X("avx512vbmi2") X("avx512vnni") X("avx512bitalg") X("avx512vpopcntdq") X("avx512bf16")
// clang-format on

CpuFeature cpuFeature(std::string_view name) {
  __builtin_cpu_init();
#define MOEC_CHECK(literal)                                                                                            \
  if (name == literal)                                                                                                 \
    return __builtin_cpu_supports(literal) ? CpuFeature::Present : CpuFeature::Absent;
  MOEC_CPU_FEATURES(MOEC_CHECK)
#undef MOEC_CHECK
  return CpuFeature::Unknown;
}
#else
CpuFeature cpuFeature(std::string_view) { return CpuFeature::Unknown; }
#endif

} // namespace moec::rt
