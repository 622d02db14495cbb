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

/// A regular file to read from; it stays readable when the path is replaced. Files are read, never mapped: a map of a
/// file that somebody cuts short ends the process (SIGBUS) where a read can report it.
class InputFile {
public:
  static Result<InputFile> open(const std::string &path);

  /// Bytes, when it was opened.
  uint64_t size() const { return bytes; }
  const std::string &path() const { return name; }
  /// Fills `into` from `offset` on. MOEC-I001 too when the file has become shorter than that.
  Status read(uint64_t offset, std::span<std::byte> into) const;

private:
  InputFile(UniqueFd fd, uint64_t bytes, std::string name) : fd(std::move(fd)), bytes(bytes), name(std::move(name)) {}

  UniqueFd fd;
  uint64_t bytes;
  std::string name;
};

/// "cannot <what>: <strerror>" as a Status; reads errno.
Status fileError(const std::string &code, const std::string &path, const std::string &what);

/// Writes all of it, going on after short writes and EINTR.
Status writeAll(int fd, const void *data, size_t bytes, const std::string &path);
/// Reads exactly `bytes` from `offset`; a short file is an error.
Status readAt(int fd, uint64_t offset, void *data, size_t bytes, const std::string &path);
Status syncFile(int fd, const std::string &path);
Status syncDirectory(const std::string &path);

Result<std::string> readFile(const std::string &path, uint64_t maxBytes);
/// Temp file beside the target -> fsync -> rename -> fsync of the directory: readers see the old file or the new one.
/// A symbolic link stays, its target is replaced. What is no regular file (a device, a pipe) is written to as it is.
Status writeFileAtomic(const std::string &path, std::string_view content);

/// MOEC-R005 unless a command may put `what` ("a plan") at `path`: the folder is there, and no file that begins in
/// another way than such a file. Empty files, devices and pipes may be written to.
Status checkOutput(const std::string &path, const std::string &what, std::string_view beginning);

/// Whether both paths lead to one file that exists, under whatever names.
bool isSameFile(const std::string &a, const std::string &b);

Status makeDirectories(const std::string &path);
Status removeTree(const std::string &path);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_FILE_H
