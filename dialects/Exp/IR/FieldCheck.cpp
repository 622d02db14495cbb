// Checks values against the field table, and reports broken rules.
#include "dialects/Exp/IR/Exp.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <charconv>
#include <cmath>

using namespace mlir;
using namespace moec::exp;

static std::string text(double value) {
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

static std::string listOf(const std::vector<std::string> &words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i)
    out += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + ("\"" + words[i] + "\"");
  return out;
}

std::string moec::exp::suggest(llvm::StringRef given, llvm::ArrayRef<std::string> candidates) {
  const std::string *best = nullptr;
  unsigned bestDistance = 0;
  for (const std::string &candidate : candidates) {
    unsigned distance = given.edit_distance_insensitive(candidate);
    // A name that is a part of the other ("heads" for "num_heads") also counts as near.
    if (given.size() >= 3 && (llvm::StringRef(candidate).contains(given) || given.contains(candidate)))
      distance = std::min(distance, 2u);
    if (distance <= std::max<size_t>(given.size(), candidate.size()) / 3 + 1 && distance < candidate.size() &&
        (!best || distance < bestDistance)) {
      best = &candidate;
      bestDistance = distance;
    }
  }
  return best ? "; did you mean \"" + *best + "\"?" : "";
}

//===--- Values ---===//

static std::optional<Problem> outOfRange(const Field &field, double value, const std::string &shown) {
  // A factor that f32 rounds to 0 would switch off what it is meant to weaken.
  constexpr double kSmallest = 1.2e-38;
  if (field.type != FieldType::Integer && field.minimum <= 0 && value != 0 && std::abs(value) < kSmallest)
    return Problem{Rule::Range, shown + " is too small for f32; expected " + text(kSmallest) + " or more" +
                                    (field.openMinimum ? "" : ", or 0")};
  if (!(field.minimum < field.maximum) || std::isnan(value))
    return std::isnan(value) ? std::optional(Problem{Rule::Range, "not a number"}) : std::nullopt;
  bool low = field.openMinimum ? value <= field.minimum : value < field.minimum;
  bool high = field.openMaximum ? value >= field.maximum : value > field.maximum;
  if (!low && !high)
    return std::nullopt;
  std::string expected = low ? (field.openMinimum ? "more than " : "at least ") + text(field.minimum)
                             : (field.openMaximum ? "less than " : "at most ") + text(field.maximum);
  return Problem{Rule::Range, shown + " is out of range; expected " + expected};
}

static std::optional<Problem> checkNumbers(const Field &field, llvm::ArrayRef<double> values) {
  if (values.empty() && field.nullable)
    return std::nullopt;
  if (values.empty() || (field.length && static_cast<int64_t>(values.size()) != field.length))
    return Problem{Rule::Length, "expected " + (field.length ? std::to_string(field.length) : "at least 1") +
                                     " numbers, found " + std::to_string(values.size())};
  for (double value : values)
    if (auto problem = outOfRange(field, value, text(value)))
      return problem;
  return std::nullopt;
}

/// Braces hold a list of words or a range, and are not nested.
static std::optional<Problem> checkPattern(llvm::StringRef pattern) {
  auto bad = [&](const char *why) { return Problem{Rule::Pattern, "pattern \"" + pattern.str() + "\" " + why}; };
  if (pattern.empty())
    return bad("is empty");
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '}')
      return bad("has a } without {");
    if (c != '{') {
      if (!llvm::isAlnum(c) && !llvm::StringRef("_.*").contains(c))
        return bad("has a character other than a-z, 0-9, _ . * { } ,");
      continue;
    }
    size_t end = pattern.find('}', i);
    llvm::StringRef inner = pattern.slice(i + 1, end);
    if (end == llvm::StringRef::npos || inner.contains('{'))
      return bad("has a { without }, or one inside another");
    auto [from, to] = inner.split("..");
    uint64_t low, high;
    if (inner.contains("..") && (from.getAsInteger(10, low) || to.getAsInteger(10, high) || low > high))
      return bad("has a range that is not {first..last} with first <= last");
    if (inner.empty() || inner.starts_with(",") || inner.ends_with(",") || inner.contains(",,"))
      return bad("has an empty word in braces");
    i = end;
  }
  return std::nullopt;
}

/// The name of the experiment: runs/<name> is the folder of its run and runs/<name>.moec its plan.
static std::optional<Problem> checkName(llvm::StringRef name) {
  constexpr size_t kMaxName = 240; // the name of a sweep's member holds the spec's name and the member's
  auto bad = [&](const std::string &expected) {
    return Problem{Rule::Name, "\"" + name.take_front(kMaxName).str() + "\" is not a name; expected " + expected};
  };
  if (!llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || llvm::StringRef("_-.").contains(c); }))
    return bad("only A-Z, a-z, 0-9, _ - and .");
  if (!llvm::isAlnum(name.front()) && name.front() != '_')
    return bad("a letter, a digit or _ at the beginning");
  if (name.size() > kMaxName)
    return bad("at most " + std::to_string(kMaxName) + " characters, found " + std::to_string(name.size()));
  if (name.ends_with(".moec") || name.ends_with(".new"))
    return bad("another ending: plans have this one");
  return std::nullopt;
}

std::optional<Problem> moec::exp::checkPath(llvm::StringRef path) {
  constexpr size_t kMaxPath = 4095, kMaxPart = 255; // of Linux, in bytes
  auto bad = [](std::string why) { return Problem{Rule::ImpossiblePath, "no file has such a path: " + why}; };
  if (path.contains('\0'))
    return bad("it holds the character \\u0000");
  if (path.size() > kMaxPath)
    return bad("it has " + std::to_string(path.size()) + " bytes, at most " + std::to_string(kMaxPath) +
               " are possible");
  for (llvm::StringRef part : llvm::split(path, '/'))
    if (part.size() > kMaxPart)
      return bad("a part of it has " + std::to_string(part.size()) + " bytes, at most " + std::to_string(kMaxPart) +
                 " are possible");
  return std::nullopt;
}

static std::optional<Problem> checkMethod(llvm::StringRef category, llvm::StringRef kind, DictionaryAttr fields,
                                          MLIRContext *context) {
  MethodRegistry &registry = getMethods(context);
  const Method *method = registry.find(category.str(), kind.str());
  if (!method) {
    std::vector<std::string> kinds;
    for (const Method *known : registry.all(category.str()))
      kinds.push_back(known->kind());
    return Problem{Rule::UnknownKind, "no " + category.str() + " has kind \"" + kind.str() + "\"; expected " +
                                          (kinds.empty() ? "nothing: none is registered" : listOf(kinds)) +
                                          suggest(kind, kinds)};
  }
  std::vector<std::string> keys;
  for (const Field &field : method->fields()) {
    keys.push_back(field.key);
    Attribute value = fields.get(field.key);
    if (!value && field.isDerived())
      continue;
    if (!value)
      return Problem{Rule::MissingKey,
                     "\"" + field.key + "\" of " + category.str() + " \"" + kind.str() + "\" is missing"};
    if (auto problem = checkValue(field, value, context)) {
      problem->text = field.key + ": " + problem->text;
      return problem;
    }
  }
  for (NamedAttribute named : fields)
    if (!llvm::is_contained(keys, named.getName().getValue()))
      return Problem{Rule::ForeignKey, category.str() + " \"" + kind.str() + "\" has no key \"" +
                                           named.getName().getValue().str() + "\"" +
                                           suggest(named.getName().getValue(), keys)};
  return std::nullopt;
}

/// 0 stands for null in fields that can be switched off; readers refuse a 0 in the spec.
static bool isOff(const Field &field, Attribute value) {
  auto number = dyn_cast<FloatAttr>(value);
  auto integer = dyn_cast<IntegerAttr>(value);
  return field.nullable && (number ? number.getValueAsDouble() == 0.0 : integer && integer.getValue().isZero());
}

std::optional<Problem> moec::exp::checkValue(const Field &field, Attribute value, MLIRContext *context) {
  if (isOff(field, value))
    return std::nullopt;
  auto wrong = [](const char *expected) { return Problem{Rule::WrongType, std::string("expected ") + expected}; };
  switch (field.type) {
  case FieldType::Integer:
  case FieldType::Steps: {
    auto number = dyn_cast<IntegerAttr>(value);
    if (!number || !number.getType().isInteger(64))
      return wrong("a 64-bit integer");
    if (field.attribute == "version" && number.getInt() != 1)
      return Problem{Rule::Version,
                     "language version " + std::to_string(number.getInt()) + " is not known; this compiler reads 1"};
    return outOfRange(field, static_cast<double>(number.getInt()), std::to_string(number.getInt()));
  }
  case FieldType::Number: {
    auto number = dyn_cast<FloatAttr>(value);
    if (!number || !number.getType().isF64())
      return wrong("an f64");
    return outOfRange(field, number.getValueAsDouble(), text(number.getValueAsDouble()));
  }
  case FieldType::Boolean:
    return isa<BoolAttr>(value) ? std::nullopt : std::optional(wrong("true or false"));
  case FieldType::Text: {
    auto word = dyn_cast<StringAttr>(value);
    if (!word)
      return wrong("a text");
    if (word.getValue().empty())
      return Problem{Rule::Range, "the text is empty"};
    if (field.attribute == "sym_name")
      return checkName(word.getValue());
    return field.key == "path" ? checkPath(word.getValue()) : std::nullopt;
  }
  case FieldType::Choice: {
    auto word = dyn_cast<StringAttr>(value);
    if (!word)
      return wrong("a word");
    if (llvm::is_contained(field.choices, word.getValue()))
      return std::nullopt;
    return Problem{Rule::Choice, "\"" + word.getValue().str() + "\" is not a choice; expected " +
                                     listOf(field.choices) + suggest(word.getValue(), field.choices)};
  }
  case FieldType::TextList: {
    auto list = dyn_cast<ArrayAttr>(value);
    if (!list || !llvm::all_of(list, [](Attribute a) { return isa<StringAttr>(a); }))
      return wrong("a list of texts");
    if (list.empty())
      return Problem{Rule::Length, "expected at least 1 text, found 0"};
    if (field.attribute == "match")
      for (Attribute pattern : list)
        if (auto problem = checkPattern(cast<StringAttr>(pattern).getValue()))
          return problem;
    return std::nullopt;
  }
  case FieldType::NumberList: {
    auto list = dyn_cast<DenseF64ArrayAttr>(value);
    return list ? checkNumbers(field, list.asArrayRef()) : wrong("array<f64: ...>");
  }
  case FieldType::Method: {
    auto method = dyn_cast<MethodAttr>(value);
    if (!method || method.getCategory() != field.category)
      return wrong(("a method of category " + field.category).c_str());
    return checkMethod(method.getCategory(), method.getKind(), method.getFields(), context);
  }
  }
  return std::nullopt;
}

LogicalResult MethodAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, llvm::StringRef category,
                                 llvm::StringRef kind, DictionaryAttr fields) {
  if (auto problem = checkMethod(category, kind, fields, fields.getContext()))
    return emitError() << codeOf(problem->rule) << ": " << problem->text; // method_c1, method_c2
  return success();
}

//===--- Reports ---===//

/// JSON pointer of a field of the section.
static std::string fieldPointer(Operation *section, llvm::StringRef attribute) {
  std::string base = pointerOf(section);
  if (base == "/")
    base.clear();
  std::string split;
  if (auto dataset = dyn_cast<DatasetOp>(section))
    split = dataset.getSplitAttr().str();
  auto [head, rest] = attribute.split('.');
  std::string key = head.str();
  if (const Section *known = findSectionOfOp(section->getName().getStringRef().str(), split))
    if (const Field *field = findField(*known, key))
      key = field->key;
  if (!rest.empty())
    key += "." + rest.str();
  std::replace(key.begin(), key.end(), '.', '/');
  return key.empty() ? base : base + "/" + key;
}

Location moec::exp::placeOf(Operation *section, llvm::StringRef attribute) {
  if (isGiven(section, attribute))
    return fieldLoc(section, attribute);
  Location place = section->getLoc();
  if (auto fused = dyn_cast<FusedLoc>(place); fused && !fused.getLocations().empty())
    place = fused.getLocations().front();
  if (auto named = dyn_cast<NameLoc>(place))
    place = named.getChildLoc();
  std::string pointer = attribute.empty() ? pointerOf(section) : fieldPointer(section, attribute);
  return NameLoc::get(StringAttr::get(section->getContext(), pointer), place);
}

InFlightDiagnostic moec::exp::report(Operation *section, llvm::StringRef attribute, Rule rule,
                                     DiagnosticSeverity severity) {
  Location place = placeOf(section, attribute);
  InFlightDiagnostic diagnostic =
      severity == DiagnosticSeverity::Warning ? mlir::emitWarning(place) : mlir::emitError(place);
  diagnostic << codeOf(rule) << ": ";
  return diagnostic;
}
