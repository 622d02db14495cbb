#include "runtime/io/DataFiles.h"

#include "runtime/base/Glob.h"
#include "runtime/base/Hash.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <sys/resource.h>
#include <sys/stat.h>

namespace moec::rt {

static constexpr uint64_t kPiece = 1u << 20, kMostPieces = 1024;

static Status readPart(const InputFile &file, uint64_t offset, std::span<std::byte> into) {
  Status status = file.read(offset, into);
  if (status.isOk())
    return status;
  return Status::error("MOEC-D005", file.path(), "the file had ", file.size(), " bytes when it was opened, now ",
                       into.size(), " bytes at offset ", offset, " cannot be read (", status.message(),
                       "); data must stay as they are while they are in use");
}

/// Every file stays open. If the soft limit of open files is too low, this raises it.
static void allowFiles(size_t count) {
  constexpr size_t kOthers = 256;
  struct rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count + kOthers)
    return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, count + kOthers);
  (void)::setrlimit(RLIMIT_NOFILE, &limit); // if this fails, opening a file reports it
}

Result<DataFiles> DataFiles::open(const std::vector<PlanDataSet> &sets, uint64_t seqLen, const std::string &directory) {
  DataFiles files(seqLen);
  for (const PlanDataSet &set : sets) {
    Source source{set.name, set.weight, 0, {}};
    if (set.weight > 0)
      MOEC_RETURN_IF_ERROR(files.openSource(set, directory, source));
    files.sources.push_back(std::move(source));
  }
  return files;
}

Status DataFiles::openSource(const PlanDataSet &set, const std::string &directory, Source &source) const {
  std::vector<std::string> paths = {(std::filesystem::path(directory) / set.path).string()};
  auto where = [&] {
    return "; the spec names it \"" + set.path + "\" relative to \"" + directory + "\", --data-dir looks elsewhere";
  };
  if (isPattern(set.path)) {
    Result<std::vector<std::string>> found = matchFiles(directory, set.path);
    if (!found.isOk())
      return found.status().recoded("MOEC-D001", "data set \"" + set.name + "\": ");
    if (found->empty())
      return Status::error("MOEC-D008", paths[0], "data set \"", set.name, "\": no file matches", where());
    paths = std::move(found).value();
  }
  size_t before = 0;
  for (const Source &other : sources)
    before += other.files.size();
  allowFiles(before + paths.size());
  for (const std::string &path : paths) {
    Result<InputFile> file = InputFile::open(path);
    if (!file.isOk())
      return Status::error("MOEC-D001", path, "data set \"", set.name, "\": ", file.status().message(), where());
    if (file->size() < seqLen + 1)
      return Status::error("MOEC-D002", path, "data set \"", set.name, "\" has ", file->size(),
                           " bytes in this file, one window needs ", seqLen + 1,
                           "; use a longer file or a smaller seq_len",
                           isPattern(set.path) ? ", or a pattern that leaves this one out" : "");
    uint64_t windows = (file->size() - 1) / seqLen;
    source.files.push_back({std::move(file).value(), source.windows});
    source.windows += windows;
  }
  return refuseTwice(source);
}

/// A file under two names would be read twice in a pass, or counted twice in an evaluation.
Status DataFiles::refuseTwice(const Source &source) {
  std::map<std::pair<dev_t, ino_t>, std::string> found;
  for (const File &file : source.files) {
    struct stat info;
    if (::stat(file.file.path().c_str(), &info) != 0)
      return fileError("MOEC-D001", file.file.path(), "stat");
    auto [other, isNew] = found.try_emplace({info.st_dev, info.st_ino}, file.file.path());
    if (!isNew)
      return Status::error("MOEC-D006", file.file.path(), "data set \"", source.name, "\": this is the same file as \"",
                           other->second, "\", and a pass would read it twice; use a pattern that matches one of them");
  }
  return Status::ok();
}

std::vector<OrderedSource> DataFiles::ordered() const {
  std::vector<OrderedSource> order;
  for (const Source &source : sources)
    order.push_back({source.windows, source.weight, static_cast<uint32_t>(order.size()), 0});
  return order;
}

const DataFiles::File &DataFiles::fileOf(Sample sample) const {
  const std::vector<File> &files = sources[sample.source].files;
  auto after = std::upper_bound(files.begin(), files.end(), sample.window,
                                [](uint64_t window, const File &file) { return window < file.firstWindow; });
  return *std::prev(after);
}

WindowPlace DataFiles::place(Sample sample) const {
  const File &file = fileOf(sample);
  uint64_t window = sample.window - file.firstWindow;
  return {sources[sample.source].name, file.file.path(), window, window * seqLen};
}

Status DataFiles::read(Sample sample, std::span<std::byte> into) const {
  const File &file = fileOf(sample);
  return readPart(file.file, (sample.window - file.firstWindow) * seqLen, into);
}

Result<uint64_t> DataFiles::countBytes(size_t source, uint64_t most, std::span<uint64_t> counts) const {
  uint64_t counted = 0;
  std::vector<std::byte> part;
  for (const File &file : sources[source].files)
    for (uint64_t at = 0; at < file.file.size() && counted < most; at += part.size(), counted += part.size()) {
      part.resize(std::min({file.file.size() - at, most - counted, kPiece}));
      MOEC_RETURN_IF_ERROR(readPart(file.file, at, part));
      for (std::byte byte : part)
        ++counts[std::to_integer<size_t>(byte)];
    }
  return counted;
}

static Result<FileIdentity> identifyFile(const InputFile &file) {
  Hasher hasher;
  std::vector<std::byte> part;
  uint64_t size = file.size(), pieces = (size + kPiece - 1) / kPiece;
  bool whole = pieces <= kMostPieces;
  for (uint64_t i = 0; i < std::min(pieces, kMostPieces); ++i) {
    // In 128 bits, since the product of a size and a number of pieces may not fit 64.
    auto spread = static_cast<unsigned __int128>(size - std::min(size, kPiece)) * i / (kMostPieces - 1);
    uint64_t at = whole ? i * kPiece : static_cast<uint64_t>(spread);
    part.resize(std::min(kPiece, size - at));
    MOEC_RETURN_IF_ERROR(readPart(file, at, part));
    hasher.update(part.data(), part.size());
  }
  return FileIdentity{file.path(), size, toHex(hasher.digest())};
}

Result<std::vector<std::vector<FileIdentity>>> DataFiles::identify() const {
  std::vector<std::vector<FileIdentity>> all;
  for (const Source &source : sources) {
    all.emplace_back();
    for (const File &file : source.files) {
      MOEC_ASSIGN_OR_RETURN(FileIdentity identity, identifyFile(file.file));
      all.back().push_back(std::move(identity));
    }
  }
  return all;
}

} // namespace moec::rt
