// A separate type for JSON values, so that the JSON library is used in only one .cpp file. Parsing is strict: no
// comments, no duplicate keys, bounded depth. Objects keep the order of the text; dump() sorts keys, so equal values
// give equal bytes.
#ifndef MOEC_RUNTIME_BASE_JSON_H
#define MOEC_RUNTIME_BASE_JSON_H

#include "runtime/base/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moec::rt {

class Json {
public:
  enum class Kind { Null, Bool, Int, Uint, Float, String, Array, Object };
  using Member = std::pair<std::string, Json>;

  Json() = default;
  static Json boolean(bool value);
  static Json integer(int64_t value);
  static Json number(double value); // NaN and infinities become null
  static Json string(std::string value);
  static Json array() { return Json(Kind::Array); }
  static Json object() { return Json(Kind::Object); }

  /// After a failure the message is the parser's (it has line and column); the caller sets code and place.
  static Result<Json> parse(std::string_view text);
  std::string dump(int indent = -1) const;

  Kind kind() const { return valueKind; }
  bool isObject() const { return valueKind == Kind::Object; }
  bool isArray() const { return valueKind == Kind::Array; }
  bool isString() const { return valueKind == Kind::String; }
  bool isNumber() const { return valueKind == Kind::Int || valueKind == Kind::Uint || valueKind == Kind::Float; }

  bool asBool() const { return intValue != 0; }
  /// Whole numbers only; false if the value is not a whole number or does not fit.
  bool asInteger(int64_t &value) const;
  bool asUnsigned(uint64_t &value) const;
  double asDouble() const;
  const std::string &asString() const { return text; }

  const std::vector<Json> &items() const { return elements; }
  const std::vector<Member> &members() const { return fields; }
  /// nullptr if there is no such member.
  const Json *find(std::string_view key) const;

  void append(Json value) { elements.push_back(std::move(value)); }
  /// Adds a member that is known to be new, so there is no search.
  void add(std::string key, Json value) { fields.emplace_back(std::move(key), std::move(value)); }
  /// Adds or replaces.
  void set(std::string_view key, Json value);
  void remove(std::string_view key);

private:
  friend class JsonBuilder;
  explicit Json(Kind kind) : valueKind(kind) {}

  Kind valueKind = Kind::Null;
  int64_t intValue = 0; // Bool, Int; Uint holds its bits here
  double floatValue = 0;
  std::string text;
  std::vector<Json> elements;
  std::vector<Member> fields;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_JSON_H
