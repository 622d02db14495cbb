#include "runtime/io/CheckpointManifest.h"

#include "runtime/base/Fields.h"
#include "runtime/base/File.h"
#include "runtime/base/Hash.h"

#include <unordered_set>

namespace moec::rt {

static constexpr uint64_t kMaxManifestBytes = 256u << 20;

std::string checkpointManifestText(const CheckpointManifest &manifest) {
  Json shards = Json::array(), tensors = Json::object(), root = Json::object();
  for (const CheckpointShard &shard : manifest.shards) {
    Json row = Json::object();
    row.set("file", Json::string(shard.file));
    row.set("size", Json::integer(static_cast<int64_t>(shard.size)));
    row.set("hash", Json::string(shard.hash));
    shards.append(std::move(row));
  }
  for (const CheckpointManifest::Tensor &tensor : manifest.tensors) {
    Json row = Json::object();
    row.set("shard", Json::integer(static_cast<int64_t>(tensor.shard)));
    row.set("kind", Json::string(std::string(stateKindName(tensor.kind))));
    tensors.add(tensor.name, std::move(row));
  }
  root.set("format", Json::integer(kCheckpointFormat));
  root.set("step", Json::integer(manifest.step));
  root.set("plan", Json::string(manifest.planName));
  root.set("spec_hash", Json::string(manifest.specHash));
  root.set("shards", std::move(shards));
  root.set("tensors", std::move(tensors));
  if (manifest.data)
    root.set("data", manifest.data->toJson());
  root.set("self_hash", Json::string(hashHex(root.dump())));
  return root.dump(1) + "\n";
}

/// Whether it is a plain name in this folder, not a path to another place.
static bool isShardName(const std::string &name) {
  return !name.empty() && name.front() != '.' && name.ends_with(".safetensors") &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

static void readShards(Fields &root, CheckpointManifest &manifest) {
  std::unordered_set<std::string> files;
  const auto &items = root.array("shards").items();
  for (size_t i = 0; i < items.size() && !root.failed(); ++i) {
    Fields fields(items[i], "/shards/" + std::to_string(i), root.errors());
    CheckpointShard shard{fields.string("file"), fields.size("size"), fields.string("hash")};
    fields.finish();
    if (!files.insert(shard.file).second)
      root.errors().fail(fields.pointerTo("file"), "\"", shard.file, "\" is listed twice");
    manifest.shards.push_back(std::move(shard));
  }
}

static void readTensors(Fields &root, CheckpointManifest &manifest) {
  for (const Json::Member &member : root.object("tensors").members()) {
    if (root.failed())
      return;
    Fields fields(member.second, "/tensors/" + member.first, root.errors());
    CheckpointManifest::Tensor tensor;
    tensor.name = member.first;
    tensor.shard = fields.size("shard");
    std::string kind = fields.string("kind");
    fields.finish();
    if (tensor.shard >= manifest.shards.size())
      root.errors().fail(fields.pointerTo("shard"), "is ", tensor.shard, ", there are ", manifest.shards.size());
    std::optional<StateKind> known = stateKindFromName(kind);
    if (!known)
      root.errors().fail(fields.pointerTo("kind"), "unknown kind \"", kind, "\"");
    tensor.kind = known.value_or(StateKind::Parameter);
    manifest.tensors.push_back(std::move(tensor));
  }
}

static Status checkSelfHash(Json json, const std::string &path) {
  const Json *stored = json.find("self_hash");
  std::string expected = stored ? stored->asString() : "";
  json.remove("self_hash");
  std::string found = hashHex(json.dump());
  if (found != expected)
    return Status::error("MOEC-C003", path, "manifest is damaged: its hash is ", found, ", it says ", expected);
  return Status::ok();
}

Result<CheckpointManifest> readCheckpointManifest(const std::string &folder) {
  std::string path = folder + "/" + kCheckpointManifest;
  Result<std::string> text = readFile(path, kMaxManifestBytes);
  if (!text.isOk())
    return text.status().recoded("MOEC-C001", "not a checkpoint: ");
  Result<Json> json = Json::parse(*text);
  if (!json.isOk() || !json->isObject())
    return Status::error("MOEC-C002", path, "manifest: ", json.isOk() ? "not an object" : json.status().message());
  const Json *format = json->find("format");
  int64_t version = -1;
  if (!format || !format->asInteger(version) || version < 1 || version > kCheckpointFormat)
    return Status::error("MOEC-C004", path, "checkpoint format ", format ? format->dump() : "is missing",
                         ", this runtime reads formats 1 to ", kCheckpointFormat);
  MOEC_RETURN_IF_ERROR(checkSelfHash(*json, path));

  FieldErrors errors{"MOEC-C002", path, Status::ok()};
  Fields root(*json, "", errors);
  CheckpointManifest manifest;
  root.integer("format", 1, kCheckpointFormat);
  root.string("self_hash");
  manifest.step = root.integer("step", 0);
  manifest.planName = root.string("plan");
  manifest.specHash = root.string("spec_hash");
  readShards(root, manifest);
  readTensors(root, manifest);
  if (const Json *data = root.optional("data")) {
    Fields fields(*data, "/data", errors);
    manifest.data = DataRecord::fromJson(fields);
  }
  root.finish();
  MOEC_RETURN_IF_ERROR(errors.first);
  for (const CheckpointShard &shard : manifest.shards)
    if (!isShardName(shard.file))
      return Status::error("MOEC-C006", path, "\"", shard.file, "\" is not the name of a shard in this folder");
  return manifest;
}

} // namespace moec::rt
