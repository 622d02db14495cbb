// One step as a Chrome trace (chrome://tracing, ui.perfetto.dev): an event for each launch.
#ifndef MOEC_RUNTIME_EXEC_TRACE_H
#define MOEC_RUNTIME_EXEC_TRACE_H

#include "runtime/exec/LaunchTimer.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <span>
#include <string>

namespace moec::rt {

/// JSON. Each event has kernel, stream, ms, GB/s, TFLOP/s and, where the limits are known, percent of the limit.
/// What chromeTrace() begins with: keys are sorted.
inline constexpr char kTraceBeginning[] = "{\"displayTimeUnit\":";

std::string chromeTrace(const Plan &plan, const DeviceLimits &limits, int64_t step,
                        std::span<const TimedLaunch> launches);

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_TRACE_H
