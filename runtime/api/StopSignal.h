// SIGINT, SIGTERM and SIGHUP from the moment when a run folder changes: they ask to stop after the step and to save.
// The first one writes a line to standard error at once; more of them change nothing, so that what the line promises is
// done. SIGQUIT ends the process as usual. SIGHUP stays ignored where it was ignored before (nohup). Before and after
// that, exitOnStopSignals() of moec.h holds.
#ifndef MOEC_RUNTIME_API_STOPSIGNAL_H
#define MOEC_RUNTIME_API_STOPSIGNAL_H

#include "runtime/api/moec.h"

#include <array>
#include <csignal>

namespace moec::rt {

class StopSignal {
public:
  explicit StopSignal(bool enabled);
  ~StopSignal();
  StopSignal(const StopSignal &) = delete;

  bool requested() const { return stopRequested(); }

private:
  bool enabled;
  std::array<struct sigaction, 3> before{};
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_STOPSIGNAL_H
