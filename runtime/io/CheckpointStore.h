// The checkpoints/ folder of a run: names, leftovers, pruning, and which one to resume from.
#ifndef MOEC_RUNTIME_IO_CHECKPOINTSTORE_H
#define MOEC_RUNTIME_IO_CHECKPOINTSTORE_H

#include "runtime/base/Result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::rt {

/// "step-00000020"
std::string checkpointName(int64_t step);
/// ".tmp-20-4711"; the process id tells whether the writer still lives.
std::string checkpointTempName(int64_t step);

/// Steps of the complete checkpoints in a folder, oldest first; none when the folder is missing.
std::vector<int64_t> listCheckpoints(const std::string &directory);

/// Removes what writers that are no longer alive left behind.
Status removeLeftovers(const std::string &directory);

/// Removes all but the newest `keepLast`; 0 keeps all.
Status pruneCheckpoints(const std::string &directory, int64_t keepLast);

/// Renames checkpoints of later steps to "abandoned-step-N": a run that goes on from `step` would else prune its own
/// new ones and later resume from these. A name that is taken gets a number. Returns
/// the new names, oldest first.
Result<std::vector<std::string>> setAsideNewer(const std::string &directory, int64_t step);

/// Path of the newest checkpoint. MOEC-C001 when there is none. When the newest does not verify, MOEC-C016 names an
/// older one that does; it is never taken silently.
Result<std::string> newestCheckpoint(const std::string &directory);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINTSTORE_H
