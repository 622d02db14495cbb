// Reads the fields of a JSON object into plain variables. A field must exist, have the right type and be in range, and
// the object may have no other fields. The first failure is kept and later reads return defaults, so readers are
// straight-line code; check status() at the end.
#ifndef MOEC_RUNTIME_BASE_FIELDS_H
#define MOEC_RUNTIME_BASE_FIELDS_H

#include "runtime/base/Json.h"

#include <limits>
#include <string>
#include <vector>

namespace moec::rt {

/// Shared by all Fields of one document.
struct FieldErrors {
  std::string code; // of every failure, e.g. "MOEC-P006"
  std::string file; // the place is file:pointer
  Status first;

  template <typename... Parts> void fail(const std::string &pointer, const Parts &...parts) {
    if (first.isOk())
      first = Status::error(code, file + ":" + (pointer.empty() ? "/" : pointer), parts...);
  }
};

class Fields {
public:
  static constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();

  Fields(const Json &json, std::string pointer, FieldErrors &errors);

  const std::string &pointer() const { return path; }
  std::string pointerTo(std::string_view key) const { return path + "/" + std::string(key); }
  FieldErrors &errors() const { return *sink; }
  bool failed() const { return !sink->first.isOk(); }

  int64_t integer(std::string_view key, int64_t min, int64_t max = kMaxInt);
  /// A size or an offset: 0 .. 2^63-1.
  uint64_t size(std::string_view key, int64_t max = kMaxInt) { return static_cast<uint64_t>(integer(key, 0, max)); }
  double number(std::string_view key);
  bool boolean(std::string_view key);
  std::string string(std::string_view key);
  std::vector<std::string> strings(std::string_view key);
  std::vector<uint64_t> sizes(std::string_view key);
  /// If the member is missing or has another type, returns an empty object or array.
  const Json &object(std::string_view key) { return container(key, Json::Kind::Object); }
  const Json &array(std::string_view key) { return container(key, Json::Kind::Array); }
  /// Any value; nullptr (and no failure) if there is no such member.
  const Json *optional(std::string_view key);

  /// Fails on the first key that was not read.
  void finish();

private:
  const Json *take(std::string_view key);
  const Json &container(std::string_view key, Json::Kind kind);

  const Json *source;
  std::string path;
  FieldErrors *sink;
  std::vector<std::string_view> taken;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_FIELDS_H
