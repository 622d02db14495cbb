#include "compiler/tools/moec/report/Page.h"

#include "compiler/Methods/LogNames.h"
#include "compiler/tools/moec/report/Chart.h"
#include "compiler/tools/moec/report/Html.h"
#include "runtime/base/JsonDifference.h"
#include "runtime/base/Text.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

namespace moec::report {

static constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
/// Points of a curve on the page.
static constexpr size_t kLossPoints = 800, kMetricPoints = 300;

const char *const kPageBeginning =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" "
    "content=\"width=device-width, initial-scale=1\"/><title>moec report: ";

namespace {
/// The last number of the smoothed curve, or of the curve itself if it is short.
std::optional<double> settled(const Column *column) {
  if (!column)
    return std::nullopt;
  std::vector<double> smoothed = smooth(*column);
  const std::vector<double> &values = smoothed.empty() ? *column : smoothed;
  for (size_t i = values.size(); i-- > 0;)
    if (std::isfinite(values[i]))
      return values[i];
  return std::nullopt;
}

std::string cellText(std::optional<double> value, int digits) {
  return !value ? "-" : std::isfinite(*value) ? rt::formatFixed(*value, digits) : "not finite";
}

std::string chip(size_t run) {
  return "<i class=\"chip c" + std::to_string(run % 10) +
         (run % 30 >= 20   ? " dots"
          : run % 30 >= 10 ? " dash"
                           : "") +
         "\"></i>";
}

class Page {
public:
  explicit Page(const std::vector<RunLog> &runs) : runs(runs) {}

  std::string write() {
    chooseAxis();
    begin();
    writeRuns();
    writeSeeds();
    writeLosses();
    writeBalance();
    writeMetrics();
    writeLoads();
    writeSpecialisation();
    writeGrids();
    writeDifferences();
    out +=
        "<div id=\"tip\"></div>\n<script>//<![CDATA[" + std::string(kPageScript) + "//]]></script>\n</body></html>\n";
    return std::move(out);
  }

private:
  using Pick = std::function<const Column *(const RunLog &)>;

  //===--- Axis ---===//

  /// Steps, or tokens when a step is not the same in all runs.
  void chooseAxis() {
    std::set<int64_t> seen;
    for (const RunLog &run : runs) {
      double last = run.train.steps.empty() ? 0 : run.train.steps.back();
      std::optional<double> tokens = run.lastOf(run.train, "tokens");
      perStep.push_back(tokens && last > 0 ? *tokens / last : 0);
      if (perStep.back() > 0)
        seen.insert(std::llround(perStep.back()));
    }
    byTokens = seen.size() > 1;
  }

  double xOf(size_t run, double step) const { return byTokens ? step * perStep[run] : step; }
  std::string xName() const { return byTokens ? "tokens" : "step"; }

  Line lineOf(size_t run, const Split &split, const Column &column, size_t maxPoints) const {
    Line line{runs[run].label, run, false, false, {}, {}};
    for (size_t i = 0; i < column.size(); ++i)
      // A metric that few lines have must not be drawn with gaps.
      if (std::isfinite(column[i]) || &split == &runs[run].train) {
        line.x.push_back(xOf(run, split.steps[i]));
        line.y.push_back(column[i]);
      }
    thin(line.x, line.y, maxPoints);
    return line;
  }

  //===--- Parts ---===//

  void begin() {
    std::string title = runs.size() == 1 ? runs.front().label : std::to_string(runs.size()) + " runs";
    out = kPageBeginning + escape(title) + "</title><style>" + kPageStyle +
          "</style></head><body class=\"runs\">\n<h1>" + escape(title) + "</h1>\n<nav>";
    for (size_t i = 0; i < runs.size(); ++i)
      out += "<button type=\"button\" aria-pressed=\"true\" data-run=\"" + std::to_string(i) + "\">" + chip(i) +
             escape(runs[i].label) + "</button>";
    out += "</nav>\n";
  }

  void heading(const std::string &title, const std::string &text) {
    out += "<h2>" + escape(title) + "</h2>\n" + (text.empty() ? "" : "<p>" + escape(text) + "</p>\n");
  }

  static std::string stateOf(const RunLog &run) {
    std::string step = std::to_string(run.lastStep());
    if (run.plannedSteps == 0)
      return step;
    return run.lastStep() >= run.plannedSteps ? step + ", done" : step + " of " + std::to_string(run.plannedSteps);
  }

  void writeRuns() {
    std::optional<double> best;
    for (const RunLog &run : runs)
      if (auto loss = run.lastOf(run.validation, "loss"); loss && (!best || *loss < *best))
        best = loss;
    out +=
        "<div class=\"scroll\"><table class=\"sorts\"><thead><tr><th>run</th><th>step</th><th>tokens</th><th>train "
        "loss</th><th>validation loss</th><th>least</th><th>unigram baseline</th><th>max violation</th><th>tokens/s</"
        "th><th>time</th><th class=\"text\">experiment</th></tr></thead><tbody>\n";
    for (size_t i = 0; i < runs.size(); ++i) {
      const RunLog &run = runs[i];
      auto validation = run.lastOf(run.validation, "loss");
      auto tokens = run.lastOf(run.train, "tokens");
      auto time = run.lastOf(run.train, "time_s");
      Column violation = meanOf(run.layers.maxViolation);
      bool isBest = validation && runs.size() > 1 && *validation == *best;
      out += "<tr><td>" + chip(i) + escape(run.label) + "</td><td>" + stateOf(run) + "</td><td>" +
             (tokens ? shortNumber(*tokens) : "-") + "</td><td>" +
             (run.wentBad(run.train, "loss") ? "not finite" : cellText(settled(run.train.find("loss")), 4)) +
             "</td><td" + (isBest ? " class=\"best\"" : "") + ">" + run.lastText(run.validation, "loss", 4) +
             "</td><td>" + cellText(least(run.validation.find("loss")), 4) + "</td><td>" +
             cellText(run.lastOf(run.validation, "unigram_baseline"), 4) + "</td><td>" +
             cellText(settled(&violation), 3) + "</td><td>" + cellText(run.tokensPerSecond(), 0) + "</td><td>" +
             (time ? rt::formatDuration(*time) : "-") + "</td><td class=\"text\">" + escape(run.name) + "</td></tr>\n";
    }
    out += "</tbody></table></div>\n<p>Losses are in nats per token. Train loss and max violation (load of the fullest "
           "expert over the mean load, minus 1; mean over layers) are smoothed; tokens/s is the median.</p>\n";
    writeLeftOut(best.has_value());
    for (const RunLog &run : runs)
      if (run.badLines > 0)
        out += "<p>" + escape(run.label) + ": " + std::to_string(run.badLines) + " lines could not be read.</p>\n";
  }

  /// Names the runs that a comparison leaves out.
  void writeLeftOut(bool isCompared) {
    std::string bad, without;
    for (const RunLog &run : runs)
      if (run.wentBad(run.validation, "loss") || run.wentBad(run.train, "loss"))
        bad += (bad.empty() ? "" : ", ") + run.label;
      else if (!run.lastOf(run.validation, "loss"))
        without += (without.empty() ? "" : ", ") + run.label;
    if (!bad.empty())
      out += "<p>The last loss is not finite: " + escape(bad) + ". What went bad has no part in later numbers.</p>\n";
    if (isCompared && !without.empty() && runs.size() > 1)
      out += "<p>No validation loss, so not compared for the best: " + escape(without) + ".</p>\n";
  }

  /// Mean and deviation of runs that differ only in the seed and have reached the same step.
  void writeSeeds() {
    std::map<std::pair<int64_t, std::map<std::string, std::string>>, std::vector<size_t>> groups;
    for (size_t i = 0; i < runs.size(); ++i)
      if (runs[i].spec) {
        std::map<std::string, std::string> leaves = rt::flattenJson(*runs[i].spec);
        leaves.erase("seed");
        leaves.erase("name");
        groups[{runs[i].lastStep(), leaves}].push_back(i);
      }
    std::vector<std::vector<size_t>> several;
    for (auto &[leaves, members] : groups)
      if (members.size() > 1)
        several.push_back(members);
    if (several.empty())
      return;
    std::sort(several.begin(), several.end());
    heading("Over seeds", "Runs whose specs differ in the seed alone, at the same step: mean and standard deviation. "
                          "(1 of 3): only one of three has a last value that is finite.");
    out += "<div class=\"scroll\"><table><thead><tr><th>runs</th><th>seeds</th><th>train loss</th><th>validation "
           "loss</th><th>max violation</th></tr></thead><tbody>\n";
    for (const std::vector<size_t> &members : several) {
      std::string names;
      for (size_t run : members)
        names += (names.empty() ? "" : ", ") + runs[run].label;
      out += "<tr><td>" + escape(names) + "</td><td>" + std::to_string(members.size()) + "</td>";
      out += spread(members, [](const RunLog &run) {
        return run.wentBad(run.train, "loss") ? std::nullopt : settled(run.train.find("loss"));
      });
      out += spread(members, [](const RunLog &run) { return run.lastOf(run.validation, "loss"); });
      out += spread(members, [](const RunLog &run) {
        Column violation = meanOf(run.layers.maxViolation);
        return settled(&violation);
      });
      out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
  }

  std::string spread(const std::vector<size_t> &members,
                     const std::function<std::optional<double>(const RunLog &)> &of) {
    double sum = 0, squares = 0, count = 0;
    for (size_t run : members)
      if (auto value = of(runs[run])) {
        sum += *value;
        ++count;
      }
    // If the mean covers only some of the runs, the page says so.
    std::string share = count < static_cast<double>(members.size())
                            ? " (" + rt::formatFixed(count, 0) + " of " + std::to_string(members.size()) + ")"
                            : "";
    if (count == 0)
      return "<td>-" + share + "</td>";
    for (size_t run : members)
      if (auto value = of(runs[run]))
        squares += (*value - sum / count) * (*value - sum / count);
    return "<td>" + cellText(sum / count, 4) +
           (count > 1 ? " &#177; " + cellText(std::sqrt(squares / (count - 1)), 4) : "") + share + "</td>";
  }

  void writeLosses() {
    std::vector<Line> train, validation;
    for (size_t i = 0; i < runs.size(); ++i) {
      if (const Column *loss = runs[i].train.find("loss")) {
        Line raw = lineOf(i, runs[i].train, *loss, kLossPoints);
        if (std::vector<double> smoothed = smooth(*loss); !smoothed.empty()) {
          train.push_back(lineOf(i, runs[i].train, smoothed, kLossPoints));
          raw.faint = true;
        }
        train.push_back(std::move(raw));
      }
      if (const Column *loss = runs[i].validation.find("loss")) {
        validation.push_back(lineOf(i, runs[i].validation, *loss, kMetricPoints));
        validation.back().dots = validation.back().x.size() <= 60;
      }
    }
    heading("Loss", "Cross-entropy in nats per token. Faint: as logged; strong: smoothed over a fortieth of the run.");
    out += "<div class=\"charts wide\">\n" + lineChart({"train loss", xName(), "", 640, 330, false, 0.1}, train) +
           lineChart({"validation loss", xName(), "", 640, 330}, validation) +
           lineChart({"validation loss by time", "seconds", "", 640, 330}, overTime()) + "</div>\n";
  }

  /// Validation loss over the seconds of training, so that the cost of a method shows.
  std::vector<Line> overTime() const {
    std::vector<Line> lines;
    for (size_t i = 0; i < runs.size(); ++i) {
      const Column *loss = runs[i].validation.find("loss"), *time = runs[i].validation.find("time_s");
      if (!loss || !time)
        continue;
      lines.push_back({runs[i].label, i, false, loss->size() <= 60, *time, *loss});
      thin(lines.back().x, lines.back().y, kMetricPoints);
    }
    return lines;
  }

  /// One chart, a line for each run that has the metric.
  std::string chartOf(const std::string &title, bool isTrain, const Pick &pick, bool smoothed = false) {
    std::vector<Line> lines;
    for (size_t i = 0; i < runs.size(); ++i)
      if (const Column *column = pick(runs[i])) {
        std::vector<double> soft = smoothed ? smooth(*column) : std::vector<double>();
        lines.push_back(
            lineOf(i, isTrain ? runs[i].train : runs[i].validation, soft.empty() ? *column : soft, kMetricPoints));
        lines.back().dots = !isTrain && lines.back().x.size() <= 60;
      }
    return lineChart({title, xName(), "", 460, 240}, lines);
  }

  void writeBalance() {
    std::string charts, byLayer;
    std::vector<Column> means(runs.size());
    auto add = [&](const std::string &title, std::vector<Column> LayerColumns::*member) {
      for (size_t i = 0; i < runs.size(); ++i)
        means[i] = meanOf(runs[i].layers.*member);
      charts += chartOf(
          title, true,
          [&](const RunLog &run) {
            const Column &mean = means[static_cast<size_t>(&run - runs.data())];
            return mean.empty() ? nullptr : &mean;
          },
          /*smoothed=*/true);
      if (runs.size() > 4 || runs.front().layers.maxViolation.size() < 2)
        return;
      for (size_t i = 0; i < runs.size(); ++i)
        byLayer += layerChart(i, title, runs[i].layers.*member);
    };
    add("max violation, mean over layers", &LayerColumns::maxViolation);
    add("entropy of loads, mean over layers", &LayerColumns::entropy);
    if (charts.empty())
      return;
    heading("Balance", "Of each logged step, smoothed. Max violation: load of the fullest expert over the mean load, "
                       "minus 1; 0 is even. Entropy: of the shares of load, over its largest value; 1 is even.");
    out += "<div class=\"charts\">\n" + charts + byLayer + "</div>\n";
  }

  std::string layerChart(size_t run, const std::string &title, const std::vector<Column> &layers) {
    std::vector<Line> lines;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      std::vector<double> soft = smooth(layers[layer]);
      lines.push_back(lineOf(run, runs[run].train, soft.empty() ? layers[layer] : soft, kMetricPoints));
      lines.back().label = runs[run].layerName(layer);
      lines.back().run = layer;
    }
    std::string name = title.substr(0, title.find(',')) + " by layer";
    std::string chart =
        lineChart({runs.size() > 1 ? runs[run].label + ": " + name : name, xName(), "", 460, 240, true}, lines);
    return "<div data-run=\"" + std::to_string(run) + "\">" + notRuns(chart) + "</div>";
  }

  /// Lines of layers must not disappear when the run with the same number is switched off.
  static std::string notRuns(std::string chart) {
    for (size_t at = 0; (at = chart.find(" data-run=\"", at)) != std::string::npos;)
      chart.erase(at, chart.find('"', at + 11) + 1 - at);
    return chart;
  }

  void writeMetrics() {
    std::set<std::string> train, validation;
    for (const RunLog &run : runs) {
      for (const auto &[name, column] : run.train.columns)
        train.insert(name);
      for (const auto &[name, column] : run.validation.columns)
        validation.insert(name);
    }
    for (const char *shown : {"loss", "time_s", "tokens"}) { // shown above
      train.erase(shown);
      validation.erase(shown);
    }
    validation.erase("unigram_baseline");
    std::string charts;
    for (const std::string &name : train)
      charts += chartOf(name == "tokens_per_s" ? "throughput: tokens/s" : name, true,
                        [&](const RunLog &run) { return run.train.find(name); });
    for (const std::string &name : validation)
      charts += chartOf("validation: " + name, false, [&](const RunLog &run) { return run.validation.find(name); });
    if (charts.empty())
      return;
    heading("Throughput and further metrics", "");
    out += "<div class=\"charts\">\n" + charts + "</div>\n";
  }

  //===--- Tables over time ---===//

  /// A part of a run's details, folded unless there are few runs.
  void details(size_t run, const std::string &content, size_t openUpTo = 8) {
    if (content.empty())
      return;
    bool open = runs.size() <= openUpTo;
    out += std::string("<details data-run=\"") + std::to_string(run) + "\"" + (open ? " open=\"\"" : "") +
           "><summary>" + chip(run) + escape(runs[run].label) + "</summary><div class=\"charts\">\n" + content +
           "</div></details>\n";
  }

  /// Rows (the last dimension) over bins, of one slice of a grid; `perMean`: relative to the mean of the bin.
  static std::vector<double> sliceOf(const Grid &grid, size_t slice, bool perMean) {
    size_t rows = grid.shape.back(), columns = grid.bins.size();
    std::vector<double> values(rows * columns);
    for (size_t column = 0; column < columns; ++column) {
      const Grid::Bin &bin = grid.bins[column];
      const double *sums = bin.sums.data() + slice * rows;
      double total = 0;
      for (size_t row = 0; row < rows; ++row)
        total += sums[row];
      double scale = perMean ? static_cast<double>(rows) / total : 1 / static_cast<double>(bin.lines);
      for (size_t row = 0; row < rows; ++row)
        values[row * columns + column] = perMean && !(total > 0) ? kNothing : sums[row] * scale;
    }
    return values;
  }

  static size_t slicesOf(const Grid &grid) {
    size_t slices = 1;
    for (size_t i = 0; i + 1 < grid.shape.size(); ++i)
      slices *= grid.shape[i];
    return slices;
  }

  /// One scale for all runs, so that colours can be compared. Up to four times the mean has a colour of its own.
  static Scale loadScale(const std::vector<double> &values, Scale scale = {0, 2, true, 1}) {
    for (double value : values)
      if (std::isfinite(value))
        scale.high = std::clamp(value, scale.high, 4.0);
    return scale;
  }

  void writeLoads() {
    Scale scale{0, 2, true, 1};
    bool any = false;
    for (const RunLog &run : runs)
      if (auto grid = run.grids.find(kExpertTokens); grid != run.grids.end())
        for (size_t layer = 0; layer < slicesOf(grid->second); ++layer) {
          scale = loadScale(sliceOf(grid->second, layer, true), scale);
          any = true;
        }
    if (!any)
      return;
    heading("Load of the experts", "");
    out +=
        colourBar(scale, "tokens of an expert over the mean of its layer (up to 4), each column a stretch of the log");
    for (size_t i = 0; i < runs.size(); ++i) {
      auto grid = runs[i].grids.find(kExpertTokens);
      std::string content;
      for (size_t layer = 0; grid != runs[i].grids.end() && layer < slicesOf(grid->second); ++layer)
        content += mapOf(runs[i].layerName(layer), "expert", grid->second, layer, true, scale);
      details(i, content);
    }
  }

  static std::string mapOf(const std::string &title, const std::string &rowLabel, const Grid &grid, size_t slice,
                           bool perMean, const Scale &scale) {
    return heatMap(title, rowLabel, sliceOf(grid, slice, perMean), grid.shape.back(), grid.bins.size(),
                   grid.bins.front().firstStep, grid.bins.back().lastStep, scale);
  }

  void writeSpecialisation() {
    std::vector<std::string> contents(runs.size());
    Scale scale{0, 2, true, 1};
    for (bool measuring : {true, false})
      for (size_t i = 0; i < runs.size(); ++i)
        contents[i] = sourcesOf(runs[i], measuring, scale);
    if (std::all_of(contents.begin(), contents.end(), [](const std::string &text) { return text.empty(); }))
      return;
    heading("Specialisation", "Which experts the tokens of a source go to. Mutual information, in nats: what an "
                              "expert tells about the source of a token; 0: experts are chosen alike for all sources.");
    std::vector<Column> means;
    for (const RunLog &run : runs)
      means.push_back(meanOf(run.layers.information));
    out += "<div class=\"charts\">\n" +
           chartOf(
               "mutual information in nats, mean over layers", true,
               [&](const RunLog &run) {
                 const Column &mean = means[static_cast<size_t>(&run - runs.data())];
                 return mean.empty() ? nullptr : &mean;
               },
               true) +
           "</div>\n" +
           colourBar(scale, "share of a source's tokens that an expert gets, over an even share (up to 4)");
    for (size_t i = 0; i < runs.size(); ++i)
      details(i, contents[i]);
  }

  /// Sources x experts of each layer, over the last quarter of the log.
  std::string sourcesOf(const RunLog &run, bool measuring, Scale &scale) {
    auto found = run.grids.find(kExpertTokensBySource);
    if (found == run.grids.end())
      return "";
    const Grid &grid = found->second;
    size_t sources = grid.shape[1], experts = grid.shape[2], table = sources * experts;
    std::vector<std::string> names = run.sources;
    for (size_t i = names.size(); i < sources; ++i)
      names.push_back("source " + std::to_string(i));
    names.resize(sources);
    std::string content;
    for (size_t layer = 0; layer * table < grid.last.size(); ++layer) {
      std::vector<double> counts(table, 0);
      for (size_t bin = grid.bins.size() - (grid.bins.size() + 3) / 4; bin < grid.bins.size(); ++bin)
        for (size_t k = 0; k < table; ++k)
          counts[k] += grid.bins[bin].sums[layer * table + k];
      std::string nats = numberText(mutualInformation(counts.data(), sources, experts));
      for (size_t source = 0; source < sources; ++source) {
        double sum = 0;
        for (size_t e = 0; e < experts; ++e)
          sum += counts[source * experts + e];
        for (size_t e = 0; e < experts; ++e) {
          double &count = counts[source * experts + e];
          count = sum > 0 ? count * static_cast<double>(experts) / sum : kNothing;
        }
      }
      if (measuring)
        scale = loadScale(counts, scale);
      else
        content += matrix(run.layerName(layer) + ": " + nats + " nats", names, experts, counts, scale);
    }
    return content;
  }

  /// Metrics that are lists or tables and have no chart of their own.
  void writeGrids() {
    std::set<std::string> names;
    for (const RunLog &run : runs)
      for (const auto &[name, grid] : run.grids)
        if (name != kExpertTokens && name != kExpertTokensBySource)
          names.insert(name);
    for (const std::string &name : names) {
      heading(name, "");
      for (size_t i = 0; i < runs.size(); ++i) {
        auto found = runs[i].grids.find(name);
        std::string content;
        for (size_t slice = 0; found != runs[i].grids.end() && slice < std::min<size_t>(slicesOf(found->second), 64);
             ++slice) {
          Scale scale{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
          for (double value : sliceOf(found->second, slice, false))
            if (std::isfinite(value)) {
              scale.low = std::min(scale.low, value);
              scale.high = std::max(scale.high, value);
            }
          size_t rows = slicesOf(found->second);
          std::string title = rows == 1                    ? name
                              : rows == runs[i].mixtures() ? runs[i].layerName(slice)
                                                           : "row " + std::to_string(slice);
          bool ofLayers = rows == 1 && found->second.shape.back() == runs[i].mixtures();
          content += mapOf(title, ofLayers ? "mixture" : "", found->second, slice, false, scale);
        }
        details(i, content, 2);
      }
    }
  }

  //===--- Specs ---===//

  void writeDifferences() {
    std::vector<std::map<std::string, std::string>> leaves;
    std::set<std::string> keys;
    std::vector<size_t> with;
    for (size_t i = 0; i < runs.size(); ++i)
      if (runs[i].spec) {
        with.push_back(i);
        leaves.push_back(rt::flattenJson(*runs[i].spec));
        for (const auto &[key, value] : leaves.back())
          keys.insert(key);
      }
    if (with.size() < 2)
      return;
    keys.erase("name");
    heading("Differences between the specs", "");
    auto valueOf = [&](size_t run, const std::string &key) {
      auto found = leaves[run].find(key);
      return found == leaves[run].end() ? std::string("-") : found->second;
    };
    std::erase_if(keys, [&](const std::string &key) {
      for (size_t run = 1; run < leaves.size(); ++run)
        if (valueOf(run, key) != valueOf(0, key))
          return false;
      return true;
    });
    if (keys.empty()) {
      out += "<p>None but the name.</p>\n";
      return;
    }
    // The longer dimension becomes the rows.
    std::vector<std::vector<std::string>> table(1, {"key"});
    for (const std::string &key : keys)
      table.push_back({escape(key)});
    for (size_t i = 0; i < with.size(); ++i) {
      table.front().push_back(chip(with[i]) + escape(runs[with[i]].label));
      size_t row = 1;
      for (const std::string &key : keys)
        table[row++].push_back(escape(valueOf(i, key)));
    }
    bool turned = with.size() >= keys.size();
    size_t rows = turned ? table.front().size() : table.size(), columns = turned ? table.size() : table.front().size();
    out += "<div class=\"scroll\"><table class=\"sorts\"><thead>";
    for (size_t row = 0; row < rows; ++row) {
      const char *cell = row == 0 ? "th" : "td";
      out += row == 1 ? "</thead><tbody>\n<tr>" : "<tr>";
      for (size_t column = 0; column < columns; ++column)
        out += std::string("<") + cell + " class=\"text\">" + (turned ? table[column][row] : table[row][column]) +
               "</" + cell + ">";
      out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
  }

  const std::vector<RunLog> &runs;
  std::string out;
  bool byTokens = false;
  std::vector<double> perStep; // tokens; 0: unknown
};
} // namespace

std::string reportPage(const std::vector<RunLog> &runs) { return Page(runs).write(); }

} // namespace moec::report
