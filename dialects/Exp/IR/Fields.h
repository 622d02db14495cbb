// The field table: every key of the spec language, once. The JSON reader, the checks, the defaults, the reference page and the schema read it.
#ifndef MOEC_DIALECTS_EXP_IR_FIELDS_H
#define MOEC_DIALECTS_EXP_IR_FIELDS_H

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec::exp {

enum class FieldType { Integer, Number, Boolean, Text, Choice, TextList, NumberList };

/// One key: where it stands, what it may hold, what it is when absent.
struct Field {
  std::string key;  // JSON key, for example "inner_size"
  FieldType type;
  std::string fallback;             // default as JSON text; empty: the key is required
  double minimum = 0, maximum = 0;  // numbers, when minimum < maximum
  std::vector<std::string> choices; // FieldType::Choice
  std::string unit;                 // "elements", "steps", ... or empty
  std::string doc;                  // one sentence
};

/// A method that users choose by "kind". Its build functions live in the interfaces of compiler/Methods; the dialect needs only this much.
class Method {
public:
  virtual ~Method() = default;
  virtual std::string category() const = 0; // score, loss, optimizer, schedule
  virtual std::string kind() const = 0;
  virtual std::string summary() const = 0; // one sentence
  virtual std::string source() const = 0;  // paper or "ours"
  virtual std::vector<Field> fields() const { return {}; }
};

/// All methods by category and kind.
class MethodRegistry {
public:
  void add(std::unique_ptr<Method> method);
  const Method *find(const std::string &category, const std::string &kind) const;
  std::vector<const Method *> all(const std::string &category) const; // in order of kind

private:
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Method>> methods;
};

} // namespace moec::exp

#endif
