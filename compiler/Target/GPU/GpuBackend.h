// GPUs as targets.
#ifndef MOEC_COMPILER_TARGET_GPU_GPUBACKEND_H
#define MOEC_COMPILER_TARGET_GPU_GPUBACKEND_H

#include "compiler/Target/Target.h"

#include <memory>

namespace moec::gpu {

/// Null when `name` is not a GPU architecture (see GpuTarget::get).
std::unique_ptr<Target> createGpuBackend(const std::string &name);
/// Names of the GPU architectures, separated by commas.
std::string gpuTargetNames();
/// The passes of all families of GPUs, for tools that run passes by name.
void registerGpuPasses();

} // namespace moec::gpu

#endif
