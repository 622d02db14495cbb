// Walks the programs of a plan: which step it is, what is due, which samples come next. What it means to log or to save
// is the host's business.
#ifndef MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H
#define MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H

#include "runtime/exec/Executor.h"
#include "runtime/exec/StepRunner.h"

namespace moec::rt {

class ProgramHost {
public:
  virtual ~ProgramHost() = default;

  /// Fill `batch` with training samples firstSample .. firstSample + sequences - 1.
  virtual Status nextBatch(uint64_t firstSample, BatchView batch) = 0;
  /// A step is done; its metrics are there. The next may be under way already.
  virtual Status stepDone(const StepResult &step) = 0;
  /// The same step, when it is one to be logged.
  virtual Status log(const StepResult &step) = 0;
  /// All steps begun are done when these come.
  virtual Status evaluate() = 0;
  virtual Status save() = 0;
  /// Whether another step is wanted, asked after `begun` of them were begun in this run. False ends the training loop
  /// before its target. All ranks get the same answer.
  virtual Result<bool> wantsStep(int64_t begun) = 0;
  /// The batches of a step were read: `status` says whether they are there. Returns the same where all ranks have
  /// theirs, else an error on every rank, before anything of the step was done.
  virtual Status agree(const Status &status) = 0;
  /// Whether to time each launch of the step that comes after `begun` others; traced() then gets them.
  virtual bool wantsTrace(int64_t begun) = 0;
  virtual Status traced(int64_t step, const std::vector<TimedLaunch> &launches) = 0;
};

class ProgramRunner {
public:
  ProgramRunner(Executor &executor, ProgramHost &host) : executor(executor), host(host) {}

  /// Also used for the init and restore programs.
  Status run(const std::vector<ProgramOp> &program);

  /// The host ended the training loop early.
  bool stoppedEarly() const { return stopped; }

private:
  Status runBody(std::span<const ProgramOp> body);
  Status runOne(const ProgramOp &op);
  Status runSteps(const ProgramOp &op);
  // `rest`: what follows the work in the body of `steps`.
  Status runStep(std::span<const ProgramOp> rest);
  Status finishSteps(std::span<const ProgramOp> rest, size_t mayStay);
  bool isDue(int64_t every) const { return step % every == 0 || step == target; }
  bool mustWait(std::span<const ProgramOp> rest) const;

  Executor &executor;
  ProgramHost &host;
  bool stopped = false;
  // Of the step begun last.
  int64_t step = 0, target = 0;      // step counts from 1
  int64_t begun = 0;                 // in this run
  std::unique_ptr<StepRunner> steps; // keeps its recordings from run to run
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H
