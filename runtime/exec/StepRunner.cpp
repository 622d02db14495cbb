#include "runtime/exec/StepRunner.h"

#include "runtime/base/CheckedMath.h"

#include <algorithm>
#include <utility>

namespace moec::rt {

static bool needsNoHost(const ProgramOp &op) {
  using Kind = ProgramOp::Kind;
  if (op.kind == Kind::Repeat)
    return std::all_of(op.body.begin(), op.body.end(), needsNoHost);
  return op.kind == Kind::Call || op.kind == Kind::NextBatch;
}

size_t StepRunner::countLeading(const std::vector<ProgramOp> &body) {
  return static_cast<size_t>(std::find_if_not(body.begin(), body.end(), needsNoHost) - body.begin());
}

StepRunner::StepRunner(Executor &executor, const std::vector<ProgramOp> &steps, size_t count, FillBatch fillBatch)
    : executor(executor), body(std::span(steps).first(count)), fillBatch(std::move(fillBatch)),
      microBatches(countBatches({steps.begin(), steps.begin() + static_cast<ptrdiff_t>(count)})) {
  size_t numMemories = executor.device().isAsynchronous() ? 2 : 1;
  for (size_t i = 0; i < numMemories; ++i)
    memories.emplace_back(executor.plan());
}

Status StepRunner::prepare() {
  Device &device = executor.device();
  const PlanData &data = executor.plan().data;
  uint64_t tokens = alignUp(data.sequences * (data.seqLen + 1), 16), domains = alignUp(data.sequences, 16);
  for (HostMemory &memory : memories) {
    uint64_t batchBytes = microBatches * (tokens + domains) * sizeof(int32_t);
    auto *host = static_cast<std::byte *>(device.allocateHost(batchBytes + memory.metrics.bytes()));
    if (!host)
      return device.finish();
    auto *words = reinterpret_cast<int32_t *>(host);
    for (size_t i = 0; i < microBatches; ++i, words += tokens + domains)
      memory.batches.push_back({{words, data.sequences * (data.seqLen + 1)}, {words + tokens, data.sequences}});
    memory.metrics.placeAt(host + batchBytes);
  }
  for (size_t i = 0; i < kMarks; ++i)
    marks.push_back(device.createMark());
  firstBegin = device.createMark();
  prepared = true;
  return Status::ok();
}

Status StepRunner::fill(int64_t step) {
  if (!prepared)
    MOEC_RETURN_IF_ERROR(prepare());
  HostMemory &memory = memories[nextMemory];
  // Micro-batches of a step are dealt out in runs: those of rank r come before those of rank r + 1.
  const Plan &plan = executor.plan();
  uint64_t first = (static_cast<uint64_t>(step - 1) * plan.numBatchRanks() + executor.batchShare()) * microBatches;
  for (size_t i = 0; i < microBatches; ++i)
    MOEC_RETURN_IF_ERROR(fillBatch((first + i) * plan.data.sequences, memory.batches[i]));
  return Status::ok();
}

Status StepRunner::begin(int64_t step) {
  HostMemory &memory = memories[nextMemory];
  // Evaluation or saving may have come between: time does not count over that.
  if (underWay.empty()) {
    lastFinished = -1;
    executor.device().setMark(firstBegin);
  }
  issue(memory);
  MOEC_RETURN_IF_ERROR(executor.exchangeStatus());
  executor.device().setMark(endMark(step));
  underWay.push_back({step, nextMemory});
  nextMemory = (nextMemory + 1) % memories.size();
  return Status::ok();
}

void StepRunner::issue(HostMemory &memory) {
  size_t batch = 0;
  auto doIt = [&] {
    issueBody(body, memory, batch);
    memory.metrics.download(executor.device());
  };
  // Not the first time: drivers load code at first use, and a short run is over before recording pays.
  bool first = !std::exchange(memory.wasUsed, true);
  if (first || !executor.mayRecord())
    return doIt();
  if (!memory.recording) {
    executor.device().beginRecording();
    doIt();
    memory.recording = executor.device().endRecording("a training step");
  }
  executor.device().replay(*memory.recording);
}

void StepRunner::issueBody(std::span<const ProgramOp> ops, HostMemory &memory, size_t &batch) {
  Device &device = executor.device();
  const Plan &plan = executor.plan();
  for (const ProgramOp &op : ops) {
    if (op.kind == ProgramOp::Kind::Call) {
      executor.walk(op.function);
    } else if (op.kind == ProgramOp::Kind::NextBatch) {
      const BatchView &view = memory.batches[batch++];
      device.upload(plan.batchOffset, view.tokens.data(), view.tokens.size_bytes());
      device.upload(plan.domainsOffset, view.domains.data(), view.domains.size_bytes());
    } else {
      for (int64_t i = 0; i < op.count; ++i)
        issueBody(op.body, memory, batch);
    }
  }
}

Result<StepResult> StepRunner::finishOldest() {
  UnderWay oldest = underWay.front();
  underWay.pop_front();
  Device &device = executor.device();
  MOEC_RETURN_IF_ERROR(device.waitFor(endMark(oldest.step)));
  uint32_t begin = lastFinished == oldest.step - 1 ? endMark(lastFinished) : firstBegin;
  lastFinished = oldest.step;
  const PlanData &data = executor.plan().data;
  return StepResult{oldest.step, 0, microBatches * data.sequences * data.seqLen * executor.plan().numBatchRanks(),
                    device.secondsBetween(begin, endMark(oldest.step)), memories[oldest.memory].metrics};
}

} // namespace moec::rt
