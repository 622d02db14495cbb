// SIGINT, SIGTERM and SIGHUP while training: they ask to stop after the step and to save. The first one writes a line
// to standard error at once; more of them change nothing, so that what the line promises is done. SIGQUIT ends the
// process as usual. SIGHUP stays ignored where it was ignored before (nohup).
#ifndef MOEC_RUNTIME_API_STOPSIGNAL_H
#define MOEC_RUNTIME_API_STOPSIGNAL_H

#include <array>
#include <csignal>

namespace moec::rt {

class StopSignal {
public:
  explicit StopSignal(bool enabled);
  ~StopSignal();
  StopSignal(const StopSignal &) = delete;

  bool requested() const;

private:
  bool enabled;
  std::array<struct sigaction, 3> before{};
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_STOPSIGNAL_H
