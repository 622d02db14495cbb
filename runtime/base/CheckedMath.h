// Integer arithmetic that detects overflow. All numbers from files are computed with these functions.
#ifndef MOEC_RUNTIME_BASE_CHECKEDMATH_H
#define MOEC_RUNTIME_BASE_CHECKEDMATH_H

#include <cstdint>
#include <optional>
#include <span>

namespace moec::rt {

template <typename T> std::optional<T> checkedAdd(T a, T b) {
  T result;
  if (__builtin_add_overflow(a, b, &result))
    return std::nullopt;
  return result;
}

template <typename T> std::optional<T> checkedMul(T a, T b) {
  T result;
  if (__builtin_mul_overflow(a, b, &result))
    return std::nullopt;
  return result;
}

/// Product of a shape times the size of an element; an empty shape is one element.
inline std::optional<uint64_t> checkedBytes(std::span<const uint64_t> shape, uint64_t elementBytes) {
  std::optional<uint64_t> bytes = elementBytes;
  for (uint64_t dim : shape)
    if (!(bytes = checkedMul(*bytes, dim)))
      return std::nullopt;
  return bytes;
}

/// The caller must ensure that `value` is not near 2^64.
inline uint64_t alignUp(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

/// Whether [offset, offset + size) is inside [0, limit), computed without overflow.
inline bool rangeInside(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_CHECKEDMATH_H
