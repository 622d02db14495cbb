// The machine code of a plan, loaded into the process.
#ifndef MOEC_RUNTIME_HAL_CPU_KERNELLIBRARY_H
#define MOEC_RUNTIME_HAL_CPU_KERNELLIBRARY_H

#include "runtime/base/File.h"
#include "runtime/plan/Plan.h"

#include <span>
#include <vector>

namespace moec::rt {

/// The kernel ABI of docs/plan-format.md.
using KernelFunction = void (*)(void *const *args, int64_t workgroup, void *scratch);

class KernelLibrary {
public:
  /// MOEC-P010 if the image cannot be loaded or lacks a symbol.
  static Result<KernelLibrary> load(std::span<const std::byte> image, const Plan &plan);
  ~KernelLibrary();
  KernelLibrary(KernelLibrary &&other) noexcept;
  KernelLibrary &operator=(KernelLibrary &&) = delete;

  KernelFunction kernel(uint32_t index) const { return functions[index]; }

private:
  KernelLibrary() = default;

  void *handle = nullptr;
  // Stays open as long as the library: the loader knows the library as /proc/self/fd/N, and this name must not refer to
  // another file.
  UniqueFd file;
  std::vector<KernelFunction> functions;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CPU_KERNELLIBRARY_H
