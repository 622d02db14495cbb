// libcuda, opened when a plan needs it: the table of its functions, and its errors as ours.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H
#define MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H

#include "runtime/base/Result.h"
#include "runtime/hal/cuda/CudaTypes.h"

#include <memory>
#include <string>

namespace moec::rt::cu {

/// The environment variable that names another library than libcuda.so.1.
inline constexpr char kDriverVariable[] = "MOEC_CUDA_DRIVER";

class Driver {
public:
  /// MOEC-P012 when there is no driver, or none that sees a GPU. `place` is for messages.
  static Result<std::unique_ptr<Driver>> open(const std::string &place);
  ~Driver();
  Driver(const Driver &) = delete;

#define MOEC_CUDA(member, symbol, parameters) Code(*member) parameters = nullptr;
#include "runtime/hal/cuda/CudaSymbols.inc"
#undef MOEC_CUDA

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string describe(Code code) const;
  /// "13.0", the newest CUDA that the driver serves.
  std::string version() const;
  /// Ok, or MOEC-P014 with the call's name and what it was for.
  Status check(Code code, const char *call, const std::string &place, const std::string &purpose = {}) const;

private:
  Driver() = default;

  void *library = nullptr;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H
