// SIGINT and SIGTERM while training: the first asks to stop after the step, the second ends the process as usual.
#ifndef MOEC_RUNTIME_API_STOPSIGNAL_H
#define MOEC_RUNTIME_API_STOPSIGNAL_H

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
  struct sigaction oldInterrupt{}, oldTerminate{};
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_STOPSIGNAL_H
