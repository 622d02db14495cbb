// The differences between two JSON objects, key by key, for people. Used for the specs of two runs.
#ifndef MOEC_RUNTIME_BASE_JSONDIFFERENCE_H
#define MOEC_RUNTIME_BASE_JSONDIFFERENCE_H

#include "runtime/base/Json.h"

#include <map>

namespace moec::rt {

/// Values by their path, with a dot for each level: "optimizer.lr" -> "0.001". Lists and empty objects are values.
std::map<std::string, std::string> flattenJson(const Json &json);

/// One line for each key that differs, "\n optimizer.lr: was 0.001, is 0.002"; empty if none differs, or if a text is
/// not JSON.
std::string describeDifference(const std::string &before, const std::string &now);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_JSONDIFFERENCE_H
