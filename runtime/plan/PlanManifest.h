// Manifest JSON -> Plan. Internal to runtime/plan.
#ifndef MOEC_RUNTIME_PLAN_PLANMANIFEST_H
#define MOEC_RUNTIME_PLAN_PLANMANIFEST_H

#include "runtime/base/Fields.h"
#include "runtime/plan/Plan.h"

namespace moec::rt {

/// Everything but what needs the file (blob ranges) or the arena (operands).
Status parseManifest(const Json &manifest, Plan &plan);

/// `launch` of a kernel of a cuda plan; target, blobs and the kernel's other fields must have been read before.
void parseLaunch(Fields &kernelFields, const Plan &plan, PlanKernel &kernel);

/// Functions and programs; kernels must have been read before.
void parseFunctions(Fields &root, Plan &plan);
void parsePrograms(Fields &root, Plan &plan);

/// The hash of a spec, as plans, checkpoints and runs carry it. `parallel` says how a step is divided, not what it
/// computes, so it does not count: a run goes on under another layout.
std::string hashOfSpec(Json spec);

/// Index of the function called `name`; a failure at `pointer` when there is none.
uint32_t findFunction(const Plan &plan, const std::string &name, const std::string &pointer, FieldErrors &errors);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLANMANIFEST_H
