// The JSON reader.
#include "compiler/Spec/SpecText.h"

#include "llvm/Support/ConvertUTF.h"

#include <charconv>
#include <cmath>

using namespace moec;
using namespace moec::spec;
using exp::Rule;

static bool isDigit(char c) { return c >= '0' && c <= '9'; }

namespace {
constexpr unsigned kMaxDepth = 64;

/// Recursive descent; depth is bounded, so the C++ stack is too. Methods return false after the first error that ends
/// reading.
class Parser {
public:
  Parser(llvm::StringRef text, unsigned file, std::vector<Issue> &issues) : text(text), issues(issues), file(file) {}

  std::optional<Json> run() {
    if (!checkUtf8())
      return std::nullopt;
    Json value;
    if (!skipSpace() || !readValue(value, "", 0) || !skipSpace())
      return std::nullopt;
    if (at < text.size()) {
      fail(Rule::Syntax, "", "text after the end of the value");
      return std::nullopt;
    }
    return value;
  }

private:
  Place place() const { return {file, line, static_cast<unsigned>(at - lineStart) + 1}; }

  bool fail(Rule rule, llvm::StringRef pointer, std::string message) {
    issues.push_back({rule, place(), pointer.str(), std::move(message), {}});
    return false;
  }

  /// A description of the text at this place, for "expected ..., found ...".
  std::string found() const {
    if (at >= text.size())
      return "the end of the file";
    unsigned char c = static_cast<unsigned char>(text[at]);
    if (c < 0x20 || c == 0x7f)
      return "a control character";
    size_t length = std::max(1u, llvm::getNumBytesForUTF8(c));
    return "'" + text.substr(at, length).str() + "'";
  }

  void advance() {
    if (text[at++] == '\n') {
      ++line;
      lineStart = at;
    }
  }

  bool checkUtf8() {
    auto *begin = reinterpret_cast<const llvm::UTF8 *>(text.bytes_begin());
    auto *position = begin, *end = reinterpret_cast<const llvm::UTF8 *>(text.bytes_end());
    bool mark = text.starts_with("\xef\xbb\xbf");
    if (!mark && llvm::isLegalUTF8String(&position, end))
      return true;
    while (!mark && at < static_cast<size_t>(position - begin))
      advance();
    return fail(Rule::Utf8, "", mark ? "the file begins with a byte order mark; remove it" : "invalid UTF-8");
  }

  /// Space and comments.
  bool skipSpace() {
    while (at < text.size()) {
      char c = text[at];
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        advance();
      } else if (text.substr(at).starts_with("//")) {
        while (at < text.size() && text[at] != '\n')
          advance();
      } else if (text.substr(at).starts_with("/*")) {
        size_t end = text.find("*/", at + 2);
        if (end == llvm::StringRef::npos)
          return fail(Rule::Syntax, "", "comment is never closed; expected */");
        while (at < end + 2)
          advance();
      } else {
        break;
      }
    }
    return true;
  }

  bool readWord(Json &out, llvm::StringRef pointer, llvm::StringRef word, Json value) {
    if (!text.substr(at).starts_with(word) || (at + word.size() < text.size() && llvm::isAlnum(text[at + word.size()])))
      return fail(Rule::Syntax, pointer, "expected a value, found " + found());
    Place start = place();
    at += word.size();
    out = std::move(value);
    out.place = start;
    return true;
  }

  bool readValue(Json &out, const std::string &pointer, unsigned depth) {
    if (depth > kMaxDepth)
      return fail(Rule::Depth, "", "more than " + std::to_string(kMaxDepth) + " values inside one another");
    char c = at < text.size() ? text[at] : '\0';
    out.place = place();
    switch (c) {
    case '{':
      return readObject(out, pointer, depth);
    case '[':
      return readArray(out, pointer, depth);
    case '"':
      out.kind = Json::Kind::String;
      return readString(out.string, pointer);
    case 't':
      return readWord(out, pointer, "true", Json::makeBoolean(true));
    case 'f':
      return readWord(out, pointer, "false", Json::makeBoolean(false));
    case 'n':
      return readWord(out, pointer, "null", Json::makeNull());
    default:
      if (isDigit(c) || c == '-' || c == '+' || c == '.')
        return readNumber(out, pointer);
      return fail(Rule::Syntax, pointer, "expected a value, found " + found());
    }
  }

  bool readObject(Json &out, const std::string &pointer, unsigned depth) {
    out.kind = Json::Kind::Object;
    advance();
    if (!skipSpace())
      return false;
    if (at < text.size() && text[at] == '}') {
      advance();
      return true;
    }
    while (true) {
      if (at >= text.size() || text[at] != '"')
        return fail(Rule::Syntax, pointer, "expected a key in double quotes, found " + found());
      Member member;
      member.place = place();
      if (!readString(member.key, pointer) || !skipSpace())
        return false;
      if (at >= text.size() || text[at] != ':')
        return fail(Rule::Syntax, below(pointer, member.key), "expected ':' after the key, found " + found());
      advance();
      if (!skipSpace() || !readValue(member.value, below(pointer, member.key), depth + 1) || !skipSpace())
        return false;
      const Member *first = nullptr;
      for (const Member &other : out.members)
        if (other.key == member.key)
          first = &other;
      if (first)
        issues.push_back({Rule::DuplicateKey,
                          member.place,
                          below(pointer, member.key),
                          "key " + quote(member.key) + " is there twice",
                          {{first->place, below(pointer, member.key), "first given here"}}});
      else
        out.members.push_back(std::move(member));
      if (at < text.size() && text[at] == '}') {
        advance();
        return true;
      }
      if (!readComma(pointer, '}'))
        return false;
    }
  }

  bool readArray(Json &out, const std::string &pointer, unsigned depth) {
    out.kind = Json::Kind::Array;
    advance();
    if (!skipSpace())
      return false;
    if (at < text.size() && text[at] == ']') {
      advance();
      return true;
    }
    while (true) {
      Json element;
      if (!readValue(element, below(pointer, std::to_string(out.elements.size())), depth + 1) || !skipSpace())
        return false;
      out.elements.push_back(std::move(element));
      if (at < text.size() && text[at] == ']') {
        advance();
        return true;
      }
      if (!readComma(pointer, ']'))
        return false;
    }
  }

  bool readComma(const std::string &pointer, char close) {
    if (at >= text.size() || text[at] != ',')
      return fail(Rule::Syntax, pointer, std::string("expected ',' or '") + close + "', found " + found());
    advance();
    if (!skipSpace())
      return false;
    if (at < text.size() && text[at] == close)
      return fail(Rule::Syntax, pointer, std::string("comma before '") + close + "'; remove it");
    return true;
  }

  bool readNumber(Json &out, const std::string &pointer) {
    size_t start = at, p = at;
    auto digits = [&] {
      size_t first = p;
      while (p < text.size() && isDigit(text[p]))
        ++p;
      return p > first;
    };
    if (text[p] == '-')
      ++p;
    size_t whole = p;
    bool ok = digits() && !(text[whole] == '0' && p > whole + 1);
    if (ok && p < text.size() && text[p] == '.') {
      ++p;
      ok = digits();
    }
    if (ok && p < text.size() && (text[p] == 'e' || text[p] == 'E')) {
      ++p;
      if (p < text.size() && (text[p] == '+' || text[p] == '-'))
        ++p;
      ok = digits();
    }
    // Also refuses "12abc" and "1.2.3".
    if (!ok || (p < text.size() && (llvm::isAlnum(text[p]) || llvm::StringRef("._+-").contains(text[p])))) {
      while (p < text.size() && (llvm::isAlnum(text[p]) || llvm::StringRef("._+-").contains(text[p])))
        ++p;
      return fail(Rule::Number, pointer, "\"" + text.slice(start, p).str() + "\" is not a JSON number");
    }
    out.kind = Json::Kind::Number;
    out.string = text.slice(start, p).str();
    auto [end, error] = std::from_chars(out.string.data(), out.string.data() + out.string.size(), out.number);
    if (error != std::errc())
      return fail(Rule::Number, pointer, "\"" + out.string + "\" does not fit a double");
    at = p;
    return true;
  }

  bool readHex(const std::string &pointer, unsigned &out) {
    unsigned value;
    if (at + 4 > text.size() || !llvm::all_of(text.substr(at, 4), llvm::isHexDigit) ||
        text.substr(at, 4).getAsInteger(16, value))
      return fail(Rule::Syntax, pointer, "expected four hexadecimal digits after \\u");
    out = value;
    at += 4;
    return true;
  }

  bool readEscape(std::string &out, const std::string &pointer) {
    ++at;
    char c = at < text.size() ? text[at] : '\0';
    size_t which = llvm::StringRef("\"\\/bfnrt").find(c);
    if (c != '\0' && which != llvm::StringRef::npos) {
      out += "\"\\/\b\f\n\r\t"[which];
      ++at;
      return true;
    }
    if (c != 'u')
      return fail(Rule::Syntax, pointer,
                  "unknown escape in a text; expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    ++at;
    unsigned code;
    if (!readHex(pointer, code))
      return false;
    if (code >= 0xD800 && code < 0xDC00) {
      unsigned low = 0;
      if (text.substr(at).starts_with("\\u")) {
        at += 2;
        if (!readHex(pointer, low))
          return false;
      }
      if (low < 0xDC00 || low >= 0xE000)
        return fail(Rule::Syntax, pointer, "half of a surrogate pair in a text");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      return fail(Rule::Syntax, pointer, "half of a surrogate pair in a text");
    }
    char buffer[4], *end = buffer;
    llvm::ConvertCodePointToUTF8(code, end);
    out.append(buffer, end);
    return true;
  }

  bool readString(std::string &out, const std::string &pointer) {
    Place start = place();
    ++at;
    while (true) {
      if (at >= text.size() || text[at] == '\n') {
        issues.push_back({Rule::Syntax, start, pointer, "text is never closed; expected '\"' on the same line", {}});
        return false;
      }
      unsigned char c = static_cast<unsigned char>(text[at]);
      if (c == '"') {
        ++at;
        return true;
      }
      if (c < 0x20)
        return fail(Rule::Syntax, pointer, "control character in a text; write it as \\u00xx");
      if (c == '\\') {
        if (!readEscape(out, pointer))
          return false;
        continue;
      }
      out += text[at++];
    }
  }

  llvm::StringRef text;
  std::vector<Issue> &issues;
  size_t at = 0, lineStart = 0;
  unsigned file, line = 1;
};
} // namespace

std::optional<Json> moec::spec::parseText(llvm::StringRef text, unsigned file, std::vector<Issue> &issues) {
  return Parser(text, file, issues).run();
}

Json moec::spec::parseConstant(llvm::StringRef text) {
  std::vector<Issue> issues;
  std::optional<Json> value = parseText(text, 0, issues);
  if (!value)
    return Json::makeNull();
  // The value has no place in any file.
  auto clear = [](auto &&self, Json &json) -> void {
    json.place = {};
    for (Json &element : json.elements)
      self(self, element);
    for (Member &member : json.members) {
      member.place = {};
      self(self, member.value);
    }
  };
  clear(clear, *value);
  return std::move(*value);
}
