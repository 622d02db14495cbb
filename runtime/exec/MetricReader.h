// Metrics of a plan, read back from the device.
#ifndef MOEC_RUNTIME_EXEC_METRICREADER_H
#define MOEC_RUNTIME_EXEC_METRICREADER_H

#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <vector>

namespace moec::rt {

/// All elements as doubles (exact up to 2^53, far beyond any count of tokens in a step).
std::vector<double> readMetric(const PlanMetric &metric, Device &device);

/// The one named "loss", else the first scalar whose name contains "loss"; nullptr when there is none.
const PlanMetric *findLoss(const Plan &plan, bool validation);

/// Fullest expert over the mean, the worst of all layers, from the metric "expert_tokens" [layers, experts].
/// 0 when the plan has no such metric or nothing was routed.
double expertBalance(const Plan &plan, Device &device);

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_METRICREADER_H
