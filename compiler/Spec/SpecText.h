// JSON with comments. It has a reader of its own, because every value and key must know its file, line and column.
#ifndef MOEC_COMPILER_SPEC_SPECTEXT_H
#define MOEC_COMPILER_SPEC_SPECTEXT_H

#include "dialects/Exp/IR/Rules.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec::spec {

/// Line and column count from 1; the column counts bytes. Line 0: a value that no file gave.
struct Place {
  unsigned file = 0, line = 0, column = 0;
  friend auto operator<=>(const Place &, const Place &) = default;
};

struct Member;

/// A JSON value. Objects keep the order of the file.
struct Json {
  enum class Kind { Null, Boolean, Number, String, Array, Object };
  Kind kind = Kind::Null;
  Place place;
  bool boolean = false;
  double number = 0;
  std::string string; // of a string; of a number: its text
  std::vector<Json> elements;
  std::vector<Member> members;
  bool removes = false; // a null that removed a value of the base

  bool isNull() const { return kind == Kind::Null; }
  bool isObject() const { return kind == Kind::Object; }
  bool isString() const { return kind == Kind::String; }
  const Json *find(llvm::StringRef key) const;
  Json *find(llvm::StringRef key) { return const_cast<Json *>(std::as_const(*this).find(key)); }
  void set(llvm::StringRef key, Json value);
  /// "a number", "an object", ...
  const char *kindName() const;

  static Json makeNull();
  static Json makeBoolean(bool value);
  static Json makeNumber(double value);
  static Json makeInteger(int64_t value);
  static Json makeString(llvm::StringRef value);
  static Json makeArray();
  static Json makeObject();
};

struct Member {
  std::string key;
  Place place; // of the key
  Json value;
};

/// An error, or a second place that belongs to it.
struct Note {
  Place place;
  std::string pointer, text;
};
struct Issue {
  exp::Rule rule;
  Place place;
  std::string pointer; // JSON pointer; "" where there is none (yet)
  std::string text;
  std::vector<Note> notes;
};

/// Reads one value. Errors go to `issues`. Null if the text is not JSON; duplicate keys are reported, but the value is
/// returned.
std::optional<Json> parseText(llvm::StringRef text, unsigned file, std::vector<Issue> &issues);
/// For constants of moec that are known to be JSON.
Json parseConstant(llvm::StringRef text);

/// On one line without spaces, or over lines of at most 100 columns.
std::string printCompact(const Json &value);
std::string printPretty(const Json &value);
/// With quotes.
std::string quote(llvm::StringRef text);
/// The shortest text that reads back as the same double.
std::string numberText(double value);
/// pointer + "/" + key, with ~ and / of the key escaped.
std::string below(llvm::StringRef pointer, llvm::StringRef key);

} // namespace moec::spec

#endif
