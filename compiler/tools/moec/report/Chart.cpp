#include "compiler/tools/moec/report/Chart.h"

#include "compiler/tools/moec/report/Html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace moec::report {

namespace {
/// Pixels with two decimals: the script turns them back into values.
std::string pixel(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  std::string trimmed = text;
  trimmed.erase(trimmed.find_last_not_of('0') + 1);
  if (trimmed.back() == '.')
    trimmed.pop_back();
  return trimmed == "-0" ? "0" : trimmed;
}

std::string exact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

/// One axis: maps values from low to high to pixels from start to end.
struct Axis {
  double low = 0, high = 1, start = 0, end = 1;

  double at(double value) const { return start + (value - low) / (high - low) * (end - start); }

  std::vector<double> ticks(double count) const {
    double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw)));
    double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    std::vector<double> found;
    double first = std::ceil(low / step - 1e-9);
    for (int i = 0; i < 20 && (first + i) * step <= high + step * 1e-9; ++i)
      found.push_back((first + i) * step + 0.0); // no -0
    return found;
  }
};

struct Extent {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

/// The range that the axis shows: all values, unless a few are so far away that the rest would be a flat line.
Extent shownRange(std::vector<double> values) {
  Extent all;
  for (double value : values)
    all.add(value);
  if (values.size() < 20)
    return all;
  std::sort(values.begin(), values.end());
  double low = values[values.size() / 50], high = values[values.size() - 1 - values.size() / 50];
  double spread = high - low;
  Extent shown = all;
  if (all.low < low - spread)
    shown.low = low - spread / 4;
  if (all.high > high + spread)
    shown.high = high + spread / 4;
  return shown;
}

std::string textAt(double x, double y, const char *anchor, const std::string &text, const char *more = "") {
  return "<text x=\"" + pixel(x) + "\" y=\"" + pixel(y) + "\" text-anchor=\"" + anchor + "\"" + more + ">" +
         escape(text) + "</text>";
}

std::string colourClass(size_t run) {
  return "c" + std::to_string(run % 10) + (run % 30 >= 20 ? " dots" : run % 30 >= 10 ? " dash" : "");
}

std::string drawLine(const Line &line, const Axis &x, const Axis &y) {
  std::string out, path;
  bool open = false;
  for (size_t i = 0; i < line.x.size(); ++i) {
    if (!std::isfinite(line.y[i])) {
      open = false;
      continue;
    }
    path += (open ? "L" : "M") + pixel(x.at(line.x[i])) + " " + pixel(y.at(line.y[i]));
    open = true;
  }
  if (path.empty())
    return "";
  std::string which = " data-run=\"" + std::to_string(line.run) + "\"";
  out += "<path class=\"line " + colourClass(line.run) + (line.faint ? " faint" : "") + "\"" + which +
         (line.faint ? "" : " data-label=\"" + escape(line.label) + "\"") + " d=\"" + path + "\"/>";
  bool single = line.x.size() == 1;
  for (size_t i = 0; (line.dots || single) && i < line.x.size(); ++i)
    if (std::isfinite(line.y[i]))
      out += "<circle class=\"mark " + colourClass(line.run) + "\"" + which + " cx=\"" + pixel(x.at(line.x[i])) +
             "\" cy=\"" + pixel(y.at(line.y[i])) + "\" r=\"2.5\"/>";
  return out;
}
} // namespace

std::string lineChart(const ChartText &text, const std::vector<Line> &lines) {
  Extent xs;
  std::vector<double> values;
  for (const Line &line : lines)
    for (size_t i = 0; i < line.x.size(); ++i)
      if (std::isfinite(line.y[i])) {
        xs.add(line.x[i]);
        values.push_back(line.y[i]);
      }
  if (values.empty())
    return "";
  std::vector<double> ranging = values;
  if (text.lead > 0) {
    ranging.clear();
    for (const Line &line : lines)
      for (size_t i = 0; i < line.x.size(); ++i)
        if (std::isfinite(line.y[i]) && line.x[i] >= xs.low + text.lead * (xs.high - xs.low))
          ranging.push_back(line.y[i]);
  }
  Extent ys = shownRange(std::move(ranging));
  auto beyond = std::count_if(values.begin(), values.end(), [&](double v) { return v < ys.low || v > ys.high; });
  if (xs.low == xs.high)
    xs.high = xs.low + 1;
  // Values that differ only by rounding count as constant: ticks of 1e-16 have no meaning.
  double size = std::max(std::fabs(ys.low), std::fabs(ys.high));
  double pad = ys.high - ys.low <= size * 1e-9 ? std::max(size * 0.1, 1e-9) : (ys.high - ys.low) * 0.05;
  bool fromZero = ys.low >= 0 && ys.low - pad < 0;
  Axis x{xs.low, xs.high, 56, text.width - 12.0};
  Axis y{fromZero ? 0 : ys.low - pad, ys.high + pad, text.height - 34.0, 12};

  std::string out = "<figure><figcaption>" + escape(text.title);
  if (beyond > 0)
    out +=
        " <small>(" + std::to_string(beyond) + " of " + std::to_string(values.size()) + " points lie outside)</small>";
  out += "</figcaption>";
  if (text.legend) {
    out += "<p class=\"legend\">";
    for (const Line &line : lines)
      if (!line.faint)
        out += "<span><i class=\"chip " + colourClass(line.run) + "\"></i>" + escape(line.label) + "</span> ";
    out += "</p>";
  }
  out += "<svg class=\"chart\" viewBox=\"0 0 " + std::to_string(text.width) + " " + std::to_string(text.height) +
         "\" role=\"img\" aria-label=\"" + escape(text.title) + "\" data-x=\"" + exact(x.low) + " " + exact(x.high) +
         " " + pixel(x.start) + " " + pixel(x.end) + "\" data-y=\"" + exact(y.low) + " " + exact(y.high) + " " +
         pixel(y.start) + " " + pixel(y.end) + "\" data-name=\"" + escape(text.xLabel) + "\">";
  for (double tick : y.ticks(5))
    out += "<path class=\"grid\" d=\"M" + pixel(x.start) + " " + pixel(y.at(tick)) + "H" + pixel(x.end) + "\"/>" +
           textAt(x.start - 6, y.at(tick) + 3.5, "end", std::fabs(tick) >= 1e4 ? shortNumber(tick) : numberText(tick));
  for (double tick : x.ticks(6))
    out += "<path class=\"grid\" d=\"M" + pixel(x.at(tick)) + " " + pixel(y.start) + "v4\"/>" +
           textAt(x.at(tick), y.start + 15, "middle", shortNumber(tick));
  out += textAt((x.start + x.end) / 2, text.height - 4, "middle", text.xLabel);
  if (!text.yLabel.empty())
    out += textAt(12, (y.start + y.end) / 2, "middle", text.yLabel,
                  (" transform=\"rotate(-90 12 " + pixel((y.start + y.end) / 2) + ")\"").c_str());
  // An inner svg element clips, and needs no id for that.
  std::string box = pixel(x.start) + " " + pixel(y.end) + " " + pixel(x.end - x.start) + " " + pixel(y.start - y.end);
  out += "<svg x=\"" + pixel(x.start) + "\" y=\"" + pixel(y.end) + "\" width=\"" + pixel(x.end - x.start) +
         "\" height=\"" + pixel(y.start - y.end) + "\" viewBox=\"" + box + "\">";
  for (bool faint : {true, false})
    for (const Line &line : lines)
      if (line.faint == faint)
        out += drawLine(line, x, y);
  return out + "</svg><path class=\"axis\" d=\"M" + pixel(x.start) + " " + pixel(y.end) + "V" + pixel(y.start) + "H" +
         pixel(x.end) + "\"/></svg></figure>\n";
}

//===--- Colours for values ---===//

unsigned Scale::index(double value) const {
  if (!std::isfinite(value))
    value = low;
  double share = 0;
  if (diverging)
    share = value < middle ? 0.5 * (value - low) / std::max(middle - low, 1e-12)
                           : 0.5 + 0.5 * (value - middle) / std::max(high - middle, 1e-12);
  else
    share = (value - low) / std::max(high - low, 1e-300);
  return static_cast<unsigned>(std::lround(255 * std::clamp(share, 0.0, 1.0)));
}

static const std::vector<uint32_t> &paletteOf(const Scale &scale) {
  return scale.diverging ? divergingPalette() : sequentialPalette();
}

std::string heatMap(const std::string &title, const std::string &rowLabel, const std::vector<double> &values,
                    size_t rows, size_t columns, double first, double last, const Scale &scale) {
  std::vector<uint8_t> pixels;
  Extent seen;
  for (double value : values) {
    pixels.push_back(static_cast<uint8_t>(scale.index(value)));
    if (std::isfinite(value))
      seen.add(value);
  }
  int width = 460, plot = std::clamp(static_cast<int>(rows) * 13, 40, 220), height = plot + 42;
  Axis x{first, std::max(last, first + 1), 40, width - 12.0};
  Axis y{0, static_cast<double>(rows), 8, 8.0 + plot};
  std::string out = "<figure><figcaption>" + escape(title) + " <small>(" + numberText(seen.low) + " to " +
                    numberText(seen.high) + ")</small></figcaption><svg viewBox=\"0 0 " + std::to_string(width) + " " +
                    std::to_string(height) + "\" role=\"img\" aria-label=\"" + escape(title) + "\">";
  out += "<image class=\"pixels\" x=\"40\" y=\"8\" width=\"" + pixel(x.end - x.start) + "\" height=\"" +
         std::to_string(plot) + "\" preserveAspectRatio=\"none\" href=\"" +
         imageUri(pixels, columns, rows, paletteOf(scale)) + "\"/>";
  size_t every = (rows * 12 + static_cast<size_t>(plot) - 1) / static_cast<size_t>(plot); // 12 for a line of text
  for (size_t row = 0; row < rows; row += every)
    out += textAt(36, y.at(static_cast<double>(row) + 0.5) + 3.5, "end", std::to_string(row));
  for (double tick : x.ticks(6))
    out += "<path class=\"grid\" d=\"M" + pixel(x.at(tick)) + " " + pixel(y.end) + "v4\"/>" +
           textAt(x.at(tick), y.end + 15, "middle", shortNumber(tick));
  out += textAt((x.start + x.end) / 2, height - 4.0, "middle", "step") +
         textAt(10, (y.start + y.end) / 2, "middle", rowLabel,
                (" transform=\"rotate(-90 10 " + pixel((y.start + y.end) / 2) + ")\"").c_str());
  return out + "</svg></figure>\n";
}

std::string matrix(const std::string &title, const std::vector<std::string> &rowNames, size_t columns,
                   const std::vector<double> &values, const Scale &scale) {
  double left = 100, cell = std::clamp(348.0 / static_cast<double>(columns), 2.0, 34.0), high = 22;
  int width = 460, height = static_cast<int>(high * static_cast<double>(rowNames.size())) + 40;
  std::string out = "<figure><figcaption>" + escape(title) + "</figcaption><svg viewBox=\"0 0 " +
                    std::to_string(width) + " " + std::to_string(height) + "\" role=\"img\" aria-label=\"" +
                    escape(title) + "\">";
  for (size_t row = 0; row < rowNames.size(); ++row) {
    double top = 4 + high * static_cast<double>(row);
    out += textAt(left - 6, top + 15, "end", rowNames[row].substr(0, 14));
    for (size_t column = 0; column < columns; ++column) {
      double value = values[row * columns + column];
      unsigned index = scale.index(value);
      char colour[8];
      std::snprintf(colour, sizeof colour, "#%06x", paletteOf(scale)[index]);
      double x = left + cell * static_cast<double>(column);
      out += "<rect x=\"" + pixel(x) + "\" y=\"" + pixel(top) + "\" width=\"" + pixel(cell) + "\" height=\"" +
             pixel(high) + "\" fill=\"" + colour + "\"><title>" + escape(rowNames[row]) + ", expert " +
             std::to_string(column) + ": " + numberText(value) + "</title></rect>";
      if (cell >= 26)
        out += "<text class=\"cell\" x=\"" + pixel(x + cell / 2) + "\" y=\"" + pixel(top + 15) +
               "\" text-anchor=\"middle\" fill=\"" + (index < 70 || index > 190 ? "#fff" : "#222") + "\">" +
               (value < 9.95 ? numberText(std::round(value * 10) / 10) : numberText(std::round(value))) + "</text>";
    }
  }
  double bottom = 4 + high * static_cast<double>(rowNames.size());
  size_t every = std::max<size_t>(1, (columns + 15) / 16);
  for (size_t column = 0; column < columns; column += every)
    out += textAt(left + cell * (static_cast<double>(column) + 0.5), bottom + 13, "middle", std::to_string(column));
  return out + textAt(left + cell * static_cast<double>(columns) / 2, bottom + 28, "middle", "expert") +
         "</svg></figure>\n";
}

std::string colourBar(const Scale &scale, const std::string &meaning) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 256; ++i)
    pixels.push_back(static_cast<uint8_t>(i));
  return "<p class=\"bar\">" + numberText(scale.low) + " <img class=\"pixels\" alt=\"\" src=\"" +
         imageUri(pixels, 256, 1, paletteOf(scale)) + "\"/> " + numberText(scale.high) +
         (scale.diverging ? ", the middle is " + numberText(scale.middle) : "") + ": " + escape(meaning) + "</p>\n";
}

//===--- Points ---===//

void thin(std::vector<double> &x, std::vector<double> &y, size_t maxPoints) {
  if (x.size() <= maxPoints || maxPoints < 4)
    return;
  std::vector<double> keptX, keptY;
  auto keep = [&](size_t i) {
    keptX.push_back(x[i]);
    keptY.push_back(y[i]);
  };
  size_t buckets = maxPoints / 2;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    size_t begin = bucket * x.size() / buckets, end = (bucket + 1) * x.size() / buckets;
    size_t least = end, most = end;
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(y[i]))
        continue;
      if (least == end || y[i] < y[least])
        least = i;
      if (most == end || y[i] > y[most])
        most = i;
    }
    if (least == end) {
      keep(begin); // a gap stays a gap
      continue;
    }
    keep(std::min(least, most));
    if (least != most)
      keep(std::max(least, most));
  }
  x = std::move(keptX);
  y = std::move(keptY);
}

std::vector<double> smooth(const std::vector<double> &y) {
  if (y.size() < 30)
    return {};
  double keep = 1 - 2 / (std::max(2.0, static_cast<double>(y.size()) / 40) + 1);
  std::vector<double> out;
  double sum = 0, weight = 0;
  for (double value : y) {
    if (std::isfinite(value)) {
      sum = keep * sum + value;
      weight = keep * weight + 1;
    }
    out.push_back(std::isfinite(value) ? sum / weight : value);
  }
  return out;
}

} // namespace moec::report
