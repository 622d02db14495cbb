#include "compiler/tools/moec/report/RunLog.h"

#include "compiler/Methods/LogNames.h"
#include "runtime/base/File.h"
#include "runtime/base/Text.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

namespace fs = std::filesystem;
using moec::rt::Json;

namespace moec::report {

static constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

//===--- Columns and grids ---===//

const Column *Split::find(const std::string &name) const {
  auto found = columns.find(name);
  return found == columns.end() ? nullptr : &found->second;
}

void Split::set(const std::string &name, double value) {
  Column &column = columns[name];
  column.resize(steps.size(), kNothing);
  column.back() = value;
}

void Grid::add(double step, const std::vector<double> &values) {
  last = values;
  if (bins.empty() || bins.back().lines == linesPerBin) {
    if (bins.size() == kMaxBins) {
      // From here on, bins cover twice as many lines.
      for (size_t i = 0; i < kMaxBins / 2; ++i) {
        Bin &a = bins[2 * i], &b = bins[2 * i + 1];
        a.lastStep = b.lastStep;
        a.lines += b.lines;
        for (size_t k = 0; k < a.sums.size(); ++k)
          a.sums[k] += b.sums[k];
        if (i > 0)
          bins[i] = std::move(a);
      }
      bins.resize(kMaxBins / 2);
      linesPerBin *= 2;
    }
    bins.push_back({step, step, 0, std::vector<double>(values.size(), 0)});
  }
  Bin &bin = bins.back();
  bin.lastStep = step;
  ++bin.lines;
  for (size_t k = 0; k < values.size(); ++k)
    bin.sums[k] += values[k];
}

//===--- What follows from the tokens of experts ---===//

double mutualInformation(const double *counts, size_t rows, size_t columns) {
  std::vector<double> rowSums(rows, 0), columnSums(columns, 0);
  double total = 0;
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j) {
      rowSums[i] += counts[i * columns + j];
      columnSums[j] += counts[i * columns + j];
      total += counts[i * columns + j];
    }
  if (!(total > 0))
    return kNothing;
  double nats = 0;
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j)
      if (double n = counts[i * columns + j]; n > 0)
        nats += n / total * std::log(n * total / (rowSums[i] * columnSums[j]));
  return std::max(nats, 0.0);
}

/// A value of the newest training line, for one layer.
static void setLayer(std::vector<Column> &columns, size_t layer, size_t lines, double value) {
  if (columns.size() <= layer)
    columns.resize(layer + 1);
  columns[layer].resize(lines, kNothing);
  columns[layer].back() = value;
}

/// `shape`: layers x experts, or experts alone.
static void addLoads(RunLog &run, const std::vector<size_t> &shape, const std::vector<double> &tokens) {
  size_t experts = shape.back(), lines = run.train.steps.size();
  for (size_t layer = 0; layer * experts < tokens.size(); ++layer) {
    const double *load = tokens.data() + layer * experts;
    double sum = 0, most = 0, entropy = 0;
    for (size_t e = 0; e < experts; ++e) {
      sum += load[e];
      most = std::max(most, load[e]);
    }
    for (size_t e = 0; e < experts && sum > 0; ++e)
      entropy -= load[e] > 0 ? load[e] / sum * std::log(load[e] / sum) : 0;
    double count = static_cast<double>(experts);
    setLayer(run.layers.maxViolation, layer, lines, sum > 0 ? most * count / sum - 1 : kNothing);
    setLayer(run.layers.entropy, layer, lines, sum > 0 && experts > 1 ? entropy / std::log(count) : kNothing);
  }
}

/// Layers x sources x experts, from this shape, from layers x (sources * experts), or from sources x experts of one
/// layer. Empty if the number of experts is unknown.
static std::vector<size_t> sourcesShape(const RunLog &run, const std::vector<size_t> &shape) {
  auto loads = run.grids.find(kExpertTokens);
  size_t experts = loads == run.grids.end() ? 0 : loads->second.shape.back();
  if (shape.size() == 3)
    return shape;
  if (shape.size() != 2 || (experts > 0 && shape[1] % experts != 0))
    return {};
  if (experts == 0 || shape[1] == experts)
    return {1, shape[0], shape[1]};
  return {shape[0], shape[1] / experts, experts};
}

static void addSources(RunLog &run, const std::vector<size_t> &shape, const std::vector<double> &tokens) {
  size_t experts = shape[2], sources = shape[1];
  for (size_t layer = 0; layer * sources * experts < tokens.size(); ++layer)
    setLayer(run.layers.information, layer, run.train.steps.size(),
             mutualInformation(tokens.data() + layer * sources * experts, sources, experts));
}

//===--- Reading ---===//

/// The values of nested lists in order; false if the lists are ragged or hold anything but numbers. A number is a list
/// of rank 0.
static bool readNumbers(const Json &json, size_t depth, std::vector<size_t> &shape, std::vector<double> &values) {
  if (!json.isArray()) {
    bool whole = depth == shape.size();
    values.push_back(json.isNumber() ? json.asDouble() : kNothing);
    return whole && (json.isNumber() || json.kind() == Json::Kind::Null);
  }
  if (values.empty() && depth == shape.size())
    shape.push_back(json.items().size());
  if (depth >= shape.size() || shape[depth] != json.items().size() || json.items().empty())
    return false;
  for (const Json &item : json.items())
    if (!readNumbers(item, depth + 1, shape, values))
      return false;
  return true;
}

static void readLine(RunLog &run, const std::string &text) {
  rt::Result<Json> line = Json::parse(text);
  const Json *step = line.isOk() && line->isObject() ? line->find("step") : nullptr;
  if (!step || !step->isNumber()) {
    ++run.badLines;
    return;
  }
  const Json *kind = line->find("split");
  bool isTrain = !kind || kind->asString() != "validation";
  Split &split = isTrain ? run.train : run.validation;
  split.steps.push_back(step->asDouble());
  for (const auto &[key, value] : line->members()) {
    if (value.kind() == Json::Kind::Null)
      split.nulls.insert(key);
    else
      split.nulls.erase(key);
    if (key == "step" || (!value.isNumber() && !value.isArray()))
      continue;
    std::vector<size_t> shape;
    std::vector<double> values;
    if (!readNumbers(value, 0, shape, values))
      continue;
    if (shape.empty()) {
      split.set(key, values.front());
      continue;
    }
    while (shape.size() > 1 && shape.back() == 1)
      shape.pop_back();
    if (shape.size() == 1)
      split.set(key + ", mean", std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(shape[0]));
    if (key == kExpertTokensBySource)
      shape = sourcesShape(run, shape);
    if (!isTrain || shape.empty())
      continue;
    Grid &grid = run.grids.try_emplace(key, shape).first->second;
    if (grid.shape != shape)
      continue;
    grid.add(split.steps.back(), values);
    if (key == kExpertTokens && shape.size() <= 2)
      addLoads(run, shape, values);
    if (key == kExpertTokensBySource)
      addSources(run, shape, values);
  }
}

static void readRunFile(RunLog &run, const std::string &path) {
  constexpr uint64_t kMaxRunFile = 16 << 20;
  rt::Result<std::string> text = rt::readFile(path, kMaxRunFile);
  rt::Result<Json> json = text.isOk() ? Json::parse(*text) : text.status();
  if (!json.isOk() || !json->isObject())
    return;
  if (const Json *name = json->find("name"))
    run.name = name->asString();
  if (const Json *sources = json->find("sources"))
    for (const Json &source : sources->items())
      run.sources.push_back(source.asString());
  if (const Json *spec = json->find("spec"))
    run.spec = *spec;
  const Json *duration = run.spec ? run.spec->find("duration") : nullptr;
  if (const Json *steps = duration ? duration->find("steps") : nullptr)
    steps->asInteger(run.plannedSteps);
}

rt::Result<RunLog> readRun(const std::string &path) {
  RunLog run;
  run.path = path;
  bool isFolder = fs::is_directory(path);
  fs::path log = isFolder ? fs::path(path) / "metrics.jsonl" : fs::path(path);
  readRunFile(run, log.parent_path() / "run.json");
  std::ifstream file(log, std::ios::binary);
  if (!file) {
    if (isFolder) // a run that has not come to its first line
      return run;
    return rt::Status::error("MOEC-I001", path, "cannot open");
  }
  for (std::string text; std::getline(file, text);)
    if (!file.eof()) // a line without an end is being written, or its process died
      readLine(run, text);
  for (Split *split : {&run.train, &run.validation})
    for (auto &[name, column] : split->columns)
      column.resize(split->steps.size(), kNothing);
  for (auto *columns : {&run.layers.maxViolation, &run.layers.entropy, &run.layers.information})
    for (Column &column : *columns)
      column.resize(run.train.steps.size(), kNothing);
  return run;
}

rt::Result<std::vector<std::string>> findRuns(const std::string &path) {
  auto isRun = [](const fs::path &folder) {
    return fs::exists(folder / "run.json") || fs::exists(folder / "metrics.jsonl");
  };
  std::error_code error;
  if (fs::is_regular_file(path, error) || (fs::is_directory(path, error) && isRun(path)))
    return std::vector<std::string>{path};
  std::vector<std::string> found;
  for (const fs::directory_entry &entry : fs::directory_iterator(path, error))
    if (entry.is_directory() && isRun(entry.path()))
      found.push_back(entry.path().string());
  if (found.empty())
    return rt::Status::error("MOEC-R008", path,
                             fs::exists(path)
                                 ? "neither a run folder nor a folder of runs: it holds no run.json and no "
                                   "metrics.jsonl, nor do the folders in it"
                                 : "there is no such file or folder");
  std::sort(found.begin(), found.end());
  return found;
}

//===--- Looking ---===//

int64_t RunLog::lastStep() const {
  double last = 0;
  for (const Split *split : {&train, &validation})
    if (!split->steps.empty())
      last = std::max(last, split->steps.back());
  return static_cast<int64_t>(last);
}

size_t RunLog::mixtures() const { return layers.maxViolation.size(); }

std::string RunLog::layerName(size_t mixture) const {
  int64_t from = 0, every = 1;
  const Json *at = spec ? spec->find("model") : nullptr;
  for (const char *key : {"moe", "layers"})
    at = at ? at->find(key) : nullptr;
  for (auto [key, value] : {std::pair("from", &from), std::pair("every", &every)})
    if (const Json *found = at ? at->find(key) : nullptr)
      found->asInteger(*value);
  return "layer " + std::to_string(from + static_cast<int64_t>(mixture) * every);
}

std::optional<double> RunLog::lastOf(const Split &split, const std::string &name) const {
  const Column *column = split.find(name);
  // If the last number of a run is not finite, the previous one must not be shown.
  if (!column || column->empty() || !std::isfinite(column->back()))
    return std::nullopt;
  return column->back();
}

bool RunLog::wentBad(const Split &split, const std::string &name) const { return split.nulls.count(name) > 0; }

std::string RunLog::lastText(const Split &split, const std::string &name, int digits) const {
  std::optional<double> value = lastOf(split, name);
  return value ? rt::formatFixed(*value, digits) : wentBad(split, name) ? "not finite" : "-";
}

std::optional<double> RunLog::tokensPerSecond() const {
  const Column *column = train.find("tokens_per_s");
  std::vector<double> values;
  if (column)
    std::copy_if(column->begin(), column->end(), std::back_inserter(values), [](double v) { return std::isfinite(v); });
  if (values.empty())
    return std::nullopt;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Column meanOf(const std::vector<Column> &layers) {
  Column mean;
  for (size_t i = 0; !layers.empty() && i < layers.front().size(); ++i) {
    double sum = 0, count = 0;
    for (const Column &layer : layers)
      if (i < layer.size() && std::isfinite(layer[i])) {
        sum += layer[i];
        ++count;
      }
    mean.push_back(count > 0 ? sum / count : kNothing);
  }
  return mean;
}

std::optional<double> least(const Column *column) {
  std::optional<double> found;
  for (double value : column ? *column : Column())
    if (std::isfinite(value) && (!found || value < *found))
      found = value;
  return found;
}

void labelRuns(std::vector<RunLog> &runs) {
  std::vector<std::vector<std::string>> parts;
  for (const RunLog &run : runs) {
    std::filesystem::path path = std::filesystem::absolute(run.path).lexically_normal();
    if (path.filename() == "metrics.jsonl" || path.filename().empty())
      path = path.parent_path();
    parts.emplace_back();
    for (const auto &part : path)
      parts.back().insert(parts.back().begin(), part.string());
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    // Add folders until no other run has the same label. A run that is given twice gets a number.
    size_t twins =
        static_cast<size_t>(std::count(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(i), parts[i]));
    size_t depth = 1;
    for (size_t j = 0; j < runs.size(); ++j)
      while (parts[j] != parts[i] && depth < parts[i].size() && depth <= parts[j].size() &&
             std::equal(parts[i].begin(), parts[i].begin() + static_cast<std::ptrdiff_t>(depth), parts[j].begin()))
        ++depth;
    std::string label;
    for (size_t k = depth; k-- > 0;)
      label += (label.empty() ? "" : "/") + parts[i][k];
    runs[i].label = label + (twins ? " (" + std::to_string(twins + 1) + ")" : "");
  }
}

} // namespace moec::report
