#include "runtime/api/RunFolder.h"

#include "runtime/base/JsonDifference.h"
#include "runtime/io/CheckpointStore.h"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>

namespace moec::rt {

namespace fs = std::filesystem;

static constexpr const char *kOwnEntries[] = {"run.json", "metrics.jsonl", "checkpoints"};
static constexpr const char *kOwnFiles[] = {"run.json", "metrics.jsonl"};
static constexpr std::string_view kReplaced = ".replaced-";
static constexpr uint64_t kMaxRunFile = 16 << 20;

std::string RunFolder::pathFor(const Plan &plan, const RunOptions &options) {
  return options.runDir.empty() ? "runs/" + plan.name : options.runDir;
}

static std::string replacedName(const std::string &name) { return std::string(kReplaced) + name; }

static bool exists(const std::string &path) { return fs::exists(fs::symlink_status(path)); }

static bool holdsRun(const std::string &folder) {
  for (const char *name : kOwnEntries)
    if (exists(folder + "/" + name) || exists(folder + "/" + replacedName(name)))
      return true;
  return false;
}

static std::vector<std::string> namesIn(const std::string &directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Deletes what a run that has begun has replaced.
static Status removeReplaced(const std::string &folder) {
  std::string checkpoints = folder + "/checkpoints";
  for (const std::string &name : namesIn(checkpoints))
    if (name.starts_with(kReplaced))
      MOEC_RETURN_IF_ERROR(removeCheckpoint(checkpoints, name, name.substr(kReplaced.size())));
  for (const char *name : kOwnFiles)
    MOEC_RETURN_IF_ERROR(removeTree(folder + "/" + replacedName(name)));
  return Status::ok();
}

static std::string replacedPath(const std::string &path) {
  fs::path whole(path);
  return (whole.parent_path() / replacedName(whole.filename().string())).string();
}

/// After a start that was killed half way. run.json is moved away first and written last, so it tells which of the two
/// runs is whole: with it the new one, without it the old one. `plan`: its file, if starts write it.
static Status recover(const std::string &folder, const std::string &plan) {
  std::string oldPlan = plan.empty() ? "" : replacedPath(plan);
  if (exists(folder + "/run.json")) {
    MOEC_RETURN_IF_ERROR(removeReplaced(folder));
    return oldPlan.empty() ? Status::ok() : removeTree(oldPlan);
  }
  if (!oldPlan.empty() && exists(oldPlan) && std::rename(oldPlan.c_str(), plan.c_str()) != 0)
    return fileError("MOEC-I003", oldPlan, "rename");
  std::string checkpoints = folder + "/checkpoints";
  std::vector<std::pair<std::string, std::string>> back;
  for (const std::string &name : namesIn(checkpoints))
    if (name.starts_with(kReplaced))
      back.emplace_back(checkpoints, name.substr(kReplaced.size()));
  back.emplace_back(folder, "metrics.jsonl");
  back.emplace_back(folder, "run.json");
  for (const auto &[directory, name] : back)
    if (std::string from = directory + "/" + replacedName(name);
        exists(from) && std::rename(from.c_str(), (directory + "/" + name).c_str()) != 0)
      return fileError("MOEC-I003", from, "rename");
  return Status::ok();
}

static Result<UniqueFd> lockFolder(const std::string &folder) {
  std::string path = folder + "/.lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, "create");
  // The system lets go of it when the process ends, however it ends.
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return Status::error("MOEC-R007", folder, "another process is training in this run folder");
  return fd;
}

static Status writeRunFile(const Plan &plan, const std::string &folder) {
  Json run = Json::object();
  run.set("format", Json::integer(1));
  run.set("name", Json::string(plan.name));
  run.set("plan", Json::string(plan.path));
  run.set("compiler", Json::string(plan.compiler));
  run.set("spec_file", Json::string(plan.specFile));
  run.set("spec_hash", Json::string(plan.specHash));
  // In the order in which metrics count them; the spec below has its keys sorted.
  Json sources = Json::array();
  for (const PlanDataSet &set : plan.data.train)
    sources.append(Json::string(set.name));
  run.set("sources", std::move(sources));
  MOEC_ASSIGN_OR_RETURN(Json spec, Json::parse(plan.spec));
  run.set("spec", std::move(spec));
  return writeFileAtomic(folder + "/run.json", run.dump(2) + "\n");
}

/// run.json and metrics.jsonl are names that others use too.
static Status checkOwner(const std::string &folder, const RunOptions &options) {
  bool hasRun = false;
  for (const std::string &path : {folder + "/run.json", folder + "/" + replacedName("run.json")}) {
    if (!exists(path))
      continue;
    hasRun = true;
    Result<std::string> text = readFile(path, kMaxRunFile);
    Result<Json> run = text.isOk() ? Json::parse(*text) : text.status();
    if (!run.isOk() || !run->isObject() || !run->find("spec_hash"))
      return Status::error("MOEC-R001", path,
                           "moec did not write this file, and a run here would replace it; choose "
                           "another folder with --run-dir");
  }
  if (!hasRun && options.overwrite && exists(folder + "/metrics.jsonl"))
    return Status::error("MOEC-R001", folder,
                         "there is a metrics.jsonl but no run.json, so it is not known whose it is; "
                         "move it away, or choose another folder with --run-dir");
  return Status::ok();
}

Status checkRunFolder(const std::string &folder, const RunOptions &options) {
  MOEC_RETURN_IF_ERROR(checkOwner(folder, options));
  bool resumes = options.resume || !options.resumeFrom.empty();
  if (holdsRun(folder) && !resumes && !options.overwrite && !options.beginAgain) {
    bool hasCheckpoint = newestCheckpoint(folder + "/checkpoints").isOk();
    return Status::error("MOEC-R001", folder,
                         hasCheckpoint
                             ? "this folder already holds a run; --resume goes on with it, --overwrite deletes it"
                             : "this folder holds a run that was stopped before its first checkpoint; --overwrite "
                               "deletes it and begins again",
                         ", --run-dir chooses another folder");
  }
  return Status::ok();
}

Result<RunState> lookAtRun(const std::string &folder) {
  RunState state;
  state.holdsRun = holdsRun(folder);
  if (std::vector<int64_t> steps = listCheckpoints(folder + "/checkpoints"); !steps.empty())
    state.step = steps.back();
  Result<std::string> text = readFile(folder + "/run.json", kMaxRunFile);
  if (!text.isOk()) // no run, or one that did not come so far
    return state;
  MOEC_ASSIGN_OR_RETURN(Json run, Json::parse(*text));
  if (const Json *hash = run.find("spec_hash"))
    state.specHash = hash->asString();
  if (const Json *spec = run.find("spec"))
    state.spec = spec->dump();
  return state;
}

Status checkSameSpec(const std::string &folder, const Plan &plan, const RunOptions &options) {
  if ((!options.resume && options.resumeFrom.empty()) || options.allowOtherSpec || options.overwrite)
    return Status::ok();
  MOEC_ASSIGN_OR_RETURN(RunState run, lookAtRun(folder));
  if (run.specHash.empty() || run.specHash == plan.specHash)
    return Status::ok();
  return Status::error("MOEC-C005", folder,
                       "this run is of another spec than the plan is:", describeDifference(run.spec, plan.spec),
                       "\n  undo the change of the spec, choose another folder with --run-dir, or go on with "
                       "--allow-other-spec if the tensors fit");
}

Result<RunFolder> RunFolder::openForTraining(const Plan &plan, const RunOptions &options) {
  std::string folder = pathFor(plan, options);
  MOEC_RETURN_IF_ERROR(checkRunFolder(folder, options));
  MOEC_RETURN_IF_ERROR(makeDirectories(folder));
  MOEC_ASSIGN_OR_RETURN(UniqueFd lock, lockFolder(folder));
  MOEC_RETURN_IF_ERROR(recover(folder, options.planBytes.empty() ? "" : plan.path));
  // What is there may have changed before the lock was ours.
  MOEC_RETURN_IF_ERROR(checkRunFolder(folder, options));
  if (options.beginAgain && !listCheckpoints(folder + "/checkpoints").empty())
    return Status::error("MOEC-R001", folder, "this run has a checkpoint by now, so it does not begin again");
  return RunFolder(folder, std::move(lock));
}

Status RunFolder::checkRoom(const Plan &plan, const RunOptions &options) const {
  uint64_t freed = 0;
  std::error_code error;
  if (options.overwrite)
    for (int64_t step : listCheckpoints(checkpointsPath()))
      for (fs::directory_iterator it(checkpointsPath() + "/" + checkpointName(step), error), end; !error && it != end;
           it.increment(error))
        if (it->is_regular_file(error))
          freed += it->file_size(error);
  return rt::checkRoom(plan, exists(checkpointsPath()) ? checkpointsPath() : folder, freed);
}

Status RunFolder::replace(const std::string &directory, const std::string &name) {
  return renames.rename(directory + "/" + name, directory + "/" + replacedName(name));
}

Status RunFolder::replaceAll() {
  MOEC_RETURN_IF_ERROR(replace(folder, "metrics.jsonl"));
  for (int64_t step : listCheckpoints(checkpointsPath()))
    MOEC_RETURN_IF_ERROR(replace(checkpointsPath(), checkpointName(step)));
  return Status::ok();
}

/// A run that goes back keeps the metrics of the steps that it goes back over, as it keeps their checkpoints.
Result<std::vector<std::string>> RunFolder::leaveAside(const RunOptions &options, int64_t step,
                                                       const std::string &from) {
  std::vector<std::string> notes;
  MOEC_ASSIGN_OR_RETURN(std::vector<std::string> aside, setAsideNewer(checkpointsPath(), step, from, renames));
  for (const std::string &name : aside)
    notes.push_back("a checkpoint that this run does not go on from is kept as " + checkpointsPath() + "/" + name);
  if ((aside.empty() && !options.beginAgain) || !exists(metricsPath()))
    return notes;
  std::string name = folder + "/" + abandonedName(folder, "metrics.jsonl");
  std::error_code error;
  if (options.beginAgain) {
    MOEC_RETURN_IF_ERROR(renames.rename(metricsPath(), name));
  } else {
    renames.made(name);
    if (!fs::copy_file(metricsPath(), name, error))
      return Status::error("MOEC-I002", name, "cannot copy ", metricsPath(), " to it: ", error.message());
  }
  notes.push_back("the metrics so far are kept as " + name);
  return notes;
}

Status RunFolder::writePlan(const Plan &plan, std::string_view bytes) {
  if (bytes.empty())
    return Status::ok();
  if (Result<std::string> old = readFile(plan.path, bytes.size()); old.isOk() && *old == bytes)
    return Status::ok();
  if (fs::path directory = fs::path(plan.path).parent_path(); !directory.empty())
    MOEC_RETURN_IF_ERROR(makeDirectories(directory.string()));
  replacedPlan = replacedPath(plan.path);
  MOEC_RETURN_IF_ERROR(renames.rename(plan.path, replacedPlan));
  return writeFileAtomic(plan.path, bytes);
}

std::string RunFolder::othersInside() const {
  constexpr size_t kShown = 8;
  std::vector<std::string> found;
  for (const std::string &name : namesIn(folder))
    if (std::find(std::begin(kOwnEntries), std::end(kOwnEntries), name) == std::end(kOwnEntries) && name != ".lock" &&
        !name.starts_with(kReplaced))
      found.push_back(name);
  for (const std::string &name : namesIn(checkpointsPath()))
    if (!name.starts_with(kReplaced))
      found.push_back("checkpoints/" + name);
  std::string text;
  for (size_t i = 0; i < std::min(found.size(), kShown); ++i)
    text += (i ? ", " : "") + found[i];
  return found.size() > kShown ? text + " and " + std::to_string(found.size() - kShown) + " more" : text;
}

Result<std::vector<std::string>> RunFolder::begin(const Plan &plan, const RunOptions &options, int64_t step,
                                                  const std::string &from) {
  std::vector<std::string> notes;
  MOEC_RETURN_IF_ERROR(makeDirectories(checkpointsPath()));
  MOEC_RETURN_IF_ERROR(removeLeftovers(checkpointsPath()));
  MOEC_RETURN_IF_ERROR(replace(folder, "run.json")); // first: see recover()
  if (options.overwrite) {
    MOEC_RETURN_IF_ERROR(replaceAll());
    if (std::string others = othersInside(); !others.empty())
      notes.push_back("--overwrite deletes the old run; not of it, and kept: " + others);
  } else {
    MOEC_ASSIGN_OR_RETURN(notes, leaveAside(options, step, from));
  }
  MOEC_RETURN_IF_ERROR(writePlan(plan, options.planBytes));
  MOEC_RETURN_IF_ERROR(writeRunFile(plan, folder));
  return notes;
}

Status RunFolder::keep() {
  renames.keep();
  MOEC_RETURN_IF_ERROR(removeReplaced(folder));
  return replacedPlan.empty() ? Status::ok() : removeTree(replacedPlan);
}

} // namespace moec::rt
