// Seconds on a clock that never goes back.
#ifndef MOEC_RUNTIME_BASE_CLOCK_H
#define MOEC_RUNTIME_BASE_CLOCK_H

#include <chrono>

namespace moec::rt {

inline double nowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_CLOCK_H
