// manifest.json of a checkpoint. Internal to runtime/io.
#ifndef MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H
#define MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H

#include "runtime/io/Checkpoint.h"

namespace moec::rt {

/// Bytes moved at a time between arena and files.
inline constexpr uint64_t kCheckpointChunk = 1u << 20;

std::string checkpointManifestText(const CheckpointManifest &manifest);

/// MOEC-C001 no manifest, C002 not a valid one, C003 damaged, C004 another format, C006 a bad shard name.
Result<CheckpointManifest> readCheckpointManifest(const std::string &folder);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H
