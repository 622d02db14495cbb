// f8E4M3FN by LLVM's software arithmetic: what tests take for the truth.
#ifndef MOEC_TEST_NUMERICS_FLOAT8_H
#define MOEC_TEST_NUMERICS_FLOAT8_H

#include "llvm/ADT/APFloat.h"
#include <algorithm>
#include <cstdint>

namespace moec::test {

inline double float8ToDouble(uint8_t bits) {
  llvm::APFloat number(llvm::APFloat::Float8E4M3FN(), llvm::APInt(8, bits));
  bool loses = false;
  number.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &loses);
  return number.convertToDouble();
}

/// To nearest, ties to even; beyond 448 it is 448, as the instruction of the GPU has it.
inline uint8_t doubleToFloat8(double value) {
  llvm::APFloat number(value != value ? value : std::clamp(value, -448.0, 448.0));
  bool loses = false;
  number.convert(llvm::APFloat::Float8E4M3FN(), llvm::APFloat::rmNearestTiesToEven, &loses);
  return static_cast<uint8_t>(number.bitcastToAPInt().getZExtValue());
}

inline double roundToFloat8(double value) { return float8ToDouble(doubleToFloat8(value)); }

} // namespace moec::test

#endif
