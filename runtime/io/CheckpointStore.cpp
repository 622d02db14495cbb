#include "runtime/io/CheckpointStore.h"

#include "runtime/base/File.h"
#include "runtime/io/Checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <unistd.h>

namespace moec::rt {

namespace fs = std::filesystem;

static constexpr std::string_view kNamePrefix = "step-", kTempPrefix = ".tmp-";

std::string checkpointName(int64_t step) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%08lld", static_cast<long long>(step));
  return std::string(kNamePrefix) + digits;
}

std::string checkpointTempName(int64_t step) {
  return std::string(kTempPrefix) + std::to_string(step) + "-" + std::to_string(::getpid());
}

/// All of `text` as a number, or -1.
static int64_t parseNumber(std::string_view text) {
  int64_t value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

static std::vector<std::string> entryNames(const std::string &directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  return names;
}

std::vector<int64_t> listCheckpoints(const std::string &directory) {
  std::vector<int64_t> steps;
  for (const std::string &name : entryNames(directory))
    if (name.starts_with(kNamePrefix)) {
      int64_t step = parseNumber(std::string_view(name).substr(kNamePrefix.size()));
      if (step >= 0 && checkpointName(step) == name)
        steps.push_back(step);
    }
  std::sort(steps.begin(), steps.end());
  return steps;
}

Status removeLeftovers(const std::string &directory) {
  for (const std::string &name : entryNames(directory)) {
    if (!name.starts_with(kTempPrefix))
      continue;
    int64_t pid = parseNumber(std::string_view(name).substr(name.rfind('-') + 1));
    bool alive = pid > 0 && pid != ::getpid() && (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
    if (!alive)
      MOEC_RETURN_IF_ERROR(removeTree(directory + "/" + name));
  }
  return Status::ok();
}

Status pruneCheckpoints(const std::string &directory, int64_t keepLast) {
  if (keepLast == 0)
    return Status::ok();
  std::vector<int64_t> steps = listCheckpoints(directory);
  for (size_t i = 0; i + static_cast<size_t>(keepLast) < steps.size(); ++i) {
    // Renamed first: a crash in the middle of removing must not leave a folder that looks complete.
    std::string path = directory + "/" + checkpointName(steps[i]),
                temp = directory + "/" + checkpointTempName(steps[i]);
    MOEC_RETURN_IF_ERROR(removeTree(temp));
    if (::rename(path.c_str(), temp.c_str()) != 0)
      return fileError("MOEC-C015", path, "rename before removing");
    MOEC_RETURN_IF_ERROR(removeTree(temp));
  }
  return Status::ok();
}

Result<std::vector<std::string>> setAsideNewer(const std::string &directory, int64_t step) {
  std::vector<std::string> kept;
  for (int64_t other : listCheckpoints(directory)) {
    if (other <= step)
      continue;
    // A run can go back over the same step again; what was set aside before stays.
    std::string path = directory + "/" + checkpointName(other), name = "abandoned-" + checkpointName(other);
    for (int again = 2; fs::exists(fs::symlink_status(directory + "/" + name)); ++again)
      name = "abandoned-" + checkpointName(other) + "-" + std::to_string(again);
    if (::rename(path.c_str(), (directory + "/" + name).c_str()) != 0)
      return fileError("MOEC-C015", path, "rename");
    kept.push_back(name);
  }
  return kept;
}

Result<std::string> newestCheckpoint(const std::string &directory) {
  std::vector<int64_t> steps = listCheckpoints(directory);
  if (steps.empty())
    return Status::error("MOEC-C001", directory, "there is no checkpoint here");
  auto pathOf = [&](int64_t step) { return directory + "/" + checkpointName(step); };
  std::string newest = pathOf(steps.back());
  Status failure = verifyCheckpoint(newest).status();
  if (failure.isOk())
    return newest;
  for (size_t i = steps.size() - 1; i-- > 0;)
    if (verifyCheckpoint(pathOf(steps[i])).isOk())
      return Status::error("MOEC-C016", newest, "the newest checkpoint does not verify (", failure.text(),
                           "); the one of step ", steps[i], " does: use it with --resume-from ", pathOf(steps[i]));
  return Status::error("MOEC-C016", newest, "the newest checkpoint does not verify (", failure.text(),
                       ") and there is no older one that does");
}

} // namespace moec::rt
