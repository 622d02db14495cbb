// Every byte that a plan can touch lies in the arena: tables and operands, over all iterations of all loops.
#ifndef MOEC_RUNTIME_PLAN_PLANCHECK_H
#define MOEC_RUNTIME_PLAN_PLANCHECK_H

#include "runtime/plan/Plan.h"

#include "runtime/base/Status.h"

namespace moec::rt {

/// MOEC-P008 for the first thing outside.
Status checkPlanMemory(const Plan &plan);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANCHECK_H
