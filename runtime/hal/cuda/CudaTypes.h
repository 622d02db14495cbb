// The types and constants of the CUDA driver that the runtime uses, declared here so that the build needs no CUDA
// headers. Values are those of the driver's binary interface, which never change.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDATYPES_H
#define MOEC_RUNTIME_HAL_CUDA_CUDATYPES_H

#include <cstddef>
#include <cstdint>

namespace moec::rt::cu {

using Code = int; // CUresult
using DeviceId = int;
using Pointer = uint64_t; // CUdeviceptr
using Context = struct ContextTag *;
using Module = struct ModuleTag *;
using Function = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

/// CUtensorMap: 128 bytes that only the driver understands.
struct alignas(128) TensorMap {
  uint64_t words[16];
};

inline constexpr Code kSuccess = 0;
inline constexpr Code kOutOfMemory = 2;
inline constexpr Code kNoDevice = 100;
inline constexpr Code kNoBinaryForGpu = 209;
inline constexpr Code kUnsupportedPtxVersion = 222;
inline constexpr Code kNotFound = 500;

// CUdevice_attribute
inline constexpr int kClockRateKHz = 13;
inline constexpr int kMultiprocessors = 16;
inline constexpr int kMemoryClockRateKHz = 36;
inline constexpr int kMemoryBusBits = 37;
inline constexpr int kCapabilityMajor = 75;
inline constexpr int kCapabilityMinor = 76;
inline constexpr int kSharedPerBlockOptin = 97;

// CUfunction_attribute
inline constexpr int kMaxThreadsPerBlock = 0;
inline constexpr int kMaxDynamicShared = 8;

// CUjit_option
inline constexpr int kJitErrorLog = 5;
inline constexpr int kJitErrorLogBytes = 6;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDefault = 0;
inline constexpr int kCaptureThreadLocal = 1;

// CUtensorMap*: data types, swizzles, and the settings that are the same for all maps.
inline constexpr int kMapF16 = 6;
inline constexpr int kMapF32 = 7;
inline constexpr int kMapBF16 = 9;
inline constexpr int kMapU8 = 0;
inline constexpr int kMapNoInterleave = 0;
inline constexpr int kMapSwizzleNone = 0;
inline constexpr int kMapSwizzle32 = 1;
inline constexpr int kMapSwizzle64 = 2;
inline constexpr int kMapSwizzle128 = 3;
inline constexpr int kMapL2Promotion128 = 2;
inline constexpr int kMapFillZeros = 0;

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_CUDATYPES_H
