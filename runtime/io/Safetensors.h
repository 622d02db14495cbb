// The safetensors container: header text for writing, strict reading. Strict means: no duplicate or unknown keys, only
// known dtypes, offsets that cover the data with no hole and no overlap, and a file that ends where the last tensor
// does. Codes: MOEC-C009 container or header, MOEC-C010 an entry of the header.
#ifndef MOEC_RUNTIME_IO_SAFETENSORS_H
#define MOEC_RUNTIME_IO_SAFETENSORS_H

#include "runtime/base/Result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::rt {

struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0; // in the file; headers count from the end of the header
};

/// Length word, JSON and padding for tensors that lie back to back in this order; begin and end are ignored.
std::string safetensorsHeader(const std::vector<SafetensorsEntry> &entries);

/// Entries in the order of their offsets.
Result<std::vector<SafetensorsEntry>> readSafetensorsHeader(int fd, uint64_t fileBytes, const std::string &path);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_SAFETENSORS_H
