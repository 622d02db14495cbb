#include "runtime/api/Progress.h"

#include "runtime/base/Clock.h"
#include "runtime/base/Text.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/ioctl.h>
#include <unistd.h>

namespace moec::rt {

static constexpr double kRedrawSeconds = 0.1;

Progress::Progress(std::FILE *out, bool json)
    : out(out), json(json), live(out && !json && ::isatty(::fileno(out)) == 1) {}

static std::string stepText(const StepView &view) {
  std::string text = "step " + std::to_string(view.step) + "/" + std::to_string(view.target) + "  loss " +
                     formatFixed(view.loss, 4) + "  " + formatFixed(view.tokensPerSecond, 0) + " tokens/s  eta " +
                     formatDuration(static_cast<double>(view.target - view.step) * view.secondsPerStep);
  if (view.balance > 0)
    text += "  balance " + formatFixed(view.balance, 2);
  return text;
}

/// 0 when the terminal does not say.
static size_t terminalColumns(std::FILE *terminal) {
  struct winsize size{};
  return ::ioctl(::fileno(terminal), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool Progress::wantsStep() const { return live && nowSeconds() - lastDraw >= kRedrawSeconds; }

void Progress::step(const StepView &view) {
  if (!live)
    return;
  // A line that wraps cannot be drawn over.
  std::string text = stepText(view);
  if (size_t columns = terminalColumns(out); columns > 1 && text.size() >= columns)
    text.resize(columns - 1);
  // Back to the first column, then erase what an earlier, longer line left.
  std::fprintf(out, "\r%s\x1b[K", text.c_str());
  lineOpen = true;
  flush();
  lastDraw = nowSeconds();
}

void Progress::logged(const StepView &view, const Json &metrics) {
  if (json)
    print(metrics.dump());
  else if (live)
    step(view);
  else
    print(stepText(view));
}

void Progress::note(const std::string &text) {
  if (!json)
    print(text);
}

void Progress::result(const std::string &text, const Json &line) { print(json ? line.dump() : text); }

void Progress::print(const std::string &text) {
  if (!out)
    return;
  endLive();
  std::fprintf(out, "%s\n", text.c_str());
  flush();
}

void Progress::flush() {
  if (std::fflush(out) == 0 && !std::ferror(out))
    return;
  std::fprintf(stderr, "the output cannot be written (%s); going on without it\n", std::strerror(errno));
  out = nullptr;
  live = lineOpen = false;
}

void Progress::endLive() {
  if (std::exchange(lineOpen, false))
    std::fprintf(out, "\n");
}

} // namespace moec::rt
