#include "runtime/base/File.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace moec::rt {

namespace fs = std::filesystem;

UniqueFd::~UniqueFd() {
  if (fd >= 0)
    ::close(fd);
}

UniqueFd &UniqueFd::operator=(UniqueFd &&other) noexcept {
  if (this != &other) {
    if (fd >= 0)
      ::close(fd);
    fd = other.release();
  }
  return *this;
}

int UniqueFd::release() { return std::exchange(fd, -1); }

Status fileError(const std::string &code, const std::string &path, const std::string &what) {
  return Status::error(code, path, "cannot ", what, ": ", std::strerror(errno));
}

Result<InputFile> InputFile::open(const std::string &path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it fails below.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0)
    return fileError("MOEC-I001", path, "open");
  struct stat info;
  if (::fstat(fd.get(), &info) != 0)
    return fileError("MOEC-I001", path, "stat");
  if (!S_ISREG(info.st_mode))
    return Status::error("MOEC-I001", path, "not a regular file");
  return InputFile(std::move(fd), static_cast<uint64_t>(info.st_size), path);
}

Status InputFile::read(uint64_t offset, std::span<std::byte> into) const {
  return readAt(fd.get(), offset, into.data(), into.size(), name);
}

Status writeAll(int fd, const void *data, size_t bytes, const std::string &path) {
  const char *next = static_cast<const char *>(data);
  while (bytes > 0) {
    ssize_t written = ::write(fd, next, bytes);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fileError("MOEC-I002", path, "write");
    next += written;
    bytes -= static_cast<size_t>(written);
  }
  return Status::ok();
}

Status readAt(int fd, uint64_t offset, void *data, size_t bytes, const std::string &path) {
  char *next = static_cast<char *>(data);
  while (bytes > 0) {
    ssize_t got = ::pread(fd, next, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return fileError("MOEC-I001", path, "read");
    if (got == 0)
      return Status::error("MOEC-I001", path, "file ends early, at byte ", offset);
    next += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  return Status::ok();
}

Status syncFile(int fd, const std::string &path) {
  // It is never retried: after a failed fsync the kernel may have dropped the pages, and a second call would falsely
  // succeed.
  if (::fsync(fd) != 0)
    return fileError("MOEC-I002", path, "sync");
  return Status::ok();
}

Status syncDirectory(const std::string &path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, "open directory");
  return syncFile(fd.get(), path);
}

Result<std::string> readFile(const std::string &path, uint64_t maxBytes) {
  MOEC_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  uint64_t size = file.size();
  if (size > maxBytes)
    return Status::error("MOEC-I001", path, "file has ", size, " bytes, more than the ", maxBytes, " expected at most");
  std::string content(size, '\0');
  MOEC_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(content))));
  return content;
}

static Status writeOpened(const std::string &path, std::string_view content, int flags, bool sync) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, flags ? "create" : "open");
  MOEC_RETURN_IF_ERROR(writeAll(fd.get(), content.data(), content.size(), path));
  return sync ? syncFile(fd.get(), path) : Status::ok();
}

Status writeFileAtomic(const std::string &path, std::string_view content) {
  std::error_code error;
  fs::path target(path);
  fs::file_status found = fs::status(target, error);
  if (fs::is_directory(found))
    return Status::error("MOEC-I002", path, "this is a directory; name a file");
  if (fs::exists(found) && !fs::is_regular_file(found))
    return writeOpened(path, content, 0, /*sync=*/false);
  if (fs::is_symlink(fs::symlink_status(target, error)))
    if (fs::path real = fs::weakly_canonical(target, error); !error)
      target = real;
  std::string directory = target.has_parent_path() ? target.parent_path().string() : ".";
  std::string temp = directory + "/." + target.filename().string() + ".tmp-" + std::to_string(::getpid());
  Status status = writeOpened(temp, content, O_CREAT | O_TRUNC, /*sync=*/true);
  if (status.isOk() && ::rename(temp.c_str(), target.c_str()) != 0)
    status = fileError("MOEC-I002", path, "rename into place");
  if (!status.isOk()) {
    ::unlink(temp.c_str());
    return status;
  }
  return syncDirectory(directory);
}

Status checkOutput(const std::string &path, const std::string &what, std::string_view beginning) {
  std::error_code error;
  fs::path parent = fs::path(path).parent_path();
  if (!parent.empty() && !fs::is_directory(parent, error))
    return Status::error("MOEC-R005", path, "there is no folder ", parent.string(), " to write ", what, " to");
  fs::file_status found = fs::status(path, error);
  if (fs::is_directory(found))
    return Status::error("MOEC-R005", path, "this is a folder; name a file for ", what);
  if (fs::path(path).filename() == ".lock")
    return Status::error("MOEC-R005", path, "this is the name of the lock of a run folder; name another file");
  if (!fs::is_regular_file(found))
    return Status::ok();
  MOEC_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  std::string begins(std::min<uint64_t>(file.size(), beginning.size()), '\0');
  MOEC_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(begins))));
  if (file.size() == 0 || begins == beginning)
    return Status::ok();
  return Status::error("MOEC-R005", path, "this file is not ", what, ", and ", what,
                       " would take its place; name another file");
}

bool isSameFile(const std::string &a, const std::string &b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

Status makeDirectories(const std::string &path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    return Status::error("MOEC-I003", path, "cannot make the directory: ", error.message());
  return Status::ok();
}

Status removeTree(const std::string &path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error)
    return Status::error("MOEC-I003", path, "cannot remove: ", error.message());
  return Status::ok();
}

} // namespace moec::rt
