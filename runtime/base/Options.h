// Error texts for wrong options of a command line. All programs share them; only the programs use the library that
// parses arguments.
#ifndef MOEC_RUNTIME_BASE_OPTIONS_H
#define MOEC_RUNTIME_BASE_OPTIONS_H

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

/// Takes the text of an option and returns the error, or an empty text.
using OptionCheck = std::function<std::string(const std::string &)>;

/// Only decimal digits, within bounds.
OptionCheck wholeNumber(uint64_t least, uint64_t most);
/// A finite number within bounds.
OptionCheck realNumber(double least, double most);

/// The largest useful number of threads: four for each processor that this process may use, or 16 if that is more. More
/// threads would only wait for each other.
unsigned mostThreads();
/// A whole number from 1 to mostThreads().
OptionCheck threadCount();

/// `; did you mean "check"?` if a candidate is near, otherwise nothing.
std::string nearestWord(std::string_view given, const std::vector<std::string> &candidates);

/// The error text for arguments that no option takes; `options` are all options, with their dashes.
std::string describeUnknown(const std::vector<std::string> &arguments, const std::vector<std::string> &options);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_OPTIONS_H
