#include "runtime/base/Fields.h"

#include <algorithm>

namespace moec::rt {

static const Json &emptyValue(Json::Kind kind) {
  static const Json object = Json::object(), array = Json::array();
  return kind == Json::Kind::Object ? object : array;
}

Fields::Fields(const Json &json, std::string pointer, FieldErrors &errors)
    : source(&json), path(std::move(pointer)), sink(&errors) {
  if (json.isObject())
    return;
  sink->fail(path, "must be an object");
  source = &emptyValue(Json::Kind::Object);
}

const Json *Fields::optional(std::string_view key) {
  taken.push_back(key);
  return source->find(key);
}

const Json *Fields::take(std::string_view key) {
  const Json *value = optional(key);
  if (!value)
    sink->fail(pointerTo(key), "field is missing");
  return value;
}

int64_t Fields::integer(std::string_view key, int64_t min, int64_t max) {
  const Json *value = take(key);
  int64_t number = min;
  if (!value)
    return min;
  if (!value->asInteger(number)) {
    sink->fail(pointerTo(key), "must be a whole number");
    return min;
  }
  if (number < min || number > max) {
    sink->fail(pointerTo(key), "must be in [", min, ", ", max, "], is ", number);
    return min;
  }
  return number;
}

double Fields::number(std::string_view key) {
  const Json *value = take(key);
  if (value && !value->isNumber())
    sink->fail(pointerTo(key), "must be a number");
  return value && value->isNumber() ? value->asDouble() : 0;
}

bool Fields::boolean(std::string_view key) {
  const Json *value = take(key);
  bool good = value && value->kind() == Json::Kind::Bool;
  if (value && !good)
    sink->fail(pointerTo(key), "must be true or false");
  return good && value->asBool();
}

std::string Fields::string(std::string_view key) {
  const Json *value = take(key);
  if (value && !value->isString())
    sink->fail(pointerTo(key), "must be a string");
  return value && value->isString() ? value->asString() : std::string();
}

std::vector<std::string> Fields::strings(std::string_view key) {
  std::vector<std::string> result;
  for (const Json &item : array(key).items()) {
    if (!item.isString())
      sink->fail(pointerTo(key), "must be an array of strings");
    result.push_back(item.asString());
  }
  return result;
}

std::vector<uint64_t> Fields::sizes(std::string_view key) {
  std::vector<uint64_t> result;
  for (const Json &item : array(key).items()) {
    int64_t number = 0;
    if (!item.asInteger(number) || number < 0)
      sink->fail(pointerTo(key), "must be an array of whole numbers >= 0");
    result.push_back(static_cast<uint64_t>(number));
  }
  return result;
}

const Json &Fields::container(std::string_view key, Json::Kind kind) {
  const Json *value = take(key);
  if (value && value->kind() != kind)
    sink->fail(pointerTo(key), kind == Json::Kind::Object ? "must be an object" : "must be an array");
  return value && value->kind() == kind ? *value : emptyValue(kind);
}

void Fields::finish() {
  for (const Json::Member &member : source->members())
    if (std::find(taken.begin(), taken.end(), member.first) == taken.end())
      sink->fail(pointerTo(member.first), "unknown field \"", member.first, "\"");
}

} // namespace moec::rt
