#include "runtime/api/StopSignal.h"

#include <atomic>
#include <cerrno>
#include <unistd.h>

namespace moec::rt {

static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
static constexpr char kLine[] =
    "\nstopping after this step (a validation is left), then saving a checkpoint; more of these "
    "signals change nothing, SIGQUIT (Ctrl-\\) ends the process without saving\n";

static std::atomic<bool> stopRequested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

/// Only what a handler may do: a flag, and write().
static void onSignal(int) {
  int error = errno;
  if (!stopRequested.exchange(true))
    (void)!::write(STDERR_FILENO, kLine, sizeof kLine - 1);
  errno = error;
}

StopSignal::StopSignal(bool enabled) : enabled(enabled) {
  stopRequested = false;
  if (!enabled)
    return;
  struct sigaction action{};
  action.sa_handler = onSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < before.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    if (kSignals[i] != SIGHUP || before[i].sa_handler != SIG_IGN)
      ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; enabled && i < before.size(); ++i)
    ::sigaction(kSignals[i], &before[i], nullptr);
}

bool StopSignal::requested() const { return stopRequested; }

} // namespace moec::rt
