#include "runtime/exec/ProgramRunner.h"

namespace moec::rt {

Status ProgramRunner::run(const std::vector<ProgramOp> &program) {
  stopped = false;
  validationBatch = 0;
  MOEC_RETURN_IF_ERROR(runBody(program));
  return executor.device().finish();
}

Status ProgramRunner::runBody(const std::vector<ProgramOp> &body) {
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
  case Kind::NextBatch:
    return nextBatch(op);
  case Kind::Log:
    return step % op.count == 0 || step == 1 || step == target ? host.log(step, target) : Status::ok();
  case Kind::Every:
    return step % op.count == 0 || step == target ? runBody(op.body) : Status::ok();
  case Kind::Evaluate:
    return host.evaluate();
  case Kind::Save:
    return host.save();
  }
  return Status::ok();
}

Status ProgramRunner::nextBatch(const ProgramOp &op) {
  uint64_t sequences = executor.plan().data.sequences;
  if (op.validation)
    return host.nextBatch(true, validationBatch++ * sequences);
  uint64_t batch = static_cast<uint64_t>(step - 1) * microBatches + microBatch++;
  return host.nextBatch(false, batch * sequences);
}

Status ProgramRunner::runSteps(const ProgramOp &op) {
  target = op.count;
  microBatches = countBatches(op.body, false);
  for (int64_t done = executor.stepCounter(); done < target && !stopped;) {
    step = done + 1;
    microBatch = 0;
    MOEC_RETURN_IF_ERROR(runBody(op.body));
    done = executor.stepCounter();
    if (done != step)
      return Status::error("MOEC-R003", executor.plan().path, "the step counter went from ", step - 1, " to ", done,
                           " in one step; the plan's update must add 1");
    MOEC_ASSIGN_OR_RETURN(bool goOn, host.stepDone(step, target));
    stopped = !goOn;
  }
  return Status::ok();
}

} // namespace moec::rt
