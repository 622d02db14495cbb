// manifest.json of a checkpoint. Internal to runtime/io.
#ifndef MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H
#define MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H

#include "runtime/io/Checkpoint.h"

namespace moec::rt {

/// Bytes moved at a time between arena and files.
inline constexpr uint64_t kCheckpointChunk = 1u << 20;

std::string checkpointManifestText(const CheckpointManifest &manifest);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_CHECKPOINTMANIFEST_H
