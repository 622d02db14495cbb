// One plan made ready to run: data, device, weights. train(), evaluate() and generate() differ in what they do next.
#ifndef MOEC_RUNTIME_API_SESSION_H
#define MOEC_RUNTIME_API_SESSION_H

#include "runtime/api/Evaluation.h"
#include "runtime/api/Progress.h"
#include "runtime/api/moec.h"
#include "runtime/exec/ProgramRunner.h"
#include "runtime/io/Dataset.h"

#include <memory>
#include <optional>

namespace moec::rt {

class Session : public ProgramHost {
public:
  /// `ranks`: the other ranks of the plan; nullptr: this process runs it alone, as far as that goes.
  Session(const Plan &plan, const RunOptions &options, Communicator *ranks = nullptr);
  ~Session() override;

  /// Opens the data (errors of the user's come before anything big is allocated).
  Status openData();
  /// Makes the device and runs the init program, so that state that checkpoints do not hold is there too.
  Status openDevice();
  /// Loads a checkpoint over the initial state.
  Result<int64_t> restore(const std::string &checkpoint);
  /// The checkpoint that evaluate() and generate() mean: resumeFrom, or the newest of the run.
  Result<std::string> chooseCheckpoint() const;

  /// Reads the validation data with the present weights; `everyWindow`, if there is one, gets each of its windows.
  /// `poll`, if there is one, is asked while the baseline is made.
  Result<EvaluateReport> runEvaluation(const WindowSink &everyWindow = {}, const std::function<Status()> &poll = {});

  /// The rank that logs, evaluates and saves.
  bool isFirst() const { return !ranks || ranks->rank() == 0; }

  Executor &executor() { return *engine; }
  Progress &progress() { return screen; }
  std::vector<MetricValue> readMetrics();
  void printProfile();

  // ProgramHost. The training ones fail here; TrainSession has them.
  Status nextBatch(uint64_t firstSample, BatchView view) override;
  Status stepDone(const StepResult &step) override;
  Status log(const StepResult &step) override;
  Status evaluate() override;
  Status save() override;
  Result<bool> wantsStep(int64_t begun) override;
  Status agree(const Status &status) override;
  bool wantsTrace(int64_t begun) override;
  Status traced(int64_t step, const std::vector<TimedLaunch> &launches) override;

protected:
  const Plan &plan;
  const RunOptions &options;
  Communicator *const ranks;
  std::optional<Dataset> data;

private:
  Progress screen;
  std::unique_ptr<Executor> engine;
  std::optional<double> baseline; // made once
};

/// MOEC-R002 when a loss of the validation data is no number. `place`: the run or checkpoint.
Status checkEvaluation(const EvaluateReport &report, const std::string &place);

/// Adds metrics to a line of metrics.jsonl: scalars as numbers, the rest as nested arrays.
void addMetrics(Json &line, const std::vector<MetricValue> &metrics);

/// "validation_loss 2.3456 (unigram baseline 3.1234 nats)", scalars only.
std::string evaluationText(const EvaluateReport &report);

/// The same for scripts: step, split, metrics, unigram_baseline, and the loss and windows of each source.
Json evaluationLine(const EvaluateReport &report);

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_SESSION_H
