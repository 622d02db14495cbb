// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Counter based: a draw is a
// pure function of (key, counter), so any sample or token can be drawn alone, in any order, on any machine.
#ifndef MOEC_RUNTIME_BASE_RANDOM_H
#define MOEC_RUNTIME_BASE_RANDOM_H

#include <array>
#include <cstdint>

namespace moec::rt {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

inline PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {uint32_t(product1 >> 32) ^ counter[1] ^ key[0], uint32_t(product1),
               uint32_t(product0 >> 32) ^ counter[3] ^ key[1], uint32_t(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Streams that never share a draw, even under one seed.
enum class RandomStream : uint32_t { DataSet = 1, WindowOrder = 2, Generation = 3 };

/// 64 random bits for draw number `index` of a stream; `lane` tells parallel uses of the stream apart.
inline uint64_t randomBits(uint64_t seed, RandomStream stream, uint64_t index, uint32_t lane = 0) {
  PhiloxCounter bits = philox4x32({uint32_t(index), uint32_t(index >> 32), lane, uint32_t(stream)},
                                  {uint32_t(seed), uint32_t(seed >> 32)});
  return uint64_t{bits[1]} << 32 | bits[0];
}

/// Uniform in [0, 1), 53 bits.
inline double randomUniform(uint64_t seed, RandomStream stream, uint64_t index, uint32_t lane = 0) {
  return double(randomBits(seed, stream, index, lane) >> 11) * 0x1.0p-53;
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_RANDOM_H
