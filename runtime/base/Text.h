// Text for people: tables with aligned columns, sizes, and bytes that may not be printable.
#ifndef MOEC_RUNTIME_BASE_TEXT_H
#define MOEC_RUNTIME_BASE_TEXT_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

/// Columns of numbers are aligned to the right: mark them in `rightAligned` ("01" = second column).
class TextTable {
public:
  TextTable(std::vector<std::string> header, std::string rightAligned);
  void row(std::vector<std::string> cells) { rows.push_back(std::move(cells)); }
  std::string text(const std::string &indent = "") const;

private:
  std::vector<std::vector<std::string>> rows;
  std::string right;
};

/// "1.50 MiB".
std::string formatBytes(uint64_t bytes);
/// Fixed digits after the point.
std::string formatFixed(double value, int digits);
/// "2:03:04" or "3:04".
std::string formatDuration(double seconds);
/// "[4, 8]".
std::string formatShape(const std::vector<uint64_t> &shape);
/// Printable ASCII, newline, tab and well-formed UTF-8 as they are; a backslash doubled; every other byte as \xNN.
/// No two texts give the same result, so the bytes can be recovered.
std::string escapeBytes(std::string_view bytes);
/// RFC 4648, with padding.
std::string base64(std::string_view bytes);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_TEXT_H
