#include "runtime/api/StopSignal.h"

#include <atomic>

namespace moec::rt {

static std::atomic<bool> stopRequested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

StopSignal::StopSignal(bool enabled) : enabled(enabled) {
  stopRequested = false;
  if (!enabled)
    return;
  struct sigaction action{};
  action.sa_handler = [](int) { stopRequested = true; };
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND); // the second one meets the default action
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &oldInterrupt);
  ::sigaction(SIGTERM, &action, &oldTerminate);
}

StopSignal::~StopSignal() {
  if (!enabled)
    return;
  ::sigaction(SIGINT, &oldInterrupt, nullptr);
  ::sigaction(SIGTERM, &oldTerminate, nullptr);
}

bool StopSignal::requested() const { return stopRequested; }

} // namespace moec::rt
