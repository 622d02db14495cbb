#include "runtime/base/Json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace moec::rt {

static constexpr size_t kMaxDepth = 64;

Json Json::boolean(bool value) {
  Json json(Kind::Bool);
  json.intValue = value;
  return json;
}

Json Json::integer(int64_t value) {
  Json json(Kind::Int);
  json.intValue = value;
  return json;
}

Json Json::number(double value) {
  if (!std::isfinite(value))
    return Json();
  Json json(Kind::Float);
  json.floatValue = value;
  return json;
}

Json Json::string(std::string value) {
  Json json(Kind::String);
  json.text = std::move(value);
  return json;
}

bool Json::asInteger(int64_t &value) const {
  if (valueKind != Kind::Int && !(valueKind == Kind::Uint && intValue >= 0))
    return false;
  value = intValue;
  return true;
}

bool Json::asUnsigned(uint64_t &value) const {
  if (valueKind != Kind::Uint && !(valueKind == Kind::Int && intValue >= 0))
    return false;
  value = static_cast<uint64_t>(intValue);
  return true;
}

double Json::asDouble() const {
  if (valueKind == Kind::Float)
    return floatValue;
  return valueKind == Kind::Uint ? static_cast<double>(static_cast<uint64_t>(intValue)) : static_cast<double>(intValue);
}

const Json *Json::find(std::string_view key) const {
  auto it = std::find_if(fields.begin(), fields.end(), [&](const Member &member) { return member.first == key; });
  return it == fields.end() ? nullptr : &it->second;
}

void Json::set(std::string_view key, Json value) {
  for (Member &member : fields)
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  fields.emplace_back(key, std::move(value));
}

void Json::remove(std::string_view key) {
  std::erase_if(fields, [&](const Member &member) { return member.first == key; });
}

/// Receives the parser's events. Duplicate keys must be caught here: a DOM would silently keep one of them.
class JsonBuilder final : public nlohmann::json_sax<nlohmann::json> {
public:
  Json root;
  std::string problem;

  bool null() override { return place(Json()); }
  bool boolean(bool value) override { return place(Json::boolean(value)); }
  bool number_integer(number_integer_t value) override { return place(Json::integer(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    Json json(Json::Kind::Uint);
    json.intValue = static_cast<int64_t>(value);
    return place(std::move(json));
  }
  bool number_float(number_float_t value, const string_t &) override { return place(Json::number(value)); }
  bool string(string_t &value) override { return place(Json::string(std::move(value))); }
  bool binary(binary_t &) override { return fail("binary value"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t &name) override {
    if (!levels.back().seen.insert(name).second)
      return fail("duplicate key \"" + name + "\"");
    levels.back().key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string &, const nlohmann::detail::exception &error) override {
    return fail(error.what());
  }

private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> seen;
  };

  bool fail(std::string message) {
    problem = std::move(message);
    return false;
  }

  bool open(Json container) {
    if (levels.size() == kMaxDepth)
      return fail("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    levels.push_back({std::move(container), {}, {}});
    return true;
  }

  bool close() {
    Json value = std::move(levels.back().value);
    levels.pop_back();
    return place(std::move(value));
  }

  bool place(Json value) {
    if (levels.empty())
      root = std::move(value);
    else if (levels.back().value.isArray())
      levels.back().value.append(std::move(value));
    else
      levels.back().value.fields.emplace_back(std::move(levels.back().key), std::move(value));
    return true;
  }

  std::vector<Level> levels;
};

Result<Json> Json::parse(std::string_view text) {
  JsonBuilder builder;
  bool good = false;
  try {
    good = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  } catch (const std::exception &error) {
    builder.problem = error.what();
  }
  if (!good)
    return Status::error("MOEC-J001", "", builder.problem.empty() ? "not valid JSON" : builder.problem);
  return std::move(builder.root);
}

static nlohmann::json toLibrary(const Json &value) {
  switch (value.kind()) {
  case Json::Kind::Null:
    return nullptr;
  case Json::Kind::Bool:
    return value.asBool();
  case Json::Kind::Int: {
    int64_t number = 0;
    (void)value.asInteger(number);
    return number;
  }
  case Json::Kind::Uint: {
    uint64_t number = 0;
    (void)value.asUnsigned(number);
    return number;
  }
  case Json::Kind::Float:
    return value.asDouble();
  case Json::Kind::String:
    return value.asString();
  case Json::Kind::Array: {
    nlohmann::json array = nlohmann::json::array();
    for (const Json &item : value.items())
      array.push_back(toLibrary(item));
    return array;
  }
  case Json::Kind::Object: {
    nlohmann::json object = nlohmann::json::object();
    for (const Json::Member &member : value.members())
      object[member.first] = toLibrary(member.second);
    return object;
  }
  }
  return nullptr;
}

std::string Json::dump(int indent) const {
  // `replace`: a byte in a path that is not UTF-8 must not make dump throw.
  return toLibrary(*this).dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace moec::rt
