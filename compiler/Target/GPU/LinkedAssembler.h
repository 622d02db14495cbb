// The assembler of the CUDA toolkit as a library, linked into this program when it was there at build time
// (MOEC_NVPTXCOMPILER).
#ifndef MOEC_COMPILER_TARGET_GPU_LINKEDASSEMBLER_H
#define MOEC_COMPILER_TARGET_GPU_LINKEDASSEMBLER_H

#include "compiler/Target/GPU/Assembler.h"

namespace moec::gpu {

/// Null when the library does not answer.
std::unique_ptr<Assembler> createLinkedAssembler();

} // namespace moec::gpu

#endif
