#include "runtime/base/Renames.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace moec::rt {

Status Renames::rename(const std::string &from, const std::string &to) {
  bool exists = std::rename(from.c_str(), to.c_str()) == 0;
  if (!exists && errno != ENOENT)
    return Status::error("MOEC-I003", from, "cannot rename to ", to, ": ", std::strerror(errno));
  done.emplace_back(from, exists ? to : "");
  return Status::ok();
}

void Renames::takeBack() {
  for (; !done.empty(); done.pop_back())
    if (const auto &[from, to] = done.back(); to.empty())
      (void)::unlink(from.c_str());
    else
      (void)std::rename(to.c_str(), from.c_str()); // if this fails, the file keeps its new name
}

} // namespace moec::rt
