#include "compiler/tools/moec/report/Html.h"

#include "runtime/base/Text.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Base64.h"
#include "llvm/Support/CRC.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace moec::report {

std::string escape(std::string_view text) {
  std::string out;
  for (char c : rt::escapeBytes(text)) {
    switch (c) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
    }
  }
  return out;
}

std::string numberText(double value) {
  if (!std::isfinite(value))
    return "-";
  char text[32];
  std::snprintf(text, sizeof text, std::fabs(value) >= 1e4 && std::fabs(value) < 1e15 ? "%.0f" : "%.4g", value);
  return text;
}

std::string shortNumber(double value) {
  const char *units[] = {"", " k", " M", " G", " T"};
  int unit = 0;
  for (; std::fabs(value) >= 1000 && unit < 4; ++unit)
    value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g%s", value, units[unit]);
  return text;
}

//===--- Images ---===//

static void appendBig(std::string &out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>(value >> shift);
}

static void appendChunk(std::string &png, const std::string &type, const std::string &data) {
  appendBig(png, static_cast<uint32_t>(data.size()));
  std::string body = type + data;
  png += body;
  appendBig(png, llvm::crc32(llvm::arrayRefFromStringRef(llvm::StringRef(body))));
}

/// A zlib stream of stored blocks. Heat maps have a few thousand pixels, so they need no compression.
static std::string stored(const std::string &raw) {
  constexpr size_t kBlock = 65535;
  std::string out = "\x78\x01";
  for (size_t at = 0; at < raw.size(); at += kBlock) {
    size_t size = std::min(kBlock, raw.size() - at);
    out += at + size == raw.size() ? '\1' : '\0';
    for (size_t word : {size, ~size})
      for (int shift : {0, 8})
        out += static_cast<char>(word >> shift);
    out.append(raw, at, size);
  }
  uint32_t a = 1, b = 0; // Adler-32
  for (unsigned char c : raw) {
    a = (a + c) % 65521;
    b = (b + a) % 65521;
  }
  appendBig(out, b << 16 | a);
  return out;
}

std::string imageUri(const std::vector<uint8_t> &pixels, size_t columns, size_t rows,
                     const std::vector<uint32_t> &palette) {
  std::string png("\x89PNG\r\n\x1a\n", 8), header, colours, raw;
  appendBig(header, static_cast<uint32_t>(columns));
  appendBig(header, static_cast<uint32_t>(rows));
  header += std::string("\x08\x03\0\0\0", 5); // 8 bits, palette
  for (uint32_t colour : palette)
    for (int shift : {16, 8, 0})
      colours += static_cast<char>(colour >> shift);
  for (size_t row = 0; row < rows; ++row) {
    raw += '\0'; // no filter
    raw.append(reinterpret_cast<const char *>(pixels.data()) + row * columns, columns);
  }
  appendChunk(png, "IHDR", header);
  appendChunk(png, "PLTE", colours);
  appendChunk(png, "IDAT", stored(raw));
  appendChunk(png, "IEND", "");
  return "data:image/png;base64," + llvm::encodeBase64(png);
}

/// Straight lines between colours at equal distances.
static std::vector<uint32_t> blend(const std::vector<std::array<double, 3>> &stops) {
  std::vector<uint32_t> palette;
  for (int i = 0; i < 256; ++i) {
    double at = i / 255.0 * static_cast<double>(stops.size() - 1);
    size_t left = std::min(static_cast<size_t>(at), stops.size() - 2);
    uint32_t colour = 0;
    for (size_t k = 0; k < 3; ++k)
      colour =
          colour << 8 | static_cast<uint32_t>(std::lround(stops[left][k] + (at - static_cast<double>(left)) *
                                                                               (stops[left + 1][k] - stops[left][k])));
    palette.push_back(colour);
  }
  return palette;
}

const std::vector<uint32_t> &divergingPalette() {
  static const std::vector<uint32_t> palette =
      blend({{20, 50, 110}, {60, 130, 190}, {240, 238, 232}, {215, 110, 60}, {120, 20, 30}});
  return palette;
}

const std::vector<uint32_t> &sequentialPalette() {
  static const std::vector<uint32_t> palette = blend({{245, 242, 228}, {120, 190, 170}, {30, 110, 140}, {25, 35, 90}});
  return palette;
}

} // namespace moec::report
