#include "runtime/base/JsonDifference.h"

namespace moec::rt {

static void flattenInto(const Json &json, const std::string &path, std::map<std::string, std::string> &leaves) {
  if (!json.isObject() || json.members().empty()) {
    leaves[path] = json.dump();
    return;
  }
  for (const auto &[key, value] : json.members())
    flattenInto(value, path.empty() ? key : path + "." + key, leaves);
}

std::map<std::string, std::string> flattenJson(const Json &json) {
  std::map<std::string, std::string> leaves;
  flattenInto(json, "", leaves);
  return leaves;
}

std::string describeDifference(const std::string &before, const std::string &now) {
  Result<Json> old = Json::parse(before), made = Json::parse(now);
  if (!old.isOk() || !made.isOk())
    return "";
  std::map<std::string, std::string> was = flattenJson(*old), is = flattenJson(*made);
  auto valueIn = [](const std::map<std::string, std::string> &leaves, const std::string &key) {
    auto found = leaves.find(key);
    return found == leaves.end() ? std::string("nothing") : found->second;
  };
  std::map<std::string, std::string> keys = was;
  keys.insert(is.begin(), is.end());
  std::string text;
  for (const auto &[key, value] : keys)
    if (valueIn(was, key) != valueIn(is, key))
      text += "\n  " + key + ": was " + valueIn(was, key) + ", is " + valueIn(is, key);
  return text;
}

} // namespace moec::rt
