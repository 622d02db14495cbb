#include "runtime/io/MetricsLog.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace moec::rt {

static constexpr uint64_t kMaxLogBytes = uint64_t{8} << 30;

/// The lines to keep. An incomplete last line (the process died while writing it) is dropped, like lines of later
/// steps.
static std::string keptLines(const std::string &text, int64_t keepUpTo, double &lastTime) {
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos)
      break;
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    Result<Json> json = Json::parse(line);
    const Json *step = json.isOk() ? json->find("step") : nullptr;
    int64_t number = 0;
    if (!step || !step->asInteger(number) || number > keepUpTo)
      continue;
    kept += line + "\n";
    if (const Json *time = json->find("time_s"))
      lastTime = std::max(lastTime, time->asDouble());
  }
  return kept;
}

Result<MetricsLog> MetricsLog::open(const std::string &path, int64_t keepUpTo) {
  std::string kept;
  double lastTime = 0;
  if (keepUpTo > 0 && ::access(path.c_str(), F_OK) == 0) {
    MOEC_ASSIGN_OR_RETURN(std::string text, readFile(path, kMaxLogBytes));
    kept = keptLines(text, keepUpTo, lastTime);
  }
  MOEC_RETURN_IF_ERROR(writeFileAtomic(path, kept));
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, "open");
  return MetricsLog(std::move(fd), path, lastTime);
}

Status MetricsLog::write(const Json &line) {
  std::string text = line.dump() + "\n";
  return writeAll(fd.get(), text.data(), text.size(), path);
}

} // namespace moec::rt
