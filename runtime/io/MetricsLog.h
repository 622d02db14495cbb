// metrics.jsonl: the log of a run, one JSON object per line. Lines are written whole; on resume, lines of steps that
// will be repeated are dropped.
#ifndef MOEC_RUNTIME_IO_METRICSLOG_H
#define MOEC_RUNTIME_IO_METRICSLOG_H

#include "runtime/base/File.h"
#include "runtime/base/Json.h"

#include <cstdint>
#include <string>

namespace moec::rt {

class MetricsLog {
public:
  /// Keeps the lines of steps up to `keepUpTo`; 0 starts with an empty file.
  static Result<MetricsLog> open(const std::string &path, int64_t keepUpTo);

  Status write(const Json &line);

  /// "time_s" of the last line kept; the time of a resumed run continues from there.
  double lastTime() const { return keptTime; }

private:
  MetricsLog(UniqueFd fd, std::string path, double keptTime)
      : fd(std::move(fd)), path(std::move(path)), keptTime(keptTime) {}

  UniqueFd fd;
  std::string path;
  double keptTime;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_METRICSLOG_H
