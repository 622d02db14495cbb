#include "runtime/api/StopSignal.h"

#include "runtime/api/moec.h"

#include <atomic>
#include <cerrno>
#include <unistd.h>

namespace moec::rt {

static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
static constexpr char kLine[] =
    "\nstopping after this step (a validation is left), then saving a checkpoint; more of these "
    "signals change nothing, SIGQUIT (Ctrl-\\) ends the process without saving\n";

static constexpr char kEarlyLine[] = "\nstopped; no step was under way, so there is nothing to save\n";

static std::atomic<bool> stopFlag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

/// Only what a handler may do: a flag, and write().
static void onSignal(int) {
  int error = errno;
  if (!stopFlag.exchange(true))
    (void)!::write(STDERR_FILENO, kLine, sizeof kLine - 1);
  errno = error;
}

/// Nothing is lost at this point, so there is nothing to wait for.
static void onEarlySignal(int) {
  (void)!::write(STDERR_FILENO, kEarlyLine, sizeof kEarlyLine - 1);
  ::_exit(kExitInterrupted);
}

static bool staysIgnored(int signal, const struct sigaction &before) {
  return signal == SIGHUP && before.sa_handler == SIG_IGN;
}

void exitOnStopSignals() {
  struct sigaction action{}, before{};
  action.sa_handler = onEarlySignal;
  sigemptyset(&action.sa_mask);
  for (int signal : kSignals)
    if (::sigaction(signal, nullptr, &before) == 0 && !staysIgnored(signal, before))
      ::sigaction(signal, &action, nullptr);
}

bool stopRequested() { return stopFlag; }

StopSignal::StopSignal(bool enabled) : enabled(enabled) {
  stopFlag = false;
  if (!enabled)
    return;
  struct sigaction action{};
  action.sa_handler = onSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < before.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    if (!staysIgnored(kSignals[i], before[i]))
      ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; enabled && i < before.size(); ++i)
    ::sigaction(kSignals[i], &before[i], nullptr);
}

} // namespace moec::rt
