#include "runtime/base/File.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
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

namespace {
struct OpenFile {
  UniqueFd fd;
  uint64_t bytes;
};
} // namespace

static Result<OpenFile> openRegular(const std::string &path) {
  // O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0)
    return fileError("MOEC-I001", path, "open");
  struct stat info;
  if (::fstat(fd.get(), &info) != 0)
    return fileError("MOEC-I001", path, "stat");
  if (!S_ISREG(info.st_mode))
    return Status::error("MOEC-I001", path, "not a regular file");
  return OpenFile{std::move(fd), static_cast<uint64_t>(info.st_size)};
}

Result<MappedFile> MappedFile::open(const std::string &path) {
  MOEC_ASSIGN_OR_RETURN(OpenFile file, openRegular(path));
  size_t size = static_cast<size_t>(file.bytes);
  if (size == 0)
    return MappedFile(nullptr, 0);
  void *data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (data == MAP_FAILED)
    return fileError("MOEC-I001", path, "map");
  return MappedFile(data, size);
}

MappedFile::~MappedFile() {
  if (data)
    ::munmap(data, size);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : data(std::exchange(other.data, nullptr)), size(std::exchange(other.size, 0)) {}

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
  // Never retried: after a failed fsync the kernel may have dropped the pages, and a second call would lie.
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
  MOEC_ASSIGN_OR_RETURN(OpenFile file, openRegular(path));
  uint64_t size = file.bytes;
  if (size > maxBytes)
    return Status::error("MOEC-I001", path, "file has ", size, " bytes, more than the ", maxBytes, " expected at most");
  std::string content(size, '\0');
  MOEC_RETURN_IF_ERROR(readAt(file.fd.get(), 0, content.data(), content.size(), path));
  return content;
}

static Status writeAndSync(const std::string &path, std::string_view content) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, "create");
  MOEC_RETURN_IF_ERROR(writeAll(fd.get(), content.data(), content.size(), path));
  return syncFile(fd.get(), path);
}

Status writeFileAtomic(const std::string &path, std::string_view content) {
  fs::path target(path);
  std::string directory = target.has_parent_path() ? target.parent_path().string() : ".";
  std::string temp = directory + "/." + target.filename().string() + ".tmp-" + std::to_string(::getpid());
  Status status = writeAndSync(temp, content);
  if (status.isOk() && ::rename(temp.c_str(), path.c_str()) != 0)
    status = fileError("MOEC-I002", path, "rename into place");
  if (!status.isOk()) {
    ::unlink(temp.c_str());
    return status;
  }
  return syncDirectory(directory);
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
