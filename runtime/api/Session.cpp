#include "runtime/api/Session.h"

#include "runtime/api/RunFolder.h"
#include "runtime/base/Text.h"
#include "runtime/exec/MetricReader.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/plan/LineKeys.h"

#include <cmath>

namespace moec::rt {

Session::Session(const Plan &plan, const RunOptions &options, Communicator *ranks)
    : plan(plan), options(options), ranks(ranks), screen(options.out, options.json) {}

Session::~Session() = default;

Status Session::openData() {
  MOEC_ASSIGN_OR_RETURN(data, Dataset::open(plan, options.dataDir));
  return Status::ok();
}

Status Session::openDevice() {
  MOEC_ASSIGN_OR_RETURN(engine, Executor::create(plan, {options.threads, options.profile, options.poison, ranks}));
  return ProgramRunner(*engine, *this).run(plan.init);
}

Result<int64_t> Session::restore(const std::string &checkpoint) {
  MOEC_ASSIGN_OR_RETURN(int64_t step,
                        loadCheckpoint(plan, engine->device(), checkpoint,
                                       {options.allowOtherSpec, ranks ? static_cast<uint64_t>(ranks->rank()) : 0}));
  if (engine->stepCounter() != step)
    return Status::error("MOEC-C002", checkpoint, "manifest says step ", step, ", the step counter inside says ",
                         engine->stepCounter());
  // State that checkpoints do not hold and init made from other parameters than these.
  MOEC_RETURN_IF_ERROR(ProgramRunner(*engine, *this).run(plan.restore));
  return step;
}

Result<std::string> Session::chooseCheckpoint() const {
  if (!options.resumeFrom.empty())
    return options.resumeFrom;
  std::string folder = RunFolder::pathFor(plan, options);
  Result<std::string> path = newestCheckpoint(folder + "/checkpoints");
  if (!path.isOk() && path.status().code() == "MOEC-C001")
    return Status::error(
        "MOEC-C001", folder,
        "this run has no checkpoint; train it first (--overwrite begins a stopped run again), or name a "
        "folder with --run-dir or a checkpoint with --resume-from");
  return path;
}

Status Session::nextBatch(uint64_t firstSample, BatchView view) {
  return data->fill(firstSample, view.tokens, view.domains);
}

static Status onlyInTraining() {
  return Status::error("MOEC-R004", "", "internal: a training instruction outside training");
}

Status Session::stepDone(const StepResult &) { return onlyInTraining(); }
Status Session::log(const StepResult &) { return onlyInTraining(); }
Status Session::evaluate() { return onlyInTraining(); }
Status Session::save() { return onlyInTraining(); }
Result<bool> Session::wantsStep(int64_t) { return true; }
Status Session::agree(const Status &status) { return status; }
bool Session::wantsTrace(int64_t) { return false; }
Status Session::traced(int64_t, const std::vector<TimedLaunch> &) { return onlyInTraining(); }

std::vector<MetricValue> Session::readMetrics() {
  std::vector<MetricValue> values;
  for (const PlanMetric &metric : plan.metrics)
    values.push_back({metric.name, metric.shape, readMetric(metric, engine->device()), metric.isInteger()});
  return values;
}

Result<EvaluateReport> Session::runEvaluation(const WindowSink &everyWindow, const std::function<Status()> &poll) {
  if (!plan.evaluation || plan.data.validation.empty())
    return Status::error("MOEC-D004", plan.specFile,
                         "the spec names no validation data; give data.validation a source");
  MOEC_ASSIGN_OR_RETURN(EvaluateReport report, Evaluation(*engine, *data).run(everyWindow));
  if (!isFirst())
    return report;
  if (!baseline) {
    MOEC_ASSIGN_OR_RETURN(baseline, data->unigramBaseline(poll));
  }
  report.unigramBaseline = *baseline;
  return report;
}

Status checkEvaluation(const EvaluateReport &report, const std::string &place) {
  for (const MetricValue &metric : report.metrics)
    if (metric.values.size() == 1 && !std::isfinite(metric.values[0]))
      return Status::error("MOEC-R002", place, "the metric \"", metric.name, "\" of the validation data is ",
                           formatFixed(metric.values[0], 4), " at step ", report.step);
  return Status::ok();
}

void Session::printProfile() {
  if (!engine || !engine->profile())
    return;
  // JSON lines own stdout.
  std::FILE *to = options.json ? stderr : options.out;
  if (to)
    std::fprintf(to, "\n%s", engine->profile()->table().c_str());
}

/// Counts are whole numbers, in JSON too.
static Json metricNumber(const MetricValue &metric, size_t at) {
  return metric.isInteger ? Json::integer(static_cast<int64_t>(metric.values[at])) : Json::number(metric.values[at]);
}

static Json nestedArray(const MetricValue &metric, size_t dim, size_t &next) {
  if (dim == metric.shape.size())
    return metricNumber(metric, next++);
  Json array = Json::array();
  for (uint64_t i = 0; i < metric.shape[dim]; ++i)
    array.append(nestedArray(metric, dim + 1, next));
  return array;
}

void addMetrics(Json &line, const std::vector<MetricValue> &metrics) {
  for (const MetricValue &metric : metrics) {
    size_t next = 0;
    line.set(metric.name, metric.values.size() == 1 ? metricNumber(metric, 0) : nestedArray(metric, 0, next));
  }
}

std::string evaluationText(const EvaluateReport &report) {
  std::string text;
  for (const MetricValue &metric : report.metrics)
    if (metric.values.size() == 1)
      text += (text.empty() ? "" : "  ") + metric.name + " " + formatFixed(metric.values[0], 4);
  return text + "  (unigram baseline " + formatFixed(report.unigramBaseline, 4) + " nats)";
}

Json evaluationLine(const EvaluateReport &report) {
  Json line = Json::object();
  line.set(line_key::step, Json::integer(report.step));
  line.set(line_key::split, Json::string("validation"));
  addMetrics(line, report.metrics);
  line.set(line_key::unigramBaseline, Json::number(report.unigramBaseline));
  Json sources = Json::object();
  for (const EvaluateReport::Source &source : report.sources) {
    Json row = Json::object();
    row.set("loss", Json::number(source.loss));
    row.set("windows", Json::integer(static_cast<int64_t>(source.windows)));
    sources.add(source.name, std::move(row));
  }
  line.set(line_key::sources, std::move(sources));
  return line;
}

} // namespace moec::rt
