// Names in the log that programs look for. Their writers and readers both use these constants.
#ifndef MOEC_COMPILER_METHODS_LOGNAMES_H
#define MOEC_COMPILER_METHODS_LOGNAMES_H

#include <string>
#include <string_view>

namespace moec {

/// Choices of a step, [layers, experts].
inline constexpr char kExpertTokens[] = "expert_tokens";
/// The same for each source of text, [layers, sources * experts].
inline constexpr char kExpertTokensBySource[] = "expert_tokens_by_source";

/// A metric of layers has a value for each segment of the model that has mixtures. The second and following values have
/// names of their own: "expert_tokens", "expert_tokens.1", ...
inline std::string nameInLog(const std::string &metric, unsigned segment) {
  return segment == 0 ? metric : metric + "." + std::to_string(segment);
}
/// Whether `name` is the name of `metric` for some segment.
inline bool isOfMetric(std::string_view name, std::string_view metric) {
  return name.starts_with(metric) && (name.size() == metric.size() || name[metric.size()] == '.');
}

} // namespace moec

#endif
