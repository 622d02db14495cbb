// moec-lockstep: a plan against a reference plan of the same spec, dispatch by dispatch.
#include "Lockstep.h"

#include "runtime/plan/PlanReader.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace moec::rt;
using namespace moec::rt::test;

static constexpr char kUsage[] = R"(usage: moec-lockstep REFERENCE.moec PLAN.moec [options]
  REFERENCE is compiled for the processor with the structure of PLAN:
    moec compile SPEC --target sm_90a -o PLAN.moec
    moec compile SPEC --like sm_90a --reference -o REFERENCE.moec
  --function NAME       this function alone (default: init, train, evaluate, generation)
  --steps N             training steps (default: 1)
  --only TEXT           compare kernels whose name holds TEXT
  --except TEXT         do not compare kernels whose name holds TEXT; can be given several times
  --guard 1             also look for writes to what is no result of a dispatch (slow: reads all memory)
  --seed N              random parameters, gradients and optimizer state
  --tolerance X         relative error of f32 kernels (default: 1e-5)
  --tolerance-bf16 X    of kernels with an operand in bf16 or f16 (default: 1e-2)
exit codes: 0 within the tolerances, 1 not, 2 wrong options, 3 a plan was refused or the device failed
)";

static bool parse(int argc, char **argv, LockstepOptions &options) {
  if (argc < 3 || argc % 2 == 0)
    return false;
  for (int i = 3; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!std::strcmp(name, "--function"))
      options.function = value;
    else if (!std::strcmp(name, "--only"))
      options.only = value;
    else if (!std::strcmp(name, "--except"))
      options.except.push_back(value);
    else if (!std::strcmp(name, "--steps"))
      options.steps = std::atoll(value);
    else if (!std::strcmp(name, "--guard"))
      options.guard = std::strcmp(value, "0");
    else if (!std::strcmp(name, "--seed"))
      options.seed = std::strtoull(value, nullptr, 10);
    else if (!std::strcmp(name, "--tolerance"))
      options.tolerance = std::atof(value);
    else if (!std::strcmp(name, "--tolerance-bf16"))
      options.narrowTolerance = std::atof(value);
    else
      return false;
  }
  return true;
}

int main(int argc, char **argv) {
  LockstepOptions options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  Result<Plan> reference = readPlan(argv[1]), plan = readPlan(argv[2]);
  for (const Result<Plan> *read : {&reference, &plan})
    if (!read->isOk()) {
      std::fprintf(stderr, "moec-lockstep: error %s\n", read->status().text().c_str());
      return 3;
    }
  Result<LockstepReport> report = runLockstep(*reference, *plan, options);
  if (!report.isOk()) {
    std::fprintf(stderr, "moec-lockstep: error %s\n", report.status().text().c_str());
    return 3;
  }
  std::fputs(report->table().c_str(), stdout);
  return report->good ? 0 : 1;
}
