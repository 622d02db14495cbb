// The record of the data that a run has read so far, which its checkpoints hold (docs/data.md): the files, the places
// in them, and the order. With it a run goes on at the right place even if batch, weights or sources have changed.
#ifndef MOEC_RUNTIME_IO_DATARECORD_H
#define MOEC_RUNTIME_IO_DATARECORD_H

#include "runtime/base/Fields.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::rt {

/// The identity of a file's contents, independent of its path.
struct FileIdentity {
  std::string path;
  uint64_t bytes = 0;
  std::string hash; // of the contents, see identify()

  bool isSame(const FileIdentity &other) const { return bytes == other.bytes && hash == other.hash; }
};

struct SourceRecord {
  std::string name;
  double weight = 0;    // 0: not read at present
  uint32_t stream = 0;  // of its permutations
  uint64_t windows = 0; // of a pass
  uint64_t began = 0;   // windows read before `sinceStep`, all passes together
  uint64_t read = 0;    // windows read so far, all passes together
  std::vector<FileIdentity> files;
};

struct DataRecord {
  uint64_t seed = 0, seqLen = 0;
  uint64_t sequences = 0;               // of a step
  int64_t sinceStep = 0;                // since this step, samples follow the present weights and batches
  uint64_t sinceTokens = 0;             // trained on before that step
  uint64_t tokens = 0;                  // trained on so far
  std::vector<SourceRecord> train;      // those of the spec, then those of earlier specs that are no longer read
  std::vector<SourceRecord> validation; // only names and files

  Json toJson() const;
  static DataRecord fromJson(Fields &fields);
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_DATARECORD_H
