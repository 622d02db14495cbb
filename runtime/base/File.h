// Files: descriptors that close, reads of parts and of whole files, and writes that a crash cannot tear.
// Codes: MOEC-I001 cannot open or read, MOEC-I002 cannot write, MOEC-I003 cannot make or remove a directory, MOEC-R005
// an output that would take the place of something else.
#ifndef MOEC_RUNTIME_BASE_FILE_H
#define MOEC_RUNTIME_BASE_FILE_H

#include "runtime/base/Result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moec::rt {

class UniqueFd {
public:
  explicit UniqueFd(int fd = -1) : fd(fd) {}
  ~UniqueFd();
  UniqueFd(UniqueFd &&other) noexcept : fd(other.release()) {}
  UniqueFd &operator=(UniqueFd &&other) noexcept;

  int get() const { return fd; }
  int release();

private:
  int fd;
};

/// A regular file to read from; it stays readable when the path is replaced. Files are read, never mapped: if somebody
/// truncates a mapped file, the process dies (SIGBUS), while a read can report the error.
class InputFile {
public:
  static Result<InputFile> open(const std::string &path);

  /// Size in bytes when it was opened.
  uint64_t size() const { return bytes; }
  const std::string &path() const { return name; }
  /// Fills `into` from `offset` on. MOEC-I001, also if the file has become too short.
  Status read(uint64_t offset, std::span<std::byte> into) const;

private:
  InputFile(UniqueFd fd, uint64_t bytes, std::string name) : fd(std::move(fd)), bytes(bytes), name(std::move(name)) {}

  UniqueFd fd;
  uint64_t bytes;
  std::string name;
};

/// "cannot <what>: <strerror>" as a Status; reads errno.
Status fileError(const std::string &code, const std::string &path, const std::string &what);

/// Writes all bytes; continues after short writes and EINTR.
Status writeAll(int fd, const void *data, size_t bytes, const std::string &path);
/// Reads exactly `bytes` from `offset`; a short file is an error.
Status readAt(int fd, uint64_t offset, void *data, size_t bytes, const std::string &path);
Status syncFile(int fd, const std::string &path);
Status syncDirectory(const std::string &path);

Result<std::string> readFile(const std::string &path, uint64_t maxBytes);
/// Temp file beside the target -> fsync -> rename -> fsync of the directory: readers see the old file or the new one.
/// A symbolic link stays, and its target is replaced. A path that is not a regular file (a device, a pipe) is written
/// to directly.
Status writeFileAtomic(const std::string &path, std::string_view content);

/// MOEC-R005 unless a command may write `what` ("a plan") to `path`: the folder must exist, and an existing file must
/// begin with `beginning`. Empty files, devices and pipes may be written to.
Status checkOutput(const std::string &path, const std::string &what, std::string_view beginning);

/// Whether both paths lead to the same existing file.
bool isSameFile(const std::string &a, const std::string &b);

Status makeDirectories(const std::string &path);
Status removeTree(const std::string &path);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_FILE_H
