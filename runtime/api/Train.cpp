// train(): the training loop's host. Metrics, checkpoints, validation, signals.
#include "runtime/api/RunFolder.h"
#include "runtime/api/Session.h"
#include "runtime/api/StopSignal.h"
#include "runtime/base/Clock.h"
#include "runtime/base/Text.h"
#include "runtime/exec/MetricReader.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/MetricsLog.h"

#include <cmath>

namespace moec::rt {

namespace {

class TrainSession final : public Session {
public:
  TrainSession(const Plan &plan, const RunOptions &options)
      : Session(plan, options), loss(findLoss(plan, false)), stop(options.handleSignals) {}

  Result<TrainReport> run() {
    MOEC_RETURN_IF_ERROR(openData());
    MOEC_ASSIGN_OR_RETURN(folder, RunFolder::openForTraining(plan, options));
    MOEC_RETURN_IF_ERROR(openDevice());
    MOEC_RETURN_IF_ERROR(resumeIfAsked());
    MOEC_RETURN_IF_ERROR(folder->begin(plan, options.overwrite));
    MOEC_ASSIGN_OR_RETURN(metricsLog, MetricsLog::open(folder->metricsPath(), firstStep));
    introduce();
    startTime = intervalStart = nowSeconds();
    ProgramRunner runner(executor(), *this);
    if (options.maxSteps != 0)
      MOEC_RETURN_IF_ERROR(runner.run(plan.train));
    return report();
  }

  Status nextBatch(bool validation, uint64_t firstSample) override {
    if (!validation) {
      // Sample numbers count all samples since the start of the run, resumed or not.
      tokens = (firstSample + plan.data.sequences) * plan.data.seqLen;
      intervalTokens += plan.data.sequences * plan.data.seqLen;
    }
    return Session::nextBatch(validation, firstSample);
  }

  Status log(int64_t step, int64_t target) override {
    MOEC_RETURN_IF_ERROR(checkLoss(step));
    StepView view = viewOf(step, target, 1);
    Json line = Json::object();
    line.set("step", Json::integer(step));
    line.set("split", Json::string("train"));
    line.set("time_s", Json::number(timeNow()));
    line.set("tokens", Json::integer(static_cast<int64_t>(tokens)));
    line.set("tokens_per_s", Json::number(view.tokensPerSecond));
    addMetrics(line, readMetrics(false));
    MOEC_RETURN_IF_ERROR(metricsLog->write(line));
    progress().logged(view, line);
    intervalStart = nowSeconds();
    intervalTokens = intervalSteps = 0;
    return Status::ok();
  }

  Status evaluate() override {
    double start = nowSeconds();
    MOEC_ASSIGN_OR_RETURN(EvaluateReport report, runEvaluation());
    Json line = evaluationLine(report);
    line.set("time_s", Json::number(timeNow()));
    MOEC_RETURN_IF_ERROR(metricsLog->write(line));
    progress().result("step " + std::to_string(report.step) + "  validation  " + evaluationText(report), line);
    intervalStart += nowSeconds() - start; // not training time
    return Status::ok();
  }

  Status save() override {
    double start = nowSeconds();
    int64_t step = executor().stepCounter();
    MOEC_RETURN_IF_ERROR(checkLoss(step)); // a checkpoint of NaNs would push out a good one
    MOEC_RETURN_IF_ERROR(saveCheckpoint(plan, executor().device(), folder->checkpointsPath(), step));
    savedStep = step;
    intervalStart += nowSeconds() - start;
    return Status::ok();
  }

  Result<bool> stepDone(int64_t step, int64_t target) override {
    ++stepsHere;
    ++intervalSteps;
    MOEC_RETURN_IF_ERROR(checkLoss(step));
    if (progress().wantsStep())
      progress().step(viewOf(step, target, 0));
    if (stop.requested() && step < target) {
      if (savedStep != step)
        MOEC_RETURN_IF_ERROR(save());
      interrupted = true;
      progress().note("stopped by a signal after step " + std::to_string(step) +
                      "; a checkpoint is saved, --resume goes on");
      return false;
    }
    return options.maxSteps < 0 || stepsHere < options.maxSteps;
  }

private:
  Status resumeIfAsked() {
    if (!options.resume && options.resumeFrom.empty())
      return Status::ok();
    MOEC_ASSIGN_OR_RETURN(std::string checkpoint, chooseCheckpoint());
    MOEC_ASSIGN_OR_RETURN(firstStep, restore(checkpoint));
    savedStep = firstStep;
    MOEC_ASSIGN_OR_RETURN(std::vector<int64_t> aside, setAsideNewer(folder->checkpointsPath(), firstStep));
    progress().note("resumed from " + checkpoint);
    for (int64_t step : aside)
      progress().note("the newer checkpoint of step " + std::to_string(step) + " is kept as abandoned-" +
                      checkpointName(step));
    return Status::ok();
  }

  void introduce() {
    progress().note(plan.name + ": " + std::to_string(plan.data.sequences) + " x " + std::to_string(plan.data.seqLen) +
                    " tokens a batch, " + formatBytes(executor().device().allocatedBytes()) +
                    " of memory, run folder " + folder->path());
  }

  double timeNow() const { return metricsLog->lastTime() + nowSeconds() - startTime; }

  /// `unfinished`: 1 when the step at hand is not yet counted in intervalSteps.
  StepView viewOf(int64_t step, int64_t target, int64_t unfinished) {
    double seconds = std::max(nowSeconds() - intervalStart, 1e-9);
    return {step,
            target,
            loss ? readMetric(*loss, executor().device())[0] : 0,
            static_cast<double>(intervalTokens) / seconds,
            seconds / static_cast<double>(std::max<int64_t>(intervalSteps + unfinished, 1)),
            expertBalance(plan, executor().device())};
  }

  Status checkLoss(int64_t step) {
    if (!loss)
      return Status::ok();
    double value = readMetric(*loss, executor().device())[0];
    if (std::isfinite(value))
      return Status::ok();
    return Status::error("MOEC-R002", folder->path(), "the metric \"", loss->name, "\" became ", value, " at step ",
                         step,
                         "; nothing was saved after the last good checkpoint. A lower learning rate, more "
                         "warm-up or a smaller gradient clip usually helps");
  }

  Result<TrainReport> report() {
    TrainReport result;
    result.runDir = folder->path();
    result.step = executor().stepCounter();
    result.stepsHere = stepsHere;
    result.seconds = nowSeconds() - startTime;
    result.interrupted = interrupted;
    result.metrics = readMetrics(false);
    result.allocatedBytes = executor().device().allocatedBytes();
    printProfile();
    return result;
  }

  const PlanMetric *loss;
  StopSignal stop;
  std::optional<RunFolder> folder;
  std::optional<MetricsLog> metricsLog;
  int64_t firstStep = 0, stepsHere = 0, savedStep = -1;
  bool interrupted = false;
  uint64_t tokens = 0;
  double startTime = 0;
  // Since the last log line; evaluation and saving excluded.
  double intervalStart = 0;
  uint64_t intervalTokens = 0;
  int64_t intervalSteps = 0;
};

} // namespace

Result<TrainReport> train(const Plan &plan, const RunOptions &options) {
  if (options.resume && options.overwrite)
    return Status::error("MOEC-R005", "", "resume and overwrite exclude each other");
  return TrainSession(plan, options).run();
}

} // namespace moec::rt
