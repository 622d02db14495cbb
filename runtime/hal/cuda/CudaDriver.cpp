#include "runtime/hal/cuda/CudaDriver.h"

#include <cstdlib>
#include <dlfcn.h>

namespace moec::rt::cu {

static const char *driverPath() {
  const char *path = std::getenv(kDriverVariable);
  return path && *path ? path : "libcuda.so.1";
}

Result<std::unique_ptr<Driver>> Driver::open(const std::string &place) {
  std::unique_ptr<Driver> driver(new Driver());
  const char *path = driverPath();
  driver->library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!driver->library) {
    const char *reason = ::dlerror();
    return Status::error("MOEC-P012", place, "the plan is for a GPU, and no GPU driver was found (",
                         reason ? reason : path,
                         "). Install NVIDIA's driver for this machine's GPU (no CUDA toolkit is needed), give the "
                         "container its GPUs (docker run --gpus all), or name the driver's library in ",
                         kDriverVariable, "; to run on the processor, compile the spec for a cpu target");
  }
  auto find = [&](auto &member, const char *symbol) {
    member = reinterpret_cast<std::remove_reference_t<decltype(member)>>(::dlsym(driver->library, symbol));
    return member != nullptr;
  };
#define MOEC_CUDA(member, symbol, parameters)                                                                          \
  if (!find(driver->member, #symbol))                                                                                  \
    return Status::error("MOEC-P012", place, "the GPU driver ", path, " is too old: it has no ", #symbol,              \
                         "; install one that serves CUDA 12.0 or newer");
#include "runtime/hal/cuda/CudaSymbols.inc"
#undef MOEC_CUDA
  int count = 0;
  Code code = driver->init(0);
  if (code == kSuccess)
    code = driver->deviceGetCount(&count);
  if (code == kSuccess && count > 0)
    return driver;
  const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return Status::error("MOEC-P012", place, "the plan is for a GPU, and the driver ", path,
                       " shows none: ", driver->describe(code == kSuccess ? kNoDevice : code),
                       visible ? std::string("; CUDA_VISIBLE_DEVICES is \"") + visible + "\"" : "",
                       "; `nvidia-smi` says what the driver sees");
}

Driver::~Driver() {
  if (library)
    ::dlclose(library);
}

std::string Driver::describe(Code code) const {
  const char *name = nullptr, *text = nullptr;
  getErrorName(code, &name);
  getErrorString(code, &text);
  return std::string(name ? name : "unknown error ") + (name ? "" : std::to_string(code)) + " (" +
         (text ? text : "no text") + ")";
}

std::string Driver::version() const {
  int version = 0;
  driverGetVersion(&version);
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status Driver::check(Code code, const char *call, const std::string &place, const std::string &purpose) const {
  if (code == kSuccess)
    return Status::ok();
  return Status::error("MOEC-P014", place, call, purpose.empty() ? "" : " for ", purpose, ": ", describe(code));
}

} // namespace moec::rt::cu
