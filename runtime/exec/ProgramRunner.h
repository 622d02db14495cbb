// Walks the programs of a plan: which step it is, what is due, which samples come next. What it means to log or to save
// is the host's business.
#ifndef MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H
#define MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H

#include "runtime/exec/Executor.h"

namespace moec::rt {

class ProgramHost {
public:
  virtual ~ProgramHost() = default;

  /// Fill the batch buffer with samples firstSample .. firstSample + sequences - 1.
  virtual Status nextBatch(bool validation, uint64_t firstSample) = 0;
  /// `step` counts from 1.
  virtual Status log(int64_t step, int64_t target) = 0;
  virtual Status evaluate() = 0;
  virtual Status save() = 0;
  /// After each step. False ends the training loop before its target.
  virtual Result<bool> stepDone(int64_t step, int64_t target) = 0;
};

class ProgramRunner {
public:
  ProgramRunner(Executor &executor, ProgramHost &host) : executor(executor), host(host) {}

  /// Also used for the init and evaluate programs. Validation samples count from 0 in each run.
  Status run(const std::vector<ProgramOp> &program);

  /// The host ended the training loop early.
  bool stoppedEarly() const { return stopped; }

private:
  Status runBody(const std::vector<ProgramOp> &body);
  Status runOne(const ProgramOp &op);
  Status runSteps(const ProgramOp &op);
  Status nextBatch(const ProgramOp &op);

  Executor &executor;
  ProgramHost &host;
  bool stopped = false;
  // Of the step being done.
  int64_t step = 0, target = 0; // step counts from 1
  uint64_t microBatch = 0, microBatches = 1;
  uint64_t validationBatch = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_PROGRAMRUNNER_H
