// Runs two plans of one spec side by side, dispatch by dispatch: a reference on the processor, and the plan in question
// on its device. Before each dispatch the reference gets the device's values, so that errors do not add up and what is
// compared is one dispatch alone. Every dispatch runs twice: once with NaN in what it only writes (a value that should
// have been written and was not shows), once with what is there. Compare.h says how errors are measured.
#ifndef MOEC_TEST_GPU_LOCKSTEP_LOCKSTEP_H
#define MOEC_TEST_GPU_LOCKSTEP_LOCKSTEP_H

#include "runtime/base/Result.h"
#include "runtime/plan/Plan.h"

#include <optional>
#include <string>
#include <vector>

namespace moec::rt::test {

struct LockstepOptions {
  std::string function;            // this one alone, after init; empty: programs init, train, evaluate, and generation
  std::string only;                // kernels whose name holds this
  std::vector<std::string> except; // not those whose name holds one of these
  int64_t steps = 1;               // of training
  std::optional<uint64_t> seed;    // random parameters, gradients and optimizer state instead of what init makes
  bool guard = false;      // whether what is no result of a dispatch stays as it is: reads all memory twice each time
  double tolerance = 1e-5; // relative error (Compare.h) of a dispatch in f32
  double narrowTolerance = 1e-2; // of one with an operand in bf16 or f16
};

/// What was found of one operand of one kernel.
struct LockstepRow {
  std::string kernel, summary;
  size_t operand = 0;
  DType type = DType::F32;
  uint64_t launches = 0, elements = 0;
  double worstRelative = 0, worstAbsolute = 0;
  uint64_t wrongIntegers = 0;
  uint64_t notFinite = 0; // the reference has a number there, the device has none
  uint64_t oneStep = 0;   // of e4m3: the neighbour of the reference's number
  bool oftenOneStep = false;
  uint64_t unwritten = 0; // the reference wrote nothing there: not compared
  bool good = true;
};

struct LockstepReport {
  std::vector<LockstepRow> rows;   // the worst first
  std::vector<std::string> strays; // writes to what is no result
  uint64_t dispatches = 0;
  bool good = true;

  std::string table() const;
};

/// MOEC-R004 when the plans do not have the same structure; the device's own failures.
Result<LockstepReport> runLockstep(const Plan &reference, const Plan &plan, const LockstepOptions &options);

} // namespace moec::rt::test

#endif // MOEC_TEST_GPU_LOCKSTEP_LOCKSTEP_H
