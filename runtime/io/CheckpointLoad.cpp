#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/base/JsonDifference.h"
#include "runtime/base/Text.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointManifest.h"
#include "runtime/io/Safetensors.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unordered_map>

namespace moec::rt {

namespace {

namespace fs = std::filesystem;

struct OpenShard {
  std::string path;
  UniqueFd fd;
  std::vector<SafetensorsEntry> entries;
};

struct OpenCheckpoint {
  CheckpointManifest manifest;
  std::vector<OpenShard> shards;
};

Result<OpenShard> openShard(const std::string &folder, const CheckpointShard &shard) {
  OpenShard open;
  open.path = folder + "/" + shard.file;
  open.fd = UniqueFd(::open(open.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (open.fd.get() < 0)
    return fileError("MOEC-C006", open.path, errno == ELOOP ? "follow a symbolic link as a shard" : "open the shard");
  struct stat info;
  if (::fstat(open.fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return Status::error("MOEC-C006", open.path, "the shard is not a regular file");
  if (static_cast<uint64_t>(info.st_size) != shard.size)
    return Status::error("MOEC-C007", open.path, "the shard has ", info.st_size, " bytes, the manifest says ",
                         shard.size);
  return open;
}

Status checkHash(const OpenShard &open, const CheckpointShard &shard) {
  Hasher hasher;
  std::vector<std::byte> chunk(kCheckpointChunk);
  for (uint64_t at = 0; at < shard.size;) {
    size_t part = std::min<uint64_t>(shard.size - at, chunk.size());
    MOEC_RETURN_IF_ERROR(readAt(open.fd.get(), at, chunk.data(), part, open.path));
    hasher.update(chunk.data(), part);
    at += part;
  }
  std::string found = toHex(hasher.digest());
  if (found != shard.hash)
    return Status::error("MOEC-C008", open.path, "the shard is damaged: its hash is ", found, ", the manifest says ",
                         shard.hash);
  return Status::ok();
}

/// The manifest's tensor map and the shards' headers must say the same.
Status checkTensorMap(const OpenCheckpoint &checkpoint, const std::string &folder) {
  std::unordered_map<std::string, size_t> mapped;
  for (const CheckpointManifest::Tensor &tensor : checkpoint.manifest.tensors)
    mapped.emplace(tensor.name, tensor.shard);
  size_t found = 0;
  for (size_t i = 0; i < checkpoint.shards.size(); ++i)
    for (const SafetensorsEntry &entry : checkpoint.shards[i].entries) {
      auto it = mapped.find(entry.name);
      if (it == mapped.end() || it->second != i)
        return Status::error("MOEC-C014", checkpoint.shards[i].path, "holds tensor \"", entry.name,
                             "\", which the manifest ", it == mapped.end() ? "does not list" : "puts elsewhere");
      ++found;
    }
  if (found != mapped.size())
    return Status::error("MOEC-C014", folder, "the manifest lists ", mapped.size(), " tensors, the shards hold ",
                         found);
  return Status::ok();
}

Status checkNothingElse(const CheckpointManifest &manifest, const std::string &folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    bool listed =
        name == kCheckpointManifest || std::any_of(manifest.shards.begin(), manifest.shards.end(),
                                                   [&](const CheckpointShard &shard) { return shard.file == name; });
    if (!listed)
      return Status::error("MOEC-C017", folder + "/" + name, "this file does not belong to the checkpoint");
  }
  if (error)
    return Status::error("MOEC-C001", folder, "cannot list the folder: ", error.message());
  return Status::ok();
}

/// The floating-point type for a type of safetensors; nothing if its values are always finite.
std::optional<DType> floatType(const std::string &name) {
  for (DType type : {DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3})
    if (dtypeInfo(type).safetensors == name)
      return type;
  return std::nullopt;
}

/// No run can go on from a checkpoint with NaN or infinities, so it does not verify.
Status checkFinite(const OpenCheckpoint &checkpoint) {
  std::vector<std::byte> chunk(kCheckpointChunk);
  for (const OpenShard &shard : checkpoint.shards)
    for (const SafetensorsEntry &entry : shard.entries) {
      std::optional<DType> type = floatType(entry.dtype);
      uint64_t bad = 0, size = entry.end - entry.begin;
      for (uint64_t done = 0; type && done < size;) {
        size_t part = std::min<uint64_t>(size - done, chunk.size());
        MOEC_RETURN_IF_ERROR(readAt(shard.fd.get(), entry.begin + done, chunk.data(), part, shard.path));
        bad += countNotFinite(*type, std::span(chunk).first(part));
        done += part;
      }
      if (type)
        MOEC_RETURN_IF_ERROR(checkAllFinite(entry.name, bad, size / dtypeInfo(*type).bytes));
    }
  return Status::ok();
}

Result<OpenCheckpoint> openCheckpoint(const std::string &folder) {
  OpenCheckpoint checkpoint;
  MOEC_ASSIGN_OR_RETURN(checkpoint.manifest, readCheckpointManifest(folder));
  MOEC_RETURN_IF_ERROR(checkNothingElse(checkpoint.manifest, folder));
  for (const CheckpointShard &shard : checkpoint.manifest.shards) {
    MOEC_ASSIGN_OR_RETURN(OpenShard open, openShard(folder, shard));
    MOEC_RETURN_IF_ERROR(checkHash(open, shard));
    MOEC_ASSIGN_OR_RETURN(open.entries, readSafetensorsHeader(open.fd.get(), shard.size, open.path));
    checkpoint.shards.push_back(std::move(open));
  }
  MOEC_RETURN_IF_ERROR(checkTensorMap(checkpoint, folder));
  if (Status finite = checkFinite(checkpoint); !finite.isOk())
    return finite.recoded(finite.code(), "cannot use the checkpoint " + folder + ": ");
  return checkpoint;
}

/// The place of a tensor of the plan in the checkpoint.
struct Match {
  const SavedTensor *tensor;
  const OpenShard *shard;
  const SafetensorsEntry *entry;
};

Result<std::vector<Match>> matchTensors(const std::vector<SavedTensor> &tensors, const OpenCheckpoint &checkpoint,
                                        const std::string &folder) {
  std::unordered_map<std::string, const SavedTensor *> wanted;
  for (const SavedTensor &tensor : tensors)
    wanted.emplace(tensor.name, &tensor);
  std::vector<Match> matches;
  for (const OpenShard &shard : checkpoint.shards)
    for (const SafetensorsEntry &entry : shard.entries) {
      auto it = wanted.find(entry.name);
      if (it == wanted.end())
        return Status::error("MOEC-C012", shard.path, "tensor \"", entry.name, "\" is not in the plan");
      const SavedTensor &tensor = *it->second;
      if (entry.dtype != dtypeInfo(tensor.dtype).safetensors || entry.shape != tensor.shape)
        return Status::error("MOEC-C013", shard.path, "tensor \"", entry.name, "\" is ", entry.dtype, " ",
                             formatShape(entry.shape), ", the plan has ", dtypeInfo(tensor.dtype).safetensors, " ",
                             formatShape(tensor.shape));
      matches.push_back({&tensor, &shard, &entry});
      wanted.erase(it);
    }
  for (const SavedTensor &tensor : tensors)
    if (wanted.count(tensor.name))
      return Status::error("MOEC-C011", folder, "tensor \"", tensor.name, "\" is missing");
  return matches;
}

} // namespace

Result<CheckpointManifest> verifyCheckpoint(const std::string &path) {
  MOEC_ASSIGN_OR_RETURN(OpenCheckpoint checkpoint, openCheckpoint(path));
  return std::move(checkpoint.manifest);
}

/// The run folder around the checkpoint has its spec, unless the run has gone on with another spec since, or the
/// checkpoint was moved.
static Status otherSpec(const Plan &plan, const CheckpointManifest &manifest, const std::string &path) {
  constexpr uint64_t kMaxRunFile = 16 << 20;
  std::string difference;
  if (Result<std::string> text = readFile(path + "/../../run.json", kMaxRunFile); text.isOk())
    if (Result<Json> run = Json::parse(*text); run.isOk()) {
      const Json *hash = run->find("spec_hash"), *spec = run->find("spec");
      if (hash && spec && hash->asString() == manifest.specHash)
        difference = describeDifference(spec->dump(), plan.spec);
    }
  if (difference.empty())
    difference =
        "\n  its spec, " + manifest.specHash + ", is not in the run.json of its run; this plan's is " + plan.specHash;
  return Status::error("MOEC-C005", path, "the checkpoint, of \"", manifest.planName,
                       "\", is of another spec than the plan, of \"", plan.name, "\":", difference,
                       "\n  --allow-other-spec loads it anyway if the tensors fit");
}

Result<int64_t> loadCheckpoint(const Plan &plan, Device &device, const std::string &path, const LoadOptions &options) {
  MOEC_ASSIGN_OR_RETURN(OpenCheckpoint checkpoint, openCheckpoint(path));
  const CheckpointManifest &manifest = checkpoint.manifest;
  if (manifest.specHash != plan.specHash && !options.allowOtherSpec)
    return otherSpec(plan, manifest, path);
  std::vector<SavedTensor> tensors = checkpointTensors(plan);
  MOEC_ASSIGN_OR_RETURN(std::vector<Match> matches, matchTensors(tensors, checkpoint, path));

  std::vector<std::byte> chunk(kCheckpointChunk);
  for (const Match &match : matches) {
    // What this rank keeps of the tensor; both ends count from the first byte of the state.
    const SavedTensor &tensor = *match.tensor;
    uint64_t begin = tensor.begin, end = tensor.begin + tensor.bytes, target = tensor.offset;
    if (tensor.isInRuns()) {
      const PlanState &state = *tensor.state;
      uint64_t run = state.each ? state.copyBytes / state.runs : state.residentBytes();
      uint64_t first = plan.runOf(state, options.rank) * run + (state.each ? tensor.begin : 0);
      begin = std::max(begin, first);
      end = std::min(end, first + run);
      target += begin - std::min(begin, first);
    }
    for (uint64_t at = begin; at < end;) {
      size_t part = std::min<uint64_t>(end - at, chunk.size());
      MOEC_RETURN_IF_ERROR(readAt(match.shard->fd.get(), match.entry->begin + (at - tensor.begin), chunk.data(), part,
                                  match.shard->path));
      device.write(target + (at - begin), chunk.data(), part);
      at += part;
    }
  }
  MOEC_RETURN_IF_ERROR(device.finish());
  return manifest.step;
}

} // namespace moec::rt
