// The checkpoints/ folder of a run: names, leftovers, pruning, and which one to resume from.
#ifndef MOEC_RUNTIME_IO_CHECKPOINTSTORE_H
#define MOEC_RUNTIME_IO_CHECKPOINTSTORE_H

#include "runtime/base/Renames.h"
#include "runtime/base/Result.h"
#include "runtime/plan/Plan.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::rt {

/// "step-00000020"
std::string checkpointName(int64_t step);
/// ".tmp-20-HOST-4711"; host and process id tell whether the writer still lives.
std::string checkpointTempName(int64_t step);

/// The first of "abandoned-NAME", "abandoned-NAME-2", ... that the folder does not hold. Nothing ever deletes these.
std::string abandonedName(const std::string &directory, const std::string &name);

/// Steps of the folders that have a checkpoint's name, oldest first; none when the directory is missing.
std::vector<int64_t> listCheckpoints(const std::string &directory);

/// Removes what writers of this machine that are no longer alive left behind. What has the name of another machine
/// stays: its writer may live.
Status removeLeftovers(const std::string &directory);

/// Removes a checkpoint, whatever its folder is called now. A folder that also holds what no save has written is not
/// removed but renamed to abandonedName(`name`).
Status removeCheckpoint(const std::string &directory, const std::string &folder, const std::string &name);

/// Removes all but the newest `keepLast`; 0 keeps all.
Status pruneCheckpoints(const std::string &directory, int64_t keepLast);

/// Renames checkpoints of later steps to "abandoned-step-N": a run that goes on from `step` would else prune its own
/// new ones and later resume from these. The one of `step` itself is renamed too unless the run goes on from it
/// (`from`, a checkpoint of any folder): saving that step again would replace it. Returns the new names, oldest first.
Result<std::vector<std::string>> setAsideNewer(const std::string &directory, int64_t step, const std::string &from,
                                               Renames &renames);

/// MOEC-C026 unless the disk has room for one checkpoint. `freed`: bytes that will be free by then.
Status checkRoom(const Plan &plan, const std::string &directory, uint64_t freed);

/// Path of the newest checkpoint. MOEC-C001 when there is none. When the newest does not verify, MOEC-C016 (MOEC-C018
/// when it holds NaN or infinities) names an older one that does; it is never taken silently.
Result<std::string> newestCheckpoint(const std::string &directory);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINTSTORE_H
