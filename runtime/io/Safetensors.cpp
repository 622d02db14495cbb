#include "runtime/io/Safetensors.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/Fields.h"
#include "runtime/base/File.h"

#include <algorithm>
#include <cstring>

namespace moec::rt {

static constexpr uint64_t kLengthBytes = 8;
static constexpr uint64_t kMaxHeaderBytes = 100'000'000; // the format's own cap
static constexpr size_t kMaxNameBytes = 1024;

struct ElementType {
  std::string_view name;
  uint64_t bits;
};

static constexpr ElementType kElementTypes[] = {
    {"BOOL", 8},  {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},
    {"BF16", 16}, {"I32", 32}, {"U32", 32}, {"F32", 32},    {"C64", 64},    {"F64", 64}, {"I64", 64}, {"U64", 64},
};

/// 0 for a type that this reader does not know.
static uint64_t elementBytes(std::string_view dtype) {
  for (const ElementType &type : kElementTypes)
    if (type.name == dtype)
      return type.bits / 8;
  return 0;
}

std::string safetensorsHeader(const std::vector<SafetensorsEntry> &entries) {
  Json header = Json::object();
  Json metadata = Json::object();
  metadata.set("format", Json::string("pt")); // other loaders require it
  header.set("__metadata__", std::move(metadata));
  uint64_t at = 0;
  for (const SafetensorsEntry &entry : entries) {
    uint64_t bytes = checkedBytes(entry.shape, elementBytes(entry.dtype)).value_or(0);
    Json row = Json::object(), shape = Json::array(), range = Json::array();
    for (uint64_t dim : entry.shape)
      shape.append(Json::integer(static_cast<int64_t>(dim)));
    range.append(Json::integer(static_cast<int64_t>(at)));
    range.append(Json::integer(static_cast<int64_t>(at += bytes)));
    row.set("dtype", Json::string(entry.dtype));
    row.set("shape", std::move(shape));
    row.set("data_offsets", std::move(range));
    header.add(entry.name, std::move(row));
  }
  std::string text = header.dump();
  text.resize(alignUp(text.size(), 8), ' ');
  uint64_t length = text.size();
  std::string result(kLengthBytes, '\0');
  std::memcpy(result.data(), &length, sizeof length);
  return result + text;
}

static Result<Json> readHeaderJson(int fd, uint64_t fileBytes, const std::string &path, uint64_t &dataStart) {
  if (fileBytes < kLengthBytes)
    return Status::error("MOEC-C009", path, "file has ", fileBytes, " bytes, less than the 8 of a header length");
  uint64_t length = 0;
  MOEC_RETURN_IF_ERROR(readAt(fd, 0, &length, sizeof length, path));
  if (length > kMaxHeaderBytes || length > fileBytes - kLengthBytes)
    return Status::error("MOEC-C009", path, "header length ", length, " does not fit a file of ", fileBytes, " bytes");
  std::string text(length, '\0');
  MOEC_RETURN_IF_ERROR(readAt(fd, kLengthBytes, text.data(), text.size(), path));
  if (text.empty() || text.front() != '{')
    return Status::error("MOEC-C009", path, "header does not start with '{'");
  Result<Json> json = Json::parse(text);
  if (!json.isOk())
    return Status::error("MOEC-C009", path, "header: ", json.status().message());
  dataStart = kLengthBytes + length;
  return json;
}

static Status checkMetadata(const Json &metadata, const std::string &path) {
  bool good = metadata.isObject();
  for (const Json::Member &member : metadata.members())
    good = good && member.second.isString();
  return good ? Status::ok() : Status::error("MOEC-C009", path, "__metadata__ must be an object of strings");
}

static Result<SafetensorsEntry> readEntry(const Json::Member &member, const std::string &path) {
  FieldErrors errors{"MOEC-C010", path, Status::ok()};
  Fields fields(member.second, "/" + member.first, errors);
  SafetensorsEntry entry;
  entry.name = member.first;
  entry.dtype = fields.string("dtype");
  entry.shape = fields.sizes("shape");
  std::vector<uint64_t> range = fields.sizes("data_offsets");
  fields.finish();
  if (entry.name.empty() || entry.name.size() > kMaxNameBytes)
    errors.fail("", "a tensor name has ", entry.name.size(), " bytes");
  if (range.size() != 2 || range[1] < range[0])
    errors.fail(fields.pointerTo("data_offsets"), "must be [begin, end] with end >= begin");
  MOEC_RETURN_IF_ERROR(errors.first);
  uint64_t element = elementBytes(entry.dtype);
  std::optional<uint64_t> bytes = checkedBytes(entry.shape, element);
  entry.begin = range[0];
  entry.end = range[1];
  if (element == 0)
    errors.fail(fields.pointerTo("dtype"), "unknown element type \"", entry.dtype, "\"");
  else if (!bytes)
    errors.fail(fields.pointerTo("shape"), "size overflows");
  else if (*bytes != entry.end - entry.begin)
    errors.fail(fields.pointer(), "shape needs ", *bytes, " bytes, data_offsets span ", entry.end - entry.begin);
  MOEC_RETURN_IF_ERROR(errors.first);
  return entry;
}

Result<std::vector<SafetensorsEntry>> readSafetensorsHeader(int fd, uint64_t fileBytes, const std::string &path) {
  uint64_t dataStart = 0;
  MOEC_ASSIGN_OR_RETURN(Json header, readHeaderJson(fd, fileBytes, path, dataStart));
  std::vector<SafetensorsEntry> entries;
  for (const Json::Member &member : header.members()) {
    if (member.first == "__metadata__") {
      MOEC_RETURN_IF_ERROR(checkMetadata(member.second, path));
      continue;
    }
    MOEC_ASSIGN_OR_RETURN(SafetensorsEntry entry, readEntry(member, path));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry &a, const SafetensorsEntry &b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t at = 0, dataBytes = fileBytes - dataStart;
  for (SafetensorsEntry &entry : entries) {
    if (entry.begin != at)
      return Status::error("MOEC-C010", path, "tensor \"", entry.name, "\" begins at ", entry.begin, ", expected ", at,
                           ": there is ", entry.begin > at ? "a hole" : "an overlap");
    at = entry.end;
    if (at > dataBytes)
      return Status::error("MOEC-C010", path, "tensor \"", entry.name, "\" ends at ", at, ", the file has ", dataBytes,
                           " bytes of data");
    entry.begin += dataStart;
    entry.end += dataStart;
  }
  if (at != dataBytes)
    return Status::error("MOEC-C010", path, "tensors end at ", at, ", the file has ", dataBytes, " bytes of data");
  return entries;
}

} // namespace moec::rt
