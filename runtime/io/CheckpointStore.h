// The checkpoints/ folder of a run: names, leftovers, pruning, and the choice of the checkpoint to resume from.
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
/// ".tmp-20-HOST-4711"; host and process id show whether the writer still runs.
std::string checkpointTempName(int64_t step);

/// The first of "abandoned-NAME", "abandoned-NAME-2", ... that the folder does not hold. Nothing ever deletes these.
std::string abandonedName(const std::string &directory, const std::string &name);

/// Steps of the folders that have a checkpoint's name, oldest first; none if the directory is missing.
std::vector<int64_t> listCheckpoints(const std::string &directory);

/// Removes the temporary folders of writers on this machine that no longer run. Temporary folders of other machines
/// stay, because their writers may still run.
Status removeLeftovers(const std::string &directory);

/// Removes a checkpoint; `folder` is the present name of its folder. If the folder also holds files that no save has
/// written, it is renamed to abandonedName(`name`) instead.
Status removeCheckpoint(const std::string &directory, const std::string &folder, const std::string &name);

/// Removes all checkpoints except the newest `keepLast`; 0 keeps all.
Status pruneCheckpoints(const std::string &directory, int64_t keepLast);

/// Renames checkpoints of later steps to "abandoned-step-N". Otherwise a run that goes on from `step` would prune its
/// own new checkpoints and later resume from the old ones. The checkpoint of `step` itself is renamed too, because
/// saving that step again would replace it, unless the run goes on from it (`from`, a checkpoint of any folder).
/// Returns the new names, oldest first.
Result<std::vector<std::string>> setAsideNewer(const std::string &directory, int64_t step, const std::string &from,
                                               Renames &renames);

/// MOEC-C026 unless the disk has room for one checkpoint. `freed`: bytes that will have been freed by then.
Status checkRoom(const Plan &plan, const std::string &directory, uint64_t freed);

/// Path of the newest checkpoint. MOEC-C001 if there is none. If the newest does not verify, MOEC-C016 (MOEC-C018 if it
/// holds NaN or infinities) names an older one that does; an older one is never taken silently.
Result<std::string> newestCheckpoint(const std::string &directory);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINTSTORE_H
