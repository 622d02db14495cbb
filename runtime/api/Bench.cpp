// bench(): train steps and a clock, nothing else.
#include "runtime/api/Session.h"
#include "runtime/base/Text.h"
#include "runtime/exec/Devices.h"
#include "runtime/exec/MetricReader.h"

#include <algorithm>
#include <cmath>

namespace moec::rt {

namespace {

/// Seconds between looks at the sensors; a look takes a millisecond or so.
constexpr double kLookSeconds = 0.25;

class BenchSession final : public Session {
public:
  BenchSession(const Plan &plan, const RunOptions &options, const BenchOptions &request)
      : Session(plan, options), request(request), loss(findLoss(plan)) {}

  Result<BenchReport> run() {
    if (request.realData)
      MOEC_RETURN_IF_ERROR(openData());
    MOEC_RETURN_IF_ERROR(openDevice());
    ProgramRunner runner(executor(), *this);
    const int64_t none = 0;
    while (!enough) {
      int64_t before = steps;
      MOEC_RETURN_IF_ERROR(runner.run(plan.train));
      if (steps == before)
        return Status::error("MOEC-R005", plan.path, "the plan has no training steps to measure");
      // The plan has an end, the clock may not have come to its own: go round again.
      executor().device().write(plan.stepCounterOffset, &none, sizeof none);
    }
    return report();
  }

  Status nextBatch(uint64_t firstSample, BatchView view) override {
    if (request.realData)
      return Session::nextBatch(firstSample, view);
    // Any tokens will do, but not always the same: routers should see all kinds.
    for (int32_t &token : view.tokens) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      token = static_cast<int32_t>(random % plan.vocabulary());
    }
    std::fill(view.domains.begin(), view.domains.end(), 0);
    return Status::ok();
  }

  Status stepDone(const StepResult &step) override {
    ++steps;
    tokensPerStep = step.tokens;
    if (loss)
      lastLoss = step.metrics.values(*loss)[0];
    if (!std::isfinite(lastLoss))
      return Status::error("MOEC-R002", plan.path, "the metric \"", loss->name, "\" became ", formatFixed(lastLoss, 4),
                           " at step ", step.step, "; steps of no use are not worth measuring");
    if (steps > request.warmupSteps) {
      // Steps end before they are heard of, so their own clock counts, not ours.
      stepSeconds.push_back(step.seconds);
      seconds += step.seconds;
      look();
      enough = seconds >= request.seconds;
    }
    return Status::ok();
  }

  Status log(const StepResult &) override { return Status::ok(); }
  Status evaluate() override { return Status::ok(); }
  Status save() override { return Status::ok(); }
  Result<bool> wantsStep(int64_t) override { return !enough; }

private:
  void look() {
    if (seconds - lastLook < kLookSeconds)
      return;
    lastLook = seconds;
    if (std::optional<DeviceSensors> seen = executor().device().sensors()) {
      clockSum += seen->clockMHz;
      wattSum += seen->watts;
      usedBytes = std::max(usedBytes, seen->usedBytes);
      ++looks;
    }
  }

  Result<BenchReport> report() {
    BenchReport result;
    result.steps = static_cast<int64_t>(stepSeconds.size());
    result.seconds = seconds;
    result.tokensPerStep = tokensPerStep;
    result.tokensPerSecond = static_cast<double>(tokensPerStep) * static_cast<double>(result.steps) / result.seconds;
    std::sort(stepSeconds.begin(), stepSeconds.end());
    result.medianStepMs = stepSeconds[stepSeconds.size() / 2] * 1e3;
    result.fastestStepMs = stepSeconds.front() * 1e3;
    result.loss = lastLoss;
    result.allocatedBytes = executor().device().allocatedBytes();
    result.announcedBytes = plan.peakBytes(options.threads == 0 ? defaultThreads() : options.threads);
    result.usedBytes = usedBytes;
    result.clockMHz = looks ? clockSum / looks : 0;
    result.watts = looks ? wattSum / looks : 0;
    result.device = executor().device().limits().name;
    printProfile();
    return result;
  }

  const BenchOptions &request;
  const PlanMetric *loss;
  uint64_t random = 0x9E3779B97F4A7C15;
  int64_t steps = 0;
  bool enough = false;
  uint64_t tokensPerStep = 0, usedBytes = 0;
  double lastLoss = 0, seconds = 0, lastLook = 0;
  std::vector<double> stepSeconds;
  double clockSum = 0, wattSum = 0;
  int looks = 0;
};

} // namespace

Result<BenchReport> bench(const Plan &plan, const RunOptions &options, const BenchOptions &request) {
  if (plan.numRanks() > 1)
    return Status::error("MOEC-R005", plan.path, "the plan divides its work over ", plan.numRanks(),
                         " ranks, and bench measures one; compile the spec with parallel null");
  return BenchSession(plan, options, request).run();
}

} // namespace moec::rt
