#include "runtime/exec/LaunchTimer.h"

#include <utility>

namespace moec::rt {

LaunchTimer::LaunchTimer(Device &device) : device(device), start(device.createMark()) { device.setMark(start); }

uint32_t LaunchTimer::nextMark() {
  if (used == marks.size())
    marks.push_back(device.createMark());
  return marks[used++];
}

void LaunchTimer::begin() { device.setMark(nextMark()); }

void LaunchTimer::end(const Instruction &op) {
  device.setMark(nextMark());
  bool hasBytes = op.kind != Instruction::Kind::Launch && !op.sizes.empty();
  pending.push_back({op.kind, op.kernel, hasBytes ? op.sizes[0] : 0, op.location});
}

std::vector<TimedLaunch> LaunchTimer::take() {
  // A failure stays with the device, which reports it at its next wait.
  if (used > 0 && device.waitFor(marks[used - 1]).isOk())
    for (size_t i = 0; i < pending.size(); ++i) {
      pending[i].begin = device.secondsBetween(start, marks[2 * i]);
      pending[i].seconds = device.secondsBetween(marks[2 * i], marks[2 * i + 1]);
    }
  used = 0;
  return std::exchange(pending, {});
}

} // namespace moec::rt
