// Words about options of a command line that are wrong. The programs share them; the library that splits the arguments
// stays with the programs.
#ifndef MOEC_RUNTIME_BASE_OPTIONS_H
#define MOEC_RUNTIME_BASE_OPTIONS_H

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

/// Of the text of an option: what is wrong with it, or nothing.
using OptionCheck = std::function<std::string(const std::string &)>;

/// Decimal digits alone, within bounds.
OptionCheck wholeNumber(uint64_t least, uint64_t most);
/// A finite number within bounds.
OptionCheck realNumber(double least, double most);

/// More threads than that only wait for each other: four for each processor that this process may use, or 16.
unsigned mostThreads();
/// A whole number from 1 to mostThreads().
OptionCheck threadCount();

/// `; did you mean "check"?` when a candidate is near, or nothing.
std::string nearestWord(std::string_view given, const std::vector<std::string> &candidates);

/// About arguments that no option takes; `options` are all that there are, with their dashes.
std::string describeUnknown(const std::vector<std::string> &arguments, const std::vector<std::string> &options);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_OPTIONS_H
