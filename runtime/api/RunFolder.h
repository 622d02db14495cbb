// The folder of a run: what is in it, who may write, and whether a new run may start in it.
//   run.json        what is run: plan name, spec, compiler
//   metrics.jsonl   the metrics
//   checkpoints/    step-NNNNNNNN/
//   .lock           held while a process trains here
// Codes: MOEC-R001 the folder holds a run, MOEC-R007 another process is training here.
#ifndef MOEC_RUNTIME_API_RUNFOLDER_H
#define MOEC_RUNTIME_API_RUNFOLDER_H

#include "runtime/api/moec.h"
#include "runtime/base/File.h"

namespace moec::rt {

class RunFolder {
public:
  /// runs/<plan name> unless the options say otherwise.
  static std::string pathFor(const Plan &plan, const RunOptions &options);

  /// Makes the folder or finds that this run may use it, and locks it. Nothing in it changes yet.
  static Result<RunFolder> openForTraining(const Plan &plan, const RunOptions &options);

  /// Once nothing else can be refused: throws away an old run if told so, leftovers in any case, and writes run.json.
  Status begin(const Plan &plan, bool overwrite);

  const std::string &path() const { return folder; }
  std::string metricsPath() const { return folder + "/metrics.jsonl"; }
  std::string checkpointsPath() const { return folder + "/checkpoints"; }

private:
  RunFolder(std::string folder, UniqueFd lock) : folder(std::move(folder)), lock(std::move(lock)) {}

  std::string folder;
  UniqueFd lock;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_RUNFOLDER_H
