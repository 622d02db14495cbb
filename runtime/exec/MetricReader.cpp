#include "runtime/exec/MetricReader.h"

#include "runtime/base/CheckedMath.h"

#include <algorithm>
#include <cstring>

namespace moec::rt {

template <typename T> static std::vector<double> decodeAs(const PlanMetric &metric, const std::byte *raw) {
  std::vector<T> typed(metric.elements);
  std::memcpy(typed.data(), raw, typed.size() * sizeof(T));
  return {typed.begin(), typed.end()};
}

static std::vector<double> decode(const PlanMetric &metric, const std::byte *raw) {
  switch (metric.dtype) {
  case DType::F64:
    return decodeAs<double>(metric, raw);
  case DType::I64:
  case DType::Index:
    return decodeAs<int64_t>(metric, raw);
  case DType::I32:
    return decodeAs<int32_t>(metric, raw);
  case DType::I16:
    return decodeAs<int16_t>(metric, raw);
  case DType::I8:
  case DType::I1:
    return decodeAs<int8_t>(metric, raw);
  default: // the reader refused f16 and bf16
    return decodeAs<float>(metric, raw);
  }
}

static uint64_t bytesOf(const PlanMetric &metric) { return metric.elements * dtypeInfo(metric.dtype).bytes; }

std::vector<double> readMetric(const PlanMetric &metric, Device &device) {
  std::vector<std::byte> raw(bytesOf(metric));
  device.read(metric.offset, raw.data(), raw.size());
  return decode(metric, raw.data());
}

const PlanMetric *findLoss(const Plan &plan) {
  for (const PlanMetric &metric : plan.metrics)
    if (metric.role == StateRole::Loss)
      return &metric;
  return nullptr;
}

MetricSnapshot::MetricSnapshot(const Plan &plan) : plan(plan), size(sizeof(int64_t)) {
  for (const PlanMetric &metric : plan.metrics) {
    offsets.push_back(size);
    size += alignUp(bytesOf(metric), sizeof(int64_t));
  }
}

void MetricSnapshot::download(Device &device) const {
  device.download(plan.stepCounterOffset, memory, sizeof(int64_t));
  for (size_t i = 0; i < plan.metrics.size(); ++i)
    device.download(plan.metrics[i].offset, memory + offsets[i], bytesOf(plan.metrics[i]));
}

int64_t MetricSnapshot::stepCounter() const {
  int64_t steps = 0;
  std::memcpy(&steps, memory, sizeof steps);
  return steps;
}

std::vector<double> MetricSnapshot::values(const PlanMetric &metric) const {
  return decode(metric, memory + offsets[static_cast<size_t>(&metric - plan.metrics.data())]);
}

double MetricSnapshot::expertBalance() const {
  double worst = 0;
  for (const PlanMetric &metric : plan.metrics) {
    if (metric.role != StateRole::ExpertTokens)
      continue;
    std::vector<double> tokens = values(metric);
    size_t experts = metric.shape.back();
    for (size_t begin = 0; begin < tokens.size(); begin += experts) {
      double sum = 0, most = 0;
      for (size_t i = begin; i < begin + experts; ++i) {
        sum += tokens[i];
        most = std::max(most, tokens[i]);
      }
      if (sum > 0)
        worst = std::max(worst, most * static_cast<double>(experts) / sum);
    }
  }
  return worst;
}

} // namespace moec::rt
