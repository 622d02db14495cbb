// LLVM IR of a kernel -> PTX.
#ifndef MOEC_COMPILER_TARGET_GPU_PTXEMITTER_H
#define MOEC_COMPILER_TARGET_GPU_PTXEMITTER_H

#include "compiler/Target/GPU/GpuTarget.h"

namespace llvm {
class Module;
} // namespace llvm

namespace moec::gpu {

/// Part of the key of the kernel cache. Increase it if emitPtx makes other PTX from the same IR.
constexpr int kPtxEmitterVersion = 2;

/// Optimises `module`, which holds one kernel, and returns its PTX (see kKeepLoops in GpuFamily.h). If LLVM fails, sets
/// `error` and returns an empty text.
std::string emitPtx(llvm::Module &module, const GpuTarget &target, std::string &error);

} // namespace moec::gpu

#endif
