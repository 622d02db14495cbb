// JSON values: making and printing them.
#include "compiler/Spec/SpecText.h"

#include <charconv>

using namespace moec::spec;

const Json *Json::find(llvm::StringRef key) const {
  for (const Member &member : members)
    if (member.key == key)
      return &member.value;
  return nullptr;
}

void Json::set(llvm::StringRef key, Json value) {
  if (Json *old = find(key))
    *old = std::move(value);
  else
    members.push_back({key.str(), {}, std::move(value)});
}

const char *Json::kindName() const {
  switch (kind) {
  case Kind::Null:
    return "null";
  case Kind::Boolean:
    return boolean ? "true" : "false";
  case Kind::Number:
    return "a number";
  case Kind::String:
    return "a text";
  case Kind::Array:
    return "a list";
  case Kind::Object:
    return "an object";
  }
  return "";
}

Json Json::makeNull() { return {}; }

Json Json::makeBoolean(bool value) {
  Json json;
  json.kind = Kind::Boolean;
  json.boolean = value;
  return json;
}

Json Json::makeNumber(double value) {
  Json json;
  json.kind = Kind::Number;
  json.number = value;
  json.string = numberText(value);
  return json;
}

Json Json::makeInteger(int64_t value) {
  Json json;
  json.kind = Kind::Number;
  json.number = static_cast<double>(value);
  json.string = std::to_string(value);
  return json;
}

Json Json::makeString(llvm::StringRef value) {
  Json json;
  json.kind = Kind::String;
  json.string = value.str();
  return json;
}

Json Json::makeArray() {
  Json json;
  json.kind = Kind::Array;
  return json;
}

Json Json::makeObject() {
  Json json;
  json.kind = Kind::Object;
  return json;
}

std::string moec::spec::numberText(double value) {
  char buffer[40];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

std::string moec::spec::quote(llvm::StringRef text) {
  std::string out = "\"";
  for (char c : text) {
    size_t which = llvm::StringRef("\"\\\b\f\n\r\t").find(c);
    if (which != llvm::StringRef::npos) {
      out += {'\\', "\"\\bfnrt"[which]};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      const char *digits = "0123456789abcdef";
      out += {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string moec::spec::below(llvm::StringRef pointer, llvm::StringRef key) {
  std::string out = pointer.str() + "/";
  for (char c : key)
    out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

/// `space`: a blank after ':' and ','.
static std::string printLine(const Json &value, bool space) {
  std::string out;
  const char *comma = space ? ", " : ",";
  switch (value.kind) {
  case Json::Kind::Null:
    return "null";
  case Json::Kind::Boolean:
    return value.boolean ? "true" : "false";
  case Json::Kind::Number:
    return value.string;
  case Json::Kind::String:
    return quote(value.string);
  case Json::Kind::Array:
    for (const Json &element : value.elements)
      out += (out.empty() ? "" : comma) + printLine(element, space);
    return "[" + out + "]";
  case Json::Kind::Object:
    for (const Member &member : value.members)
      out += (out.empty() ? "" : comma) + quote(member.key) + (space ? ": " : ":") + printLine(member.value, space);
    return "{" + out + "}";
  }
  return out;
}

std::string moec::spec::printCompact(const Json &value) { return printLine(value, false); }

static std::string printBlock(const Json &value, size_t indent, size_t used) {
  std::string line = printLine(value, true);
  // The outermost object is always a block.
  if (!value.isObject() || value.members.empty() || (indent && used + line.size() <= 100))
    return line;
  std::string out = "{\n";
  for (const Member &member : value.members) {
    std::string head = std::string(indent + 2, ' ') + quote(member.key) + ": ";
    out += head + printBlock(member.value, indent + 2, head.size()) + (&member == &value.members.back() ? "\n" : ",\n");
  }
  return out + std::string(indent, ' ') + "}";
}

std::string moec::spec::printPretty(const Json &value) { return printBlock(value, 0, 0) + "\n"; }
