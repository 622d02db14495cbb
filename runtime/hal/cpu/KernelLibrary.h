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
  /// MOEC-P010 when the image does not load or lacks a symbol.
  static Result<KernelLibrary> load(std::span<const std::byte> image, const Plan &plan);
  ~KernelLibrary();
  KernelLibrary(KernelLibrary &&other) noexcept;
  KernelLibrary &operator=(KernelLibrary &&) = delete;

  KernelFunction kernel(uint32_t index) const { return functions[index]; }

private:
  KernelLibrary() = default;

  void *handle = nullptr;
  // Open as long as the library is: the loader knows it by the name /proc/self/fd/N, which must not come to mean
  // another.
  UniqueFd file;
  std::vector<KernelFunction> functions;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CPU_KERNELLIBRARY_H
