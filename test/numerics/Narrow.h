// Tensors that are bf16 in memory, for tests of GPU kernels.
#ifndef MOEC_TEST_NUMERICS_NARROW_H
#define MOEC_TEST_NUMERICS_NARROW_H

#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"

#include <cmath>

namespace moec::test {

inline const char *const kGpu = "sm_90a";
inline constexpr double kBf16 = 0x1.0p-8; // of a rounding to bf16

inline std::string bf16(int64_t rows, int64_t columns) { return tensor(rows, columns, "bf16"); }

inline Array rounded(Array array) {
  for (double &value : array.values) {
    int exponent;
    double fraction = std::frexp(value, &exponent);
    value = std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
  }
  return array;
}

/// "%value = moe.cast %from" from bf16 to f32, and the other way.
inline std::string widen(const std::string &value, const std::string &from, int64_t n, int64_t c) {
  return value + " = moe.cast " + from + " : " + bf16(n, c) + " -> " + tensor(n, c) + "\n";
}
inline std::string narrow(const std::string &value, const std::string &from, int64_t n, int64_t c) {
  return value + " = moe.cast " + from + " : " + tensor(n, c) + " -> " + bf16(n, c) + "\n";
}

} // namespace moec::test

#endif
