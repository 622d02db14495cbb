// The constants of the plan container (docs/plan-format.md). Shared by the compiler, which writes, and the runtime.
#ifndef MOEC_RUNTIME_PLAN_PLANFORMAT_H
#define MOEC_RUNTIME_PLAN_PLANFORMAT_H

#include <cstddef>
#include <cstdint>

namespace moec::rt {

inline constexpr char kPlanMagic[9] = "MOECPLAN";
inline constexpr uint32_t kPlanVersion = 4;
inline constexpr uint64_t kPlanHeaderBytes = 64;
inline constexpr uint64_t kPlanBlobAlignment = 64;
inline constexpr uint64_t kPlanMemoryAlignment = 64;
inline constexpr uint64_t kPlanCudaAlignment = 256; // of arena and scratch on a GPU

// Offsets inside the header.
inline constexpr size_t kPlanVersionAt = 8;
inline constexpr size_t kPlanHeaderSizeAt = 12;
inline constexpr size_t kPlanFileSizeAt = 16;
inline constexpr size_t kPlanManifestOffsetAt = 24;
inline constexpr size_t kPlanManifestSizeAt = 32;
inline constexpr size_t kPlanReservedAt = 40;
inline constexpr size_t kPlanHashAt = 48;
inline constexpr size_t kPlanHashBytes = 16;

/// The blob that holds the kernels of a cpu plan: an ELF shared object.
inline constexpr char kKernelsBlob[] = "kernels.so";

/// The blobs that hold the kernels of a cuda plan: machine code, or text that the driver assembles.
inline constexpr char kCubinSuffix[] = ".cubin";
inline constexpr char kPtxSuffix[] = ".ptx";

/// The scratch of a cuda plan begins with counters that are zero between kernels.
inline constexpr uint64_t kPlanCudaCounterBytes = 4096;

/// Nested `repeat`s beyond this are refused; the interpreter keeps its loop indices in a fixed array.
inline constexpr size_t kMaxLoopDepth = 8;

/// Axes of the mesh, and ranks in all.
inline constexpr size_t kMaxAxes = 4;
inline constexpr uint64_t kMaxRanks = 65536;

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANFORMAT_H
