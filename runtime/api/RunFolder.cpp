#include "runtime/api/RunFolder.h"

#include "runtime/base/JsonDifference.h"
#include "runtime/io/CheckpointStore.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace moec::rt {

static constexpr const char *kOwnEntries[] = {"run.json", "metrics.jsonl", "checkpoints"};

std::string RunFolder::pathFor(const Plan &plan, const RunOptions &options) {
  return options.runDir.empty() ? "runs/" + plan.name : options.runDir;
}

static bool holdsRun(const std::string &folder) {
  for (const char *name : kOwnEntries)
    if (::access((folder + "/" + name).c_str(), F_OK) == 0)
      return true;
  return false;
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

Status checkRunFolder(const std::string &folder, const RunOptions &options) {
  bool resumes = options.resume || !options.resumeFrom.empty();
  if (holdsRun(folder) && !resumes && !options.overwrite) {
    bool hasCheckpoint = newestCheckpoint(folder + "/checkpoints").isOk();
    return Status::error("MOEC-R001", folder,
                         hasCheckpoint
                             ? "this folder already holds a run; --resume goes on with it, --overwrite throws it away"
                             : "this folder holds a run that was stopped before its first checkpoint; --overwrite "
                               "starts it again",
                         ", --run-dir chooses another folder");
  }
  return Status::ok();
}

Result<RunState> lookAtRun(const std::string &folder) {
  RunState state;
  state.holdsRun = holdsRun(folder);
  if (std::vector<int64_t> steps = listCheckpoints(folder + "/checkpoints"); !steps.empty())
    state.step = steps.back();
  constexpr uint64_t kMaxRunFile = 16 << 20;
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
  if ((!options.resume && options.resumeFrom.empty()) || options.allowOtherSpec)
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
  return RunFolder(folder, std::move(lock));
}

Status RunFolder::begin(const Plan &plan, bool overwrite) {
  for (const char *name : kOwnEntries)
    if (overwrite)
      MOEC_RETURN_IF_ERROR(removeTree(folder + "/" + name));
  MOEC_RETURN_IF_ERROR(makeDirectories(checkpointsPath()));
  MOEC_RETURN_IF_ERROR(removeLeftovers(checkpointsPath()));
  // A kill between saving and pruning leaves one too many.
  MOEC_RETURN_IF_ERROR(pruneCheckpoints(checkpointsPath(), plan.keepLast));
  return writeRunFile(plan, folder);
}

} // namespace moec::rt
