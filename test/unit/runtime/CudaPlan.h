// The tiny plan as one for a GPU, and the pretended driver that runs it.
#ifndef MOEC_TEST_UNIT_RUNTIME_CUDAPLAN_H
#define MOEC_TEST_UNIT_RUNTIME_CUDAPLAN_H

#include "TinyPlan.h"
#include "fakecuda/FakeCuda.h"

namespace moec::rt::test {

/// tinyManifest() with a target "cuda", launch records, and one tensor map over the table (kernel tiny_forward).
nlohmann::json cudaManifest(const std::string &dataDir, const TinyOptions &options = {});

/// What each kernel takes and changes: "types" and "writes", which plans may leave out.
void addOperandInfo(nlohmann::json &manifest);

/// Bytes of a plan file whose module is `module`.
std::string buildCuda(const nlohmann::json &manifest, std::string_view module = tinyKernels());

/// Data and plan in `directory`, read back.
Plan makeCudaPlan(const std::string &directory, const TinyOptions &options = {});

/// The pretended driver, as new: what it is like can be changed until a device is made.
class FakeDriver {
public:
  FakeDriver();
  ~FakeDriver();
  FakeDriver(const FakeDriver &) = delete;
  FakeCuda *operator->() { return control; }

private:
  void *library;
  FakeCuda *control;
};

} // namespace moec::rt::test

#endif // MOEC_TEST_UNIT_RUNTIME_CUDAPLAN_H
