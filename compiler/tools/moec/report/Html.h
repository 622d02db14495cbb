// Text that goes into a page.
#ifndef MOEC_COMPILER_TOOLS_MOEC_REPORT_HTML_H
#define MOEC_COMPILER_TOOLS_MOEC_REPORT_HTML_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::report {

/// Escapes any bytes for use in text and in quoted attributes.
std::string escape(std::string_view text);

/// Four significant digits, no trailing zeros: "1.234", "0.00123", "12 340", "1.2e-07".
std::string numberText(double value);
/// "1.5 k", "2 M".
std::string shortNumber(double value);

/// An image of `columns` x `rows` palette entries, the first row on top, as a data URI.
std::string imageUri(const std::vector<uint8_t> &pixels, size_t columns, size_t rows,
                     const std::vector<uint32_t> &palette);

/// 256 colours, 0xRRGGBB: blue over a pale middle to red, or pale to dark.
const std::vector<uint32_t> &divergingPalette();
const std::vector<uint32_t> &sequentialPalette();

} // namespace moec::report

#endif
