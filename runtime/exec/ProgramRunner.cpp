#include "runtime/exec/ProgramRunner.h"

#include <algorithm>

namespace moec::rt {

Status ProgramRunner::run(const std::vector<ProgramOp> &program) {
  stopped = false;
  MOEC_RETURN_IF_ERROR(runBody(program));
  return executor.finish();
}

Status ProgramRunner::runBody(std::span<const ProgramOp> body) {
  for (const ProgramOp &op : body) {
    MOEC_RETURN_IF_ERROR(runOne(op));
    if (stopped)
      break;
  }
  return Status::ok();
}

Status ProgramRunner::runOne(const ProgramOp &op) {
  using Kind = ProgramOp::Kind;
  switch (op.kind) {
  case Kind::Call:
    executor.call(op.function);
    return Status::ok();
  case Kind::Repeat:
    for (int64_t i = 0; i < op.count; ++i)
      MOEC_RETURN_IF_ERROR(runBody(op.body));
    return Status::ok();
  case Kind::Steps:
    return runSteps(op);
  case Kind::NextBatch: // StepRunner's, inside steps
    return Status::ok();
  case Kind::Log: // done when the step's metrics are there: finishSteps()
    return Status::ok();
  case Kind::Every:
    return isDue(op.count) ? runBody(op.body) : Status::ok();
  case Kind::Evaluate:
    return host.evaluate();
  case Kind::Save:
    return host.save();
  }
  return Status::ok();
}

/// Whether more follows the work of this step than logging: the device must be done by then.
bool ProgramRunner::mustWait(std::span<const ProgramOp> rest) const {
  using Kind = ProgramOp::Kind;
  return std::any_of(rest.begin(), rest.end(), [&](const ProgramOp &op) {
    return op.kind == Kind::Every ? isDue(op.count) : op.kind != Kind::Log;
  });
}

Status ProgramRunner::runSteps(const ProgramOp &op) {
  target = op.count;
  begun = 0;
  // The reader made sure that what needs the host comes after the work of a step.
  size_t leading = StepRunner::countLeading(op.body);
  std::span<const ProgramOp> rest = std::span(op.body).subspan(leading);
  if (steps == nullptr || !steps->isFor(op.body))
    steps = std::make_unique<StepRunner>(executor, op.body, leading, [this](uint64_t firstSample, BatchView view) {
      return host.nextBatch(firstSample, view);
    });
  step = executor.stepCounter();
  MOEC_RETURN_IF_ERROR(executor.finish());
  while (step < target && !stopped) {
    if (begun > 0) {
      MOEC_ASSIGN_OR_RETURN(bool wanted, host.wantsStep(begun));
      stopped = !wanted;
      if (stopped)
        break;
    }
    MOEC_RETURN_IF_ERROR(runStep(rest));
  }
  return finishSteps(rest, 0);
}

Status ProgramRunner::runStep(std::span<const ProgramOp> rest) {
  bool trace = host.wantsTrace(begun);
  if (trace) {
    MOEC_RETURN_IF_ERROR(finishSteps(rest, 0));
    executor.startTrace();
  }
  ++step;
  ++begun;
  if (Status status = host.agree(steps->fill(step)); !status.isOk()) {
    MOEC_RETURN_IF_ERROR(finishSteps(rest, 0)); // the steps before are good
    return status;
  }
  MOEC_RETURN_IF_ERROR(steps->begin(step));
  MOEC_RETURN_IF_ERROR(finishSteps(rest, trace || mustWait(rest) ? 0 : steps->capacity() - 1));
  if (trace)
    MOEC_RETURN_IF_ERROR(host.traced(step, executor.stopTrace()));
  return runBody(rest);
}

Status ProgramRunner::finishSteps(std::span<const ProgramOp> rest, size_t mayStay) {
  while (steps->inFlight() > mayStay) {
    MOEC_ASSIGN_OR_RETURN(StepResult done, steps->finishOldest());
    done.target = target;
    if (int64_t counted = done.metrics.stepCounter(); counted != done.step)
      return Status::error("MOEC-R003", executor.plan().path, "the step counter went from ", done.step - 1, " to ",
                           counted, " in one step; the plan's update must add 1");
    MOEC_RETURN_IF_ERROR(host.stepDone(done));
    for (const ProgramOp &op : rest)
      if (op.kind == ProgramOp::Kind::Log && (done.step % op.count == 0 || done.step == 1 || done.step == target))
        MOEC_RETURN_IF_ERROR(host.log(done));
  }
  return Status::ok();
}

} // namespace moec::rt
