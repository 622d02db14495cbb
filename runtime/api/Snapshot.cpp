#include "runtime/api/Snapshot.h"

#include "runtime/api/LocalRanks.h"
#include "runtime/api/Session.h"
#include "runtime/base/Random.h"
#include "runtime/exec/MetricReader.h"
#include "runtime/io/TensorTable.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace moec::rt {

namespace {

class SnapshotSession final : public Session {
public:
  SnapshotSession(const Plan &plan, const RunOptions &options, Communicator *ranks, int64_t steps)
      : Session(plan, options, ranks), steps(steps) {}

  Result<Snapshot> run() {
    Result<Snapshot> result = runAll();
    if (ranks && !result.isOk())
      ranks->abort(result.status());
    return result;
  }

  Status nextBatch(uint64_t firstSample, BatchView view) override {
    uint64_t length = plan.data.seqLen + 1;
    for (size_t i = 0; i < view.tokens.size(); ++i)
      view.tokens[i] = static_cast<int32_t>(randomBits(plan.seed, RandomStream::Generation, firstSample * length + i) %
                                            plan.vocabulary());
    for (size_t i = 0; i < view.domains.size(); ++i)
      view.domains[i] = static_cast<int32_t>((firstSample + i) % std::max<size_t>(1, plan.data.train.size()));
    return Status::ok();
  }

  Status stepDone(const StepResult &step) override {
    for (const PlanMetric &metric : plan.metrics) {
      std::vector<double> values = step.metrics.values(metric);
      Snapshot::Tensor tensor{"step " + std::to_string(step.step) + ": " + metric.name, DType::F64, {}};
      tensor.bytes.resize(values.size() * sizeof(double));
      std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
      taken.tensors.push_back(std::move(tensor));
    }
    return Status::ok();
  }

  Status log(const StepResult &) override { return Status::ok(); }
  Status evaluate() override { return Status::ok(); }
  Status save() override { return Status::ok(); }
  Result<bool> wantsStep(int64_t begun) override {
    if (begun + 1 == steps) // what earlier steps sent does not count
      sentBefore = sent(), rowsBefore = executor().rowBytesSent();
    return begun < steps;
  }

private:
  Result<Snapshot> runAll() {
    MOEC_RETURN_IF_ERROR(openDevice());
    if (ranks)
      MOEC_RETURN_IF_ERROR(ranks->meet(plan.hash, static_cast<int>(plan.numRanks())));
    ProgramRunner runner(executor(), *this);
    MOEC_RETURN_IF_ERROR(runner.run(plan.train));
    taken.sentBytes = sent() - sentBefore;
    taken.sentRowBytes = executor().rowBytesSent() - rowsBefore;
    taken.plannedBytes = plan.bytesSentPerStep();
    taken.allocatedBytes = executor().device().allocatedBytes();
    taken.announcedBytes = plan.peakBytes(options.threads);
    MOEC_RETURN_IF_ERROR(readTensors());
    if (ranks)
      MOEC_RETURN_IF_ERROR(ranks->close());
    return std::move(taken);
  }

  uint64_t sent() const { return ranks ? ranks->counters().bytes : 0; }

  Status readTensors() {
    std::vector<std::byte> all;
    const PlanState *assembledOf = nullptr;
    for (const SavedTensor &tensor : checkpointTensors(plan)) {
      Snapshot::Tensor copy{tensor.name, tensor.dtype, std::vector<std::byte>(tensor.bytes)};
      if (tensor.isInRuns()) {
        if (assembledOf != tensor.state)
          MOEC_RETURN_IF_ERROR(executor().assemble(*tensor.state, all));
        assembledOf = tensor.state;
        std::memcpy(copy.bytes.data(), all.data() + tensor.begin, tensor.bytes);
      } else {
        executor().device().read(tensor.offset, copy.bytes.data(), tensor.bytes);
      }
      taken.tensors.push_back(std::move(copy));
    }
    return executor().finish();
  }

  const int64_t steps;
  Snapshot taken;
  uint64_t sentBefore = 0, rowsBefore = 0;
};

template <typename Number> double differenceOf(const std::vector<std::byte> &a, const std::vector<std::byte> &b) {
  double largest = 0, difference = 0;
  for (size_t at = 0; at + sizeof(Number) <= a.size(); at += sizeof(Number)) {
    Number x, y;
    std::memcpy(&x, a.data() + at, sizeof x);
    std::memcpy(&y, b.data() + at, sizeof y);
    double left = static_cast<double>(x), right = static_cast<double>(y);
    if (!std::isfinite(left) || !std::isfinite(right))
      return std::numeric_limits<double>::infinity();
    largest = std::max({largest, std::abs(left), std::abs(right)});
    difference = std::max(difference, std::abs(left - right));
  }
  return difference == 0 ? 0 : difference / largest;
}

/// bf16 is the upper half of an f32.
struct Half {
  uint16_t bits;
  explicit operator double() const {
    uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};

} // namespace

Result<Snapshot> takeSnapshot(const Plan &plan, const RunOptions &options, int64_t steps) {
  if (plan.numRanks() == 1) {
    RunOptions own = options;
    own.threads = options.threads > 0 ? options.threads : defaultThreads();
    return SnapshotSession(plan, own, nullptr, steps).run();
  }
  return runLocalRanks<Snapshot>(plan, options, [&](const RunOptions &own, Communicator *ranks) {
    return SnapshotSession(plan, own, ranks, steps).run();
  });
}

double differenceOf(const Snapshot::Tensor &a, const Snapshot::Tensor &b) {
  if (a.dtype != b.dtype || a.bytes.size() != b.bytes.size())
    return std::numeric_limits<double>::infinity();
  switch (a.dtype) {
  case DType::F64:
    return differenceOf<double>(a.bytes, b.bytes);
  case DType::F32:
    return differenceOf<float>(a.bytes, b.bytes);
  case DType::BF16:
    return differenceOf<Half>(a.bytes, b.bytes);
  default: // whole numbers: equal or not
    return a.bytes == b.bytes ? 0 : std::numeric_limits<double>::infinity();
  }
}

} // namespace moec::rt
