// Renames that belong together: all of them take effect, or none.
#ifndef MOEC_RUNTIME_BASE_RENAMES_H
#define MOEC_RUNTIME_BASE_RENAMES_H

#include "runtime/base/Status.h"

#include <string>
#include <utility>
#include <vector>

namespace moec::rt {

/// Undoes its renames, newest first, unless keep() was called. A rename needs no space, so this works on a full disk
/// too. Files that were written under an old name meanwhile are replaced.
class Renames {
public:
  Renames() = default;
  ~Renames() { takeBack(); }
  Renames(Renames &&other) noexcept : done(std::exchange(other.done, {})) {}
  Renames &operator=(Renames &&other) noexcept {
    std::swap(done, other.done); // `other` takes back what was here
    return *this;
  }

  /// MOEC-I003 if it fails. If `from` does not exist, `from` counts as a file that will be made: see made().
  Status rename(const std::string &from, const std::string &to);
  /// Registers a new file: it is removed when the renames are undone.
  void made(const std::string &path) { done.emplace_back(path, ""); }
  void keep() { done.clear(); }

private:
  void takeBack();

  std::vector<std::pair<std::string, std::string>> done; // from, to; `to` is empty for a new file
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_RENAMES_H
