// Which driver runs a plan.
#ifndef MOEC_RUNTIME_EXEC_DEVICES_H
#define MOEC_RUNTIME_EXEC_DEVICES_H

#include "runtime/base/Result.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <memory>

namespace moec::rt {

/// What `threads == 0` stands for.
unsigned defaultThreads();

/// The device of the plan's target. `threads` is for processors.
Result<std::unique_ptr<Device>> createDevice(const Plan &plan, unsigned threads);

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_DEVICES_H
