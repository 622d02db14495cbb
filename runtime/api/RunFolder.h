// The folder of a run: what is in it, who may write, and whether a new run may start in it.
//   run.json        what is run: plan name, spec, compiler
//   metrics.jsonl   the metrics
//   checkpoints/    step-NNNNNNNN/
//   abandoned-*     here and in checkpoints/: what a run no longer goes on from; never deleted
//   .lock           held while a process trains here
//   .replaced-*     here and in checkpoints/: an old run, while a new one takes its place
// Codes: MOEC-R001 the folder holds a run, MOEC-R007 another process is training here.
#ifndef MOEC_RUNTIME_API_RUNFOLDER_H
#define MOEC_RUNTIME_API_RUNFOLDER_H

#include "runtime/api/moec.h"
#include "runtime/base/File.h"
#include "runtime/base/Renames.h"

namespace moec::rt {

class RunFolder {
public:
  /// runs/<plan name> unless the options say otherwise.
  static std::string pathFor(const Plan &plan, const RunOptions &options);

  /// Makes the folder or finds that this run may use it, and locks it. A start that was killed half way is taken back
  /// or completed; nothing else changes yet.
  static Result<RunFolder> openForTraining(const Plan &plan, const RunOptions &options);

  /// MOEC-C026 unless there is room for a checkpoint.
  Status checkRoom(const Plan &plan, const RunOptions &options) const;

  /// Once nothing else can be refused: moves what the run replaces or leaves aside, and writes run.json and the plan.
  /// The run begins after `step`, with the checkpoint `from` if that is not empty. Returns what the user should know.
  /// Unless keep() follows, all is put back when the object goes.
  Result<std::vector<std::string>> begin(const Plan &plan, const RunOptions &options, int64_t step,
                                         const std::string &from);
  /// Deletes what was replaced. With `overwrite`, that is run.json, metrics.jsonl and the checkpoints of the old run.
  Status keep();

  const std::string &path() const { return folder; }
  std::string metricsPath() const { return folder + "/metrics.jsonl"; }
  std::string checkpointsPath() const { return folder + "/checkpoints"; }

private:
  RunFolder(std::string folder, UniqueFd lock) : folder(std::move(folder)), lock(std::move(lock)) {}

  Status replace(const std::string &directory, const std::string &name);
  Status replaceAll();
  Result<std::vector<std::string>> leaveAside(const RunOptions &options, int64_t step, const std::string &from);
  Status writePlan(const Plan &plan, std::string_view bytes);
  /// Names of what is neither of this run nor of the one that it replaces.
  std::string othersInside() const;

  std::string folder;
  UniqueFd lock;
  Renames renames;
  std::string replacedPlan; // the old one, under its temporary name
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_RUNFOLDER_H
