// LLVM IR of a kernel -> PTX.
#ifndef MOEC_COMPILER_TARGET_GPU_PTXEMITTER_H
#define MOEC_COMPILER_TARGET_GPU_PTXEMITTER_H

#include "compiler/Target/GPU/GpuTarget.h"

namespace llvm {
class Module;
} // namespace llvm

namespace moec::gpu {

/// Part of the key of the kernel cache. Raise it when emitPtx makes other PTX of the same IR.
constexpr int kPtxEmitterVersion = 2;

/// Optimises `module`, which holds one kernel, and writes its PTX (see kKeepLoops in GpuFamily.h). Empty, with `error`
/// set, when LLVM cannot.
std::string emitPtx(llvm::Module &module, const GpuTarget &target, std::string &error);

} // namespace moec::gpu

#endif
