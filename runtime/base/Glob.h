// Names of files by pattern.
#ifndef MOEC_RUNTIME_BASE_GLOB_H
#define MOEC_RUNTIME_BASE_GLOB_H

#include "runtime/base/Result.h"

#include <string>
#include <vector>

namespace moec::rt {

/// Whether a path of data stands for all files that match it.
inline bool isPattern(const std::string &path) { return path.find('*') != std::string::npos; }

/// What `pattern` matches below `directory`, which is taken as it is; an absolute pattern needs none. `*` stands for
/// any characters within one name, except a dot at its beginning; nothing else is special. Folders are left out. Sorted
/// by bytes, so the order is the same everywhere. Empty when nothing matches; MOEC-I001 when a folder cannot be read.
Result<std::vector<std::string>> matchFiles(const std::string &directory, const std::string &pattern);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_GLOB_H
