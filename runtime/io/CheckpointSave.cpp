#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/base/Json.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointManifest.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/Safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>

namespace moec::rt {

namespace {

/// Hashes the bytes before they are written, not the file afterwards, so damage during writing shows when loading.
class ShardWriter {
public:
  static Result<ShardWriter> create(const std::string &path) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd.get() < 0)
      return fileError("MOEC-C015", path, "create");
    return ShardWriter(std::move(fd), path);
  }

  Status append(const void *data, size_t bytes) {
    hasher.update(data, bytes);
    size += bytes;
    return writeAll(fd.get(), data, bytes, path);
  }

  Status close(CheckpointShard &shard) {
    shard.size = size;
    shard.hash = toHex(hasher.digest());
    return syncFile(fd.get(), path);
  }

private:
  ShardWriter(UniqueFd fd, std::string path) : fd(std::move(fd)), path(std::move(path)) {}

  UniqueFd fd;
  std::string path;
  Hasher hasher;
  uint64_t size = 0;
};

class CheckpointWriter {
public:
  CheckpointWriter(const Plan &plan, Device &device, const std::string &folder, const SaveOptions &options)
      : plan(plan), device(device), folder(folder), options(options), tensors(checkpointTensors(plan)) {}

  Status run(int64_t step) {
    MOEC_RETURN_IF_ERROR(makeDirectories(folder));
    stage(SaveStage::Begun);
    manifest.step = step;
    manifest.planName = plan.name;
    manifest.specHash = plan.specHash;
    manifest.data = options.data;
    std::vector<size_t> ends = splitShards();
    size_t begin = 0;
    for (size_t i = 0; i < ends.size(); begin = ends[i++]) {
      MOEC_RETURN_IF_ERROR(writeShard(begin, ends[i], i, ends.size()));
      stage(SaveStage::ShardWritten);
    }
    MOEC_RETURN_IF_ERROR(syncDirectory(folder));
    stage(SaveStage::ShardsWritten);
    MOEC_RETURN_IF_ERROR(writeFileAtomic(folder + "/" + kCheckpointManifest, checkpointManifestText(manifest)));
    stage(SaveStage::ManifestWritten);
    return Status::ok();
  }

  void stage(SaveStage which) {
    if (options.onStage)
      options.onStage(which);
  }

private:
  /// Index after the last tensor of each shard.
  std::vector<size_t> splitShards() {
    std::vector<size_t> ends;
    uint64_t bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (bytes > 0 && bytes + tensors[i].bytes > options.shardBytes) {
        ends.push_back(i);
        bytes = 0;
      }
      bytes += tensors[i].bytes;
    }
    ends.push_back(tensors.size());
    return ends;
  }

  Status writeShard(size_t begin, size_t end, size_t index, size_t total) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, total);
    CheckpointShard shard{name, 0, {}};
    std::vector<SafetensorsEntry> entries;
    for (size_t i = begin; i < end; ++i) {
      entries.push_back(
          {tensors[i].name, std::string(dtypeInfo(tensors[i].dtype).safetensors), tensors[i].shape, 0, 0});
      manifest.tensors.push_back({tensors[i].name, index, tensors[i].kind});
    }
    MOEC_ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::create(folder + "/" + name));
    std::string header = safetensorsHeader(entries);
    MOEC_RETURN_IF_ERROR(writer.append(header.data(), header.size()));
    for (size_t i = begin; i < end; ++i)
      MOEC_RETURN_IF_ERROR(writeTensor(writer, tensors[i]));
    MOEC_RETURN_IF_ERROR(writer.close(shard));
    manifest.shards.push_back(std::move(shard));
    return Status::ok();
  }

  Status writeTensor(ShardWriter &writer, const SavedTensor &tensor) {
    uint64_t bad = 0;
    if (tensor.isInRuns() && assembledOf != tensor.state) {
      MOEC_ASSIGN_OR_RETURN(assembled, options.assemble(*tensor.state));
      assembledOf = tensor.state;
    }
    for (uint64_t done = 0; done < tensor.bytes;) {
      uint64_t part = std::min<uint64_t>(tensor.bytes - done, kCheckpointChunk);
      chunk.resize(part);
      if (tensor.isInRuns())
        std::memcpy(chunk.data(), assembled.data() + tensor.begin + done, part);
      else
        device.read(tensor.offset + done, chunk.data(), part);
      MOEC_RETURN_IF_ERROR(device.finish()); // data read from a failed device must never be kept
      MOEC_RETURN_IF_ERROR(writer.append(chunk.data(), part));
      bad += countNotFinite(tensor.dtype, chunk);
      done += part;
    }
    return checkAllFinite(tensor.name, bad, tensor.bytes / dtypeInfo(tensor.dtype).bytes);
  }

  const Plan &plan;
  Device &device;
  std::string folder;
  const SaveOptions &options;
  std::vector<SavedTensor> tensors;
  std::vector<std::byte> chunk;
  std::span<const std::byte> assembled; // of one state, from all ranks
  const PlanState *assembledOf = nullptr;
  CheckpointManifest manifest;
};

/// A checkpoint of the same step may exist already (a save on a signal just after a planned one). The two folders are
/// then exchanged in one step, so that one of them exists at every moment.
Status putInPlace(const std::string &directory, int64_t step) {
  std::string temp = directory + "/" + checkpointTempName(step), final = directory + "/" + checkpointName(step);
  auto removeOld = [&](const std::string &folder) { return removeCheckpoint(directory, folder, checkpointName(step)); };
  if (::renameat2(AT_FDCWD, temp.c_str(), AT_FDCWD, final.c_str(), RENAME_NOREPLACE) == 0)
    return Status::ok();
  if (errno == EEXIST && ::renameat2(AT_FDCWD, temp.c_str(), AT_FDCWD, final.c_str(), RENAME_EXCHANGE) == 0)
    return removeOld(checkpointTempName(step));
  if (errno != EINVAL)
    return fileError("MOEC-C015", final, "rename into place");
  // On a file system without these flags, the old checkpoint is removed first.
  MOEC_RETURN_IF_ERROR(removeOld(checkpointName(step)));
  if (::rename(temp.c_str(), final.c_str()) != 0)
    return fileError("MOEC-C015", final, "rename into place");
  return Status::ok();
}

} // namespace

Status assembleStates(const Plan &plan, const SaveOptions &options) {
  const PlanState *last = nullptr;
  for (const SavedTensor &tensor : checkpointTensors(plan))
    if (tensor.isInRuns() && tensor.state != last) {
      last = tensor.state;
      MOEC_RETURN_IF_ERROR(options.assemble(*tensor.state).status());
    }
  return Status::ok();
}

Status saveCheckpoint(const Plan &plan, Device &device, const std::string &directory, int64_t step,
                      const SaveOptions &options) {
  MOEC_RETURN_IF_ERROR(makeDirectories(directory));
  std::string temp = directory + "/" + checkpointTempName(step);
  MOEC_RETURN_IF_ERROR(removeTree(temp));
  CheckpointWriter writer(plan, device, temp, options);
  Status status = writer.run(step);
  if (status.isOk())
    status = putInPlace(directory, step);
  if (!status.isOk()) {
    (void)removeTree(temp);
    return status.recoded(status.code() == "MOEC-C018" ? status.code() : "MOEC-C015",
                          "cannot save the checkpoint of step " + std::to_string(step) + ": ");
  }
  writer.stage(SaveStage::Renamed);
  Status synced = syncDirectory(directory);
  if (!synced.isOk())
    return synced.recoded("MOEC-C015", "cannot save the checkpoint of step " + std::to_string(step) + ": ");
  writer.stage(SaveStage::Synced);
  MOEC_RETURN_IF_ERROR(pruneCheckpoints(directory, plan.keepLast));
  writer.stage(SaveStage::Done);
  return Status::ok();
}

} // namespace moec::rt
