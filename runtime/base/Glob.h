// Names of files by pattern.
#ifndef MOEC_RUNTIME_BASE_GLOB_H
#define MOEC_RUNTIME_BASE_GLOB_H

#include "runtime/base/Result.h"

#include <string>
#include <vector>

namespace moec::rt {

/// Whether a path of data is a pattern, which stands for all files that match it.
inline bool isPattern(const std::string &path) { return path.find('*') != std::string::npos; }

/// The files that match `pattern` below `directory`, which is taken literally; an absolute pattern needs none. `*`
/// stands for any characters within one name, except a dot at the beginning of the name; no other character is special.
/// Folders are left out. The files are sorted by bytes, so the order is the same everywhere. Empty if no file matches;
/// MOEC-I001 if a folder cannot be read.
Result<std::vector<std::string>> matchFiles(const std::string &directory, const std::string &pattern);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_GLOB_H
