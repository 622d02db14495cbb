// Files: descriptors that close, whole-file reads, maps, and writes that a crash cannot tear.
// Codes: MOEC-I001 cannot open or read, MOEC-I002 cannot write, MOEC-I003 cannot make or remove a directory.
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

/// A read-only map of a regular file; it stays valid when the path is replaced.
class MappedFile {
public:
  static Result<MappedFile> open(const std::string &path);
  ~MappedFile();
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte *>(data), size}; }

private:
  MappedFile(void *data, size_t size) : data(data), size(size) {}

  void *data;
  size_t size;
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
Status writeFileAtomic(const std::string &path, std::string_view content);

Status makeDirectories(const std::string &path);
Status removeTree(const std::string &path);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_FILE_H
