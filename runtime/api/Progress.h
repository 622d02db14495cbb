// What a run shows: one live line on a terminal, plain lines elsewhere, JSON lines on demand.
#ifndef MOEC_RUNTIME_API_PROGRESS_H
#define MOEC_RUNTIME_API_PROGRESS_H

#include "runtime/base/Json.h"

#include <cstdint>
#include <cstdio>
#include <string>

namespace moec::rt {

struct StepView {
  int64_t step = 0, target = 0;
  double loss = 0;
  double tokensPerSecond = 0, secondsPerStep = 0;
  double balance = 0; // 0: nothing to show
};

class Progress {
public:
  Progress(std::FILE *out, bool json);
  ~Progress() { endLive(); }
  Progress(const Progress &) = delete;

  /// Whether step() would draw now: on a terminal, a few times per second.
  bool wantsStep() const;
  /// Redraws the live line.
  void step(const StepView &view);
  /// A step at log cadence: its own line where there is no live one.
  void logged(const StepView &view, const Json &metrics);
  /// A line of its own, in all modes but JSON.
  void note(const std::string &text);
  /// A result that scripts want: `text` for people, `line` for JSON mode.
  void result(const std::string &text, const Json &line);

private:
  void print(const std::string &text);
  void endLive();
  /// Flushes. When nobody can be told any more, the run goes on without; standard error is told once.
  void flush();

  std::FILE *out;
  bool json, live;
  bool lineOpen = false;
  double lastDraw = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_PROGRESS_H
