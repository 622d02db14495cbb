#include "compiler/Target/Kernel/KernelCache.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Chrono.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include <cstdlib>

using llvm::StringRef;
namespace fs = llvm::sys::fs;

namespace moec::kernel {

namespace {

// An entry has this line, then five 64-bit little-endian numbers (the hash of everything after the hash, and the sizes
// of the key, the text, the code and the log), then these four parts. The entry holds the full key, so a collision of
// file names is not a hit.
constexpr StringRef kMagic = "moec kernel 1\n";
constexpr StringRef kSuffix = ".kernel";
constexpr size_t kSections = 4;
constexpr size_t kHeaderBytes = kMagic.size() + 8 * (1 + kSections);

/// The user may choose a folder that also holds other files.
bool isEntry(StringRef name) {
  return name.consume_back(kSuffix) && name.size() == 32 && llvm::all_of(name, llvm::isHexDigit);
}

std::string environment(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

} // namespace

KernelCache::KernelCache(std::string folder, uint64_t maxBytes) : folder(std::move(folder)), maxBytes(maxBytes) {}

std::string KernelCache::defaultFolder() {
  if (std::string named = environment("MOEC_CACHE"); !named.empty())
    return named;
  if (std::string caches = environment("XDG_CACHE_HOME"); !caches.empty())
    return caches + "/moec";
  if (std::string home = environment("HOME"); !home.empty())
    return home + "/.cache/moec";
  return "";
}

std::string KernelCache::pathOf(StringRef key) const {
  llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::arrayRefFromStringRef(key));
  std::string name;
  llvm::raw_string_ostream stream(name);
  stream << llvm::format_hex_no_prefix(hash.high64, 16) << llvm::format_hex_no_prefix(hash.low64, 16);
  return folder + "/" + name + kSuffix.str();
}

std::optional<CompiledKernel> KernelCache::find(StringRef key) const {
  if (folder.empty())
    return std::nullopt;
  std::string path = pathOf(key);
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false,
                                          /*IsVolatile=*/true); // read, not mapped: others may write here
  if (!file)
    return std::nullopt;
  StringRef bytes = (*file)->getBuffer();
  if (bytes.size() < kHeaderBytes || !bytes.starts_with(kMagic))
    return std::nullopt;
  uint64_t numbers[1 + kSections];
  for (size_t i = 0; i < std::size(numbers); ++i)
    numbers[i] = llvm::support::endian::read64le(bytes.data() + kMagic.size() + 8 * i);
  StringRef rest = bytes.drop_front(kHeaderBytes), sections[kSections];
  if (llvm::xxh3_64bits(bytes.drop_front(kMagic.size() + 8)) != numbers[0])
    return std::nullopt;
  for (size_t i = 0; i < kSections; ++i) {
    if (numbers[1 + i] > rest.size())
      return std::nullopt;
    sections[i] = rest.take_front(numbers[1 + i]);
    rest = rest.drop_front(numbers[1 + i]);
  }
  if (sections[0] != key)
    return std::nullopt;
  // Remembers the use, for trim. A folder that cannot be written keeps the old time.
  int descriptor;
  if (!fs::openFileForWrite(path, descriptor, fs::CD_OpenExisting, fs::OF_Append)) {
    (void)fs::setLastAccessAndModificationTime(descriptor, std::chrono::system_clock::now());
    fs::file_t handle = fs::convertFDToNativeFile(descriptor);
    (void)fs::closeFile(handle);
  }
  return CompiledKernel{sections[1].str(), std::vector<char>(sections[2].begin(), sections[2].end()),
                        sections[3].str()};
}

void KernelCache::store(StringRef key, const CompiledKernel &kernel) const {
  if (folder.empty() || fs::create_directories(folder))
    return;
  StringRef sections[kSections] = {key, kernel.text, StringRef(kernel.code.data(), kernel.code.size()), kernel.log};
  std::string body;
  auto append = [](std::string &text, uint64_t value) {
    char bytes[8];
    llvm::support::endian::write64le(bytes, value);
    text.append(bytes, sizeof(bytes));
  };
  for (StringRef section : sections)
    append(body, section.size());
  for (StringRef section : sections)
    body += section;
  std::string head = kMagic.str();
  append(head, llvm::xxh3_64bits(StringRef(body)));
  // The entry is written to a temporary file and renamed, so a reader sees a whole entry or none.
  llvm::Expected<fs::TempFile> file = fs::TempFile::create(folder + "/new-%%%%%%%%");
  if (!file)
    return llvm::consumeError(file.takeError());
  bool failed = false;
  {
    llvm::raw_fd_ostream stream(file->FD, /*shouldClose=*/false);
    stream << head << body;
    stream.flush();
    failed = stream.has_error();
    stream.clear_error();
  }
  llvm::consumeError(failed ? file->discard() : file->keep(pathOf(key)));
}

void KernelCache::trim() const {
  struct Entry {
    std::string path;
    uint64_t bytes;
    llvm::sys::TimePoint<> used;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    fs::file_status status;
    if (!isEntry(llvm::sys::path::filename(at->path())) || fs::status(at->path(), status))
      continue;
    entries.push_back({at->path(), status.getSize(), status.getLastModificationTime()});
    total += status.getSize();
  }
  llvm::sort(entries, [](const Entry &a, const Entry &b) { return a.used < b.used; });
  for (const Entry &entry : entries) {
    if (total <= maxBytes)
      break;
    if (!fs::remove(entry.path))
      total -= entry.bytes;
  }
}

} // namespace moec::kernel
