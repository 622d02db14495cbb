// The files of a run: the numbers of metrics.jsonl, the spec of run.json. The run may still be going, or may have ended
// in the middle of a line.
#ifndef MOEC_COMPILER_TOOLS_MOEC_REPORT_RUNLOG_H
#define MOEC_COMPILER_TOOLS_MOEC_REPORT_RUNLOG_H

#include "runtime/base/Json.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace moec::report {

/// One metric over the lines of a split: `values[i]` belongs to `steps[i]` of the split; NaN where a line lacks it.
using Column = std::vector<double>;

/// The lines of one split, "train" or "validation". A list with one number per layer has a column "NAME, mean".
struct Split {
  std::vector<double> steps;
  std::map<std::string, Column> columns;
  std::set<std::string> nulls; // names whose last value was null: JSON has no NaN and no infinity

  const Column *find(const std::string &name) const;
  /// Sets the value of the newest line.
  void set(const std::string &name, double value);
};

/// A metric that is a list, a table or a stack of tables, over the steps. It holds means over stretches of the log, so
/// that a long log takes no more memory than a short one.
class Grid {
public:
  explicit Grid(std::vector<size_t> shape) : shape(std::move(shape)) {}

  std::vector<size_t> shape;
  struct Bin {
    double firstStep = 0, lastStep = 0;
    size_t lines = 0;
    std::vector<double> sums; // of `lines` values, by element
  };
  std::vector<Bin> bins; // at most kMaxBins
  std::vector<double> last;

  void add(double step, const std::vector<double> &values);

  static constexpr size_t kMaxBins = 240;

private:
  size_t linesPerBin = 1;
};

/// Measures that follow from the tokens of experts: one column for each layer, over the steps of the training lines.
struct LayerColumns {
  std::vector<Column> maxViolation; // load of the fullest expert over the mean load, minus 1
  std::vector<Column> entropy;      // of the loads as shares, over log(experts): 1 is even, 0 is all on one expert
  std::vector<Column> information;  // nats that a choice of an expert tells about the source of its token
};

struct RunLog {
  std::string path;  // as given, or below what was given
  std::string label; // tells it from the other runs of a report
  std::string name;  // of the experiment, if run.json says so
  std::optional<rt::Json> spec;
  std::vector<std::string> sources; // training data in the order of the tables' rows, if run.json says so
  int64_t plannedSteps = 0;         // 0: unknown
  Split train, validation;
  // Of training lines. kExpertTokensBySource is layers x sources x experts here, however it is logged.
  std::map<std::string, Grid> grids;
  LayerColumns layers;
  size_t badLines = 0; // neither JSON objects with a step nor a torn last line

  int64_t lastStep() const;
  /// The number of layers with a mixture; 0 if the log does not show it.
  size_t mixtures() const;
  /// "layer 3" for one of them.
  std::string layerName(size_t mixture) const;
  /// The last value of a column that is a number; nothing if there is none.
  std::optional<double> lastOf(const Split &split, const std::string &name) const;
  /// Whether the last value is not finite.
  bool wentBad(const Split &split, const std::string &name) const;
  /// The last value as text: "-" if there is none, "not finite" if it is not finite.
  std::string lastText(const Split &split, const std::string &name, int digits) const;
  /// Median over the logged steps.
  std::optional<double> tokensPerSecond() const;
};

/// Mutual information in nats of a table of counts, rows x columns; NaN without counts.
double mutualInformation(const double *counts, size_t rows, size_t columns);

/// `path`: a run folder or a metrics.jsonl.
rt::Result<RunLog> readRun(const std::string &path);

/// Every run of a path: the path itself, or the run folders directly below it (a sweep), in order of their names.
rt::Result<std::vector<std::string>> findRuns(const std::string &path);

/// Gives each run a unique label: the name of its folder, with as many parent folders as necessary.
void labelRuns(std::vector<RunLog> &runs);

/// Mean over layers, line by line; lines without a number stay without one.
Column meanOf(const std::vector<Column> &layers);
/// The smallest number of a column; nothing if it has none.
std::optional<double> least(const Column *column);

} // namespace moec::report

#endif
