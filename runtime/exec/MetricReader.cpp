#include "runtime/exec/MetricReader.h"

#include <algorithm>

namespace moec::rt {

template <typename T> static void readAs(const PlanMetric &metric, Device &device, std::vector<double> &values) {
  std::vector<T> raw(metric.elements);
  device.read(metric.offset, raw.data(), raw.size() * sizeof(T));
  values.assign(raw.begin(), raw.end());
}

std::vector<double> readMetric(const PlanMetric &metric, Device &device) {
  std::vector<double> values;
  switch (metric.dtype) {
  case DType::F64:
    readAs<double>(metric, device, values);
    break;
  case DType::I64:
  case DType::Index:
    readAs<int64_t>(metric, device, values);
    break;
  case DType::I32:
    readAs<int32_t>(metric, device, values);
    break;
  case DType::I16:
    readAs<int16_t>(metric, device, values);
    break;
  case DType::I8:
  case DType::I1:
    readAs<int8_t>(metric, device, values);
    break;
  default: // the reader refused f16 and bf16
    readAs<float>(metric, device, values);
    break;
  }
  return values;
}

const PlanMetric *findLoss(const Plan &plan, bool validation) {
  const PlanMetric *found = nullptr;
  for (const PlanMetric &metric : plan.metrics) {
    if (metric.validation != validation || metric.elements != 1)
      continue;
    if (metric.name == "loss")
      return &metric;
    if (!found && metric.name.find("loss") != std::string::npos)
      found = &metric;
  }
  return found;
}

double expertBalance(const Plan &plan, Device &device) {
  double worst = 0;
  for (const PlanMetric &metric : plan.metrics) {
    if (metric.name != "expert_tokens" || metric.validation || metric.shape.empty())
      continue;
    std::vector<double> tokens = readMetric(metric, device);
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
