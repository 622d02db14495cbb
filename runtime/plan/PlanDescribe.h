// A plan as text for people.
#ifndef MOEC_RUNTIME_PLAN_PLANDESCRIBE_H
#define MOEC_RUNTIME_PLAN_PLANDESCRIBE_H

#include "runtime/plan/Plan.h"

#include <string>

namespace moec::rt {

struct PlanDescribeOptions {
  uint64_t threads = 1;     // for the announced peak
  bool instructions = true; // functions and programs too
};

/// Memory segments, buffers with place and lifetime, kernels, instructions, programs.
std::string describePlan(const Plan &plan, const PlanDescribeOptions &options = {});

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANDESCRIBE_H
