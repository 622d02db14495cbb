// The container: header, hashes, blobs. The manifest is PlanManifest.cpp, the instructions PlanInstructions.cpp, the
// operands PlanCheck.cpp.
#include "runtime/plan/PlanReader.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/CpuFeatures.h"
#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/base/Json.h"
#include "runtime/plan/PlanCheck.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanManifest.h"

#include <bit>
#include <cstring>

namespace moec::rt {

static_assert(std::endian::native == std::endian::little, "plans and checkpoints are read as they lie in memory");

template <typename T> static T load(std::span<const std::byte> file, size_t at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

static Status checkHeader(std::span<const std::byte> file, const std::string &path) {
  if (file.size() < kPlanHeaderBytes)
    return Status::error("MOEC-P003", path, "file has ", file.size(), " bytes, a plan has at least ", kPlanHeaderBytes);
  if (std::memcmp(file.data(), kPlanMagic, 8) != 0)
    return Status::error("MOEC-P001", path, "not a plan: it does not start with ", kPlanMagic);
  auto version = load<uint32_t>(file, kPlanVersionAt);
  if (version != kPlanVersion)
    return Status::error("MOEC-P002", path, "plan format ", version, ", this runtime reads format ", kPlanVersion,
                         "; compile the spec again with the compiler that belongs to this runtime");
  auto headerBytes = load<uint32_t>(file, kPlanHeaderSizeAt);
  auto fileBytes = load<uint64_t>(file, kPlanFileSizeAt);
  auto manifestOffset = load<uint64_t>(file, kPlanManifestOffsetAt);
  auto manifestBytes = load<uint64_t>(file, kPlanManifestSizeAt);
  if (headerBytes != kPlanHeaderBytes)
    return Status::error("MOEC-P003", path, "header size is ", headerBytes, ", expected ", kPlanHeaderBytes);
  if (fileBytes != file.size())
    return Status::error("MOEC-P003", path, "file has ", file.size(), " bytes, its header says ", fileBytes,
                         "; it was cut short or appended to: compile or copy it again");
  if (manifestOffset < kPlanHeaderBytes || !rangeInside(manifestOffset, manifestBytes, fileBytes))
    return Status::error("MOEC-P003", path, "manifest at ", manifestOffset, " with ", manifestBytes,
                         " bytes does not lie between the header and the end of the file at ", fileBytes);
  if (load<uint64_t>(file, kPlanReservedAt) != 0)
    return Status::error("MOEC-P003", path, "reserved header field is not 0");
  return Status::ok();
}

static Status checkFileHash(std::span<const std::byte> file, const std::string &path) {
  static const std::byte zeros[kPlanHashBytes] = {};
  Hasher hasher;
  hasher.update(file.data(), kPlanHashAt);
  hasher.update(zeros, kPlanHashBytes);
  hasher.update(file.data() + kPlanHeaderBytes, file.size() - kPlanHeaderBytes);
  Digest stored;
  std::memcpy(stored.data(), file.data() + kPlanHashAt, kPlanHashBytes);
  if (hasher.digest() != stored)
    return Status::error("MOEC-P004", path, "file is damaged: its hash is ", toHex(hasher.digest()),
                         ", its header says ", toHex(stored));
  return Status::ok();
}

static Status loadBlobs(std::span<const std::byte> file, Plan &plan) {
  for (PlanBlob &blob : plan.blobs) {
    if (blob.offset < kPlanHeaderBytes || blob.offset % kPlanBlobAlignment != 0 ||
        !rangeInside(blob.offset, blob.size, file.size()))
      return Status::error("MOEC-P007", plan.path, "blob \"", blob.name, "\" at ", blob.offset, " with ", blob.size,
                           " bytes is not an aligned range of a file of ", file.size(), " bytes");
    auto bytes = file.subspan(blob.offset, blob.size);
    if (hashHex(bytes) != blob.hash)
      return Status::error("MOEC-P007", plan.path, "blob \"", blob.name, "\" is damaged: its hash is ", hashHex(bytes),
                           ", the manifest says ", blob.hash);
    blob.bytes.assign(bytes.begin(), bytes.end());
  }
  if (plan.target.kind == TargetKind::Cpu && !plan.kernels.empty() && !plan.findBlob(kKernelsBlob))
    return Status::error("MOEC-P007", plan.path, "the plan lists kernels but has no blob \"", kKernelsBlob, "\"");
  return Status::ok();
}

static Status checkCpu(const Plan &plan) {
  for (const std::string &feature : plan.target.features) {
    CpuFeature found = cpuFeature(feature);
    if (found == CpuFeature::Unknown)
      return Status::error("MOEC-P009", plan.path, "the plan needs the CPU feature \"", feature,
                           "\", which this runtime does not know");
    if (found == CpuFeature::Absent)
      return Status::error("MOEC-P009", plan.path, "the plan needs the CPU feature \"", feature,
                           "\", which this processor lacks; compile the spec for this machine");
  }
  return Status::ok();
}

Result<Plan> parsePlan(std::span<const std::byte> file, const std::string &path, const PlanReadOptions &options) {
  MOEC_RETURN_IF_ERROR(checkHeader(file, path));
  MOEC_RETURN_IF_ERROR(checkFileHash(file, path));

  std::string_view text(reinterpret_cast<const char *>(file.data()) + load<uint64_t>(file, kPlanManifestOffsetAt),
                        load<uint64_t>(file, kPlanManifestSizeAt));
  Result<Json> manifest = Json::parse(text);
  if (!manifest.isOk())
    return Status::error("MOEC-P005", path, "manifest: ", manifest.status().message());

  Plan plan;
  plan.path = path;
  std::memcpy(plan.hash.data(), file.data() + kPlanHashAt, kPlanHashBytes);
  MOEC_RETURN_IF_ERROR(parseManifest(*manifest, plan));
  MOEC_RETURN_IF_ERROR(loadBlobs(file, plan));
  MOEC_RETURN_IF_ERROR(checkPlanMemory(plan));
  if (options.checkCpu)
    MOEC_RETURN_IF_ERROR(checkCpu(plan));
  return plan;
}

Result<Plan> readPlan(const std::string &path, const PlanReadOptions &options) {
  constexpr uint64_t kMaxPlanBytes = uint64_t{2} << 30;
  MOEC_ASSIGN_OR_RETURN(std::string file, readFile(path, kMaxPlanBytes));
  return parsePlan(std::as_bytes(std::span(file)), path, options);
}

} // namespace moec::rt
