// train(): the training loop's host. Metrics, checkpoints, validation, signals.
#include "runtime/api/LocalRanks.h"
#include "runtime/api/RunFolder.h"
#include "runtime/api/Session.h"
#include "runtime/api/StopSignal.h"
#include "runtime/base/Clock.h"
#include "runtime/base/Text.h"
#include "runtime/comm/mpi/MpiWorld.h"
#include "runtime/exec/MetricReader.h"
#include "runtime/exec/Trace.h"
#include "runtime/io/Checkpoint.h"
#include "runtime/io/CheckpointStore.h"
#include "runtime/io/MetricsLog.h"
#include "runtime/plan/LineKeys.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace moec::rt {

namespace {

/// The steps before the one that --trace shows: recordings are made and caches warm by then.
constexpr int64_t kStepsBeforeTrace = 5;

bool isInside(const std::string &path, const std::string &directory) {
  if (path.empty())
    return false;
  std::error_code ignored;
  auto inner = std::filesystem::weakly_canonical(path, ignored);
  auto outer = std::filesystem::weakly_canonical(directory, ignored);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

class TrainSession final : public Session {
public:
  TrainSession(const Plan &plan, const RunOptions &options, Communicator *ranks = nullptr)
      : Session(plan, options, ranks), loss(findLoss(plan)) {}

  Result<TrainReport> run() {
    Result<TrainReport> result = runAll();
    if (!result.isOk() && hasBegun && !isFirst() && allKnow) {
      (void)saveGoodSteps(result.status());
    } else if (!result.isOk() && hasBegun && isFirst()) {
      const Status &bad = result.status();
      result = Status::error(bad.code(), bad.place(), bad.message(),
                             exitCode(bad) == kExitNotFinite ? whatIsLeft() : saveGoodSteps(bad));
    }
    // After what all ranks know of, they end together. Anything else ends the others.
    if (ranks && (result.isOk() || allKnow || result.status().code() == "MOEC-R002")) {
      Status closed = ranks->close();
      if (result.isOk())
        MOEC_RETURN_IF_ERROR(closed);
    } else if (ranks) {
      ranks->abort(result.status(), exitCode(result.status()));
    }
    return result;
  }

  Status stepDone(const StepResult &step) override {
    ++stepsHere;
    ++intervalSteps;
    intervalTokens += step.tokens;
    if (Status bad = checkFinite(step); !bad.isOk()) {
      MOEC_RETURN_IF_ERROR(log(step)); // the log must not end with the last good number
      return bad;
    }
    if (isFirst() && progress().wantsStep())
      progress().step(viewOf(step));
    return Status::ok();
  }

  Status log(const StepResult &step) override {
    if (!isFirst())
      return Status::ok();
    StepView view = viewOf(step);
    Json line = Json::object();
    line.set(line_key::step, Json::integer(step.step));
    line.set(line_key::split, Json::string("train"));
    line.set(line_key::time, Json::number(timeNow()));
    // All since the start of the run, resumed or not, whatever its batches were before.
    line.set(line_key::tokens, Json::integer(static_cast<int64_t>(data->tokensAt(step.step))));
    line.set(line_key::tokensPerSecond, Json::number(view.tokensPerSecond));
    std::vector<MetricValue> metrics;
    for (const PlanMetric &metric : plan.metrics)
      metrics.push_back({metric.name, metric.shape, step.metrics.values(metric), metric.isInteger()});
    addMetrics(line, metrics);
    MOEC_RETURN_IF_ERROR(metricsLog->write(line));
    progress().logged(view, line);
    intervalStart = nowSeconds();
    intervalTokens = intervalSteps = 0;
    return Status::ok();
  }

  Status evaluate() override {
    double start = nowSeconds();
    auto poll = [this] { // ranks make a validation together, so none of them leaves it
      return !ranks && stop->requested() ? Status::error(kValidationLeft, "", "internal: the validation was left")
                                         : Status::ok();
    };
    Result<EvaluateReport> made = runEvaluation([&](const WindowResult &) { return poll(); }, poll);
    if (!made.isOk() && made.status().code() == kValidationLeft) {
      interrupted = true;
      progress().note("the validation of step " + std::to_string(executor().stepCounter()) +
                      " was left; `eval` of its checkpoint makes it");
      return Status::ok();
    }
    MOEC_ASSIGN_OR_RETURN(EvaluateReport report, std::move(made));
    if (!isFirst())
      return checkEvaluation(report, folderPath());
    Json line = evaluationLine(report);
    line.set(line_key::time, Json::number(timeNow()));
    MOEC_RETURN_IF_ERROR(metricsLog->write(line));
    progress().result("step " + std::to_string(report.step) + "  validation  " + evaluationText(report), line);
    MOEC_RETURN_IF_ERROR(checkEvaluation(report, folderPath()));
    intervalStart += nowSeconds() - start; // not training time
    return Status::ok();
  }

  Status save() override {
    double start = nowSeconds();
    int64_t step = executor().stepCounter();
    SaveOptions how;
    std::vector<std::byte> all;
    how.assemble = [&](const PlanState &state) -> Result<std::span<const std::byte>> {
      MOEC_RETURN_IF_ERROR(executor().assemble(state, all));
      return std::span<const std::byte>(all);
    };
    if (!isFirst()) { // the first saves, the others give it what they alone have
      savedStep = step;
      return assembleStates(plan, how);
    }
    how.data = data->recordAt(step);
    // Refuses state that is not finite: it would push out a good checkpoint.
    MOEC_RETURN_IF_ERROR(saveCheckpoint(plan, executor().device(), folder->checkpointsPath(), step, how));
    savedStep = step;
    intervalStart += nowSeconds() - start;
    return Status::ok();
  }

  Result<bool> wantsStep(int64_t begun) override {
    interrupted = interrupted || (stop && stop->requested());
    bool wants = !interrupted && (options.maxSteps < 0 || begun < options.maxSteps);
    MOEC_RETURN_IF_ERROR(shareInterruption());
    return wants && !interrupted;
  }

  /// A signal to one rank stops all of them.
  Status shareInterruption() {
    MOEC_ASSIGN_OR_RETURN(std::vector<uint8_t> stops, askAll(interrupted, "was told to stop"));
    interrupted = std::find(stops.begin(), stops.end(), 1) != stops.end();
    return Status::ok();
  }

  Status agree(const Status &status) override {
    if (ranks)
      ranks->beginStep(firstStep + ++stepsAgreed);
    MOEC_ASSIGN_OR_RETURN(std::vector<uint8_t> isOk, askAll(status.isOk(), "has its batches"));
    auto bad = std::find(isOk.begin(), isOk.end(), 0);
    allKnow = bad != isOk.end();
    if (!allKnow || !status.isOk())
      return status;
    return Status::error("MOEC-N006", folderPath(), "rank ", bad - isOk.begin(), " has no data for the next step");
  }

  bool wantsTrace(int64_t begun) override {
    return isFirst() && !options.tracePath.empty() && begun == stepsBeforeTrace();
  }

  Status traced(int64_t step, const std::vector<TimedLaunch> &launches) override {
    std::string trace = chromeTrace(plan, executor().device().limits(), step, launches);
    Status written = checkTracePath();
    if (written.isOk())
      written = writeFileAtomic(options.tracePath, trace);
    if (!written.isOk()) // the run is worth more
      std::fprintf(stderr, "moec-run: the trace is lost: %s\n", written.text().c_str());
    else
      progress().note("step " + std::to_string(step) + ": " + std::to_string(launches.size()) + " launches traced in " +
                      options.tracePath);
    return Status::ok();
  }

private:
  static constexpr char kValidationLeft[] = "MOEC-R009"; // never leaves this class

  Result<TrainReport> runAll() {
    MOEC_RETURN_IF_ERROR(openData());
    if (isFirst())
      MOEC_RETURN_IF_ERROR(openFolder());
    MOEC_RETURN_IF_ERROR(goOnInData());
    if (isFirst())
      MOEC_RETURN_IF_ERROR(folder->checkRoom(plan, options));
    MOEC_RETURN_IF_ERROR(openDevice());
    if (ranks)
      MOEC_RETURN_IF_ERROR(ranks->meet(plan.hash, static_cast<int>(plan.numRanks())));
    MOEC_RETURN_IF_ERROR(resumeIfAsked());
    if (ranks) // before the folder changes
      MOEC_RETURN_IF_ERROR(ranks->barrier(kWorldGroup, {"all ranks are ready"}));
    if (isFirst()) {
      MOEC_RETURN_IF_ERROR(beginInFolder());
      introduce();
    }
    hasBegun = true;
    startTime = intervalStart = nowSeconds();
    ProgramRunner runner(executor(), *this);
    if (options.maxSteps != 0)
      MOEC_RETURN_IF_ERROR(runner.run(plan.train));
    // One from elsewhere, with no step left to do: it becomes a checkpoint of this run.
    if (stepsHere == 0 && firstStep > 0 && savedStep < 0)
      MOEC_RETURN_IF_ERROR(save());
    // A signal that came too late for anything else must still end a sweep.
    interrupted = interrupted || (stop && stop->requested());
    MOEC_RETURN_IF_ERROR(shareInterruption());
    if (interrupted)
      MOEC_RETURN_IF_ERROR(saveInterrupted());
    return report();
  }

  Status openFolder() {
    MOEC_ASSIGN_OR_RETURN(folder, RunFolder::openForTraining(plan, options));
    if (options.overwrite && isInside(options.resumeFrom, folder->path()))
      return Status::error(
          "MOEC-R005", options.resumeFrom, "lies in the run folder \"", folder->path(),
          "\" whose run --overwrite deletes; choose another --run-dir, or --resume without --overwrite");
    MOEC_RETURN_IF_ERROR(checkSameSpec(folder->path(), plan, options));
    return checkTracePath();
  }

  std::string folderPath() const { return folder ? folder->path() : RunFolder::pathFor(plan, options); }

  /// What every rank answers, by rank; of one process alone its own answer. `question`: for reports.
  Result<std::vector<uint8_t>> askAll(bool answer, std::string_view question) {
    std::vector<uint8_t> answers(ranks ? static_cast<size_t>(ranks->size()) : 1);
    size_t own = ranks ? static_cast<size_t>(ranks->rank()) : 0;
    answers[own] = answer;
    if (ranks)
      MOEC_RETURN_IF_ERROR(ranks->gatherControl(answers.data(), 1, {question}));
    return answers;
  }

  /// A text of the first rank becomes that of all.
  Status share(std::string &text) {
    if (!ranks)
      return Status::ok();
    uint64_t bytes = text.size();
    MOEC_RETURN_IF_ERROR(ranks->broadcast(&bytes, sizeof bytes, {"the checkpoint to resume from"}));
    text.resize(bytes);
    return ranks->broadcast(text.data(), bytes, {"the checkpoint to resume from"});
  }

  /// The first moment at which files of a run change. Until then a signal may end the process.
  Status beginInFolder() {
    stop.emplace(options.handleSignals);
    MOEC_ASSIGN_OR_RETURN(std::vector<std::string> notes, folder->begin(plan, options, firstStep, checkpoint));
    MOEC_ASSIGN_OR_RETURN(metricsLog, MetricsLog::open(folder->metricsPath(), options.overwrite ? 0 : firstStep));
    MOEC_RETURN_IF_ERROR(folder->keep());
    if (!options.planBytes.empty() && options.out)
      std::fprintf(stderr, "compiled %s to %s\n", plan.specFile.c_str(), plan.path.c_str());
    tell(notes);
    return Status::ok();
  }

  void tell(const std::vector<std::string> &notes) {
    for (const std::string &note : notes)
      if (options.json) // JSON lines own stdout
        std::fprintf(stderr, "moec-run: %s\n", note.c_str());
      else
        progress().note(note);
  }

  /// Beside what checkOutput() looks at, the files that this run is about to make.
  Status checkTracePath() const {
    const std::string &path = options.tracePath;
    if (path.empty())
      return Status::ok();
    for (const std::string &own : {folder->metricsPath(), folder->path() + "/run.json", plan.path})
      if (std::filesystem::weakly_canonical(path) == std::filesystem::weakly_canonical(own))
        return Status::error("MOEC-R005", path,
                             "the trace would take the place of a file of the run; name another file");
    if (isInside(path, folder->checkpointsPath()))
      return Status::error("MOEC-R005", path, "the trace would lie among checkpoints; name another file");
    return checkOutput(path, "a trace", kTraceBeginning);
  }

  bool resumes() const { return options.resume || !options.resumeFrom.empty(); }

  /// Where in the data the run goes on, before anything big is allocated. A checkpoint that will be refused anyway is
  /// left to restore().
  Status goOnInData() {
    MOEC_RETURN_IF_ERROR(data->identify());
    if (!resumes())
      return Status::ok();
    if (isFirst()) {
      MOEC_ASSIGN_OR_RETURN(checkpoint, chooseCheckpoint());
    }
    MOEC_RETURN_IF_ERROR(share(checkpoint));
    MOEC_ASSIGN_OR_RETURN(CheckpointManifest manifest, readCheckpointManifest(checkpoint));
    bool isOther = manifest.specHash != plan.specHash;
    if (isOther && !options.allowOtherSpec)
      return Status::ok();
    if (manifest.data) {
      MOEC_ASSIGN_OR_RETURN(dataNotes, data->goOn(*manifest.data, manifest.step, options.restartData));
    } else if (isOther) {
      dataNotes = {"this checkpoint does not say what was read of the data; samples are counted as if this spec had "
                   "been trained from the start"};
    }
    return Status::ok();
  }

  Status resumeIfAsked() {
    if (!resumes())
      return Status::ok();
    MOEC_ASSIGN_OR_RETURN(firstStep, restore(checkpoint));
    // One from elsewhere, or that was set aside, is not yet saved as a checkpoint of this run.
    bool isOwn = isFirst() && isSameFile(checkpoint, folder->checkpointsPath() + "/" + checkpointName(firstStep));
    MOEC_ASSIGN_OR_RETURN(std::vector<uint8_t> answers, askAll(isOwn, "resumes from its own checkpoint"));
    if (answers[0])
      savedStep = firstStep;
    if (!isFirst())
      return Status::ok();
    progress().note("resumed from " + checkpoint);
    tell(dataNotes);
    return Status::ok();
  }

  void introduce() {
    std::string share =
        ranks ? std::to_string(ranks->size()) + " ranks (" + std::string(ranks->backend()) + ") with " : "";
    progress().note(plan.name + ": " + share + std::to_string(plan.data.sequences) + " x " +
                    std::to_string(plan.data.seqLen) + " tokens a batch, " +
                    formatBytes(executor().device().allocatedBytes()) + " of memory" + (ranks ? " each" : "") +
                    ", run folder " + folder->path());
  }

  double timeNow() const { return metricsLog->lastTime() + nowSeconds() - startTime; }

  /// A run that is shorter shows its last step.
  int64_t stepsBeforeTrace() const {
    return options.maxSteps < 0 ? kStepsBeforeTrace : std::min(kStepsBeforeTrace, options.maxSteps - 1);
  }

  StepView viewOf(const StepResult &step) {
    double seconds = std::max(nowSeconds() - intervalStart, 1e-9);
    return {step.step,
            step.target,
            loss ? step.metrics.values(*loss)[0] : 0,
            static_cast<double>(intervalTokens) / seconds,
            seconds / static_cast<double>(std::max<int64_t>(intervalSteps, 1)),
            step.metrics.expertBalance()};
  }

  Status saveInterrupted() {
    int64_t step = executor().stepCounter();
    if (savedStep != step)
      MOEC_RETURN_IF_ERROR(save());
    progress().note("stopped by a signal after step " + std::to_string(step) +
                    "; a checkpoint is saved, --resume goes on");
    return Status::ok();
  }

  /// What is saved and kept depends on these. A part of the loss that is not finite makes the total so; measures for
  /// the log decide nothing.
  Status checkFinite(const StepResult &step) {
    for (const PlanMetric &metric : plan.metrics)
      if (metric.role == StateRole::Loss || metric.role == StateRole::TotalLoss ||
          metric.role == StateRole::GradientNorm)
        if (double value = step.metrics.values(metric)[0]; !std::isfinite(value))
          return Status::error("MOEC-R002", folderPath(), "the metric \"", metric.name, "\" became ",
                               formatFixed(value, 4), " at step ", step.step);
    return Status::ok();
  }

  /// After an error that is not the state's fault, such as a data file that was cut short.
  std::string saveGoodSteps(const Status &bad) {
    // An exchange that failed leaves a step half done.
    bool isGood = ranks ? allKnow : exitCode(bad) == kExitData || bad.code() == "MOEC-I002";
    int64_t step = isGood ? executor().stepCounter() : 0;
    if (!isGood || step == 0)
      return "";
    std::string place = folderPath() + "/checkpoints/" + checkpointName(step);
    if (savedStep == step)
      return "; nothing is lost: all steps are in " + place;
    Status saved = save();
    return saved.isOk() ? "; the steps before this are saved in " + place + ", --resume goes on from there"
                        : "; the steps since the newest checkpoint are lost: " + saved.text();
  }

  /// After a number that is not finite.
  std::string whatIsLeft() const {
    std::vector<int64_t> saved = listCheckpoints(folder->checkpointsPath());
    std::string left = saved.empty() ? "; nothing of this was saved, the run folder holds no checkpoint"
                                     : "; nothing of this was saved, the newest checkpoint is " +
                                           folder->checkpointsPath() + "/" + checkpointName(saved.back());
    return left + ". A lower learning rate, more warm-up or a smaller gradient clip usually helps";
  }

  Result<TrainReport> report() {
    TrainReport result;
    result.rank = ranks ? ranks->rank() : 0;
    result.runDir = folderPath();
    result.step = executor().stepCounter();
    result.stepsHere = stepsHere;
    result.seconds = nowSeconds() - startTime;
    result.interrupted = interrupted;
    result.metrics = readMetrics();
    result.allocatedBytes = executor().device().allocatedBytes();
    if (isFirst())
      printProfile();
    return result;
  }

  const PlanMetric *loss;
  std::optional<StopSignal> stop; // once files change
  std::optional<RunFolder> folder;
  std::optional<MetricsLog> metricsLog;
  std::string checkpoint; // to resume from
  std::vector<std::string> dataNotes;
  int64_t firstStep = 0, stepsHere = 0, savedStep = -1;
  bool interrupted = false, hasBegun = false;
  int64_t stepsAgreed = 0;
  bool allKnow = false; // an error that every rank was told of, between two steps
  double startTime = 0;
  // Since the last log line; evaluation and saving excluded.
  double intervalStart = 0;
  uint64_t intervalTokens = 0;
  int64_t intervalSteps = 0;
};

/// This process is one rank; a launcher started the others.
Result<TrainReport> trainAsLaunched(const Plan &plan, const RunOptions &options, const Launch &launch) {
  if (plan.numRanks() != static_cast<uint64_t>(launch.size))
    return Status::error("MOEC-N003", plan.path, "the plan is for ", plan.numRanks(), " ranks, ",
                         launcherName(launch.launcher), " started ", launch.size,
                         "; set parallel.data so that both are the same");
  MOEC_ASSIGN_OR_RETURN(CommOptions limits, commOptions(currentEnvironment()));
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> ranks, joinMpi(launch, limits));
  RunOptions own = optionsOfRank(options, launch.rank, launch.localSize.value_or(launch.size));
  return TrainSession(plan, own, ranks.get()).run();
}

} // namespace

Result<TrainReport> train(const Plan &plan, const RunOptions &options) {
  if (options.restartData && !options.resume && options.resumeFrom.empty())
    return Status::error("MOEC-R005", "", "restart-data means something only with resume");
  if (options.allowOtherSpec && !options.resume && options.resumeFrom.empty())
    return Status::error("MOEC-R005", "", "allow-other-spec means something only with resume or resume-from");
  if (options.resume && options.overwrite)
    return Status::error("MOEC-R005", "", "resume and overwrite exclude each other");
  if (options.overwrite && options.maxSteps == 0)
    return Status::error("MOEC-R005", "", "overwrite deletes a run for a new one, max-steps 0 makes none");
  MOEC_ASSIGN_OR_RETURN(Launch launch, detectLaunch(currentEnvironment()));
  if (!launch.warning.empty())
    std::fprintf(stderr, "moec-run: %s\n", launch.warning.c_str());
  if (launch.size > 1)
    return trainAsLaunched(plan, options, launch);
  if (plan.numRanks() > 1)
    return runLocalRanks<TrainReport>(plan, options, [&](const RunOptions &own, Communicator *ranks) {
      return TrainSession(plan, own, ranks).run();
    });
  return TrainSession(plan, options).run();
}

} // namespace moec::rt
