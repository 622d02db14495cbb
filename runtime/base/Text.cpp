#include "runtime/base/Text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace moec::rt {

TextTable::TextTable(std::vector<std::string> header, std::string rightAligned) : right(std::move(rightAligned)) {
  rows.push_back(std::move(header));
}

std::string TextTable::text(const std::string &indent) const {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const auto &cells : rows)
    for (size_t i = 0; i < widths.size(); ++i)
      widths[i] = std::max(widths[i], cells[i].size());
  std::string result;
  for (const auto &cells : rows) {
    std::string line = indent;
    for (size_t i = 0; i < widths.size(); ++i) {
      std::string pad(widths[i] - cells[i].size(), ' ');
      line += i < right.size() && right[i] == '1' ? pad + cells[i] : cells[i] + pad;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + "\n";
  }
  return result;
}

std::string formatFixed(double value, int digits) {
  if (!std::isfinite(value)) // the sign of a NaN has no meaning
    return std::isnan(value) ? "NaN" : value > 0 ? "infinite" : "-infinite";
  char buffer[512]; // the largest double has 309 digits before the point
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

std::string formatBytes(uint64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(units); ++unit)
    value /= 1024;
  return formatFixed(value, unit == 0 ? 0 : 2) + " " + units[unit];
}

std::string formatDuration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0)
    return "?";
  auto total = static_cast<long long>(std::min(seconds, 1e9) + 0.5);
  char buffer[32];
  if (total >= 3600)
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  else
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld", total / 60, total % 60);
  return buffer;
}

std::string formatShape(const std::vector<uint64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Length of the well-formed UTF-8 sequence of two or more bytes at the start of `bytes`, or 0.
static size_t utf8Length(std::string_view bytes) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  size_t length = at(0) >= 0xF0 && at(0) <= 0xF4 ? 4 : at(0) >= 0xE0 && at(0) <= 0xEF ? 3 : at(0) >= 0xC2 ? 2 : 0;
  if (at(0) > 0xF4 || length > bytes.size())
    return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xC0) != 0x80)
      return 0;
  if (length == 0)
    return 0;
  // Overlong forms, surrogates, beyond U+10FFFF; and C1 controls, which some terminals obey.
  if ((at(0) == 0xE0 && at(1) < 0xA0) || (at(0) == 0xED && at(1) > 0x9F) || (at(0) == 0xF0 && at(1) < 0x90) ||
      (at(0) == 0xF4 && at(1) > 0x8F) || (at(0) == 0xC2 && at(1) < 0xA0))
    return 0;
  return length;
}

std::string escapeBytes(std::string_view bytes) {
  std::string result;
  for (size_t i = 0; i < bytes.size();) {
    auto byte = static_cast<unsigned char>(bytes[i]);
    size_t length = byte >= 0x80 ? utf8Length(bytes.substr(i)) : 0;
    if (length > 0) {
      result += bytes.substr(i, length);
      i += length;
      continue;
    }
    if (byte == '\\') {
      result += "\\\\";
    } else if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte < 0x7F)) {
      result += bytes[i];
    } else {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\x%02x", byte);
      result += buffer;
    }
    ++i;
  }
  return result;
}

std::string base64(std::string_view bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t have = std::min<size_t>(bytes.size() - i, 3);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < have ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k)
      result += k <= have ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return result;
}

} // namespace moec::rt
