// A hand-made plan: a bigram model (a table of logits for each previous byte, plus two stacked "layers" of bias) with
// momentum, micro-batches, evaluation and generation. Small enough to train in milliseconds, real enough to learn.
#ifndef MOEC_TEST_UNIT_RUNTIME_TINYPLAN_H
#define MOEC_TEST_UNIT_RUNTIME_TINYPLAN_H

#include "TestSupport.h"
#include "runtime/api/moec.h"
#include "runtime/plan/Plan.h"

#include <nlohmann/json.hpp>

namespace moec::rt::test {

struct TinyOptions {
  int64_t steps = 20, saveEvery = 10, logEvery = 5, keepLast = 3;
  double rate = 2;            // learning rate, kept in the spec and in a constant of the plan
  bool forgetsToZero = false; // adds to a value that was never written: poison must show it
  bool explodes = false;      // loss becomes NaN at step 7
};

/// The manifest as the compiler would write it; "blobs" and "spec_hash" come from the plan writer.
nlohmann::json tinyManifest(const std::string &dataDir, const TinyOptions &options = {});

/// The kernels, compiled once for each test run.
const std::string &tinyKernels();

/// Writes a.txt, b.txt, a-val.txt, b-val.txt.
void writeTinyData(const std::string &directory);

/// Bytes of a plan file.
std::string buildTiny(const nlohmann::json &manifest);

/// Data and plan in `directory`, read back.
Plan makeTinyPlan(const std::string &directory, const TinyOptions &options = {});

/// Of a run that prints nothing.
RunOptions quiet(const std::string &runDir, unsigned threads = 1);

} // namespace moec::rt::test

#endif // MOEC_TEST_UNIT_RUNTIME_TINYPLAN_H
