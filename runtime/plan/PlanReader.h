// Reads and checks a plan, in the order and with the codes of docs/plan-format.md. Nothing of a plan is used before all
// of it has passed.
#ifndef MOEC_RUNTIME_PLAN_PLANREADER_H
#define MOEC_RUNTIME_PLAN_PLANREADER_H

#include "runtime/base/Result.h"
#include "runtime/plan/Plan.h"

#include <span>
#include <string>

namespace moec::rt {

struct PlanReadOptions {
  /// Off for tools that only look at a plan, and for the writer's own check.
  bool checkCpu = true;
};

Result<Plan> readPlan(const std::string &path, const PlanReadOptions &options = {});

/// `path` is for messages.
Result<Plan> parsePlan(std::span<const std::byte> file, const std::string &path, const PlanReadOptions &options = {});

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANREADER_H
