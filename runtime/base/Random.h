// Draws of the runtime. The generator is counter based (Philox.h): a draw is a pure function of (key, counter), so any
// sample or token can be drawn alone, in any order, on any machine.
#ifndef MOEC_RUNTIME_BASE_RANDOM_H
#define MOEC_RUNTIME_BASE_RANDOM_H

#include "runtime/base/Philox.h"

namespace moec::rt {

/// Streams that never share a draw, even under one seed.
enum class RandomStream : uint32_t { DataSet = 1, WindowOrder = 2, Generation = 3 };

/// 64 random bits for draw number `index` of a stream; `lane` tells parallel uses of the stream apart.
inline uint64_t randomBits(uint64_t seed, RandomStream stream, uint64_t index, uint32_t lane = 0) {
  PhiloxCounter bits = philox4x32({uint32_t(index), uint32_t(index >> 32), lane, uint32_t(stream)}, seed);
  return uint64_t{bits[1]} << 32 | bits[0];
}

/// Uniform in [0, 1), 53 bits.
inline double randomUniform(uint64_t seed, RandomStream stream, uint64_t index, uint32_t lane = 0) {
  return double(randomBits(seed, stream, index, lane) >> 11) * 0x1.0p-53;
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_RANDOM_H
