// The assembler of the CUDA toolkit as a library. It is linked into this program if it was found at build time
// (MOEC_NVPTXCOMPILER).
#ifndef MOEC_COMPILER_TARGET_GPU_LINKEDASSEMBLER_H
#define MOEC_COMPILER_TARGET_GPU_LINKEDASSEMBLER_H

#include "compiler/Target/GPU/Assembler.h"

namespace moec::gpu {

/// Null if the library does not work.
std::unique_ptr<Assembler> createLinkedAssembler();

} // namespace moec::gpu

#endif
