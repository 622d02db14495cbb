// Training steps as pieces of work that the host need not wait for: the batches of a step lie in memory of the host
// before it starts, its metrics come back the same way, and where the device can record, the whole step is one replay.
// While the device does step n, the host makes the batches of n + 1 and looks at the metrics of n - 1.
#ifndef MOEC_RUNTIME_EXEC_STEPRUNNER_H
#define MOEC_RUNTIME_EXEC_STEPRUNNER_H

#include "runtime/exec/Executor.h"
#include "runtime/exec/MetricReader.h"

#include <deque>
#include <functional>

namespace moec::rt {

/// Where a batch goes: [sequences, seq_len + 1] tokens, and [sequences] indices of data sets.
struct BatchView {
  std::span<int32_t> tokens, domains;
};

/// A step that is done.
struct StepResult {
  int64_t step = 0, target = 0; // step counts from 1
  uint64_t tokens = 0;          // that it trained on
  double seconds = 0;           // on the device, since the step before ended; of the first one, since it began
  const MetricSnapshot &metrics;
};

class StepRunner {
public:
  /// Fills a batch with training samples from this one on.
  using FillBatch = std::function<Status(uint64_t firstSample, BatchView batch)>;

  /// Steps are passes over the first `count` instructions of `body`: calls, batches and plain loops of these.
  StepRunner(Executor &executor, const std::vector<ProgramOp> &body, size_t count, FillBatch fillBatch);

  bool isFor(const std::vector<ProgramOp> &other) const { return body.data() == other.data(); }

  /// How many of the leading instructions of a `steps` body can be done without the host.
  static size_t countLeading(const std::vector<ProgramOp> &body);

  /// Reads the batches of step `step`; there must be room: inFlight() < capacity().
  Status fill(int64_t step);
  /// Issues the step whose batches were read last.
  Status begin(int64_t step);
  /// Waits for the oldest step in flight. What is returned is good until the next begin().
  Result<StepResult> finishOldest();

  size_t inFlight() const { return underWay.size(); }
  size_t capacity() const { return memories.size(); }

private:
  struct HostMemory {
    explicit HostMemory(const Plan &plan) : metrics(plan) {}

    std::vector<BatchView> batches;
    MetricSnapshot metrics;
    bool wasUsed = false;
    std::optional<uint32_t> recording;
  };

  Status prepare();
  void issue(HostMemory &memory);
  void issueBody(std::span<const ProgramOp> body, HostMemory &memory, size_t &batch);
  uint32_t endMark(int64_t step) const { return marks[static_cast<size_t>(step) % kMarks]; }

  /// A step's end is compared with that of the step before while the next one is under way.
  static constexpr size_t kMarks = 4;

  Executor &executor;
  std::span<const ProgramOp> body;
  FillBatch fillBatch;
  size_t microBatches;
  std::vector<HostMemory> memories;
  std::vector<uint32_t> marks;
  uint32_t firstBegin = 0;
  int64_t lastFinished = -1; // marked by endMark(), of this chain of steps
  struct UnderWay {
    int64_t step;
    size_t memory;
  };
  std::deque<UnderWay> underWay;
  size_t nextMemory = 0;
  bool prepared = false;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_STEPRUNNER_H
