#include "Values.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace moec::rt::test {

namespace {

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  explicit BFloat16(double value) {
    // A double rounded to float first could round twice; floats in between are odd, so that it does not.
    auto narrow = static_cast<float>(value);
    auto word = std::bit_cast<uint32_t>(narrow);
    if (std::isnan(value)) {
      bits = 0x7FC0;
      return;
    }
    double back = narrow;
    if (back != value && (word & 1) == 0)
      word = std::abs(back) > std::abs(value) ? word - 1 : word + 1;
    bits = static_cast<uint16_t>((word + 0x7FFF + ((word >> 16) & 1)) >> 16);
  }
  explicit operator double() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

/// Sign, four bits of exponent, three of mantissa; no infinities, one NaN.
struct Float8E4M3 {
  uint8_t bits = 0;

  Float8E4M3() = default;
  explicit Float8E4M3(double value) {
    constexpr double kLargest = 448, kLeastStep = 0x1p-9;
    auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80 : 0);
    if (std::isnan(value)) {
      bits = sign | 0x7F;
      return;
    }
    double size = std::min(std::abs(value), kLargest);
    // Numbers of one exponent are as far apart as eighths of it.
    int exponent = size < 0x1p-6 ? -6 : std::ilogb(size);
    auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent))); // of the current mode: to even
    bits = size < 0x1p-6 ? sign | static_cast<uint8_t>(std::nearbyint(size / kLeastStep))
                         : static_cast<uint8_t>(sign | (((exponent + 7) << 3) + steps - 8));
  }
  explicit operator double() const {
    int exponent = (bits >> 3) & 15, mantissa = bits & 7;
    double size = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    if ((bits & 0x7F) == 0x7F)
      size = std::nan("");
    return bits & 0x80 ? -size : size;
  }
};

template <typename T> std::vector<double> decodeAs(std::span<const std::byte> bytes) {
  std::vector<T> typed(bytes.size() / sizeof(T));
  std::memcpy(typed.data(), bytes.data(), typed.size() * sizeof(T));
  std::vector<double> values(typed.size());
  for (size_t i = 0; i < typed.size(); ++i)
    values[i] = static_cast<double>(typed[i]);
  return values;
}

template <typename T> std::vector<std::byte> encodeAs(std::span<const double> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T typed = static_cast<T>(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &typed, sizeof(T));
  }
  return bytes;
}

/// Calls with a value of the C++ type that stands for `type`.
template <typename Call> auto withType(DType type, Call call) {
  switch (type) {
  case DType::F64:
    return call(double{});
  case DType::F32:
    return call(float{});
  case DType::F16:
    return call(static_cast<_Float16>(0));
  case DType::BF16:
    return call(BFloat16{});
  case DType::F8E4M3:
    return call(Float8E4M3{});
  case DType::I64:
  case DType::Index:
    return call(int64_t{});
  case DType::I32:
    return call(int32_t{});
  case DType::I16:
    return call(int16_t{});
  default:
    return call(int8_t{});
  }
}

} // namespace

bool isFloat(DType type) {
  return type == DType::F64 || type == DType::F32 || type == DType::F16 || type == DType::BF16 || type == DType::F8E4M3;
}

std::vector<double> decode(std::span<const std::byte> bytes, DType type) {
  return withType(type, [&](auto one) { return decodeAs<decltype(one)>(bytes); });
}

std::vector<std::byte> encode(std::span<const double> values, DType type) {
  return withType(type, [&](auto one) { return encodeAs<decltype(one)>(values); });
}

} // namespace moec::rt::test
