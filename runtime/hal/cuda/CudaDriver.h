// libcuda, opened when a plan needs it: the table of its functions, and the conversion of its errors to Status.
#ifndef MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H
#define MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H

#include "runtime/base/Result.h"
#include "runtime/hal/cuda/CudaTypes.h"

#include <memory>
#include <string>

namespace moec::rt::cu {

/// The environment variable that names a library to open instead of libcuda.so.1.
inline constexpr char kDriverVariable[] = "MOEC_CUDA_DRIVER";

class Driver {
public:
  /// MOEC-P012 if there is no driver, or if it finds no GPU. `place` is for messages.
  static Result<std::unique_ptr<Driver>> open(const std::string &place);
  ~Driver();
  Driver(const Driver &) = delete;

#define MOEC_CUDA(member, symbol, parameters) Code(*member) parameters = nullptr;
#include "runtime/hal/cuda/CudaSymbols.inc"
#undef MOEC_CUDA

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string describe(Code code) const;
  /// "13.0", the newest CUDA version that the driver supports.
  std::string version() const;
  /// Ok, or MOEC-P014 with the name of the call and its purpose.
  Status check(Code code, const char *call, const std::string &place, const std::string &purpose = {}) const;

private:
  Driver() = default;

  void *library = nullptr;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_CUDADRIVER_H
