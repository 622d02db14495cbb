#include "runtime/hal/cpu/KernelLibrary.h"

#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace moec::rt {

/// The usual way: an anonymous file to which no other process has access.
static void *openFromMemory(std::span<const std::byte> image, UniqueFd &file) {
  file = UniqueFd(::memfd_create("moec-kernels", MFD_CLOEXEC));
  if (file.get() < 0 || !writeAll(file.get(), image.data(), image.size(), "memfd").isOk())
    return nullptr;
  std::string path = "/proc/self/fd/" + std::to_string(file.get());
  return ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}

/// If the system forbids executing anonymous files: a temporary folder (mkdtemp makes it 0700), removed right
/// afterwards.
static void *openFromTempFile(std::span<const std::byte> image, const Plan &plan) {
  const char *base = std::getenv("TMPDIR");
  std::string directory = std::string(base && *base ? base : "/tmp") + "/moec-XXXXXX";
  if (!::mkdtemp(directory.data()))
    return nullptr;
  std::string path = directory + "/kernels-" + plan.specHash + ".so";
  void *handle = nullptr;
  {
    UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
    if (file.get() >= 0 && writeAll(file.get(), image.data(), image.size(), path).isOk())
      handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  ::unlink(path.c_str());
  ::rmdir(directory.c_str());
  return handle;
}

Result<KernelLibrary> KernelLibrary::load(std::span<const std::byte> image, const Plan &plan) {
  KernelLibrary library;
  library.handle = openFromMemory(image, library.file);
  if (!library.handle)
    library.handle = openFromTempFile(image, plan);
  if (!library.handle) {
    const char *reason = ::dlerror();
    return Status::error("MOEC-P010", plan.path, "cannot load the kernels: ", reason ? reason : "no temporary file");
  }
  for (const PlanKernel &kernel : plan.kernels) {
    void *symbol = ::dlsym(library.handle, kernel.symbol.c_str());
    if (!symbol)
      return Status::error("MOEC-P010", plan.path, "kernel \"", kernel.name, "\" has no symbol \"", kernel.symbol,
                           "\" in the plan's machine code");
    library.functions.push_back(reinterpret_cast<KernelFunction>(symbol));
  }
  return library;
}

KernelLibrary::~KernelLibrary() {
  if (handle)
    ::dlclose(handle);
}

KernelLibrary::KernelLibrary(KernelLibrary &&other) noexcept
    : handle(std::exchange(other.handle, nullptr)), file(std::move(other.file)), functions(std::move(other.functions)) {
}

} // namespace moec::rt
