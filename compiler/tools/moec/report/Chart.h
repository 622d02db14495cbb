// Charts as inline SVG. They need no script; the page's script adds the values under the pointer.
#ifndef MOEC_COMPILER_TOOLS_MOEC_REPORT_CHART_H
#define MOEC_COMPILER_TOOLS_MOEC_REPORT_CHART_H

#include <cstddef>
#include <string>
#include <vector>

namespace moec::report {

struct Line {
  std::string label;
  size_t run = 0;           // gives the colour; the legend of the page switches lines of a run off
  bool faint = false;       // drawn behind the others, and not listed under the pointer
  bool dots = false;        // a mark at each point
  std::vector<double> x, y; // in order of x; NaN: a gap
};

struct ChartText {
  std::string title, xLabel, yLabel;
  int width = 460, height = 250;
  bool legend = false; // a legend of its own, because `run` does not count runs
  double lead = 0;     // share of x at the start whose values the y axis need not show
};

/// The axes leave out the few values that are far from all others, and say how many. Empty without a number.
std::string lineChart(const ChartText &text, const std::vector<Line> &lines);

/// Maps values between low and high to colours; `middle` gets the middle colour of the diverging palette.
struct Scale {
  double low = 0, high = 1;
  bool diverging = false;
  double middle = 0;
  /// 0 to 255.
  unsigned index(double value) const;
};

/// Rows (experts) over columns (steps from `first` to `last`); values[row * columns + column].
std::string heatMap(const std::string &title, const std::string &rowLabel, const std::vector<double> &values,
                    size_t rows, size_t columns, double first, double last, const Scale &scale);
/// A small table of named rows, each cell with its value under the pointer.
std::string matrix(const std::string &title, const std::vector<std::string> &rowNames, size_t columns,
                   const std::vector<double> &values, const Scale &scale);
/// A bar that shows what the colours mean.
std::string colourBar(const Scale &scale, const std::string &meaning);

/// Fewer points with the same highs and lows.
void thin(std::vector<double> &x, std::vector<double> &y, size_t maxPoints);
/// Exponential mean over about a fortieth of the points; empty if there are too few points.
std::vector<double> smooth(const std::vector<double> &y);

} // namespace moec::report

#endif
