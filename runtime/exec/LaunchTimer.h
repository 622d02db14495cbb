// Times single instructions with marks on the device, so that the host need not wait between them.
#ifndef MOEC_RUNTIME_EXEC_LAUNCHTIMER_H
#define MOEC_RUNTIME_EXEC_LAUNCHTIMER_H

#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <vector>

namespace moec::rt {

struct TimedLaunch {
  Instruction::Kind kind = Instruction::Kind::Launch;
  uint32_t kernel = 0;           // of a launch
  uint64_t bytes = 0;            // of a fill, copy or exchange (what it receives)
  uint32_t location = 0;         // in Plan::locations
  double begin = 0, seconds = 0; // begin counts from the timer's start
};

class LaunchTimer {
public:
  explicit LaunchTimer(Device &device);

  /// Around one instruction that is no repeat.
  void begin();
  void end(const Instruction &op);

  /// Enough is pending that somebody should take it.
  bool isFull() const { return pending.size() >= kMostPending; }
  /// What ran since the last time; waits for it.
  std::vector<TimedLaunch> take();

private:
  static constexpr size_t kMostPending = 4096;

  uint32_t nextMark();

  Device &device;
  uint32_t start;
  std::vector<TimedLaunch> pending; // launch i stands between marks 2i and 2i + 1
  std::vector<uint32_t> marks;
  size_t used = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_LAUNCHTIMER_H
