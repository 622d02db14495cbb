// The CPU as a target.
#ifndef MOEC_COMPILER_TARGET_CPU_CPUBACKEND_H
#define MOEC_COMPILER_TARGET_CPU_CPUBACKEND_H

#include "compiler/Target/Target.h"

#include <memory>

namespace moec::cpu {

/// Null when `name` is not a CPU (see CpuTarget::get).
std::unique_ptr<Target> createCpuBackend(const std::string &name);
std::string cpuTargetNames();

} // namespace moec::cpu

#endif
