#include "compiler/Model/Patterns.h"

#include "llvm/ADT/SmallVector.h"

#include <string>

using llvm::StringRef;

namespace moec {

// `low..high` against the digits that `name` starts with, then `rest` against what follows them.
static bool matchesRange(StringRef low, StringRef high, StringRef rest, StringRef name) {
  unsigned long long from, to, number;
  if (low.getAsInteger(10, from) || high.getAsInteger(10, to))
    return false;
  StringRef digits = name.take_while([](char c) { return c >= '0' && c <= '9'; });
  if (digits.empty() || digits.getAsInteger(10, number) || (digits.size() > 1 && digits.front() == '0'))
    return false;
  return from <= number && number <= to && matchesPattern(rest, name.drop_front(digits.size()));
}

static bool matchesAlternatives(StringRef alternatives, StringRef rest, StringRef name) {
  llvm::SmallVector<StringRef> parts;
  alternatives.split(parts, ',');
  for (StringRef part : parts) {
    auto [low, high] = part.split("..");
    if (part.contains("..") ? matchesRange(low, high, rest, name) : matchesPattern((part + rest).str(), name))
      return true;
  }
  return false;
}

bool matchesPattern(StringRef pattern, StringRef name) {
  for (; !pattern.empty(); pattern = pattern.drop_front(), name = name.drop_front()) {
    if (pattern.front() == '*') {
      for (size_t skip = 0; skip <= name.size(); ++skip)
        if (matchesPattern(pattern.drop_front(), name.drop_front(skip)))
          return true;
      return false;
    }
    size_t close = pattern.find('}');
    if (pattern.front() == '{' && close != StringRef::npos)
      return matchesAlternatives(pattern.substr(1, close - 1), pattern.drop_front(close + 1), name);
    if (name.empty() || name.front() != pattern.front())
      return false;
  }
  return name.empty();
}

} // namespace moec
