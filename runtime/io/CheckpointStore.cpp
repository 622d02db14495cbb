#include "runtime/io/CheckpointStore.h"

#include "runtime/base/File.h"
#include "runtime/base/Text.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/TensorTable.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <sys/statvfs.h>
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

/// The host name as a part of a file name. Machines that share a disk have different names.
static std::string hostName() {
  char name[256] = "";
  (void)::gethostname(name, sizeof name - 1);
  std::string host = name[0] ? name : "localhost";
  std::replace(host.begin(), host.end(), '/', '_');
  return host;
}

std::string checkpointTempName(int64_t step) {
  return std::string(kTempPrefix) + std::to_string(step) + "-" + hostName() + "-" + std::to_string(::getpid());
}

std::string abandonedName(const std::string &directory, const std::string &name) {
  std::string result = "abandoned-" + name;
  for (int again = 2; fs::exists(fs::symlink_status(directory + "/" + result)); ++again)
    result = "abandoned-" + name + "-" + std::to_string(again);
  return result;
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
      std::error_code error;
      if (step >= 0 && checkpointName(step) == name && fs::is_directory(directory + "/" + name, error))
        steps.push_back(step);
    }
  std::sort(steps.begin(), steps.end());
  return steps;
}

/// The process id in a temporary name of this machine; -1 if it is not such a name.
static int64_t writerOf(const std::string &name) {
  if (!name.starts_with(kTempPrefix))
    return -1;
  std::string_view rest = std::string_view(name).substr(kTempPrefix.size());
  size_t first = rest.find('-'), last = rest.rfind('-');
  if (first == last || parseNumber(rest.substr(0, first)) < 0 || rest.substr(first + 1, last - first - 1) != hostName())
    return -1;
  return parseNumber(rest.substr(last + 1));
}

Status removeLeftovers(const std::string &directory) {
  for (const std::string &name : entryNames(directory)) {
    int64_t pid = writerOf(name);
    if (pid <= 0 || pid > std::numeric_limits<pid_t>::max())
      continue;
    // A name with the id of this process is from an earlier process whose id was reused.
    bool alive = pid != ::getpid() && (::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
    if (!alive)
      MOEC_RETURN_IF_ERROR(removeTree(directory + "/" + name));
  }
  return Status::ok();
}

/// Whether a save has written all files of the folder, judged by their names.
static bool isAllOurs(const std::string &folder) {
  std::error_code error;
  if (fs::is_symlink(folder, error)) // removing it removes the link
    return true;
  std::vector<std::string> names = entryNames(folder);
  return fs::is_directory(folder, error) && std::all_of(names.begin(), names.end(), [](const std::string &name) {
           bool isShard = name.starts_with("model-") && name.ends_with(".safetensors");
           return isShard || name == kCheckpointManifest ||
                  name.starts_with("." + std::string(kCheckpointManifest) + ".tmp-");
         });
}

Status removeCheckpoint(const std::string &directory, const std::string &folder, const std::string &name) {
  std::string path = directory + "/" + folder;
  if (isAllOurs(path))
    return removeTree(path);
  if (::rename(path.c_str(), (directory + "/" + abandonedName(directory, name)).c_str()) != 0)
    return fileError("MOEC-C015", path, "rename");
  return Status::ok();
}

Status pruneCheckpoints(const std::string &directory, int64_t keepLast) {
  if (keepLast == 0)
    return Status::ok();
  std::vector<int64_t> steps = listCheckpoints(directory);
  for (size_t i = 0; i + static_cast<size_t>(keepLast) < steps.size(); ++i) {
    // Renamed first: a crash in the middle of removing must not leave a folder that looks complete.
    std::string name = checkpointName(steps[i]), temp = checkpointTempName(steps[i]);
    if (isAllOurs(directory + "/" + name)) {
      MOEC_RETURN_IF_ERROR(removeTree(directory + "/" + temp));
      if (::rename((directory + "/" + name).c_str(), (directory + "/" + temp).c_str()) != 0)
        return fileError("MOEC-C015", directory + "/" + name, "rename before removing");
      MOEC_RETURN_IF_ERROR(removeTree(directory + "/" + temp));
    } else {
      MOEC_RETURN_IF_ERROR(removeCheckpoint(directory, name, name));
    }
  }
  return Status::ok();
}

Result<std::vector<std::string>> setAsideNewer(const std::string &directory, int64_t step, const std::string &from,
                                               Renames &renames) {
  std::vector<std::string> kept;
  for (int64_t other : listCheckpoints(directory)) {
    std::string path = directory + "/" + checkpointName(other);
    if (other < step || (other == step && isSameFile(path, from)))
      continue;
    // A run can go back before the same step again; folders that were set aside before stay.
    kept.push_back(abandonedName(directory, checkpointName(other)));
    MOEC_RETURN_IF_ERROR(renames.rename(path, directory + "/" + kept.back()));
  }
  return kept;
}

Status checkRoom(const Plan &plan, const std::string &directory, uint64_t freed) {
  uint64_t bytes = 0;
  for (const SavedTensor &tensor : checkpointTensors(plan))
    bytes += tensor.bytes;
  struct statvfs disk;
  // Some file systems do not report their size.
  if (::statvfs(directory.c_str(), &disk) != 0 || disk.f_blocks == 0)
    return Status::ok();
  uint64_t room = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize + freed;
  if (bytes <= room)
    return Status::ok();
  return Status::error("MOEC-C026", directory, "a checkpoint of this run takes ", formatBytes(bytes), ", the disk has ",
                       formatBytes(room), " left", freed > 0 ? " once the old run is deleted" : "",
                       "; free some, or choose another folder with --run-dir");
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
  // A checkpoint with NaN is complete, but cannot be used.
  std::string code = failure.code() == "MOEC-C018" ? failure.code() : "MOEC-C016";
  for (size_t i = steps.size() - 1; i-- > 0;)
    if (verifyCheckpoint(pathOf(steps[i])).isOk())
      return Status::error(code, newest, "the newest checkpoint does not verify (", failure.text(),
                           "); the one of step ", steps[i], " does: use it with --resume-from ", pathOf(steps[i]));
  return Status::error(code, newest, "the newest checkpoint does not verify (", failure.text(),
                       ") and there is no older one that does");
}

} // namespace moec::rt
