// What a few training steps compute, to compare one layout of ranks with another. No files are read or written.
#ifndef MOEC_RUNTIME_API_SNAPSHOT_H
#define MOEC_RUNTIME_API_SNAPSHOT_H

#include "runtime/api/moec.h"

namespace moec::rt {

struct Snapshot {
  struct Tensor {
    std::string name; // logical; metrics are "step 2: loss"
    DType dtype = DType::F32;
    std::vector<std::byte> bytes;
  };
  /// The metrics of every step, then all that a checkpoint would hold, in the order of checkpointTensors().
  std::vector<Tensor> tensors;
  /// What the first rank sent to others in the last step, rows of experts among it, and what the plan says it sends
  /// beside these.
  uint64_t sentBytes = 0, sentRowBytes = 0, plannedBytes = 0;
  uint64_t allocatedBytes = 0, announcedBytes = 0; // of one rank
};

/// Runs `steps` steps of the plan on all its ranks, as threads of this process, on random tokens that depend on the
/// seed and the number of the sample alone.
Result<Snapshot> takeSnapshot(const Plan &plan, const RunOptions &options, int64_t steps);

/// How far two tensors are apart: the largest difference of two elements, relative to the largest element; 0 when all
/// bytes are equal, infinite when types or sizes differ or an element is no number.
double differenceOf(const Snapshot::Tensor &a, const Snapshot::Tensor &b);

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_SNAPSHOT_H
