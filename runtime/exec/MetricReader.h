// Metrics of a plan, read back from the device.
#ifndef MOEC_RUNTIME_EXEC_METRICREADER_H
#define MOEC_RUNTIME_EXEC_METRICREADER_H

#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <vector>

namespace moec::rt {

/// All elements as doubles (exact up to 2^53, far beyond any count of tokens in a step). Waits.
std::vector<double> readMetric(const PlanMetric &metric, Device &device);

/// The metric with the role loss; nullptr when there is none.
const PlanMetric *findLoss(const Plan &plan);

/// The metrics and the step counter as they stood at one point of the device's work, in memory of the host that
/// a download reaches without waiting.
class MetricSnapshot {
public:
  explicit MetricSnapshot(const Plan &plan);

  uint64_t bytes() const { return size; }
  /// `host` has bytes() and outlives the snapshot.
  void placeAt(void *host) { memory = static_cast<std::byte *>(host); }
  /// Issues the copies. What the functions below say is true once a mark set after it was waited for.
  void download(Device &device) const;

  int64_t stepCounter() const;
  std::vector<double> values(const PlanMetric &metric) const;
  /// Fullest expert over the mean, the worst of all layers, from the metrics with the role expert_tokens, which are
  /// [layers, experts]. 0 when the plan has no such metric or nothing was routed.
  double expertBalance() const;

private:
  const Plan &plan;
  std::vector<uint64_t> offsets; // by metric; the counter lies at 0
  uint64_t size = 0;
  std::byte *memory = nullptr;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_METRICREADER_H
