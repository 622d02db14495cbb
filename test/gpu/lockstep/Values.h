// Bytes of an operand as numbers, whatever type they are stored in.
#ifndef MOEC_TEST_GPU_LOCKSTEP_VALUES_H
#define MOEC_TEST_GPU_LOCKSTEP_VALUES_H

#include "runtime/plan/DType.h"

#include <cstddef>
#include <span>
#include <vector>

namespace moec::rt::test {

bool isFloat(DType type);

/// Exact: every type fits a double, integers up to 2^53.
std::vector<double> decode(std::span<const std::byte> bytes, DType type);
/// Rounds to nearest, ties to even.
std::vector<std::byte> encode(std::span<const double> values, DType type);

} // namespace moec::rt::test

#endif // MOEC_TEST_GPU_LOCKSTEP_VALUES_H
