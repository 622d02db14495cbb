// The features of this processor, by the names that plans use (those of __builtin_cpu_supports).
#ifndef MOEC_RUNTIME_BASE_CPUFEATURES_H
#define MOEC_RUNTIME_BASE_CPUFEATURES_H

#include <string_view>

namespace moec::rt {

enum class CpuFeature { Present, Absent, Unknown };

CpuFeature cpuFeature(std::string_view name);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_CPUFEATURES_H
