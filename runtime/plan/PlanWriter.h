// Writes the container. The compiler brings the manifest and the blobs; offsets, sizes and hashes are made here.
#ifndef MOEC_RUNTIME_PLAN_PLANWRITER_H
#define MOEC_RUNTIME_PLAN_PLANWRITER_H

#include "runtime/base/Json.h"
#include "runtime/base/Result.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

struct PlanWriterBlob {
  std::string name;
  std::string_view bytes;
};

/// What tells specs apart: the "spec_hash" of plans, runs and checkpoints. Nothing when the text is not JSON.
Result<std::string> specHash(std::string_view specJsonText);

/// The bytes of a plan file. Fills in "format", "blobs" and "spec_hash" of the manifest. Fails when the manifest is no
/// object; nothing else is checked.
Result<std::string> buildPlan(Json manifest, std::span<const PlanWriterBlob> blobs);

/// Builds, and reads back what was built: a plan that the runtime would refuse is an error with the reader's code.
Result<std::string> buildCheckedPlan(Json manifest, std::span<const PlanWriterBlob> blobs);
/// The same into a file, atomically.
Status writePlan(const std::string &path, Json manifest, std::span<const PlanWriterBlob> blobs);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANWRITER_H
