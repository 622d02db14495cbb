// Checkpoints: one folder of safetensors shards and a manifest (docs/checkpoint-format.md). A folder called
// step-NNNNNNNN is always complete; an incomplete one that a crash leaves has another name. Nothing is written to the
// arena before the whole checkpoint is verified.
#ifndef MOEC_RUNTIME_IO_CHECKPOINT_H
#define MOEC_RUNTIME_IO_CHECKPOINT_H

#include "runtime/base/Result.h"
#include "runtime/hal/Device.h"
#include "runtime/io/DataRecord.h"
#include "runtime/io/TensorTable.h"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moec::rt {

inline constexpr int kCheckpointFormat = 2; // format 1 is read too; it has no record of the data
inline constexpr char kCheckpointManifest[] = "manifest.json";

/// Points of a save at which a test may kill the process.
enum class SaveStage { Begun, ShardWritten, ShardsWritten, ManifestWritten, Renamed, Synced, Done };

struct SaveOptions {
  uint64_t shardBytes = uint64_t{1} << 30; // a larger tensor gets a shard of its own
  std::function<void(SaveStage)> onStage;  // tests only
  std::optional<DataRecord> data;          // what the run has read so far
  /// All bytes of a state that ranks have in runs; valid until the next call. Asked in the order of
  /// checkpointTensors(), once per state: every rank helps (see assembleStates).
  std::function<Result<std::span<const std::byte>>(const PlanState &)> assemble;
};

struct CheckpointShard {
  std::string file;
  uint64_t size = 0;
  std::string hash;
};

struct CheckpointManifest {
  int64_t step = 0;
  std::string planName, specHash;
  std::vector<CheckpointShard> shards;
  struct Tensor {
    std::string name;
    size_t shard = 0;
    StateKind kind = StateKind::Parameter;
  };
  std::vector<Tensor> tensors;
  std::optional<DataRecord> data; // what the run had read
};

/// Writes <directory>/step-NNNNNNNN from the arena, or leaves <directory> as it was. MOEC-C015 if that fails, MOEC-C018
/// if a tensor holds a NaN or an infinity.
Status saveCheckpoint(const Plan &plan, Device &device, const std::string &directory, int64_t step,
                      const SaveOptions &options = {});

/// For the ranks that do not save: calls `assemble` as saveCheckpoint() does on the one that saves.
Status assembleStates(const Plan &plan, const SaveOptions &options);

/// Reads only the manifest, not the tensors. Codes of the manifest: C001 to C004, C006.
Result<CheckpointManifest> readCheckpointManifest(const std::string &path);

/// Checks the folder without a plan: manifest, shard sizes, hashes and headers, that there are no other files, and no
/// NaN or infinity (MOEC-C018).
Result<CheckpointManifest> verifyCheckpoint(const std::string &path);

struct LoadOptions {
  /// Accept a checkpoint of another spec if its tensors fit.
  bool allowOtherSpec = false;
  uint64_t rank = 0; // whose run of a divided state is filled
};

/// Verifies the folder, then that its tensors are exactly those of the plan, then fills the arena. Returns the step.
Result<int64_t> loadCheckpoint(const Plan &plan, Device &device, const std::string &path,
                               const LoadOptions &options = {});

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINT_H
