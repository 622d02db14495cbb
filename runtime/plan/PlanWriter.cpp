#include "runtime/plan/PlanWriter.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanManifest.h"
#include "runtime/plan/PlanReader.h"

#include <cstring>
#include <limits>

namespace moec::rt {

static std::span<const std::byte> asBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

static Json blobTable(std::span<const PlanWriterBlob> blobs, const std::vector<uint64_t> &offsets) {
  Json table = Json::array();
  for (size_t i = 0; i < blobs.size(); ++i) {
    Json row = Json::object();
    row.set("name", Json::string(blobs[i].name));
    row.set("offset", Json::integer(static_cast<int64_t>(offsets[i])));
    row.set("size", Json::integer(static_cast<int64_t>(blobs[i].bytes.size())));
    row.set("hash", Json::string(hashHex(asBytes(blobs[i].bytes))));
    table.append(std::move(row));
  }
  return table;
}

template <typename T> static void store(std::string &file, size_t at, T value) {
  std::memcpy(file.data() + at, &value, sizeof value);
}

Result<std::string> specHash(std::string_view specJsonText) {
  MOEC_ASSIGN_OR_RETURN(Json spec, Json::parse(specJsonText));
  return hashOfSpec(std::move(spec));
}

Result<std::string> buildPlan(Json manifest, std::span<const PlanWriterBlob> blobs) {
  if (!manifest.isObject())
    return Status::error("MOEC-P005", "", "internal: the manifest to write is not a JSON object");
  manifest.set("format", Json::integer(kPlanVersion));
  if (const Json *spec = manifest.find("spec"))
    manifest.set("spec_hash", Json::string(hashOfSpec(*spec)));

  // The manifest holds the blob offsets, which depend on its size: reserve room for the longest numbers.
  std::vector<uint64_t> offsets(blobs.size(), std::numeric_limits<int64_t>::max());
  manifest.set("blobs", blobTable(blobs, offsets));
  uint64_t end = alignUp(kPlanHeaderBytes + manifest.dump().size(), kPlanBlobAlignment);
  for (size_t i = 0; i < blobs.size(); ++i) {
    offsets[i] = end;
    end = alignUp(end + blobs[i].bytes.size(), kPlanBlobAlignment);
  }
  manifest.set("blobs", blobTable(blobs, offsets));
  std::string text = manifest.dump();

  std::string file(end, '\0');
  std::memcpy(file.data(), kPlanMagic, 8);
  store(file, kPlanVersionAt, kPlanVersion);
  store(file, kPlanHeaderSizeAt, static_cast<uint32_t>(kPlanHeaderBytes));
  store(file, kPlanFileSizeAt, end);
  store(file, kPlanManifestOffsetAt, kPlanHeaderBytes);
  store(file, kPlanManifestSizeAt, static_cast<uint64_t>(text.size()));
  file.replace(kPlanHeaderBytes, text.size(), text);
  for (size_t i = 0; i < blobs.size(); ++i)
    file.replace(offsets[i], blobs[i].bytes.size(), blobs[i].bytes);
  Digest digest = hashBytes(asBytes(file)); // the hash field is still zero
  std::memcpy(file.data() + kPlanHashAt, digest.data(), digest.size());
  return file;
}

Result<std::string> buildCheckedPlan(Json manifest, std::span<const PlanWriterBlob> blobs) {
  MOEC_ASSIGN_OR_RETURN(std::string file, buildPlan(std::move(manifest), blobs));
  Result<Plan> check = parsePlan(asBytes(file), "", {.checkCpu = false});
  if (!check.isOk())
    return check.status().recoded(check.status().code(), "internal: the plan just made does not pass the reader: ");
  return file;
}

Status writePlan(const std::string &path, Json manifest, std::span<const PlanWriterBlob> blobs) {
  MOEC_ASSIGN_OR_RETURN(std::string file, buildCheckedPlan(std::move(manifest), blobs));
  return writeFileAtomic(path, file);
}

} // namespace moec::rt
