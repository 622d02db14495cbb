// The files of one split, read as sources of windows: raw bytes, one token each. A window is seq_len + 1 bytes of one
// file and windows start every seq_len bytes, so each token is predicted once. Bytes after the last whole window of a
// file are not read. Codes: MOEC-D001 file missing or unreadable, MOEC-D002 file too short, MOEC-D005 file changed
// while it was in use, MOEC-D006 one file under two names, MOEC-D008 pattern without match.
#ifndef MOEC_RUNTIME_IO_DATAFILES_H
#define MOEC_RUNTIME_IO_DATAFILES_H

#include "runtime/base/File.h"
#include "runtime/io/DataRecord.h"
#include "runtime/io/SampleOrder.h"
#include "runtime/plan/Plan.h"

#include <span>
#include <string>
#include <vector>

namespace moec::rt {

/// The place of a window.
struct WindowPlace {
  const std::string &source, &path;
  uint64_t window = 0; // of this file
  uint64_t offset = 0; // of its first byte in the file
};

class DataFiles {
public:
  /// Opens the files that the sets name, relative to `directory`. Sets of weight 0 are not opened.
  static Result<DataFiles> open(const std::vector<PlanDataSet> &sets, uint64_t seqLen, const std::string &directory);

  size_t size() const { return sources.size(); }
  const std::string &name(size_t source) const { return sources[source].name; }
  double weight(size_t source) const { return sources[source].weight; }
  uint64_t windows(size_t source) const { return sources[source].windows; }
  /// Windows and weights; streams are the positions.
  std::vector<OrderedSource> ordered() const;

  WindowPlace place(Sample sample) const;
  /// The seq_len + 1 bytes of a window.
  Status read(Sample sample, std::span<std::byte> into) const;
  /// Adds to `counts` how often each byte occurs in the first `most` bytes of a source, and returns the number of
  /// counted bytes.
  Result<uint64_t> countBytes(size_t source, uint64_t most, std::span<uint64_t> counts) const;

  /// Reads the files and hashes their contents with XXH3-128: the whole file up to 1 GiB; of a larger file, 1024 pieces
  /// of 1 MiB that are spread evenly over it. There is one entry for each source; it is empty for a source of weight 0.
  Result<std::vector<std::vector<FileIdentity>>> identify() const;

private:
  struct File {
    InputFile file;
    uint64_t firstWindow = 0; // number within the source
  };
  struct Source {
    std::string name;
    double weight = 0;
    uint64_t windows = 0;
    std::vector<File> files;
  };

  explicit DataFiles(uint64_t seqLen) : seqLen(seqLen) {}
  Status openSource(const PlanDataSet &set, const std::string &directory, Source &source) const;
  static Status refuseTwice(const Source &source);
  const File &fileOf(Sample sample) const;

  uint64_t seqLen;
  std::vector<Source> sources;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_DATAFILES_H
