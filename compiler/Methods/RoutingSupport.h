// The arithmetic of capacities, for all code that limits the tokens of an expert.
#ifndef MOEC_COMPILER_METHODS_ROUTINGSUPPORT_H
#define MOEC_COMPILER_METHODS_ROUTINGSUPPORT_H

#include "compiler/Methods/TensorBuilder.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cmath>

namespace moec {

/// floor(count * ratio), or ceil if `up`, of a whole number 0 <= count <= most (i64) that is known only at run time. It
/// is computed in integers, so that the element type does not matter. The ratio has 40 bits after the binary point
/// (fewer if most * ratio is above 2^22). It is rounded so that a product like 1.1 * 10, which is a little above 11 in
/// binary, gives 11.
inline mlir::Value buildShare(ScalarBuilder &s, mlir::Value count, double ratio, int64_t most, bool up) {
  int log = 0;
  std::frexp(static_cast<double>(most) * std::max(ratio, 1.0), &log);
  int bits = std::clamp(62 - log, 0, 40);
  double scaled = std::ldexp(ratio, bits);
  mlir::Value product = s.mul(count, s.integer(static_cast<int64_t>(up ? std::floor(scaled) : std::ceil(scaled))));
  if (up)
    product = s.add(product, s.integer((int64_t{1} << bits) - 1));
  return s.quotient(product, s.integer(int64_t{1} << bits));
}

} // namespace moec

#endif
