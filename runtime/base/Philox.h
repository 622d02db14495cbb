// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), written once: the runtime runs
// it on integers, and the compiler runs it on values of its IR, which builds the kernels that compute it.
#ifndef MOEC_RUNTIME_BASE_PHILOX_H
#define MOEC_RUNTIME_BASE_PHILOX_H

#include <array>
#include <cstdint>

namespace moec::rt {

/// Four words of 32 bits from four words of 32 bits and a key. `arithmetic` says what a word and a product are:
///   product(word, uint32_t)                                    of 64 bits
///   low(product), high(product)                                its halves, as words
///   exclusive(word, word), exclusive(word, uint32_t)           exclusive or
template <typename Word, typename Arithmetic>
std::array<Word, 4> philox4x32(std::array<Word, 4> words, uint64_t key, const Arithmetic &arithmetic) {
  uint32_t keys[2] = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  for (int round = 0; round < 10; ++round) {
    // No call is the argument of another one that has a second: so the order of the IR is that of the text.
    auto product0 = arithmetic.product(words[0], 0xD2511F53), product1 = arithmetic.product(words[2], 0xCD9E8D57);
    Word high1 = arithmetic.high(product1), mixed1 = arithmetic.exclusive(high1, words[1]);
    words[0] = arithmetic.exclusive(mixed1, keys[0]);
    words[1] = arithmetic.low(product1);
    Word high0 = arithmetic.high(product0), mixed0 = arithmetic.exclusive(high0, words[3]);
    words[2] = arithmetic.exclusive(mixed0, keys[1]);
    words[3] = arithmetic.low(product0);
    keys[0] += 0x9E3779B9;
    keys[1] += 0xBB67AE85;
  }
  return words;
}

/// Words are integers.
struct PhiloxIntegers {
  static uint64_t product(uint32_t word, uint32_t factor) { return uint64_t{word} * factor; }
  static uint32_t low(uint64_t product) { return static_cast<uint32_t>(product); }
  static uint32_t high(uint64_t product) { return static_cast<uint32_t>(product >> 32); }
  static uint32_t exclusive(uint32_t a, uint32_t b) { return a ^ b; }
};

using PhiloxCounter = std::array<uint32_t, 4>;
inline PhiloxCounter philox4x32(PhiloxCounter counter, uint64_t key) {
  return philox4x32(counter, key, PhiloxIntegers{});
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_PHILOX_H
