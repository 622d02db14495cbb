// The code of a plan, loaded into a context: one function for each kernel.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDAMODULES_H
#define MOEC_RUNTIME_HAL_CUDA_CUDAMODULES_H

#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/Plan.h"

#include <vector>

namespace moec::rt::cu {

class Modules {
public:
  /// MOEC-P010 if a module or symbol is missing or cannot run as its launch record says, MOEC-P013 if the code is not
  /// for this GPU or driver.
  static Result<Modules> load(const Driver &driver, const Plan &plan);
  ~Modules();
  Modules(Modules &&other) noexcept = default;

  Function function(uint32_t kernel) const { return functions[kernel]; }

private:
  explicit Modules(const Driver &driver) : driver(&driver) {}

  const Driver *driver;
  std::vector<Module> modules;
  std::vector<Function> functions;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_CUDAMODULES_H
