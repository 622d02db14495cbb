#include "runtime/base/Options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <thread>

#include <sched.h>

namespace moec::rt {

/// The shortest text of a number.
template <typename T> static std::string numberText(T value) {
  char buffer[64];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

/// Arguments may have any length, but an error is one line.
static std::string quoted(const std::string &text) {
  constexpr size_t kShown = 40;
  return "\"" + (text.size() > kShown ? text.substr(0, kShown) + "..." : text) + "\"";
}

template <typename T> static std::string describeNumber(const std::string &text, const char *what, T least, T most) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool isNumber = !text.empty() && error != std::errc::invalid_argument && end == text.data() + text.size();
  std::string range = numberText(least) + " to " + numberText(most);
  bool isNegative = text.starts_with("-") && text.find_first_not_of("0123456789", 1) == std::string::npos;
  if (!isNumber && !(isNegative && text.size() > 1))
    return quoted(text) + " is not " + what + "; expected " + range;
  if (!isNumber || error != std::errc() || !(least <= value && value <= most))
    return quoted(text) + " is out of range; expected " + range;
  return "";
}

OptionCheck wholeNumber(uint64_t least, uint64_t most) {
  return [=](const std::string &text) { return describeNumber(text, "a whole number", least, most); };
}

OptionCheck realNumber(double least, double most) {
  return [=](const std::string &text) { return describeNumber(text, "a number", least, most); };
}

unsigned mostThreads() {
  constexpr unsigned kPerProcessor = 4, kAlways = 16;
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned processors = ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set))
                                                                      : std::thread::hardware_concurrency();
  return std::max(kAlways, kPerProcessor * processors);
}

OptionCheck threadCount() { return wholeNumber(1, mostThreads()); }

/// The number of insertions, deletions and changes of one character, and swaps of two neighbours, between both texts.
static size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  return cost[a.size()][b.size()];
}

std::string nearestWord(std::string_view given, const std::vector<std::string> &candidates) {
  constexpr size_t kLongest = 64; // a longer argument is not a misspelt option
  const std::string *best = nullptr;
  size_t bestDistance = 0;
  for (const std::string &candidate : candidates) {
    size_t distance = given.size() > kLongest ? kLongest : editDistance(given, candidate);
    if (given.size() >= 2 && candidate.starts_with(given))
      distance = std::min<size_t>(distance, 2);
    if (distance <= std::max(given.size(), candidate.size()) / 3 + 1 && distance < candidate.size() &&
        (!best || distance < bestDistance)) {
      best = &candidate;
      bestDistance = distance;
    }
  }
  return best ? "; did you mean \"" + *best + "\"?" : "";
}

std::string describeUnknown(const std::vector<std::string> &arguments, const std::vector<std::string> &options) {
  for (const std::string &argument : arguments)
    if (argument.starts_with("-") && argument.size() > 1) {
      std::string name = argument.substr(0, argument.find('='));
      return "there is no option " + quoted(name) + nearestWord(name, options);
    }
  return arguments.empty() ? "an argument too many" : "unexpected argument " + quoted(arguments.front());
}

} // namespace moec::rt
