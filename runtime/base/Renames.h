// Changes of names that belong together: all of them stay, or none.
#ifndef MOEC_RUNTIME_BASE_RENAMES_H
#define MOEC_RUNTIME_BASE_RENAMES_H

#include "runtime/base/Status.h"

#include <string>
#include <utility>
#include <vector>

namespace moec::rt {

/// Takes its renames back, newest first, unless keep() was called. Renaming takes no space, so this works on a full
/// disk too; what has been written under an old name meanwhile is replaced.
class Renames {
public:
  Renames() = default;
  ~Renames() { takeBack(); }
  Renames(Renames &&other) noexcept : done(std::exchange(other.done, {})) {}
  Renames &operator=(Renames &&other) noexcept {
    std::swap(done, other.done); // `other` takes back what was here
    return *this;
  }

  /// MOEC-I003 when it fails. When there is no `from`, it is taken to be made later: see made().
  Status rename(const std::string &from, const std::string &to);
  /// A file that is new: it is removed when the rest is taken back.
  void made(const std::string &path) { done.emplace_back(path, ""); }
  void keep() { done.clear(); }

private:
  void takeBack();

  std::vector<std::pair<std::string, std::string>> done; // from, to; `to` is empty for what is new
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_RENAMES_H
